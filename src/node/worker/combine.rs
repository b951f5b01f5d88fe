//! The combine of a worker: some partitions of "partials" become results.
//!
//! A partition that arrives is read again from where its checkpoint says that it must be. What comes out is written to
//! "results", and once that is durable, a checkpoint says so. Two owners of one partition write the same results, so nothing is
//! fenced: whoever follows takes each grid point once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot::error::TryRecvError;

use super::home::{CLOCKS_APART_MS, Handed, Home, too_large};
use super::places::{self, Checkpoint, incarnation};
use super::{InForce, Topics, ViewsInForce};
use crate::compile::{OperatorsPlan, compile};
use crate::dataflow::cluster_results::Decided;
use crate::dataflow::{ClusterCombine, ClusterCombineOptions, EpochOutput, home_of};
use crate::log::topics::{Assigned, PartitionFrom, PartitionsRead, StreamWrite};
use crate::log::{LogRecord, ReadError};
use crate::model::{PartitionId, Position, SpanReason, Uncover};
use crate::node::job_sets::newest;
use crate::node::stream::settles_ms;
use crate::wire::Problem;
use crate::wire::cluster::PartialsRecord;

const READ_BYTES: usize = 1 << 20;
const WAIT: Duration = Duration::from_millis(100);

/// Records of less are taken together with what comes next.
const READ_LITTLE_BYTES: usize = READ_BYTES / 8;

/// Nothing is read while so many bytes wait to be written.
const QUEUED_BYTES_MAX: usize = 64 << 20;

/// What a combine is made with.
#[derive(Clone, Copy, Debug)]
pub struct CombineWorkerOptions {
    pub new_senders_uncover: bool,
    pub checkpoint_every: Duration,
    /// Records that come in small pieces are gathered for so long.
    pub gather: Duration,
}

/// The combine of one process.
pub struct CombineWorker {
    topics: Topics,
    options: CombineWorkerOptions,
    in_force: InForce,
    views: Arc<ViewsInForce>,
    plan: Arc<OperatorsPlan>,
    reader: Box<dyn PartitionsRead>,
    writer: Box<dyn StreamWrite>,
    homes: BTreeMap<PartitionId, Home>,
    buffer: Vec<LogRecord>,
    /// The newest job set that is known to have been proposed.
    newest_set: u64,
    /// Records that could not be used.
    pub skipped: u64,
}

impl CombineWorker {
    /// Begins with the partitions that are ours already, and takes those that come.
    ///
    /// # Errors
    /// When a reader or a writer cannot be had.
    pub fn start(topics: Topics, in_force: InForce, options: CombineWorkerOptions) -> Result<CombineWorker, String> {
        let views = in_force.load_full();
        let mut worker = CombineWorker {
            plan: Arc::new(compile(&views.catalog, &OperatorsPlan::default())),
            reader: topics.partials.reader().map_err(|error| error.to_string())?,
            writer: topics.results.writer()?,
            homes: BTreeMap::new(),
            buffer: Vec::new(),
            newest_set: newest(&*topics.jobs),
            skipped: 0,
            topics,
            options,
            in_force,
            views,
        };
        for home in worker.topics.combiners.owned() {
            worker.arrived(home)?;
        }
        Ok(worker)
    }

    /// One round: partitions, views, records, and what is durable by now.
    ///
    /// # Errors
    /// When combine must be started again: it goes on from its checkpoints then.
    pub fn step(&mut self) -> Result<(), String> {
        let began = Instant::now();
        while let Ok(event) = self.topics.combiners.events().try_recv() {
            match event {
                Assigned::Arrived(home) => self.arrived(home)?,
                Assigned::Left(home) => self.left(home),
            }
        }
        self.look_at_views();
        match self.writer.queued_bytes() < QUEUED_BYTES_MAX {
            true => self.read()?,
            false => std::thread::park_timeout(WAIT),
        }
        let read_bytes: usize = self.buffer.iter().map(|record| record.payload.len()).sum();
        self.combine()?;
        if let Some(why) = self.writer.failed() {
            return Err(format!("results cannot be written: {why}"));
        }
        self.checkpoint();
        self.acknowledge()?;
        if read_bytes < READ_LITTLE_BYTES {
            std::thread::park_timeout(self.options.gather.saturating_sub(began.elapsed()));
        }
        Ok(())
    }

    /// The newest job set by which others fold and that is not in force here; 0 when there is none.
    pub fn behind_set(&self) -> u64 {
        self.homes.values().map(|home| home.behind_set).max().unwrap_or(0)
    }

