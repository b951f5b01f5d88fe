//! Recovery: from the files that a clean end or a crash left to the state as it was.

use std::sync::Arc;

use super::block::{Block, load_index};
use super::checkpoint;
use super::disk::Disk;
use super::error::StoreError;
use super::files::{FileKind, HEADER_BYTES, MANIFEST, MANIFEST_NEW};
use super::flush::{Writer, attach};
use super::manifest::Manifest;
use super::options::StoreOptions;
use super::state::State;
use super::wal::Wal;

pub struct Recovered {
    pub state: State,
    pub writer: Writer,
    pub wal_cut_bytes: u64,
}

/// Opens what is there, or begins a new store where there is nothing.
pub fn recover(shared: &Arc<dyn Disk>, options: &StoreOptions) -> Result<Recovered, StoreError> {
    let disk = &**shared;
    let files = list(disk)?;
    if !files.iter().any(|file| file == MANIFEST) {
        return begin(disk, &files, options);
    }
    let manifest = Manifest::load(disk)?;
    let mut state = State::new(options.spans_max);
    checkpoint::load(disk, manifest.checkpoint, &mut state)?;
    for number in &manifest.blocks {
        let (bytes, index) = load_index(disk, *number)?;
        let newest = attach(&mut state, index);
        state.blocks.insert(*number, Arc::new(Block::new(Arc::clone(shared), *number, bytes, newest)));
    }
    let replayed =
        Wal::replay(disk, manifest.checkpoint, |records| records.into_iter().try_for_each(|record| state.apply(record)))?;
    for file in files.iter().filter(|file| is_ours(file) && !manifest.names(file)) {
        disk.remove(file).map_err(|error| StoreError::io("delete", file, error))?;
    }
    // The rename that put this manifest in force may not be durable yet; what follows it must not become so first.
    disk.sync().map_err(|error| StoreError::io("flush", MANIFEST, error))?;
    let next_file = files.iter().filter_map(|file| number_of(file)).max().unwrap_or(0) + 1;
    let writer = Writer::new(replayed.wal, manifest, next_file, options);
    Ok(Recovered { state, writer, wal_cut_bytes: replayed.cut_bytes })
}

/// A new store. What an earlier attempt left is overwritten, but nothing that ever held a commit.
fn begin(disk: &dyn Disk, files: &[String], options: &StoreOptions) -> Result<Recovered, StoreError> {
    for file in files.iter().filter(|file| is_ours(file) && *file != MANIFEST_NEW) {
        let used = || -> std::io::Result<bool> {
            Ok(FileKind::Block.number(file).is_some()
                || FileKind::Wal.number(file).is_some() && disk.open(file)?.len()? > HEADER_BYTES as u64)
        };
        if used().map_err(|error| StoreError::io("read", file, error))? {
            return Err(StoreError::NoManifest { file: file.clone() });
        }
    }
    let state = State::new(options.spans_max);
    let manifest = Manifest { checkpoint: 1, blocks: Vec::new() };
    let name = FileKind::Checkpoint.name(1);
    let bytes = checkpoint::encode(&state, |_| false);
    disk.write_whole(&name, &bytes).map_err(|error| StoreError::io("write", &name, error))?;
    let wal = Wal::create(disk, 1)?;
    disk.sync().map_err(|error| StoreError::io("flush the names of", &name, error))?;
    manifest.publish(disk)?;
    Ok(Recovered { state, writer: Writer::new(wal, manifest, 2, options), wal_cut_bytes: 0 })
}

fn list(disk: &dyn Disk) -> Result<Vec<String>, StoreError> {
    disk.list().map_err(|error| StoreError::io("list", "the folder", error))
}

fn number_of(file: &str) -> Option<u32> {
    [FileKind::Block, FileKind::Checkpoint, FileKind::Wal].into_iter().find_map(|kind| kind.number(file))
}

/// Whether the store makes files of this name; all others are let alone.
fn is_ours(file: &str) -> bool {
    file == MANIFEST || file == MANIFEST_NEW || number_of(file).is_some()
}
