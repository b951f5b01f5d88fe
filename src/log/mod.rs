//! The log: what was acknowledged, in order, durably. Everything else can be computed again from it.
//!
//! A log has a fixed number of partitions. Each holds records with rising offsets and log times that never go back; a
//! record is bytes to the log. Whoever appends is answered when the records are durable, and whoever reads follows
//! from any place that is still kept. Nothing outside this folder knows which implementation runs.

pub mod embedded;
mod error;
pub mod kafka;
pub mod topics;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::model::{LogTime, Offset, PartitionBy, PartitionId, Partitioner, Position, Timestamp};

pub use embedded::{EmbeddedLog, EmbeddedOptions, OpenError};
pub use error::{AppendError, ReadError};
pub use kafka::{ImportBatch, ImportLag, ImportReader, ImportRecord, KafkaLog, KafkaOptions};

/// Told after each successful append how long it took, from the call to the answer, on a thread of the log: it has to be
/// quick.
pub type AppendObserver = std::sync::Arc<dyn Fn(Duration) + Send + Sync>;

/// A partitioned, durable sequence of records.
///
/// What callers rely on:
/// - **Durable**: an append answered `Ok` is readable after any crash, for as long as retention keeps it.
/// - **Once, in order**: an append answered `Ok` is there as a whole, once, its records of one partition in their order.
/// - **Repeatable**: of an append answered with an error any part may be readable, now or later. Its sender repeats it, and a
///   second copy changes no result (semantics.md S7). The embedded log keeps appends whole as far as the disk lets it; Kafka,
///   whose partitions lie on several brokers, does not.
/// - **Rising**: offsets rise within a partition, and a position's `next` is the offset behind the last record read. A hole
///   means nothing: Kafka numbers what is no record, too. What is lost is told by a [`ReadError`], never by a hole.
/// - **Forward**: log times do not go back within a partition, across restarts included.
/// - **Alive**: a partition without appends gets an empty record, a tick, about once a second, so that its log time moves; every
///   five seconds where Kafka has no process left that appends.
pub trait Log: Send + Sync {
    /// How many partitions there are; fixed when the log was made.
    fn partitions(&self) -> u16;

    /// The labels whose values decide in which partition a series belongs; fixed when the log was made.
    fn partition_by(&self) -> PartitionBy;

    /// In which partition a series belongs.
    fn partitioner(&self) -> Partitioner {
        Partitioner::new(self.partition_by(), self.partitions())
    }

    /// 16 bytes that tell this log from every other: positions mean something only together with them.
    fn incarnation(&self) -> u128;

    /// The largest payload that a record may have; a larger one is refused as too large.
    fn record_bytes_max(&self) -> usize;

    /// Appends records. The answer comes when all are durable, or some have failed; it may be awaited or taken with
    /// `blocking_recv`. A dropped answer means what [`AppendError::Closed`] means.
    fn append(&self, records: Vec<NewRecord>) -> Appended;

    /// What a partition holds now. A partition that does not exist is empty.
    fn extent(&self, partition: PartitionId) -> Extent;

    /// A reader of all partitions, from a place on.
    ///
    /// # Errors
    /// [`ReadError::Gone`] and [`ReadError::Ahead`] for positions that the log does not hold, [`ReadError::Io`] and
    /// [`ReadError::Kafka`] when the place cannot be read.
    fn reader(&self, from: ReadFrom) -> Result<Box<dyn LogReader>, ReadError>;

    /// Notes up to where everything that was read has been dealt with, for whoever watches the log from outside. Not needed
    /// for anything else: positions are kept where their results are.
    fn note_committed(&self, _positions: &[Position]) {}

    /// Counters and sizes since the log was opened.
    fn stats(&self) -> LogStats;

    /// Takes no more appends, answers those already taken, and returns. Readers get what is left, then
    /// [`ReadError::Closed`]. Closing twice is harmless.
    fn close(&self);
}