    /// Partitions of "partials" that are ours, and records of each not read yet.
    pub fn ahead(&self) -> Vec<(PartitionId, u64)> {
        self.homes.keys().map(|home| (*home, self.reader.ahead(*home))).collect()
    }

    fn arrived(&mut self, home: PartitionId) -> Result<(), String> {
        self.left(home);
        self.topics.positions.catch_up()?;
        self.topics.senders.catch_up()?;
        let (samples, partials) = (self.topics.samples.incarnation(), self.topics.partials.incarnation());
        let checkpoint = Checkpoint::read(&*self.topics.positions, home).unwrap_or_default();
        // Those of other topics say where views stand, but nothing of this one.
        let is_of_these = checkpoint.partials == incarnation(partials);
        let from = if is_of_these { PartitionFrom::Offset(checkpoint.needs()) } else { PartitionFrom::Beginning };
        let is_known =
            checkpoint.partials.is_empty() || checkpoint.results == incarnation(self.topics.results.incarnation());
        let extent = self.topics.partials.extent(home);
        let is_lost = if is_of_these { extent.first > checkpoint.needs() } else { extent.truncated };
        let from = if is_lost { PartitionFrom::Beginning } else { from };
        let readable_from = is_lost.then_some(extent.first_log_time + CLOCKS_APART_MS);
        if is_lost {
            tracing::error!(
                partition = home.0,
                "partials that are needed were deleted: views are uncovered over what they may have held; let the topic of \
                 partials keep as long as that of samples"
            );
        }
        let options = ClusterCombineOptions {
            log_incarnation: samples,
            partitions: self.topics.samples.partitions(),
            new_senders_uncover: self.options.new_senders_uncover,
            tells_senders: home == PartitionId(0),
            readable_from,
        };
        let senders = places::senders(&*self.topics.senders, samples);
        let mut first = EpochOutput::default();
        if !is_known {
            self.uncover_unknown(&checkpoint, home, &mut first);
        }
        if options.tells_senders {
            // Whoever was here before may not have got to it.
            first.senders.clone_from(&senders);
        }
        let mut combine = ClusterCombine::new(options, &senders, checkpoint.standing());
        let homes = self.topics.partials.partitions();
        combine.views(self.views.set, &self.plan, |view| home_of(view, homes) == home);
        tracing::info!(partition = home.0, ?from, "a partition of partials is ours: it is read again from there");
        self.reader.add(home, from).map_err(|error| error.to_string())?;
        let next = if let PartitionFrom::Offset(offset) = from { offset } else { extent.first };
        self.homes.insert(home, Home::new(combine, next));
        self.say(home, first, Vec::new());
        Ok(())
    }

    /// The topic of results is another: what was told of grid points to come is told nowhere in it.
    fn uncover_unknown(&self, checkpoint: &Checkpoint, home: PartitionId, output: &mut EpochOutput) {
        let standing = checkpoint.standing();
        let homes = self.topics.partials.partitions();
        for planned in self.plan.live().filter(|planned| home_of(planned.view().id, homes) == home) {
            let view = planned.view();
            let Some(standing) = standing.get(&view.id).filter(|standing| standing.begun()) else { continue };
            let (from, to) = (standing.next, standing.next + settles_ms(view));
            output.spans.push(Uncover { view: view.id, reason: SpanReason::Gap, from, to });
        }
    }

    fn left(&mut self, home: PartitionId) {
        if self.homes.remove(&home).is_some() {
            self.reader.remove(home);
        }
    }

    fn look_at_views(&mut self) {
        let in_force = self.in_force.load_full();
        if in_force.set == self.views.set {
            return;
        }
        self.views = in_force;
        self.plan = Arc::new(compile(&self.views.catalog, &self.plan));
        let homes = self.topics.partials.partitions();
        for (id, home) in &mut self.homes {
            home.combine.views(self.views.set, &self.plan, |view| home_of(view, homes) == *id);
            home.described.clear();
            self.reader.pause(*id, false);
        }
    }

    fn read(&mut self) -> Result<(), String> {
        match self.reader.read(&mut self.buffer, READ_BYTES, WAIT) {
            Ok(()) => Ok(()),
            Err(error @ (ReadError::Closed | ReadError::Replaced { .. })) => Err(error.to_string()),
            Err(error @ (ReadError::Gone { .. } | ReadError::Ahead { .. })) => {
                // Which views it is of is found out when the partition is begun anew.
                Err(format!("{error}; beginning again"))
            }
            Err(error) => {
                tracing::error!(%error, "cannot read partials, trying again");
                Ok(())
            }
        }
    }

