//! A query replica's other half: it follows "results" into its own store.
//!
//! Results, spans and its positions in the topic reach the store in one commit, so a replica that is killed goes on where its
//! store stands. Coverage fails closed: each record says which grid points it decides, and what lies between those and what the
//! store has is a gap; where the topic no longer holds what came before, spans that may have been told there are taken for
//! granted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::dataflow::cluster_results::{commit_of, emitted_of};
use crate::dataflow::home_of;
use crate::log::topics::{Committed, PartitionFrom, PartitionsRead, Topic};
use crate::log::{LogRecord, ReadError};
use crate::model::{Commit, LogTime, PartitionId, Position, SpanReason, Timestamp, Uncover, ViewId};
use crate::node::stream::StreamStatus;
use crate::store::{Durability, Store, StoreError, ViewDescription, ViewState};
use crate::wire::Problem;
use crate::wire::cluster::{Described, ResultsRecord, ViewResults};

const READ_BYTES: usize = 1 << 20;
const WAIT: Duration = Duration::from_millis(50);
const RETRY: Duration = Duration::from_secs(1);

/// Follows a topic of results.
pub struct Replica {
    results: Arc<dyn Topic>,
    store: Arc<Store>,
    status: Arc<StreamStatus>,
    reader: Box<dyn PartitionsRead>,
    positions: BTreeMap<PartitionId, Position>,
    /// Of each view that was heard of, how long spans reach.
    settles_ms: HashMap<ViewId, i64>,
    /// Views of partitions that lost records, until their next grid points are heard of. The store has a gap open from
    /// there meanwhile, so that this survives a restart.
    unsettled: HashMap<ViewId, Timestamp>,
    /// Whether a view was described since somebody last asked.
    described: bool,
    /// Records and views that could not be used.
    pub skipped: u64,
}

impl Replica {
    /// Goes on where the store stands.
    ///
    /// # Errors
    /// When the topic cannot be read.
    pub fn start(results: Arc<dyn Topic>, store: Arc<Store>, status: Arc<StreamStatus>) -> Result<Replica, String> {
        let mut reader = results.reader().map_err(|error| error.to_string())?;
        let known = store.positions().filter(|(incarnation, _)| *incarnation == results.incarnation());
        let known = known.map(|(_, positions)| positions).unwrap_or_default();
        let positions: BTreeMap<PartitionId, Position> =
            known.into_iter().map(|position| (position.partition, position)).collect();
        for partition in (0..results.partitions()).map(PartitionId) {
            let place = |position: &Position| Committed { next: position.next, log_time: position.log_time };
            let known = positions.get(&partition).map(place);
            let from = known.map_or(PartitionFrom::Beginning, PartitionFrom::Committed);
            reader.add(partition, from).map_err(|error| error.to_string())?;
        }
        let (mut settles_ms, mut unsettled, skipped) = (HashMap::new(), HashMap::new(), 0);
        for (id, state) in store.views() {
            settles_ms.extend(settles_in(&state.description).map(|ms| (id, ms)));
            let open = state.spans.iter().find(|span| span.reason == SpanReason::Gap && span.to == Timestamp::MAX);
            unsettled.extend(open.map(|span| (id, span.from)));
        }
        let is_another = store.positions().is_some_and(|(incarnation, _)| incarnation != results.incarnation());
        let described = false;
        let mut replica = Replica { results, store, status, reader, positions, settles_ms, unsettled, described, skipped };
        // What was told in the other one and not read may have withdrawn anything.
        if is_another {
            (0..replica.results.partitions()).try_for_each(|partition| replica.lost(PartitionId(partition)))?;
        }
        Ok(replica)
    }

    /// Whether a view was described since this was asked last.
    pub fn take_described(&mut self) -> bool {
        std::mem::take(&mut self.described)
    }

