//! A lane: a reader of the log, a dataflow, and the commits that come out of it.
//!
//! The main lane follows the log for ever and commits its positions. A view added later first catches up in a lane of its
//! own, which ends where the main lane takes the view over. One thread drives a lane: it reads, feeds an epoch, gathers the
//! workers' outputs, and commits every epoch that all workers have closed, in order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::dataflow::{Dataflow, DataflowOptions, EpochBatch, EpochOutput, FoldInput, RawRecord, ViewSet};
use crate::log::{Log, LogReader, LogRecord, ReadError, ReadFrom};
use crate::model::{Commit, LogTime, Offset, PartitionId, Position, SenderSeen, Timestamp};

/// Records are read in batches of about this many bytes.
const READ_BYTES: usize = 1 << 20;

/// Epochs fed and not yet committed: what keeps the workers busy while a commit is synced.
const EPOCHS_IN_FLIGHT_MAX: usize = 4;

/// How long to wait for records before looking at everything else again.
const WAIT: Duration = Duration::from_millis(20);

/// A closed epoch: its commit and what there is to tell about it.
pub struct Closed {
    pub commit: Commit,
    pub outputs: Vec<EpochOutput>,
    /// Records of the log not yet read when this epoch was fed.
    pub records_ahead: u64,
}

/// A lane that can be stepped by whoever drives it.
pub struct Lane {
    dataflow: Dataflow,
    reader: Box<dyn LogReader>,
    incarnation: u128,
    /// What of each partition has been fed.
    positions: BTreeMap<PartitionId, Position>,
    /// Epochs fed and not yet closed by all workers: their positions and what the workers gave so far.
    in_flight: VecDeque<InFlight>,
    first_in_flight: u64,
    buffer: Vec<LogRecord>,
    records_ahead: u64,
    /// Messages to feed with the next epoch, before its records.
    controls: Vec<FoldInput>,
    /// Where reading began: nothing before it was wanted.
    from: LogTime,
    /// Gaps that were skipped, waiting for the record behind them.
    lost: Vec<Lost>,
}

/// A gap: of one partition, or of the log as a whole, and the log time before it.
struct Lost {
    partition: Option<PartitionId>,
    after: LogTime,
}

struct InFlight {
    positions: Vec<Position>,
    outputs: Vec<EpochOutput>,
    records_ahead: u64,
}

impl Lane {
    /// # Errors
    /// When the workers cannot be started or the log cannot be read from there.
    pub fn start(
        log: &dyn Log,
        from: ReadFrom,
        threads: usize,
        senders: Vec<SenderSeen>,
        new_senders_uncover: bool,
    ) -> Result<Lane, String> {
        let begins = if let ReadFrom::LogTime(log_time) = from { log_time } else { Timestamp::MIN };
        let reader = log.reader(from).map_err(|error| error.to_string())?;
        let options = DataflowOptions { threads, partitioner: log.partitioner(), senders, new_senders_uncover };
        Ok(Lane {
            dataflow: Dataflow::start(options)?,
            reader,
            incarnation: log.incarnation(),
            positions: BTreeMap::new(),
            in_flight: VecDeque::new(),
            first_in_flight: 0,
            buffer: Vec::new(),
            records_ahead: u64::MAX,
            controls: Vec::new(),
            from: begins,
            lost: Vec::new(),
        })
    }

    /// Changes the set of views from the next epoch on.
    pub fn views(&mut self, set: Arc<ViewSet>) {
        self.controls.push(FoldInput::Views(set));
    }

    /// The log time of the first record; `None` while there is none. Nothing is fed by this.
    ///
    /// # Errors
    /// When the log is closed.
    pub fn first_log_time(&mut self) -> Result<Option<LogTime>, String> {
        // A tick of a log without samples may have no time yet.
        self.buffer.retain(|record| record.log_time != Timestamp::MIN);
        if self.buffer.is_empty() {
            self.read()?;
        }
        Ok(self.buffer.iter().map(|record| record.log_time).find(|log_time| *log_time != Timestamp::MIN))
    }

    /// The newest log time that was fed, over all partitions.
    pub fn log_time(&self) -> LogTime {
        self.positions.values().map(|position| position.log_time).max().unwrap_or(Timestamp::MIN)
    }

    /// Records of the log not yet read, as of the last read.
    pub fn records_ahead(&self) -> u64 {
        self.records_ahead
    }

