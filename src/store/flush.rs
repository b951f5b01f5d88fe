//! Flushing: recent results become a block, everything else a checkpoint, and an empty WAL begins.
//!
//! New files are written and made durable beside the old ones, then the manifest switches to them in one rename. Until
//! that rename is known to be durable nothing more is appended, because either manifest may be the one that a crash
//! leaves; from then on the old files are not needed and deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Store;
use super::block::{Block, BlockBuilder, GroupChunks, delete};
use super::checkpoint;
use super::chunk;
use super::disk::Disk;
use super::error::StoreError;
use super::files::FileKind;
use super::manifest::Manifest;
use super::options::StoreOptions;
use super::state::State;
use super::view::StoredView;
use super::wal::Wal;
use crate::model::Timestamp;

/// What only the one who changes the store touches.
#[derive(Debug)]
pub struct Writer {
    pub wal: Wal,
    /// The manifest in force.
    pub manifest: Manifest,
    /// The number the next new file gets.
    pub next_file: u32,
    /// A switch that is written but whose manifest is not known to be durable. Nothing is appended before it is.
    pub pending: Option<Switch>,
    /// A flush is due when the WAL is this long: raised after one failed, so that not every commit tries again.
    pub flush_at_bytes: u64,
}

impl Writer {
    pub fn new(wal: Wal, manifest: Manifest, next_file: u32, options: &StoreOptions) -> Writer {
        Writer { wal, manifest, next_file, pending: None, flush_at_bytes: options.wal_bytes_max }
    }
}

/// What follows once a manifest is in force.
#[derive(Debug)]
pub struct Switch {
    manifest: Manifest,
    change: Change,
}

#[derive(Debug)]
enum Change {
    Flushed { wal: Wal, block: Option<Block>, chunks: Vec<GroupChunks> },
    BlocksDropped(Vec<u32>),
}

impl Store {
    /// Finishes what an earlier failure left undone. Until that succeeds the store cannot be changed.
    pub(super) fn settle(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if writer.pending.is_some() {
            self.publish(writer)?;
        }
        if writer.wal.is_suspect() || writer.wal.len() > self.options.wal_bytes_max.saturating_mul(4) {
            self.flush_to_files(writer)?;
        }
        Ok(())
    }

    /// Flushes if it is time to. What was applied is durable already, so a failure is reported and tried again later.
    pub(super) fn flush_if_due(&self, writer: &mut Writer) {
        let due = writer.wal.len() >= writer.flush_at_bytes || self.holds_whole_stretch();
        let held_back = writer.flush_at_bytes > self.options.wal_bytes_max && writer.wal.len() < writer.flush_at_bytes;
        if !due || held_back {
            return;
        }
        if let Err(error) = self.flush_to_files(writer) {
            tracing::warn!(%error, "the store could not write a block; results stay in the WAL until it can");
            self.counters.flush_failed(error.to_string());
            let pause = (self.options.wal_bytes_max / 8).max(1 << 16);
            writer.flush_at_bytes = writer.wal.len().max(self.options.wal_bytes_max).saturating_add(pause);
        }
    }

    /// Whether some view's recent results are worth a block, or all together too many.
    fn holds_whole_stretch(&self) -> bool {
        let state = self.state.read();
        let long = |view: &StoredView| {
            let steps = view.head_steps();
            let span_ms = steps.saturating_mul(view.description.step_ms);
            steps >= self.options.block_steps_min && span_ms >= self.options.block_span_ms
        };
        state.views.values().any(long) || state.head_points() > self.options.head_points_max
    }

    /// Writes a block and a checkpoint now, and begins a new WAL. For tools, and before a copy of the folder is taken.
    ///
    /// # Errors
    /// When the disk fails; nothing is lost then.
    pub fn flush(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        self.settle(&mut writer)?;
        self.flush_to_files(&mut writer)
    }

    pub(super) fn flush_to_files(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let number = writer.next_file;
        writer.next_file += 1;
        match self.write_files(writer, number) {
            Ok(switch) => writer.pending = Some(switch),
            Err(error) => {
                // What was half written takes room; the next start would delete it too.
                for kind in [FileKind::Block, FileKind::Checkpoint, FileKind::Wal] {
                    let _ = self.disk.remove(&kind.name(number));
                }
                return Err(error);
            }
        }
        self.publish(writer)
    }

    /// Readers go on meanwhile: nobody else changes the state while the writer is held.
    fn write_files(&self, writer: &Writer, number: u32) -> Result<Switch, StoreError> {
        let state = self.state.read();
        let ripe = ripe_views(&state, &self.options);
        let (block, chunks) = write_block(&state, &self.disk, number, &ripe)?;
        let bytes = checkpoint::encode(&state, |view| ripe.contains(&view));
        drop(state);
        let name = FileKind::Checkpoint.name(number);
        self.disk.write_whole(&name, &bytes).map_err(|error| StoreError::io("write", &name, error))?;
        let wal = Wal::create(&*self.disk, number)?;
        self.disk.sync().map_err(|error| StoreError::io("flush the names of", &name, error))?;
        let mut manifest = Manifest { checkpoint: number, blocks: writer.manifest.blocks.clone() };
        manifest.blocks.extend(block.as_ref().map(|block| block.number));
        Ok(Switch { manifest, change: Change::Flushed { wal, block, chunks } })
    }

