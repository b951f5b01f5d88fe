//! What is sent next: stretches of publications, by turns, until a request is full.
//!
//! Everything here waits for the disk, so it runs on a thread of its own while nothing is being sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::derive::{Stretch, derive, publish};
use super::ledger::{Entry, Ledger};
use super::options::{SinkOptions, Uncovered};
use super::publication::{Progress, Sending};
use super::request::Unit;
use super::status::{AMBIGUOUS, EXPIRED, SinkStatus};
use crate::model::window::Grid;
use crate::model::{Clock, Labels, SpanReason, Timestamp, Uncover};
use crate::plan::{Catalog, View};
use crate::store::{ReadError, ReadLimits, Store, ViewState};

/// Series of a rule that is gone end this long after their next value would have been there: a job file that is written
/// anew is absent for a moment.
const END_AFTER_MS: i64 = 30_000;

/// The most grid points read of a view at once, however few groups it has.
const STEPS_MAX: i64 = 4096;

/// How often publications are looked at that seem to need nothing.
const LOOK_CLOSELY_MS: i64 = 5_000;

/// The most publications in a batch, however few samples they have.
const PIECES_MAX: usize = 1000;

/// The rules in force, and what is known of views that are not.
pub type ReadCatalog = Arc<dyn Fn() -> Arc<Catalog> + Send + Sync>;

/// What one sink has to send, and how far it has come.
pub struct Book {
    pub options: SinkOptions,
    pub store: Arc<Store>,
    pub catalog: ReadCatalog,
    pub clock: Arc<dyn Clock>,
    pub status: Arc<SinkStatus>,
    ledger: Ledger,
    /// How many points a grid point of a publication has, by its number: as it was the last time.
    density: HashMap<u32, f64>,
    /// The publication that was served first the last time: the one after it has its turn.
    turn: u32,
    /// The rules that the ledger has met, and when all was looked at closely.
    met: Option<Arc<Catalog>>,
    looked: Timestamp,
}

/// What is sent together.
#[derive(Debug, Default)]
pub struct Batch {
    pub series: Vec<Labels>,
    /// Of each publication in time order.
    pub units: Vec<Unit>,
    pieces: Vec<(u32, Stretch)>,
    samples: usize,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// What could be taken of a publication.
enum Taken {
    Nothing,
    /// It has more than there is room for.
    NoRoom,
    Piece(Stretch, BTreeMap<Timestamp, Vec<(usize, f64)>>, Vec<Labels>),
}

impl Book {
    /// # Errors
    /// When a note of the sink is damaged.
    pub fn open(
        options: SinkOptions,
        store: Arc<Store>,
        catalog: ReadCatalog,
        clock: Arc<dyn Clock>,
        status: Arc<SinkStatus>,
    ) -> Result<Book, String> {
        let ledger = Ledger::open(Arc::clone(&store), &options.name)?;
        let (density, looked) = (HashMap::new(), Timestamp::MIN);
        Ok(Book { options, store, catalog, clock, status, ledger, density, turn: 0, met: None, looked })
    }

    /// The next batch, written down before it is sent; empty when everything was sent.
    ///
    /// # Errors
    /// When the store cannot be read or written: nothing may be sent then.
    pub fn next(&mut self) -> Result<Batch, String> {
        let (catalog, now) = ((self.catalog)(), self.clock.now());
        let closely = self.looked == Timestamp::MIN || now - self.looked >= LOOK_CLOSELY_MS;
        if closely || self.met.as_ref().is_none_or(|met| !Arc::ptr_eq(met, &catalog)) {
            self.ledger.meet(&catalog, self.options.from, now);
            self.met = Some(Arc::clone(&catalog));
        }
        if closely {
            self.looked = now;
        }
        let mut batch = Batch::default();
        let after = self.ledger.entries().range(self.turn.saturating_add(1)..);
        let order: Vec<u32> = after.chain(self.ledger.entries().range(..=self.turn)).map(|(number, _)| *number).collect();
        for number in order {
            if batch.samples >= self.options.samples_per_request_max || batch.pieces.len() >= PIECES_MAX {
                break;
            }
            match self.take(&catalog, number, batch.samples, closely)? {
                Taken::Nothing => {}
                Taken::NoRoom => break,
                Taken::Piece(stretch, sent, labels) => {
                    self.turn = if batch.is_empty() { number } else { self.turn };
                    self.add(&mut batch, number, stretch, sent, labels);
                }
            }
        }
        self.ledger.save().map_err(|error| error.to_string())?;
        self.note_positions();
        Ok(batch)
    }