    /// Reads and feeds at most one epoch, waiting a little for records; gives the epochs that closed meanwhile, in order.
    ///
    /// # Errors
    /// When the log is closed or a worker has died; there is nothing more to come then.
    pub fn step(&mut self) -> Result<Vec<Closed>, String> {
        if self.in_flight.len() >= EPOCHS_IN_FLIGHT_MAX {
            if let Ok(output) = self.dataflow.outputs().recv_timeout(WAIT) {
                self.gather(output);
            }
            return Ok(self.closed());
        }
        // What was read to see where the log begins goes first: a gap found now would lie behind it.
        if self.buffer.is_empty() {
            self.read()?;
        }
        if !self.buffer.is_empty() || !self.controls.is_empty() {
            self.feed()?;
        }
        while let Ok(output) = self.dataflow.outputs().try_recv() {
            self.gather(output);
        }
        Ok(self.closed())
    }

    fn read(&mut self) -> Result<(), String> {
        let wait = if self.in_flight.is_empty() { WAIT } else { Duration::from_millis(1) };
        match self.reader.read(&mut self.buffer, READ_BYTES, wait) {
            Ok(ahead) => self.records_ahead = ahead,
            Err(error @ (ReadError::Closed | ReadError::Replaced { .. })) => return Err(error.to_string()),
            Err(error @ (ReadError::Io { .. } | ReadError::Kafka { .. })) => {
                tracing::error!(%error, "cannot read the log, trying again");
            }
            Err(error) => {
                tracing::error!(%error, "records of the log are lost; every view is uncovered over what they may have held");
                let lost = self.lost(&error);
                self.reader.skip_gap().map_err(|error| error.to_string())?;
                self.lost.push(lost);
            }
        }
        Ok(())
    }

    /// What a gap may have held lies behind what was read: of the partition, where partitions are read apart.
    fn lost(&self, error: &ReadError) -> Lost {
        match error {
            ReadError::Gone { partition, .. } | ReadError::Ahead { partition, .. } => {
                let after = self.positions.get(partition).map_or(self.from, |position| position.log_time);
                Lost { partition: Some(*partition), after }
            }
            _ => Lost { partition: None, after: self.log_time() },
        }
    }

    fn feed(&mut self) -> Result<(), String> {
        let mut inputs = std::mem::take(&mut self.controls);
        for record in self.buffer.drain(..) {
            let LogRecord { partition, offset, log_time, payload } = record;
            // The first record behind a gap says how far it reached, before it moves its partition's log time.
            for lost in self.lost.extract_if(.., |lost| lost.partition.is_none_or(|of| of == partition)) {
                inputs.push(FoldInput::Lost { partition, from: lost.after.max(Timestamp(0)), to: log_time });
            }
            self.positions.insert(partition, Position { partition, next: Offset(offset.0 + 1), log_time });
            inputs.push(FoldInput::Record(RawRecord { partition, log_time, payload }));
        }
        let positions = self.positions.values().copied().collect();
        self.in_flight.push_back(InFlight { positions, outputs: Vec::new(), records_ahead: self.records_ahead });
        self.dataflow.feed(EpochBatch { inputs }).map(|_| ())
    }

    fn gather(&mut self, output: EpochOutput) {
        let place = (output.epoch - self.first_in_flight) as usize;
        if let Some(epoch) = self.in_flight.get_mut(place) {
            epoch.outputs.push(output);
        }
    }

    fn closed(&mut self) -> Vec<Closed> {
        let mut closed = Vec::new();
        while self.in_flight.front().is_some_and(|epoch| epoch.outputs.len() == self.dataflow.workers()) {
            let Some(epoch) = self.in_flight.pop_front() else { break };
            self.first_in_flight += 1;
            closed.push(self.commit(epoch));
        }
        closed
    }

    fn commit(&self, mut epoch: InFlight) -> Closed {
        epoch.outputs.sort_by_key(|output| output.worker);
        let mut commit = Commit { log_incarnation: self.incarnation, positions: epoch.positions, ..Commit::default() };
        for output in &mut epoch.outputs {
            commit.results.append(&mut output.results);
            commit.final_to.append(&mut output.final_to);
            commit.covered_from.append(&mut output.covered_from);
            commit.spans.append(&mut output.spans);
            commit.senders.append(&mut output.senders);
        }
        // Workers hold different views: ordered by view, any number of them gives the same commit. Within a view the order
        // of grid points is kept, and so is that of spans, where a later one may replace an earlier.
        commit.results.sort_by_key(|result| result.view);
        commit.final_to.sort_by_key(|(view, _)| *view);
        commit.covered_from.sort_by_key(|(view, _)| *view);
        commit.spans.sort_by_key(|span| span.view);
        Closed { commit, outputs: epoch.outputs, records_ahead: epoch.records_ahead }
    }
}