    /// Puts the pending manifest in force and follows it in memory.
    fn publish(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let Some(switch) = &writer.pending else { return Ok(()) };
        switch.manifest.publish(&*self.disk)?;
        let Some(Switch { manifest, change }) = writer.pending.take() else { return Ok(()) };
        let old = std::mem::replace(&mut writer.manifest, manifest);
        match change {
            Change::Flushed { wal, block, chunks } => {
                writer.wal = wal;
                writer.flush_at_bytes = self.options.wal_bytes_max;
                self.counters.flushed();
                to_block(&mut self.state.write(), block, chunks);
                delete(&*self.disk, &FileKind::Wal.name(old.checkpoint));
                delete(&*self.disk, &FileKind::Checkpoint.name(old.checkpoint));
            }
            Change::BlocksDropped(blocks) => self.drop_blocks(&blocks),
        }
        Ok(())
    }

    /// Takes blocks out of force, whose points nobody can read any more.
    pub(super) fn retire_blocks(&self, writer: &mut Writer, blocks: Vec<u32>) -> Result<(), StoreError> {
        let mut manifest = writer.manifest.clone();
        manifest.blocks.retain(|block| !blocks.contains(block));
        writer.pending = Some(Switch { manifest, change: Change::BlocksDropped(blocks) });
        self.publish(writer)
    }

    fn drop_blocks(&self, blocks: &[u32]) {
        let mut state = self.state.write();
        let dropped: Vec<_> = blocks.iter().filter_map(|block| state.blocks.remove(block)).collect();
        drop(state);
        for block in dropped {
            block.take_out_of_force();
            self.handles.forget(block.number);
        }
    }
}

/// The views whose recent results go to a block: all that make good chunks, or every one when memory is short.
fn ripe_views(state: &State, options: &StoreOptions) -> BTreeSet<u32> {
    let all = state.head_points() > options.head_points_max;
    let ripe = |view: &StoredView| view.head_points > 0 && (all || view.head_steps() >= options.block_steps_min);
    state.views.iter().filter(|(_, view)| ripe(view)).map(|(number, _)| *number).collect()
}

fn write_block(
    state: &State,
    disk: &Arc<dyn Disk>,
    number: u32,
    ripe: &BTreeSet<u32>,
) -> Result<(Option<Block>, Vec<GroupChunks>), StoreError> {
    let mut builder = BlockBuilder::new(number);
    let mut newest = Vec::new();
    for (view_number, view) in ripe.iter().filter_map(|number| Some((*number, state.views.get(number)?))) {
        let mut groups: Vec<_> = view.groups.iter().filter(|(_, group)| !group.head.is_empty()).collect();
        groups.sort_unstable_by_key(|(number, _)| **number);
        let mut last = i64::MIN;
        for (group_number, group) in groups {
            builder.begin_group(view_number, *group_number);
            for piece in &group.head {
                let bytes = chunk::encode(piece, usize::from(view.description.fields));
                builder.add(piece.first(), piece.slots(), piece.len(), &bytes)?;
                last = last.max(piece.last());
            }
        }
        newest.push((view_number, view.time(last)));
    }
    if builder.is_empty() {
        return Ok((None, Vec::new()));
    }
    let (bytes, chunks) = builder.finish();
    let name = FileKind::Block.name(number);
    disk.write_whole(&name, &bytes).map_err(|error| StoreError::io("write", &name, error))?;
    let block = Block::new(Arc::clone(disk), number, bytes.len() as u64, newest);
    Ok((Some(block), chunks))
}

/// The points that a block holds are let go of in memory.
fn to_block(state: &mut State, block: Option<Block>, chunks: Vec<GroupChunks>) {
    state.blocks.extend(block.map(|block| (block.number, Arc::new(block))));
    let mut views = BTreeSet::new();
    for GroupChunks { view, group, chunks } in chunks {
        let group = state.views.get_mut(&view).and_then(|view| view.groups.get_mut(&group));
        if let Some(group) = group {
            group.head = Vec::new();
            group.chunks.extend(chunks);
            views.insert(view);
        }
    }
    for view in views {
        if let Some(view) = state.views.get_mut(&view) {
            (view.head_points, view.head_first) = (0, None);
        }
    }
}

/// Attaches the chunks of a block to the groups that are still there, at recovery; gives the newest time per view.
pub fn attach(state: &mut State, index: Vec<GroupChunks>) -> Vec<(u32, Timestamp)> {
    let mut newest: Vec<(u32, Timestamp)> = Vec::new();
    for GroupChunks { view: number, group, chunks } in index {
        let Some(view) = state.views.get_mut(&number) else { continue };
        let last = chunks.last().map_or(Timestamp::MIN, |chunk| view.time(chunk.last()));
        match newest.last_mut() {
            Some((same, newest)) if *same == number => *newest = (*newest).max(last),
            _ => newest.push((number, last)),
        }
        let (first_kept, _) = view.indices(view.kept_from, view.kept_from);
        let Some(group) = view.groups.get_mut(&group) else { continue };
        let kept = chunks.into_iter().filter(|chunk| chunk.last() >= first_kept);
        for chunk in kept {
            view.points += u64::from(chunk.points);
            group.chunks.push(chunk);
        }
    }
    newest
}
