//! Catching up: views that the main lane cannot begin where it stands read their partition again, in a lane of their own.
//!
//! The lane has one thread, which bounds what others lose by it. Its partitions read about in step, because combine keeps what
//! one gives until all have given it. Those that have caught up go on in the lane until the main lane's windows are full. From
//! then on the main lane gives the view, and its last grid point here is the one before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::fold_lane::FoldLane;
use super::part::{Part, Scopes, begin_of, part};
use super::unfinished::finished;
use super::{Topics, ViewsInForce, places};
use crate::compile::{FUTURE_MS, OperatorsPlan, compile};
use crate::dataflow::{Standing, ViewSet};
use crate::log::topics::{PartitionFrom, StreamWrite, Table, Written};
use crate::model::{LogTime, PartitionId, Timestamp, ViewId};
use crate::node::stream::resume_ms;
use crate::plan::{Catalog, CatalogEntry};

/// How far partitions that read may be apart, in log time.
const APART_MS: i64 = 600_000;

/// Views of partitions that catch up, and those that wait for it.
#[derive(Default)]
pub(super) struct CatchUp {
    /// While some partition is in it.
    lane: Option<FoldLane>,
    partitions: BTreeMap<PartitionId, Catching>,
    waiting: VecDeque<(PartitionId, BTreeSet<ViewId>)>,
}

/// A partition in the lane.
struct Catching {
    views: BTreeSet<ViewId>,
    from: PartitionFrom,
    /// Until its first record is there.
    part: Option<Part>,
    /// When the main lane has taken its views over: when all is said, in log time.
    done_at: Option<Timestamp>,
}

/// Views of a partition and the first grid points at which the main lane gives them.
pub(super) type Joined = (PartitionId, Vec<(ViewId, Timestamp)>);

impl CatchUp {
    /// Views wait, unless they catch up or wait already.
    pub fn wait(&mut self, partition: PartitionId, views: impl Iterator<Item = ViewId>) {
        let catching = self.partitions.get(&partition).filter(|catching| catching.done_at.is_none());
        let mut known: BTreeSet<ViewId> = catching.map(|catching| catching.views.clone()).unwrap_or_default();
        known.extend(self.waiting.iter().filter(|(of, _)| *of == partition).flat_map(|(_, views)| views.iter().copied()));
        let fresh: BTreeSet<ViewId> = views.filter(|view| !known.contains(view)).collect();
        if !fresh.is_empty() {
            tracing::info!(partition = partition.0, views = fresh.len(), "new views will catch up with the log");
            self.waiting.push_back((partition, fresh));
        }
    }

    /// Whether no views catch up.
    pub fn is_idle(&self) -> bool {
        self.lane.is_none()
    }

    pub fn remove(&mut self, partition: PartitionId) {
        self.waiting.retain(|(of, _)| *of != partition);
        if self.partitions.remove(&partition).is_some()
            && let Some(lane) = &mut self.lane
        {
            lane.remove(partition);
        }
    }

    /// Views that are not wanted any more leave.
    pub fn keep(&mut self, wanted: &BTreeSet<ViewId>, views: &ViewsInForce, scopes: &mut Scopes) -> Result<(), String> {
        for (_, waiting) in &mut self.waiting {
            waiting.retain(|view| wanted.contains(view));
        }
        self.waiting.retain(|(_, views)| !views.is_empty());
        let mut empty = Vec::new();
        for (partition, catching) in &mut self.partitions {
            catching.views.retain(|view| wanted.contains(view));
            if catching.views.is_empty() {
                empty.push(*partition);
                continue;
            }
            let (Some(part), Some(lane)) = (&mut catching.part, &mut self.lane) else { continue };
            part.entries.retain(|view, _| wanted.contains(view));
            part.replan(&views.catalog);
            let set = ViewSet { plan: Arc::clone(&part.plan), starts: Vec::new(), ends: Vec::new() };
            lane.change(Arc::new(set), scopes.scope(*partition, views.set, part));
        }
        empty.into_iter().for_each(|partition| self.remove_from_lane(partition));
        Ok(())
    }

    fn remove_from_lane(&mut self, partition: PartitionId) {
        self.partitions.remove(&partition);
        if let Some(lane) = &mut self.lane {
            lane.remove(partition);
        }
    }

    /// One round. Gives the views that the main lane takes over.
    ///
    /// # Errors
    /// When the log cannot be read, or threads cannot be had.
    pub fn step(
        &mut self,
        topics: &Topics,
        views: &ViewsInForce,
        main: &FoldLane,
        scopes: &mut Scopes,
    ) -> Result<Vec<Joined>, String> {
        while self.take_next(topics, views)? {}
        let Some(lane) = &mut self.lane else { return Ok(Vec::new()) };
        lane.step(Duration::ZERO)?;
        let mut joined = Vec::new();
        for (partition, catching) in &mut self.partitions {
            match &catching.part {
                None => begin(*partition, catching, lane, (topics, views, scopes))?,
                Some(_) if catching.done_at.is_none() && lane.ahead(*partition) == 0 => {
                    let live = main.log_time(*partition).max(lane.log_time(*partition));
                    lane.hold_back(*partition, false, Timestamp::MAX, usize::MAX);
                    joined.push((*partition, join(*partition, catching, lane, live, (views.set, scopes))));
                }
                Some(_) => {}
            }
        }
        let is_done = |(partition, catching): (&PartitionId, &Catching)| {
            catching.done_at.is_some_and(|at| lane.said(*partition) > at).then_some(*partition)
        };
        let done: Vec<PartitionId> = self.partitions.iter().filter_map(is_done).collect();
        done.into_iter().for_each(|partition| self.remove_from_lane(partition));
        if self.partitions.is_empty() {
            self.lane = None;
        }
        Ok(joined)
    }

