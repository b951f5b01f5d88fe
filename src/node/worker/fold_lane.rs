//! A lane of the fold: a reader of some partitions, a dataflow, and what it says to combine.
//!
//! The main lane folds every partition that is ours; views that have to be read further back for catch up in a lane of their
//! own. Partitions share the dataflow's threads and nothing else: each begins where it has to, has views of its own, and goes
//! without a trace.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::lane_partition::{Flush, Lane};
use crate::dataflow::{Dataflow, DataflowOptions, EpochBatch, FoldInput, FoldOutput, RawRecord, Scope, ViewSet};
use crate::log::topics::{PartitionFrom, PartitionsRead, StreamWrite, Table};
use crate::log::{LogRecord, ReadError};
use crate::model::{LogTime, Offset, PartitionId, Partitioner, Position, SenderSeen, Timestamp};

/// Records are read in batches of about this many bytes.
const READ_BYTES: usize = 1 << 20;

/// An epoch of less costs as much for being one as for what is in it.
const READ_LITTLE_BYTES: usize = READ_BYTES / 8;

/// Epochs fed and not yet closed.
const EPOCHS_IN_FLIGHT_MAX: usize = 4;

pub(super) struct FoldLane {
    dataflow: Dataflow<FoldOutput>,
    reader: Box<dyn PartitionsRead>,
    partitions: BTreeMap<PartitionId, Lane>,
    controls: Vec<FoldInput>,
    in_flight: VecDeque<Epoch>,
    first_in_flight: u64,
    buffer: Vec<LogRecord>,
    /// What the last read brought.
    read_bytes: usize,
}

#[derive(Default)]
struct Epoch {
    positions: Vec<Position>,
    /// Scopes that begin with this epoch.
    scopes: Vec<Scope>,
    outputs: Vec<FoldOutput>,
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
            read_bytes: 0,
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

    /// A partition is not read on while it is paused, nor while more than `bytes_max` that it has said wait in combine for other
    /// partitions, combine having finished what is final up to a log time.
    pub fn hold_back(&mut self, partition: PartitionId, paused: bool, finished: LogTime, bytes_max: usize) {
        let Some(lane) = self.partitions.get_mut(&partition) else { return };
        let before = lane.unfinished.is_held();
        let held = lane.unfinished.finish(finished, bytes_max);
        if held && !before {
            tracing::info!(
                partition = partition.0,
                bytes = lane.unfinished.bytes(),
                "a partition of samples is not read on: what it gave waits for other partitions, which are behind"
            );
        }
        self.reader.pause(partition, paused || held);
    }

    /// Whether the last read brought so little that more should be waited for.
    pub fn is_near_the_end(&self) -> bool {
        self.read_bytes < READ_LITTLE_BYTES
    }

    /// Partitions that are not read on because others are behind.
    pub fn held_back(&self) -> usize {
        self.partitions.values().filter(|lane| lane.unfinished.is_held()).count()
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
        let before: usize = records.iter().map(|record| record.payload.len()).sum();
        let result = self.reader.read(&mut records, READ_BYTES, wait);
        self.read_bytes = records.iter().map(|record| record.payload.len()).sum::<usize>() - before;
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
            Err(
                error
                @ (ReadError::Gone { partition, first: behind, .. } | ReadError::Ahead { partition, next: behind, .. }),
            ) => {
                tracing::error!(%error, "records of the log are lost; every view is uncovered over what they may have held");
                self.lost(partition, behind);
                self.reader.skip_gap().map_err(|error| error.to_string())
            }
            Err(error) => {
                tracing::error!(%error, "cannot read the log, trying again");
                Ok(())
            }
        }
    }

    /// What is missing of a partition lies behind what was read of it, and before what comes next.
    fn lost(&mut self, partition: PartitionId, behind: Offset) {
        let Some(lane) = self.partitions.get_mut(&partition) else { return };
        let waiting = lane.held.iter().chain(&self.buffer).filter(|record| record.partition == partition);
        let last_read = waiting.map(|record| record.log_time).max();
        let after = last_read.or(lane.fed.map(|fed| fed.log_time)).unwrap_or(lane.from).max(Timestamp(0));
        lane.lost = Some((lane.lost.map_or(after, |(known, _)| known.min(after)), behind));
    }

    fn feed(&mut self) -> Result<(), String> {
        if self.buffer.is_empty() && self.controls.is_empty() {
            return Ok(());
        }
        let mut inputs = std::mem::take(&mut self.controls);
        for record in self.buffer.drain(..) {
            let LogRecord { partition, offset, log_time, payload } = record;
            let Some(lane) = self.partitions.get_mut(&partition) else { continue };
            if let Some((from, _)) = lane.lost.take_if(|(_, behind)| offset >= *behind) {
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
