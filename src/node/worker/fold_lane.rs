//! A lane of the fold: a reader of some partitions, a dataflow, and what it says to combine.
//!
//! The main lane folds every partition that is ours; views that have to be read further back for catch up in a lane of their
//! own. Partitions share the dataflow's threads and nothing else: each begins where it has to, has views of its own, and goes
//! without a trace.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::places::write_sender;
use crate::dataflow::{
    Dataflow, DataflowOptions, EpochBatch, FoldInput, FoldOutput, Folded, RawRecord, Scope, ToCombine, ViewSet,
};
use crate::log::topics::{PartitionFrom, PartitionsRead, StreamWrite, Table, Written};
use crate::log::{LogRecord, ReadError};
use crate::model::{LogTime, PartitionId, Partitioner, Position, SenderSeen, Timestamp};
use crate::wire::cluster::PartialsRecord;

/// Records are read in batches of about this many bytes.
const READ_BYTES: usize = 1 << 20;

/// Epochs fed and not yet closed.
const EPOCHS_IN_FLIGHT_MAX: usize = 4;

/// How often a scope's keyframe is said again.
const KEYFRAME_EVERY: Duration = Duration::from_secs(20);

pub(super) struct FoldLane {
    dataflow: Dataflow<FoldOutput>,
    reader: Box<dyn PartitionsRead>,
    partitions: BTreeMap<PartitionId, Lane>,
    controls: Vec<FoldInput>,
    in_flight: VecDeque<Epoch>,
    first_in_flight: u64,
    buffer: Vec<LogRecord>,
}

/// One partition.
#[derive(Default)]
struct Lane {
    /// Where reading began: nothing before it was wanted.
    from: LogTime,
    /// Read before it is known which views begin.
    held: Vec<LogRecord>,
    /// The epoch it begins with: what earlier ones bring is of one that went.
    begun: Option<u64>,
    /// What was fed.
    fed: Option<Position>,
    /// What closed epochs brought, and is not said yet.
    closed: Option<Position>,
    messages: Vec<ToCombine>,
    scope: Option<Scope>,
    keyframe_due: Option<Instant>,
    /// What was said last.
    said: Option<Position>,
    /// Records are lost behind this log time, until one comes that lies behind them.
    lost_after: Option<LogTime>,
    /// Under scopes before this one, not handed over yet.
    before: Vec<(PartitionId, PartialsRecord)>,
}

#[derive(Default)]
struct Epoch {
    positions: Vec<Position>,
    /// Scopes that begin with this epoch.
    scopes: Vec<Scope>,
    outputs: Vec<FoldOutput>,
}

/// What was handed over, and how far it makes partitions dealt with once it is durable.
pub(super) struct Flush {
    pub written: Vec<Written>,
    pub positions: Vec<Position>,
    /// What records brought, for metrics.
    pub folded: Vec<Folded>,
}

impl FoldLane {
    pub fn start(reader: Box<dyn PartitionsRead>, threads: usize, partitioner: Partitioner) -> Result<FoldLane, String> {
        let options = DataflowOptions { threads, partitioner, senders: Vec::new(), new_senders_uncover: true };
        Ok(FoldLane {
            dataflow: Dataflow::start_fold(options)?,
            reader,
            partitions: BTreeMap::new(),
            controls: Vec::new(),
            in_flight: VecDeque::from([Epoch::default()]),
            first_in_flight: 0,
            buffer: Vec::new(),
        })
    }

    /// A partition comes. It is folded from [`FoldLane::begin`] on.
    pub fn add(&mut self, partition: PartitionId, from: PartitionFrom) -> Result<(), String> {
        self.remove(partition);
        let begins = if let PartitionFrom::LogTime(log_time) = from { log_time } else { Timestamp::MIN };
        self.reader.add(partition, from).map_err(|error| error.to_string())?;
        self.partitions.insert(partition, Lane::new(begins));
        Ok(())
    }

    pub fn remove(&mut self, partition: PartitionId) {
        if self.partitions.remove(&partition).is_some() {
            self.reader.remove(partition);
            self.controls.push(FoldInput::End { partition });
            self.buffer.retain(|record| record.partition != partition);
            // What is under way of it belongs to nobody: one that comes again has other epochs.
            for epoch in &mut self.in_flight {
                epoch.scopes.retain(|scope| scope.partition != partition);
                epoch.positions.retain(|position| position.partition != partition);
                epoch.outputs.iter_mut().for_each(|output| output.messages.retain(|(of, _)| *of != partition));
            }
        }
    }

