//! The fold of a worker: which partitions, which views of each, from where, and up to where all of it is said.
//!
//! A partition that arrives is read again from where its windows begin. Which grid points are still wanted of a view stands in
//! the table of positions; a view that wants more than is read here catches up in a lane of its own. A position is committed
//! to the consumer group once everything that came of the records before it is durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot::error::TryRecvError;

use super::catch_up::CatchUp;
use super::fold_lane::FoldLane;
use super::lane_partition::Flush;
use super::part::{Part, Scopes, begin_of, part};
use super::unfinished::finished;
use super::{InForce, Topics, ViewsInForce, places};
use crate::compile::{OperatorsPlan, compile};
use crate::dataflow::coverage::ViewCoverage;
use crate::dataflow::{Folded, Standing, ViewSet, ViewStart};
use crate::log::topics::{Assigned, Committed, PartitionFrom, StreamWrite};
use crate::model::{PartitionId, Timestamp, ViewId};
use crate::node::stream::resume_ms;
use crate::plan::CatalogEntry;
use crate::wire::cluster::ScopeEntry;

/// How long to wait for records before looking at everything else again.
const WAIT: Duration = Duration::from_millis(100);

/// The same while views catch up, in the same turns.
const WAIT_WITH_CATCH_UP: Duration = Duration::from_millis(20);

/// Nothing is read while so many bytes wait to be written.
const QUEUED_BYTES_MAX: usize = 64 << 20;

/// What a fold is made with.
#[derive(Clone, Copy, Debug)]
pub struct FoldWorkerOptions {
    pub threads: usize,
    /// How long what was folded waits for more, so that records are not too many.
    pub flush_every: Duration,
    /// Records that come in small pieces are gathered for so long.
    pub gather: Duration,
    /// Of a partition, bytes of partials that combine cannot finish because other partitions are behind: past them it is not
    /// read on. At least one grid point of it goes out nevertheless.
    pub unfinished_bytes_max: usize,
}

/// The fold of one process.
pub struct FoldWorker {
    topics: Topics,
    options: FoldWorkerOptions,
    in_force: InForce,
    views: Arc<ViewsInForce>,
    main: FoldLane,
    /// Partitions that are ours and whose first record has not come, with where they are read from.
    arriving: BTreeMap<PartitionId, PartitionFrom>,
    parts: BTreeMap<PartitionId, Part>,
    catch_up: CatchUp,
    writer: Box<dyn StreamWrite>,
    /// Handed over and not durable yet, in order.
    unacknowledged: VecDeque<Flush>,
    flushed: Instant,
    scopes: Scopes,
    /// The version of the table, and the set, by which it was last looked who is suspended.
    positions_seen: (u64, u64),
    suspended: BTreeSet<ViewId>,
    /// Whether others are suspended than those that the plans leave out.
    suspended_changed: bool,
    /// Where combine stands, as of that version.
    standing: BTreeMap<ViewId, Standing>,
    /// How far combine has finished what a partition gives, as of that version; by need.
    finished: BTreeMap<PartitionId, Timestamp>,
}

impl FoldWorker {
    /// Begins with the partitions that are ours already, and takes those that come.
    ///
    /// # Errors
    /// When a reader, a writer or threads cannot be had.
    pub fn start(topics: Topics, in_force: InForce, options: FoldWorkerOptions) -> Result<FoldWorker, String> {
        let reader = topics.samples.reader().map_err(|error| error.to_string())?;
        let main = FoldLane::start(reader, options.threads, topics.samples.partitioner())?;
        let scopes = Scopes::new(&topics);
        let mut worker = FoldWorker {
            writer: topics.partials.writer()?,
            views: in_force.load_full(),
            main,
            arriving: BTreeMap::new(),
            parts: BTreeMap::new(),
            catch_up: CatchUp::default(),
            unacknowledged: VecDeque::new(),
            flushed: Instant::now(),
            scopes,
            positions_seen: (0, 0),
            suspended: BTreeSet::new(),
            suspended_changed: false,
            standing: BTreeMap::new(),
            finished: BTreeMap::new(),
            topics,
            options,
            in_force,
        };
        worker.look_at_positions();
        for partition in worker.topics.folders.owned() {
            worker.arrived(partition)?;
        }
        Ok(worker)
    }

    /// One round: partitions, views, records, and what is durable by now. Gives what was folded.
    ///
    /// # Errors
    /// When the fold must be started again: what is not committed is folded again then.
    pub fn step(&mut self) -> Result<Vec<Folded>, String> {
        let began = Instant::now();
        while let Ok(event) = self.topics.folders.events().try_recv() {
            match event {
                Assigned::Arrived(partition) => self.arrived(partition)?,
                Assigned::Left(partition) => self.left(partition),
            }
        }
        self.look_at_views()?;
        match self.writer.queued_bytes() < QUEUED_BYTES_MAX {
            true => {
                self.main.step(if self.catch_up.is_idle() { WAIT } else { WAIT_WITH_CATCH_UP })?;
                self.begin_arrived()?;
                self.step_catch_up()?;
            }
            false => std::thread::park_timeout(WAIT),
        }
        let folded = self.flush()?;
        self.acknowledge()?;
        if self.main.is_near_the_end() && self.catch_up.is_idle() {
            std::thread::park_timeout(self.options.gather.saturating_sub(began.elapsed()));
        }
        Ok(folded)
    }