    /// The receiver has all of a batch, or has refused what it has not.
    pub fn settle(&mut self, batch: Batch) {
        for (number, stretch) in batch.pieces {
            self.ledger.change(number, |progress| progress.settle(&stretch));
        }
    }

    /// Makes durable what was settled.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn save(&mut self) -> Result<(), String> {
        self.note_positions();
        self.ledger.save().map_err(|error| error.to_string())
    }

    fn add(
        &mut self,
        batch: &mut Batch,
        number: u32,
        stretch: Stretch,
        sent: BTreeMap<Timestamp, Vec<(usize, f64)>>,
        labels: Vec<Labels>,
    ) {
        if !sent.is_empty() {
            let sending = Sending { to: stretch.to, skipped: stretch.skipped.clone() };
            self.ledger.change(number, |progress| {
                progress.position = Some(stretch.after);
                progress.live = stretch.live;
                progress.sending = Some(sending);
            });
        }
        let first = batch.series.len();
        batch.series.extend(labels);
        for (t, values) in sent {
            batch.samples += values.len();
            let values = values.into_iter().map(|(at, v)| ((first + at) as u32, v)).collect();
            batch.units.push(Unit { t, values });
        }
        batch.pieces.push((number, stretch));
    }

    /// The next stretch of a publication and what is sent of it.
    fn take(&mut self, catalog: &Catalog, number: u32, before: usize, closely: bool) -> Result<Taken, String> {
        let entry = self.ledger.entries().get(&number);
        let Some(entry) = entry.filter(|entry| closely || self.has_more(entry)).cloned() else { return Ok(Taken::Nothing) };
        let view_id = entry.publication.view;
        let view = catalog.get(view_id).map(|entry| &entry.view);
        if self.ledger.waits(number, &entry.publication.record) && entry.progress.ends.is_none() {
            return Ok(Taken::Nothing);
        }
        if let (None, Some(sending)) = (view, &entry.progress.sending) {
            // Another version has written it, and what it was cannot be said again.
            let lost = Progress { position: Some(sending.to), live: false, sending: None, ends: entry.progress.ends };
            self.ledger.change(number, |progress| *progress = lost);
            return Ok(Taken::Nothing);
        }
        let room = self.options.samples_per_request_max.saturating_sub(before).max(1);
        let mut steps = STEPS_MAX;
        loop {
            let Some(state) = self.store.view(view_id) else { return Ok(Taken::Nothing) };
            let density = self.density.get(&number).copied().unwrap_or(state.groups as f64);
            steps = steps.min(room as i64 * 3 / 4 / (density.ceil() as i64).max(1)).max(1);
            let Some((after, to)) = self.bounds(&entry, &state, view, steps) else { return Ok(Taken::Nothing) };
            let alone = entry.progress.sending.is_some() || to - after <= state.step_ms;
            let points_max = if alone && before == 0 { usize::MAX } else { room };
            let limits = ReadLimits { series_max: usize::MAX, points_max };
            match self.store.read_with_state(view_id, &[], after, to, limits) {
                Ok((state, groups)) => {
                    let points: usize = groups.iter().map(|group| group.times.len()).sum();
                    self.density.insert(number, points as f64 / ((to - after) / state.step_ms + 1) as f64);
                    let stretch = self.stretch(&entry, &state, view, (after, to));
                    let publication = &entry.publication;
                    let (series, ambiguous) = publish(groups, &publication.record, &publication.labels, view);
                    self.status.dropped(AMBIGUOUS, ambiguous as u64);
                    let sent = derive(&stretch, &series);
                    return Ok(Taken::Piece(stretch, sent, series.into_iter().map(|one| one.labels).collect()));
                }
                Err(ReadError::TooManyPoints { .. }) if alone => return Ok(Taken::NoRoom),
                Err(ReadError::TooManyPoints { .. }) => steps = ((to - after) / state.step_ms / 2).max(1),
                Err(ReadError::NoView { .. }) => return Ok(Taken::Nothing),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// A glance that costs nothing, because most of the time there is nothing to do. Does not see series that are to end.
    fn has_more(&self, entry: &Entry) -> bool {
        entry.progress.sending.is_some() || entry.progress.position < self.store.final_to(entry.publication.view)
    }

    /// Between which grid points the next stretch lies: after the first, up to the second.
    fn bounds(&self, entry: &Entry, state: &ViewState, view: Option<&View>, steps: i64) -> Option<(Timestamp, Timestamp)> {
        let progress = &entry.progress;
        if let (Some(position), Some(sending)) = (progress.position, &progress.sending) {
            return Some((position, sending.to));
        }
        let (first, final_to) = (state.covered_from?, state.final_to?);
        let before = Grid::new(state.step_ms).before(first);
        let after = progress.position.map_or(before, |position| position.max(before));
        let last = progress.ends.map_or(final_to, |ends| ends.min(final_to));
        if after < last && view.is_some() {
            return Some((after, last.min(after + steps.saturating_mul(state.step_ms))));
        }
        self.is_to_end(entry, state, view).then(|| (after, after + state.step_ms))
    }

    /// Whether what was sent last has no more to follow, so that its series end at the next grid point.
    fn is_to_end(&self, entry: &Entry, state: &ViewState, view: Option<&View>) -> bool {
        let progress = &entry.progress;
        let Some(position) = progress.position.filter(|_| progress.live) else { return false };
        let next = position + state.step_ms;
        let suspended = |span: &Uncover| span.reason == SpanReason::OverLimit && span.to == Timestamp::MAX;
        if state.spans.iter().any(|span| suspended(span) && span.from <= next) && state.final_to <= Some(position) {
            return true;
        }
        let due = next + (view.map_or(0, |view| view.max_delay_ms) + END_AFTER_MS);
        let is_due = self.clock.now() >= due || self.ledger.is_taken_over(&entry.publication.record);
        progress.ends.is_some_and(|ends| position >= ends || view.is_none()) && is_due
    }

    /// What was decided of a stretch, or is now, by the spans at the moment it was read.
    fn stretch(
        &self,
        entry: &Entry,
        state: &ViewState,
        view: Option<&View>,
        (after, to): (Timestamp, Timestamp),
    ) -> Stretch {
        let (progress, step_ms) = (&entry.progress, state.step_ms);
        if let Some(sending) = &progress.sending {
            let skipped = sending.skipped.clone();
            return Stretch { step_ms, after, to, live: progress.live, skipped };
        }
        // What retention has passed is not known any more.
        let live = progress.live && progress.position == Some(after);
        if state.begun < state.covered_from && progress.position.is_none_or(|position| position < after) {
            self.status.failed(EXPIRED);
        }
        let ending = view.is_none() || Some(to) > state.final_to || progress.ends.is_some_and(|ends| to > ends);
        let skipped = match (ending, self.options.uncovered) {
            (true, _) => vec![(to, to)],
            (false, Uncovered::Send) => Vec::new(),
            (false, Uncovered::Skip) => uncovered(&state.spans, Grid::new(step_ms), after + step_ms, to),
        };
        Stretch { step_ms, after, to, live, skipped }
    }

    /// Tells how far all that is in force has come.
    fn note_positions(&self) {
        let in_force = self.ledger.entries().values().filter(|entry| entry.progress.ends.is_none());
        let positions = in_force.clone().filter_map(|entry| entry.progress.position);
        let behind = |entry: &Entry| {
            let final_to = self.store.final_to(entry.publication.view)?;
            Some(entry.progress.position.map_or(0, |position| (final_to - position).max(0)))
        };
        self.status.at(positions.min(), in_force.filter_map(behind).max().unwrap_or(0));
    }
}

/// The grid points from one to another that spans uncover, as stretches in order.
fn uncovered(spans: &[Uncover], grid: Grid, from: Timestamp, to: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let cut = |span: &Uncover| {
        let last = if span.to == Timestamp::MAX { to } else { grid.before(span.to).min(to) };
        (grid.ceil(span.from.max(from)), last)
    };
    let over = spans.iter().filter(|span| span.reason != SpanReason::Gone && span.from <= to);
    let mut stretches: Vec<_> = over.map(cut).filter(|(first, last)| first <= last).collect();
    stretches.sort_unstable();
    let mut apart: Vec<(Timestamp, Timestamp)> = Vec::new();
    for (first, last) in stretches {
        match apart.last_mut() {
            Some((_, end)) if *end + grid.step_ms() >= first => *end = last.max(*end),
            _ => apart.push((first, last)),
        }
    }
    apart
}

#[cfg(test)]
mod tests;