    /// The log time of the first record of a partition that has not begun.
    pub fn first_log_time(&self, partition: PartitionId) -> Option<LogTime> {
        let lane = self.partitions.get(&partition).filter(|lane| lane.begun.is_none())?;
        lane.held.iter().map(|record| record.log_time).find(|log_time| *log_time != Timestamp::MIN)
    }

    /// Folds a partition with these views.
    pub fn begin(&mut self, set: Arc<ViewSet>, senders: Vec<SenderSeen>, scope: Scope) {
        let partition = scope.partition;
        let epoch = self.first_in_flight + self.in_flight.len() as u64 - 1;
        let Some(lane) = self.partitions.get_mut(&partition) else { return };
        lane.begun = Some(epoch);
        self.buffer.append(&mut lane.held);
        self.controls.push(FoldInput::Begin { partition, set, senders });
        self.put_scope(scope);
    }

    /// Folds other views from the next epoch on.
    pub fn change(&mut self, set: Arc<ViewSet>, scope: Scope) {
        self.controls.push(FoldInput::ViewsOf { partition: scope.partition, set });
        self.put_scope(scope);
    }

    /// Another scope of the views that are folded, from the next epoch on.
    pub fn put_scope(&mut self, scope: Scope) {
        // The last epoch is the one that is being made.
        if let Some(epoch) = self.in_flight.back_mut() {
            epoch.scopes.retain(|before| before.partition != scope.partition);
            epoch.scopes.push(scope);
        }
    }

    /// The newest log time that was fed of a partition.
    pub fn log_time(&self, partition: PartitionId) -> LogTime {
        let fed = self.partitions.get(&partition).and_then(|lane| lane.fed);
        fed.map_or(Timestamp::MIN, |position| position.log_time)
    }

    /// How far everything of a partition was said.
    pub fn said(&self, partition: PartitionId) -> LogTime {
        let said = self.partitions.get(&partition).and_then(|lane| lane.said);
        said.map_or(Timestamp::MIN, |position| position.log_time)
    }

    pub fn ahead(&self, partition: PartitionId) -> u64 {
        self.reader.ahead(partition)
    }

    /// Reads and feeds at most one epoch, waiting a little for records.
    ///
    /// # Errors
    /// When the log is closed or replaced, or a worker has died.
    pub fn step(&mut self, wait: Duration) -> Result<(), String> {
        if self.in_flight.len() > EPOCHS_IN_FLIGHT_MAX {
            if let Ok(output) = self.dataflow.outputs().recv_timeout(wait) {
                self.gather(output);
            }
        } else {
            self.read(wait)?;
            self.feed()?;
        }
        while let Ok(output) = self.dataflow.outputs().try_recv() {
            self.gather(output);
        }
        self.close();
        Ok(())
    }

    fn read(&mut self, wait: Duration) -> Result<(), String> {
        let mut records = std::mem::take(&mut self.buffer);
        let wait = if records.is_empty() && self.controls.is_empty() { wait } else { Duration::ZERO };
        let result = self.reader.read(&mut records, READ_BYTES, wait);
        for record in records {
            match self.partitions.get_mut(&record.partition) {
                Some(lane) if lane.begun.is_some() => self.buffer.push(record),
                Some(lane) => lane.held.push(record),
                None => {}
            }
        }
        match result {
            Ok(()) => Ok(()),
            Err(error @ (ReadError::Closed | ReadError::Replaced { .. })) => Err(error.to_string()),
            Err(error @ (ReadError::Gone { partition, .. } | ReadError::Ahead { partition, .. })) => {
                tracing::error!(%error, "records of the log are lost; every view is uncovered over what they may have held");
                self.lost(partition);
                self.reader.skip_gap().map_err(|error| error.to_string())
            }
            Err(error) => {
                tracing::error!(%error, "cannot read the log, trying again");
                Ok(())
            }
        }
    }

    /// What is missing of a partition lies behind what was read of it, and before what comes next.
    fn lost(&mut self, partition: PartitionId) {
        let Some(lane) = self.partitions.get_mut(&partition) else { return };
        let last_read = self.buffer.iter().rev().find(|record| record.partition == partition).map(|record| record.log_time);
        let after = last_read.or(lane.fed.map(|fed| fed.log_time)).unwrap_or(lane.from).max(Timestamp(0));
        lane.lost_after = Some(lane.lost_after.map_or(after, |known| known.min(after)));
    }

