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
        let is_another = store.positions().is_some_and(|(incarnation, _)| incarnation != results.incarnation());
        let partitions = results.partitions();
        let replica = Replica { results, store, status, reader, positions, described: false, skipped: 0 };
        // What was told in the other one and not read may have withdrawn anything.
        if is_another {
            (0..partitions).try_for_each(|partition| replica.lost(PartitionId(partition)))?;
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
                    self.uncover_newest(partition, &mut commit);
                }
            }
            let log_time: LogTime = log_time.max(self.positions.get(&partition).map_or(Timestamp::MIN, |p| p.log_time));
            self.positions.insert(partition, Position { partition, next: offset.next(), log_time });
            self.status.log_time.fetch_max(log_time.0, Ordering::Relaxed);
        }
        commit.positions = self.positions.values().copied().collect();
        self.commit_what_can_be(commit)
    }

    /// A view's results that cannot be so, off its grid say, are left out and uncovered: the others' are no worse for them.
    fn commit_what_can_be(&mut self, mut commit: Commit) -> Result<(), String> {
        loop {
            let refused = match self.try_commit(&commit) {
                Err(StoreError::Refused { view, what }) => {
                    tracing::error!(%view, what, "results of a view cannot be stored, and are uncovered");
                    view
                }
                done => return done.map_err(|error| format!("cannot commit results: {error}")),
            };
            self.skipped += 1;
            commit.results.retain(|result| result.view != refused);
            let is_of = |(view, _): &(ViewId, Timestamp)| *view == refused;
            let to = commit.final_to.iter().filter(|one| is_of(one)).map(|(_, to)| *to).max();
            let from = self.store.view(refused).and_then(|state| state.final_to).unwrap_or(Timestamp(0));
            commit.spans.extend(to.map(|to| Uncover { view: refused, reason: SpanReason::Gap, from, to: to + 1 }));
            if to.is_none() {
                commit.spans.retain(|span| span.view != refused);
            }
            commit.final_to.retain(|one| !is_of(one));
            commit.covered_from.retain(|one| !is_of(one));
        }
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
        if let Some((from, to)) = said.decided {
            // What was told of it before may have been deleted.
            let partition = home_of(id, self.results.partitions());
            let is_cut = final_before.is_none() && self.results.extent(partition).truncated;
            let open = state.spans.iter().find(|span| span.reason == SpanReason::Gap && span.to == Timestamp::MAX);
            let begin = open.map(|span| span.from).or(is_cut.then_some(from));
            if let Some(begin) = begin {
                let to = from.max(begin) + settles_ms(&state) + state.step_ms;
                commit.spans.push(Uncover { view: id, reason: SpanReason::Gap, from: begin, to });
            }
            final_to.insert(id, final_before.map_or(to, |before| before.max(to)));
        }
        // What was open when an older record was written may be closed by now: who wrote it was cut off for a while.
        let is_stale = final_before.is_some_and(|before| said.decided.is_none_or(|(_, to)| to < before));
        let mut said = said.clone();
        said.spans.retain(|(_, _, to)| !is_stale || *to != Timestamp::MAX);
        commit_of(&said, state.step_ms, final_before, commit);
        for point in &said.points {
            self.status.note_emitted(&emitted_of(id, point));
        }
        Ok(())
    }

    fn describe(&mut self, id: ViewId, described: &Described) -> Result<(), String> {
        self.described = true;
        let Described { step_ms, fields, retention_ms, text, .. } = described.clone();
        let description = ViewDescription { step_ms, fields, retention_ms, text };
        match self.retried(|store| store.describe(id, description.clone())) {
            Ok(()) => Ok(()),
            Err(StoreError::Refused { what, .. }) => {
                self.skipped += 1;
                tracing::error!(view = %id, what, "what a view is cannot be stored, and none of its results");
                Ok(())
            }
            Err(error) => Err(format!("cannot store what view {id} is: {error}")),
        }
    }

    /// Everything told of the views of a partition may have been withdrawn in what is lost: they are uncovered until it is known
    /// from where on nothing is missing.
    fn lost(&self, partition: PartitionId) -> Result<(), String> {
        let mut commit = self.empty();
        for (id, state) in self.of_partition(partition) {
            if let Some(from) = state.covered_from {
                commit.spans.push(Uncover { view: id, reason: SpanReason::Gap, from, to: Timestamp::MAX });
            }
        }
        self.commit(&commit)
    }

    /// A record that cannot be read may have uncovered what was told shortly before.
    fn uncover_newest(&self, partition: PartitionId, commit: &mut Commit) {
        for (id, state) in self.of_partition(partition) {
            let (Some(from), Some(to), settles_ms) = (state.covered_from, state.final_to, settles_ms(&state)) else {
                continue;
            };
            let (from, to) = (from.max(to - settles_ms), to + (settles_ms + state.step_ms));
            commit.spans.push(Uncover { view: id, reason: SpanReason::Gap, from, to });
        }
    }

    /// The views of a partition.
    fn of_partition(&self, partition: PartitionId) -> impl Iterator<Item = (ViewId, ViewState)> {
        let partitions = self.results.partitions();
        self.store.views().into_iter().filter(move |(id, _)| home_of(*id, partitions) == partition)
    }

    fn empty(&self) -> Commit {
        Commit { log_incarnation: self.results.incarnation(), ..Commit::default() }
    }

    fn commit(&self, commit: &Commit) -> Result<(), String> {
        self.try_commit(commit).map_err(|error| format!("cannot commit results: {error}"))
    }

    fn try_commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let durability = if commit.is_idle() { Durability::Later } else { Durability::Now };
        self.retried(|store| store.apply(commit, durability))
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

/// How long after a grid point a span that began before it may still cover it: an hour while that is not known.
fn settles_ms(state: &ViewState) -> i64 {
    #[derive(serde::Deserialize)]
    struct Told {
        settles_ms: i64,
    }
    serde_json::from_str::<Told>(&state.description).map_or(3_600_000, |told| told.settles_ms)
}