    fn combine(&mut self) -> Result<(), String> {
        for record in self.buffer.drain(..) {
            if let Some(home) = self.homes.get_mut(&record.partition) {
                home.waiting.push_back(record);
            }
        }
        let samples = self.topics.samples.incarnation();
        let mut said = Vec::new();
        for (id, home) in &mut self.homes {
            let (mut output, mut decided) = (EpochOutput::default(), Vec::new());
            home.behind_set = 0;
            while let Some(record) = home.waiting.pop_front() {
                let place = (record.offset, record.log_time);
                match PartialsRecord::decode(&record.payload) {
                    Ok(told) if told.set > home.combine.set() && told.log_incarnation == samples => {
                        if told.set > self.newest_set {
                            self.topics.jobs.catch_up()?;
                            self.newest_set = newest(&*self.topics.jobs);
                        }
                        // Whoever folds by a set has read it in the table. One that is not there is of another table.
                        if told.set <= self.newest_set {
                            home.waiting.push_front(record);
                            home.behind_set = told.set;
                            self.reader.pause(*id, true);
                            break;
                        }
                        home.combine.record(place, told, &mut output, &mut decided);
                        (home.next, home.log_time) = (record.offset.next(), record.log_time);
                    }
                    Ok(told) => {
                        home.combine.record(place, told, &mut output, &mut decided);
                        (home.next, home.log_time) = (record.offset.next(), record.log_time);
                    }
                    Err(error) if matches!(error.problem(), Problem::FormatNewer { .. }) => {
                        return Err(format!("partials are of a newer version: {error}"));
                    }
                    Err(error) => {
                        self.skipped += 1;
                        tracing::error!(partition = id.0, offset = record.offset.0, %error, "a record of partials is skipped");
                        home.uncover(record.log_time, &mut output);
                        (home.next, home.log_time) = (record.offset.next(), record.log_time);
                    }
                }
            }
            said.push((*id, output, decided));
        }
        said.into_iter().for_each(|(id, output, decided)| self.say(id, output, decided));
        Ok(())
    }

    /// Writes what there is to tell.
    fn say(&mut self, id: PartitionId, output: EpochOutput, decided: Vec<Decided>) {
        let Some(home) = self.homes.get_mut(&id) else { return };
        let Some(said) = home.said(output, decided, self.topics.samples.incarnation()) else { return };
        let (place, bytes_max) = (PartitionId(id.0), self.topics.results.record_bytes_max());
        for mut payload in said.encode_within(bytes_max) {
            if payload.len() > bytes_max {
                payload = too_large(&payload, bytes_max);
            }
            home.unacknowledged.push_back(Handed::Results(self.writer.append(place, Bytes::from(payload))));
        }
    }

    /// Lets checkpoints wait behind what they speak of.
    fn checkpoint(&mut self) {
        let (samples, partials) = (self.topics.samples.incarnation(), self.topics.partials.incarnation());
        for (id, home) in &mut self.homes {
            let waits = home.unacknowledged.iter().any(|handed| matches!(handed, Handed::Checkpoint(..)));
            if waits || home.checkpointed.elapsed() < self.options.checkpoint_every {
                continue;
            }
            home.checkpointed = Instant::now();
            let views = home.combine.standing().into_iter().map(|(id, standing)| (id.to_string(), standing)).collect();
            let checkpoint = Checkpoint {
                samples: incarnation(samples),
                partials: incarnation(partials),
                results: incarnation(self.topics.results.incarnation()),
                needs: home.combine.needs(home.next).0,
                set: home.combine.set(),
                views,
            };
            let position = Position { partition: *id, next: home.next, log_time: home.log_time };
            home.unacknowledged.push_back(Handed::Checkpoint(Box::new(checkpoint), position));
        }
    }

    fn acknowledge(&mut self) -> Result<(), String> {
        for (id, home) in &mut self.homes {
            while let Some(first) = home.unacknowledged.front_mut() {
                match first {
                    Handed::Results(written) => match written.try_recv() {
                        Ok(Ok(_)) => {}
                        Ok(Err(error)) => return Err(format!("results cannot be written: {error}")),
                        Err(TryRecvError::Empty) => break,
                        Err(TryRecvError::Closed) => return Err("results were not written: the writer is gone".to_owned()),
                    },
                    Handed::Checkpoint(checkpoint, position) => {
                        // Without it more is read again, as far as the topic reaches.
                        if let Some(Err(error)) = home.written.take().and_then(|mut before| before.try_recv().ok()) {
                            tracing::error!(partition = id.0, %error, "where a partition of partials stands cannot be written");
                        }
                        home.written = Some(checkpoint.write(&*self.topics.positions, *id)?);
                        self.topics.combiners.commit(&[*position]);
                    }
                }
                home.unacknowledged.pop_front();
            }
        }
        Ok(())
    }
}