    fn feed(&mut self) -> Result<(), String> {
        if self.buffer.is_empty() && self.controls.is_empty() {
            return Ok(());
        }
        let mut inputs = std::mem::take(&mut self.controls);
        for record in self.buffer.drain(..) {
            let LogRecord { partition, offset, log_time, payload } = record;
            let Some(lane) = self.partitions.get_mut(&partition) else { continue };
            if let Some(from) = lane.lost_after.take() {
                inputs.push(FoldInput::Lost { partition, from, to: log_time });
            }
            lane.fed = Some(Position { partition, next: offset.next(), log_time });
            inputs.push(FoldInput::Record(RawRecord { partition, log_time, payload }));
        }
        if let Some(epoch) = self.in_flight.back_mut() {
            epoch.positions = self.partitions.values().filter_map(|lane| lane.fed).collect();
        }
        self.in_flight.push_back(Epoch::default());
        self.dataflow.feed(EpochBatch { inputs }).map(drop)
    }

    fn gather(&mut self, mut output: FoldOutput) {
        output.messages.retain(|(of, _)| {
            self.partitions.get(of).and_then(|lane| lane.begun).is_some_and(|begun| begun <= output.epoch)
        });
        let place = (output.epoch - self.first_in_flight) as usize;
        if let Some(epoch) = self.in_flight.get_mut(place) {
            epoch.outputs.push(output);
        }
    }

    /// Takes closed epochs in: what they brought waits to be said, under the scope that it is of.
    fn close(&mut self) {
        while self.in_flight.len() > 1
            && self.in_flight.front().is_some_and(|epoch| epoch.outputs.len() == self.dataflow.workers())
        {
            let Some(epoch) = self.in_flight.pop_front() else { return };
            self.first_in_flight += 1;
            for scope in epoch.scopes {
                if let Some(lane) = self.partitions.get_mut(&scope.partition) {
                    lane.enter(scope);
                }
            }
            for (partition, message) in epoch.outputs.into_iter().flat_map(|output| output.messages) {
                if let Some(lane) = self.partitions.get_mut(&partition) {
                    lane.messages.push(message);
                }
            }
            for position in epoch.positions {
                if let Some(lane) = self.partitions.get_mut(&position.partition) {
                    lane.closed = Some(position);
                }
            }
        }
    }

    /// Says what is waiting, and the keyframes that are due.
    ///
    /// # Errors
    /// When something cannot be written down.
    pub fn flush(&mut self, partials: &dyn StreamWrite, bytes_max: usize, senders: &dyn Table) -> Result<Flush, String> {
        let mut flush = Flush { written: Vec::new(), positions: Vec::new(), folded: Vec::new() };
        for lane in self.partitions.values_mut() {
            lane.flush(partials, bytes_max, senders, &mut flush)?;
        }
        Ok(flush)
    }
}

impl Lane {
    fn new(from: LogTime) -> Lane {
        Lane { from, ..Lane::default() }
    }

    /// Another scope: what waits is said under the one before.
    fn enter(&mut self, mut scope: Scope) {
        if let Some(mut before) = self.scope.take() {
            let messages = std::mem::take(&mut self.messages);
            if let Some(closed) = self.closed {
                self.before.extend(before.said(messages, closed.next, closed.log_time));
            }
            scope.feeds = before.feeds;
            scope.feeds.retain(|view, _| scope.entries.contains_key(view));
        }
        self.scope = Some(scope);
        self.keyframe_due = None;
    }

    fn flush(
        &mut self,
        partials: &dyn StreamWrite,
        bytes_max: usize,
        senders: &dyn Table,
        flush: &mut Flush,
    ) -> Result<(), String> {
        let (Some(scope), Some(closed)) = (&mut self.scope, self.closed) else { return Ok(()) };
        let mut records = std::mem::take(&mut self.before);
        let now = Instant::now();
        if self.keyframe_due.is_none_or(|due| due <= now) {
            self.keyframe_due = Some(now + KEYFRAME_EVERY);
            records.extend(scope.keyframe(closed.next));
        }
        let messages = std::mem::take(&mut self.messages);
        for message in &messages {
            match message {
                ToCombine::Seen(seen) => flush.written.push(write_sender(senders, scope.log_incarnation, seen)?),
                ToCombine::Folded(folded) => flush.folded.push(folded.clone()),
                _ => {}
            }
        }
        if self.said != Some(closed) || !messages.is_empty() {
            records.extend(scope.said(messages, closed.next, closed.log_time));
            self.said = Some(closed);
            flush.positions.push(closed);
        }
        for (home, record) in records {
            for payload in record.encode_within(bytes_max) {
                flush.written.push(partials.append(home, Bytes::from(payload)));
            }
        }
        Ok(())
    }
}