    /// One round: reads what is there, and commits it.
    ///
    /// # Errors
    /// When the topic is not the one that was opened any more, or the store is damaged.
    pub fn step(&mut self) -> Result<(), String> {
        let mut records = Vec::new();
        match self.reader.read(&mut records, READ_BYTES, WAIT) {
            Ok(()) => {}
            Err(error @ (ReadError::Closed | ReadError::Replaced { .. })) => return Err(error.to_string()),
            Err(error @ (ReadError::Gone { partition, .. } | ReadError::Ahead { partition, .. })) => {
                tracing::error!(%error, "results were deleted before they were read: what they may have held is uncovered");
                self.lost(partition)?;
                self.reader.skip_gap().map_err(|error| error.to_string())?;
            }
            Err(error) => tracing::error!(%error, "cannot read results, trying again"),
        }
        if !records.is_empty() {
            self.take(records)?;
        }
        let ahead: u64 = (0..self.results.partitions()).map(|p| self.reader.ahead(PartitionId(p))).sum();
        self.status.records_ahead.store(ahead, Ordering::Relaxed);
        if ahead == 0 {
            self.status.caught_up.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Up to where the store has the results.
    pub fn positions(&self) -> Vec<Position> {
        self.positions.values().copied().collect()
    }

    fn take(&mut self, records: Vec<LogRecord>) -> Result<(), String> {
        let mut commit = self.empty();
        let mut final_to: HashMap<ViewId, Timestamp> = HashMap::new();
        for record in records {
            let LogRecord { partition, offset, log_time, payload } = record;
            match ResultsRecord::decode(&payload) {
                Ok(said) => {
                    commit.senders.extend(said.senders);
                    for view in &said.views {
                        self.take_view(view, &mut final_to, &mut commit)?;
                    }
                }
                Err(error) if matches!(error.problem(), Problem::FormatNewer { .. }) => {
                    return Err(format!("results are of a newer version: {error}"));
                }
                Err(error) => {
                    self.skipped += 1;
                    tracing::error!(partition = partition.0, offset = offset.0, %error, "a record of results is skipped");
                    for (id, state) in self.of_partition(partition) {
                        self.uncover_newest((id, state.step_ms), final_to.get(&id).copied().or(state.final_to), &mut commit);
                    }
                }
            }
            let log_time: LogTime = log_time.max(self.positions.get(&partition).map_or(Timestamp::MIN, |p| p.log_time));
            self.positions.insert(partition, Position { partition, next: offset.next(), log_time });
            self.status.log_time.fetch_max(log_time.0, Ordering::Relaxed);
        }
        commit.positions = self.positions.values().copied().collect();
        self.commit(&commit)
    }

    fn take_view(
        &mut self,
        said: &ViewResults,
        final_to: &mut HashMap<ViewId, Timestamp>,
        commit: &mut Commit,
    ) -> Result<(), String> {
        let id = said.view;
        if let Some(described) = &said.described {
            self.describe(id, described)?;
        }
        let Some(state) = self.store.view(id) else {
            self.skipped += 1;
            return Ok(());
        };
        let final_before = final_to.get(&id).copied().or(state.final_to);
        if !is_sound(said, state.step_ms) {
            self.skipped += 1;
            tracing::error!(view = %id, "results off a view's grid, or outside what they decide: skipped");
            self.uncover_newest((id, state.step_ms), final_before, commit);
            return Ok(());
        }
        if let Some((from, to)) = said.decided {
            // What was told of it before may have been deleted.
            let partition = home_of(id, self.results.partitions());
            let settled = final_before.map_or(from, |before| before.max(from)) + self.settles(id) + state.step_ms;
            if final_before.is_none() && self.results.extent(partition).truncated {
                commit.spans.push(Uncover { view: id, reason: SpanReason::Gap, from, to: settled });
            }
            if final_before.is_none_or(|before| before < to)
                && let Some(from) = self.unsettled.remove(&id)
            {
                commit.spans.push(Uncover { view: id, reason: SpanReason::Gap, from, to: settled });
            }
            final_to.insert(id, final_before.map_or(to, |before| before.max(to)));
        }
        // What was open when an older record was written may be closed by now: who wrote it was cut off for a while.
        let is_stale = final_before.is_some_and(|before| said.decided.is_none_or(|(_, to)| to < before));
        let mut told = said.clone();
        told.spans.retain(|(_, from, to)| !is_stale || *to != Timestamp::MAX || final_before.is_some_and(|t| *from > t));
        commit_of(&told, state.step_ms, final_before, commit);
        for point in &said.points {
            self.status.note_emitted(&emitted_of(id, point));
        }
        Ok(())
    }

    fn describe(&mut self, id: ViewId, described: &Described) -> Result<(), String> {
        self.described = true;
        self.settles_ms.insert(id, described.settles_ms);
        let Described { step_ms, fields, retention_ms, settles_ms, ref text } = *described;
        let description = ViewDescription { step_ms, fields, retention_ms, text: with_settles(text, settles_ms) };
        match self.retried(|store| store.describe(id, description.clone())) {
            Ok(()) => Ok(()),
            Err(error @ (StoreError::Refused { .. } | StoreError::OtherShape { .. } | StoreError::TooLarge { .. })) => {
                self.skipped += 1;
                tracing::error!(view = %id, %error, "what a view is said to be cannot be stored");
                Ok(())
            }
            Err(error) => Err(format!("cannot store what view {id} is: {error}")),
        }
    }

    /// Everything told of the views of a partition may have been withdrawn in what is lost.
    fn lost(&mut self, partition: PartitionId) -> Result<(), String> {
        let mut commit = self.empty();
        for (id, state) in self.of_partition(partition) {
            let Some(from) = state.final_to.and(state.covered_from) else { continue };
            let from = *self.unsettled.entry(id).or_insert(from);
            commit.spans.push(Uncover { view: id, reason: SpanReason::Gap, from, to: Timestamp::MAX });
        }
        self.commit(&commit)
    }

    /// What cannot be read may have uncovered what was told of a view shortly before.
    fn uncover_newest(&self, (view, step_ms): (ViewId, i64), final_to: Option<Timestamp>, commit: &mut Commit) {
        let Some(final_to) = final_to else { return };
        let settles_ms = self.settles(view);
        let (from, to) = (final_to - settles_ms, final_to + step_ms + settles_ms);
        commit.spans.push(Uncover { view, reason: SpanReason::Gap, from, to });
    }

    /// An hour while it is not known.
    fn settles(&self, id: ViewId) -> i64 {
        self.settles_ms.get(&id).copied().unwrap_or(3_600_000)
    }

    fn of_partition(&self, partition: PartitionId) -> Vec<(ViewId, ViewState)> {
        let partitions = self.results.partitions();
        self.store.views().into_iter().filter(|(id, _)| home_of(*id, partitions) == partition).collect()
    }

    fn empty(&self) -> Commit {
        Commit { log_incarnation: self.results.incarnation(), ..Commit::default() }
    }

    fn commit(&self, commit: &Commit) -> Result<(), String> {
        let durability = if commit.is_idle() { Durability::Later } else { Durability::Now };
        self.retried(|store| store.apply(commit, durability)).map_err(|error| format!("cannot commit results: {error}"))
    }

    /// Again and again while the disk refuses: what was read stays in the topic.
    fn retried(&self, write: impl Fn(&Store) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut said = false;
        loop {
            match write(&self.store) {
                Err(error) if error.retryable() && !self.status.stopping.load(Ordering::Relaxed) => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::error!(%error, "cannot store results; trying again every second, nothing is lost");
                    }
                    std::thread::park_timeout(RETRY);
                }
                done => return done,
            }
        }
    }
}

/// Whether a store can take what is said of a view.
fn is_sound(said: &ViewResults, step_ms: i64) -> bool {
    let on_grid = |t: Timestamp| t.0.rem_euclid(step_ms) == 0;
    said.decided.is_none_or(|(from, to)| {
        from <= to
            && on_grid(from)
            && on_grid(to)
            && said.points.iter().all(|point| on_grid(point.t) && (from..=to).contains(&point.t))
    })
}

/// The name under which a view's text says how long spans reach: a replica that is started again must not wait for it.
const SETTLES: &str = "settles_ms";

fn with_settles(text: &str, settles_ms: i64) -> String {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(mut known) => {
            known.insert(SETTLES.to_owned(), settles_ms.into());
            serde_json::Value::from(known).to_string()
        }
        Err(_) => text.to_owned(),
    }
}

fn settles_in(text: &str) -> Option<i64> {
    serde_json::from_str::<serde_json::Value>(text).ok()?.get(SETTLES)?.as_i64()
}
