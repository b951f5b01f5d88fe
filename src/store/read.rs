//! Reading a range of a view.
//!
//! What to read is taken from memory in one glance, so that it is of one state between two commits; blocks never change,
//! and are read and decoded after the glance, neighbouring chunks together.

use std::sync::Arc;

use super::Store;
use super::block::Block;
use super::chunk;
use super::encoding::Malformed;
use super::error::{ReadError, StoreError};
use super::files::FileKind;
use super::head::Piece;
use super::options::ReadLimits;
use super::state::State;
use super::view::{ChunkRef, ViewState};
use crate::model::{GroupLabels, Matcher, Timestamp, ViewId};

/// Chunks no farther apart than this are read together, what lies between thrown away.
const GAP_BYTES_MAX: u64 = 16 << 10;
/// As long as they are no more than this together.
const READ_BYTES_MAX: u64 = 1 << 20;

/// The points of one group.
#[derive(Clone, PartialEq, Debug)]
pub struct GroupSeries {
    pub labels: GroupLabels,
    /// Ascending.
    pub times: Vec<Timestamp>,
    /// The values of each field, one per time; the second is empty when the view has one field.
    pub fields: [Vec<f64>; 2],
}

/// What a read needs, as it stood at one instant.
struct Plan {
    view: ViewId,
    step_ms: i64,
    fields: usize,
    /// Grid indices, inclusive.
    from: i64,
    to: i64,
    /// Of these every so many, counted from `anchor`.
    every: i64,
    anchor: i64,
    series: Vec<GroupSeries>,
    /// Which chunks to read, and into which series.
    chunks: Vec<(ChunkRef, usize)>,
    /// Held so that no file is deleted before it is read.
    blocks: Vec<Arc<Block>>,
    /// Points from memory, which come after all chunks.
    head: Vec<(Piece, usize)>,
    points: usize,
    points_max: usize,
}

impl Store {
    /// The points of the groups that match, between two instants, inclusive; groups without any are left out. Sorted by
    /// labels. An absent label matches as an empty one.
    ///
    /// # Errors
    /// When there is no such view, the limits are passed, or the disk fails.
    pub fn read(
        &self,
        view: ViewId,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
        limits: ReadLimits,
    ) -> Result<Vec<GroupSeries>, ReadError> {
        self.read_with_state(view, matchers, from, to, limits).map(|(_, series)| series)
    }

    /// As [`Store::read`], of the grid points `from`, `from + every_ms`, ... alone; only they count against the limits. All of
    /// them when `every_ms` is no multiple of the view's step.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn read_every(
        &self,
        view: ViewId,
        matchers: &[Matcher],
        (from, to): (Timestamp, Timestamp),
        every_ms: i64,
        limits: ReadLimits,
    ) -> Result<Vec<GroupSeries>, ReadError> {
        let plan = Plan::make(&self.state.read(), view, matchers, (from, to), limits, every_ms)?;
        self.carry_out(plan, limits).map(|(_, series)| series)
    }

    /// As [`Store::read`], with the view's state at the same instant.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn read_with_state(
        &self,
        view: ViewId,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
        limits: ReadLimits,
    ) -> Result<(ViewState, Vec<GroupSeries>), ReadError> {
        let plan = Plan::make(&self.state.read(), view, matchers, (from, to), limits, 0)?;
        self.carry_out(plan, limits)
    }

    /// Reads and decodes what was planned.
    fn carry_out(
        &self,
        (state, mut plan): (ViewState, Plan),
        limits: ReadLimits,
    ) -> Result<(ViewState, Vec<GroupSeries>), ReadError> {
        let view = plan.view;
        plan.chunks.sort_unstable_by_key(|(chunk, _)| (chunk.block, chunk.offset));
        let chunks = std::mem::take(&mut plan.chunks);
        let mut rest = chunks.as_slice();
        while !rest.is_empty() {
            let (together, after) = rest.split_at(neighbours(rest));
            self.read_chunks(together, &mut plan)?;
            rest = after;
        }
        for (piece, series) in std::mem::take(&mut plan.head) {
            plan.add(piece, series)?;
        }
        drop(std::mem::take(&mut plan.blocks));
        let mut series = plan.series;
        series.retain(|series| !series.times.is_empty());
        if series.len() > limits.series_max {
            return Err(ReadError::TooManySeries { view, limit: limits.series_max });
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok((state, series))
    }

    /// Reads chunks of one block that lie close together.
    fn read_chunks(&self, chunks: &[(ChunkRef, usize)], plan: &mut Plan) -> Result<(), ReadError> {
        let (Some((first, _)), Some((last, _))) = (chunks.first(), chunks.last()) else { return Ok(()) };
        let end = u64::from(last.offset) + u64::from(last.bytes);
        let mut bytes = vec![0; (end - u64::from(first.offset)) as usize];
        let read = self.handles.get(first.block).and_then(|file| file.read_at(u64::from(first.offset), &mut bytes));
        read.map_err(|error| StoreError::io("read", &FileKind::Block.name(first.block), error))?;
        for (chunk, series) in chunks {
            let start = (chunk.offset - first.offset) as usize;
            let piece = bytes.get(start..start + chunk.bytes as usize).ok_or(Malformed("a chunk lies outside"));
            let piece = piece.and_then(|bytes| chunk::decode(bytes, plan.fields)).map_err(|Malformed(what)| {
                StoreError::corrupt(&FileKind::Block.name(chunk.block), u64::from(chunk.offset), what)
            })?;
            plan.add(piece, *series)?;
        }
        Ok(())
    }
}