/// A place in the log that moves forward, over all partitions.
pub trait LogReader: Send {
    /// Appends up to about `bytes_max` of records to `out`, each partition's in their order and all about in the order of log
    /// time, at least one if there is one; waits up to `wait` (an hour at most) when there are none. Returns the number of
    /// records still ahead; 0 is caught up.
    ///
    /// # Errors
    /// Records before the error have been given out by earlier calls. [`ReadError::Io`] and [`ReadError::Kafka`] may pass:
    /// read again. After [`ReadError::Gone`], [`ReadError::Ahead`] or [`ReadError::Corrupt`] every read says the same until
    /// [`LogReader::skip_gap`] is called.
    fn read(&mut self, out: &mut Vec<LogRecord>, bytes_max: usize, wait: Duration) -> Result<u64, ReadError>;

    /// Moves on to the first readable record behind the gap that was reported; without a gap nothing happens. What was in
    /// the gap is lost to this reader: whoever calls this has recorded that.
    ///
    /// # Errors
    /// [`ReadError::Io`] when the place behind the gap cannot be looked for; the gap stays.
    fn skip_gap(&mut self) -> Result<(), ReadError>;
}

/// The answer to an append.
pub type Appended = oneshot::Receiver<Result<(), AppendError>>;

/// A record to append.
#[derive(Clone, Debug)]
pub struct NewRecord {
    pub partition: PartitionId,
    pub payload: Bytes,
    /// The newest sample time within, for [`LogTimeSource::Samples`]; `None` when there is none.
    pub newest: Option<Timestamp>,
}

/// A record as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    pub partition: PartitionId,
    pub offset: Offset,
    pub log_time: LogTime,
    /// Empty in a tick. Keeps the memory of the whole batch it was read with.
    pub payload: Bytes,
}

impl LogRecord {
    /// Whether this record only says that log time has passed.
    pub fn is_tick(&self) -> bool {
        self.payload.is_empty()
    }
}

/// What a partition holds: `[first, next)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub first: Offset,
    pub next: Offset,
    /// The log time of the first record kept; `Timestamp::MIN` when there is none.
    pub first_log_time: LogTime,
    /// The log time of the newest record ever appended; `Timestamp::MIN` when there is none.
    pub newest_log_time: LogTime,
    /// Whether records before `first` were deleted by retention.
    pub truncated: bool,
}

/// Where a reader starts.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadFrom {
    /// The oldest record kept.
    Beginning,
    /// In each partition the first record kept whose log time is at least this. Whether older ones are missing is told by
    /// [`Log::extent`], asked after the reader was made.
    LogTime(LogTime),
    /// In each partition the position's `next`; a partition that is not listed is read from its beginning.
    Positions(Vec<Position>),
}

/// What log times are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogTimeSource {
    /// When the record was appended, by the clock.
    #[default]
    Append,
    /// The newest sample time so far in the whole log: for one sender that writes the past in time order.
    Samples,
}

/// Counters since the log was opened, and sizes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStats {
    /// Records made durable, ticks included.
    pub appended_records: u64,
    /// Bytes of them: on the disk compressed and framed, in Kafka as they were handed over.
    pub appended_bytes: u64,
    /// Appends answered with an error.
    pub append_failures: u64,
    /// Bytes that wait to be appended.
    pub queued_bytes: u64,
    /// The newest log time of all partitions; `Timestamp::MIN` when there is none.
    pub newest_log_time: LogTime,
    /// Of a log on the local disk.
    pub disk: Option<DiskStats>,
}

/// Counters since the log was opened, and sizes now, of a log on the local disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// On the disk, compressed.
    pub bytes: u64,
    /// Files on the disk.
    pub segments: u64,
    /// Syncs that succeeded; appends per sync is how well group commit works.
    pub syncs: u64,
    /// Bytes of unfinished batches cut off when the log was opened.
    pub torn_bytes_cut: u64,
    /// Files deleted by retention.
    pub segments_deleted: u64,
}

impl Default for LogStats {
    fn default() -> LogStats {
        LogStats {
            appended_records: 0,
            appended_bytes: 0,
            append_failures: 0,
            queued_bytes: 0,
            newest_log_time: Timestamp::MIN,
            disk: None,
        }
    }
}