    /// Partitions that are folded, and records of each not read yet.
    pub fn ahead(&self) -> Vec<(PartitionId, u64)> {
        let ours = self.parts.keys().chain(self.arriving.keys());
        ours.map(|partition| (*partition, self.main.ahead(*partition))).collect()
    }

    /// Whether every partition that is ours has been read to its end.
    pub fn caught_up(&self) -> bool {
        self.arriving.is_empty() && self.parts.keys().all(|partition| self.main.ahead(*partition) == 0)
    }

    /// Partitions that are not read on because others are behind.
    pub fn held_back(&self) -> usize {
        self.main.held_back()
    }

    /// The newest log time folded, over all partitions.
    pub fn log_time(&self) -> Timestamp {
        self.parts.keys().map(|partition| self.main.log_time(*partition)).max().unwrap_or(Timestamp::MIN)
    }

    fn arrived(&mut self, partition: PartitionId) -> Result<(), String> {
        let committed = self.topics.folders.committed(partition)?;
        let plan = compile(&self.views.catalog, &OperatorsPlan::default());
        let from = match committed {
            Some(Committed { log_time, .. }) if log_time != Timestamp::MIN => {
                PartitionFrom::LogTime(log_time - resume_ms(&plan))
            }
            _ => PartitionFrom::Beginning,
        };
        tracing::info!(partition = partition.0, ?from, "a partition of samples is ours: it is read again from there");
        self.left(partition);
        self.main.add(partition, from)?;
        self.arriving.insert(partition, from);
        Ok(())
    }

    fn left(&mut self, partition: PartitionId) {
        self.main.remove(partition);
        self.arriving.remove(&partition);
        self.parts.remove(&partition);
        self.finished.remove(&partition);
        self.catch_up.remove(partition);
        for flush in &mut self.unacknowledged {
            flush.positions.retain(|position| position.partition != partition);
        }
    }

    /// Begins partitions whose first record has come: then it is known which windows are whole.
    fn begin_arrived(&mut self) -> Result<(), String> {
        let first = |(partition, from): (&PartitionId, &PartitionFrom)| {
            Some((*partition, *from, self.main.first_log_time(*partition)?))
        };
        let ready: Vec<(PartitionId, PartitionFrom, Timestamp)> = self.arriving.iter().filter_map(first).collect();
        if ready.is_empty() {
            return Ok(());
        }
        self.topics.positions.catch_up()?;
        self.topics.senders.catch_up()?;
        self.look_at_positions();
        let senders = places::senders(&*self.topics.senders, self.topics.samples.incarnation());
        for (partition, from, first) in ready {
            self.arriving.remove(&partition);
            let begin = begin_of(&self.topics, partition, from, first);
            let resumed = from != PartitionFrom::Beginning;
            let is_behind = |entry: &CatalogEntry| {
                let next = self.standing.get(&entry.view.id).map(|standing| standing.next);
                resumed && !begin.complete && next.is_none_or(|next| next < begin.first(&entry.view))
            };
            let catalog = Arc::clone(&self.views.catalog);
            let wanted = catalog.entries().filter(|entry| !self.suspended.contains(&entry.view.id));
            let (behind, now): (Vec<_>, Vec<_>) = wanted.cloned().partition(|entry| is_behind(entry));
            let (part, set) = part(now, &self.standing, &begin);
            let known = senders.iter().filter(|seen| seen.partition == partition).cloned().collect();
            let scope = self.scopes.scope(partition, self.views.set, &part);
            self.main.begin(Arc::new(set), known, scope);
            self.parts.insert(partition, part);
            self.catch_up.wait(partition, behind.iter().map(|entry| entry.view.id));
        }
        Ok(())
    }

    /// Views that came or went: of those that stay, nothing is touched.
    fn look_at_views(&mut self) -> Result<(), String> {
        self.look_at_positions();
        let in_force = self.in_force.load_full();
        if in_force.set == self.views.set && !self.suspended_changed {
            return Ok(());
        }
        self.views = in_force;
        self.look_at_positions();
        self.suspended_changed = false;
        let wanted: BTreeSet<ViewId> = self.wanted().map(|entry| entry.view.id).collect();
        self.catch_up.keep(&wanted, &self.views, &mut self.scopes)?;
        for (partition, part) in &mut self.parts {
            let main = part.entries.keys().copied().filter(|id| wanted.contains(id));
            let stays: BTreeSet<ViewId> = main.collect();
            let fresh = wanted.iter().copied().filter(|id| !stays.contains(id));
            self.catch_up.wait(*partition, fresh);
            part.entries.retain(|id, _| stays.contains(id));
            part.replan(&self.views.catalog);
            let set = ViewSet { plan: Arc::clone(&part.plan), starts: Vec::new(), ends: Vec::new() };
            let scope = self.scopes.scope(*partition, self.views.set, part);
            self.main.change(Arc::new(set), scope);
        }
        tracing::info!(set = self.views.set, views = wanted.len(), "views are folded");
        Ok(())
    }