/// How many chunks from the front are read at once.
fn neighbours(chunks: &[(ChunkRef, usize)]) -> usize {
    let Some((first, _)) = chunks.first() else { return 0 };
    let mut end = u64::from(first.offset);
    let near = chunks.iter().take_while(|(chunk, _)| chunk.block == first.block).take_while(|(chunk, _)| {
        let gap = u64::from(chunk.offset).saturating_sub(end);
        end = u64::from(chunk.offset) + u64::from(chunk.bytes);
        gap <= GAP_BYTES_MAX && end - u64::from(first.offset) <= READ_BYTES_MAX
    });
    near.count().max(1)
}

impl Plan {
    fn make(
        state: &State,
        id: ViewId,
        matchers: &[Matcher],
        (first, to): (Timestamp, Timestamp),
        limits: ReadLimits,
        every_ms: i64,
    ) -> Result<(ViewState, Plan), ReadError> {
        let view = state.view(id).ok_or(ReadError::NoView { view: id })?;
        let (anchor, _) = view.indices(first, to);
        let (from, to) = view.indices(first.max(view.kept_from), to);
        let (step_ms, fields) = (view.description.step_ms, usize::from(view.description.fields));
        let every = if every_ms % step_ms == 0 { (every_ms / step_ms).max(1) } else { 1 };
        let (series, chunks, blocks, head) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let points_max = limits.points_max;
        let mut plan =
            Plan { view: id, step_ms, fields, from, to, every, anchor, series, chunks, blocks, head, points: 0, points_max };
        // Points certain to be read, so that memory is not filled with what the limit will refuse.
        let mut certain = 0usize;
        for (_, group) in view.matching(matchers).filter(|_| from <= to) {
            let at = plan.series.len();
            let begin = group.chunks.partition_point(|chunk| chunk.last() < from);
            let chunks = group.chunks.get(begin..).unwrap_or_default().iter().take_while(|chunk| chunk.first <= to);
            plan.chunks.extend(chunks.map(|chunk| (*chunk, at)));
            for piece in group.head.iter().filter(|piece| piece.last() >= from && piece.first() <= to) {
                certain += if every == 1 && piece.first() >= from && piece.last() <= to { piece.len() } else { 0 };
                plan.head.push((piece.clone(), at));
            }
            let (times, values) = (Vec::new(), [Vec::new(), Vec::new()]);
            plan.series.push(GroupSeries { labels: Arc::clone(&group.labels), times, fields: values });
            if certain > points_max {
                return Err(ReadError::TooManyPoints { view: id, limit: points_max });
            }
        }
        let read = plan.chunks.iter().map(|(chunk, _)| chunk.block);
        if let Some((oldest, newest)) = read.clone().min().zip(read.max()) {
            plan.blocks.extend(state.blocks.range(oldest..=newest).map(|(_, block)| Arc::clone(block)));
        }
        Ok((view.summary(), plan))
    }

    /// Adds the points of a piece that lie in the range.
    fn add(&mut self, piece: Piece, series: usize) -> Result<(), ReadError> {
        let Some(series) = self.series.get_mut(series) else { return Ok(()) };
        let (step_ms, every) = (self.step_ms, self.every);
        let phase = self.anchor.rem_euclid(every);
        let (mut wanted, mut rank) = (Vec::new(), 0);
        let taken = piece.between(self.from, self.to, |index| {
            if index.rem_euclid(every) == phase {
                series.times.push(Timestamp(index.saturating_mul(step_ms)));
                wanted.push(rank);
            }
            rank += 1;
        });
        self.points += wanted.len();
        if self.points > self.points_max {
            return Err(ReadError::TooManyPoints { view: self.view, limit: self.points_max });
        }
        for (into, values) in series.fields.iter_mut().zip(&piece.values) {
            let values = values.get(taken.clone()).unwrap_or_default();
            match wanted.len() == rank {
                true => into.extend_from_slice(values),
                false => into.extend(wanted.iter().filter_map(|rank| values.get(*rank))),
            }
        }
        Ok(())
    }
}