    /// Partitions that are far ahead of the slowest wait for it.
    pub fn hold_back(&mut self, standing: &BTreeMap<ViewId, Standing>, unfinished_bytes_max: usize) {
        let Some(lane) = &mut self.lane else { return };
        let reads = self.partitions.iter().filter(|(_, catching)| catching.done_at.is_none());
        let reads: Vec<(PartitionId, Timestamp, LogTime)> = reads
            .filter_map(|(partition, catching)| {
                let plan = &catching.part.as_ref()?.plan;
                let finished = finished(plan.live().map(|planned| planned.view()), standing);
                Some((*partition, lane.log_time(*partition), finished))
            })
            .collect();
        let Some(slowest) = reads.iter().map(|(_, log_time, _)| *log_time).min() else { return };
        for (partition, log_time, finished) in reads {
            lane.hold_back(partition, log_time > slowest + APART_MS, finished, unfinished_bytes_max);
        }
    }

    /// Takes the next partition that waits into the lane; false when none can be taken.
    fn take_next(&mut self, topics: &Topics, views: &ViewsInForce) -> Result<bool, String> {
        let place = self.waiting.iter().position(|(partition, _)| !self.partitions.contains_key(partition));
        let Some((partition, wanted)) = place.and_then(|place| self.waiting.remove(place)) else { return Ok(false) };
        topics.positions.catch_up()?;
        let standing = places::standing(&*topics.positions);
        let plan = compile(&Catalog::of(entries(views, &wanted)), &OperatorsPlan::default());
        let next: Option<Vec<Timestamp>> =
            wanted.iter().map(|view| standing.get(view).map(|standing| standing.next)).collect();
        let from = match next.and_then(|next| next.into_iter().min()) {
            Some(next) => PartitionFrom::LogTime(next - resume_ms(&plan)),
            None => PartitionFrom::Beginning,
        };
        let lane = match &mut self.lane {
            Some(lane) => lane,
            None => {
                let reader = topics.samples.reader().map_err(|error| error.to_string())?;
                self.lane.insert(FoldLane::start(reader, 1, topics.samples.partitioner())?)
            }
        };
        lane.add(partition, from)?;
        tracing::info!(partition = partition.0, views = wanted.len(), "new views catch up with the log");
        self.partitions.insert(partition, Catching { views: wanted, from, part: None, done_at: None });
        Ok(true)
    }

    /// Says what the lane has.
    ///
    /// # Errors
    /// When something cannot be written down.
    pub fn flush(
        &mut self,
        partials: &dyn StreamWrite,
        bytes_max: usize,
        senders: &dyn Table,
    ) -> Result<Vec<Written>, String> {
        match &mut self.lane {
            // Its positions are not the main lane's.
            Some(lane) => lane.flush(partials, bytes_max, senders).map(|flush| flush.written),
            None => Ok(Vec::new()),
        }
    }
}

fn entries(views: &ViewsInForce, wanted: &BTreeSet<ViewId>) -> Vec<Arc<CatalogEntry>> {
    views.catalog.entries().filter(|entry| wanted.contains(&entry.view.id)).cloned().collect()
}

/// Begins a partition whose first record is there.
fn begin(
    partition: PartitionId,
    catching: &mut Catching,
    lane: &mut FoldLane,
    (topics, views, scopes): (&Topics, &ViewsInForce, &mut Scopes),
) -> Result<(), String> {
    let Some(first) = lane.first_log_time(partition) else { return Ok(()) };
    topics.senders.catch_up()?;
    let begin = begin_of(topics, partition, catching.from, first);
    let standing = places::standing(&*topics.positions);
    let (part, set) = part(entries(views, &catching.views), &standing, &begin);
    let senders = places::senders(&*topics.senders, topics.samples.incarnation());
    let known = senders.into_iter().filter(|seen| seen.partition == partition).collect();
    lane.begin(Arc::new(set), known, scopes.scope(partition, views.set, &part));
    catching.part = Some(part);
    Ok(())
}

/// Ends a partition's views where the main lane can give them: from a grid point on whose window lies wholly ahead.
fn join(
    partition: PartitionId,
    catching: &mut Catching,
    lane: &mut FoldLane,
    live: Timestamp,
    (set, scopes): (u64, &mut Scopes),
) -> Vec<(ViewId, Timestamp)> {
    let Some(part) = &mut catching.part else { return Vec::new() };
    let (mut starts, mut ends, mut done_at) = (Vec::new(), Vec::new(), live);
    for planned in part.plan.live() {
        let view = planned.view();
        let first = view.grid().ceil(live + (FUTURE_MS + view.reach_ms()));
        let end = view.grid().before(first);
        starts.push((view.id, first));
        ends.push((planned.slot, end));
        done_at = done_at.max(end + view.max_delay_ms);
        if let Some(entry) = part.entries.get_mut(&view.id) {
            entry.last = end;
        }
    }
    catching.done_at = Some(done_at);
    let set_of = ViewSet { plan: Arc::clone(&part.plan), starts: Vec::new(), ends };
    lane.change(Arc::new(set_of), scopes.scope(partition, set, part));
    starts
}