    fn wanted(&self) -> impl Iterator<Item = &Arc<CatalogEntry>> {
        self.views.catalog.entries().filter(|entry| !self.suspended.contains(&entry.view.id))
    }

    /// Looks where combine stands, and which views it has suspended under the set in force.
    fn look_at_positions(&mut self) {
        let version = *self.topics.positions.changed().borrow();
        let set = self.views.set;
        if std::mem::replace(&mut self.positions_seen, (version, set)) == (version, set) {
            return;
        }
        let is_suspended = |standing: &Standing| standing.suspended.is_some_and(|(_, in_set)| in_set == set);
        self.standing = places::standing(&*self.topics.positions);
        self.finished.clear();
        let suspended = self.standing.iter().filter(|(_, standing)| is_suspended(standing)).map(|(id, _)| *id).collect();
        self.suspended_changed |= std::mem::replace(&mut self.suspended, suspended) != self.suspended;
    }

    /// Partitions wait that are too far ahead of others.
    fn hold_back(&mut self) {
        for (partition, part) in &self.parts {
            let judge = || finished(part.plan.live().map(|planned| planned.view()), &self.standing);
            let finished = *self.finished.entry(*partition).or_insert_with(judge);
            self.main.hold_back(*partition, false, finished, self.options.unfinished_bytes_max);
        }
        self.catch_up.hold_back(&self.standing, self.options.unfinished_bytes_max);
    }

    fn step_catch_up(&mut self) -> Result<(), String> {
        let joined = self.catch_up.step(&self.topics, &self.views, &self.main, &mut self.scopes)?;
        for (partition, starts) in joined {
            let Some(part) = self.parts.get_mut(&partition) else { continue };
            let firsts = starts.iter().map(|(id, first)| {
                let (whole_from, last) = (*first, Timestamp::MAX);
                (*id, ScopeEntry { first: *first, whole_from, last, begins: false, complete: false })
            });
            part.entries.extend(firsts);
            part.replan(&self.views.catalog);
            let starts = starts.iter().filter_map(|(id, first)| {
                let planned = part.plan.live().find(|planned| planned.view().id == *id)?;
                let (first, last) = (*first, Timestamp::MAX);
                Some(ViewStart { slot: planned.slot, first, whole_from: first, last, coverage: ViewCoverage::default() })
            });
            let set = ViewSet { starts: starts.collect(), plan: Arc::clone(&part.plan), ends: Vec::new() };
            let scope = self.scopes.scope(partition, self.views.set, part);
            self.main.change(Arc::new(set), scope);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<Vec<Folded>, String> {
        if self.flushed.elapsed() < self.options.flush_every {
            return Ok(Vec::new());
        }
        self.flushed = Instant::now();
        let bytes_max = self.topics.partials.record_bytes_max();
        let (writer, senders) = (&*self.writer, &*self.topics.senders);
        // Lanes that catch up first: what they said of a view lies before what the main lane says of it.
        let mut written = self.catch_up.flush(writer, bytes_max, senders)?;
        let mut flush = self.main.flush(writer, bytes_max, senders)?;
        flush.written.append(&mut written);
        self.hold_back();
        let folded = std::mem::take(&mut flush.folded);
        if !flush.written.is_empty() || !flush.positions.is_empty() {
            self.unacknowledged.push_back(flush);
        }
        Ok(folded)
    }

    /// Commits up to where all that came of it is durable.
    fn acknowledge(&mut self) -> Result<(), String> {
        if let Some(why) = self.writer.failed() {
            return Err(format!("partials cannot be written: {why}"));
        }
        while let Some(flush) = self.unacknowledged.front_mut() {
            while let Some(written) = flush.written.last_mut() {
                match written.try_recv() {
                    Ok(Ok(_)) => drop(flush.written.pop()),
                    Ok(Err(error)) => return Err(format!("what was folded cannot be written: {error}")),
                    Err(TryRecvError::Empty) => return Ok(()),
                    Err(TryRecvError::Closed) => {
                        return Err("what was folded was not written: the writer is gone".to_owned());
                    }
                }
            }
            let done = self.unacknowledged.pop_front();
            done.iter().for_each(|flush| self.topics.folders.commit(&flush.positions));
        }
        Ok(())
    }
}
