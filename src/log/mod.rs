//! The log: what was acknowledged, in order, durably. Everything else can be computed again from it.
//!
//! A log has a fixed number of partitions. Each holds records with dense offsets and log times that never go back; a
//! record is bytes to the log. Whoever appends is answered when the records are durable, and whoever reads follows
//! from any place that is still kept. Nothing outside this folder knows which implementation runs.

pub mod embedded;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::model::{LogTime, Offset, PartitionId, Position, Timestamp};

pub use embedded::{EmbeddedLog, EmbeddedOptions, OpenError};

/// A partitioned, durable sequence of records.
///
/// What callers rely on:
/// - **Durable**: an append answered `Ok` is readable after any crash, for as long as retention keeps it.
/// - **Whole**: the records of one append become readable together or not at all; an append answered with an error is not
///   readable, now or later, unless the disk failed so thoroughly that its removal could not be stored either. Its sender
///   repeats it, and a second copy changes no result (semantics.md S7).
/// - **Dense**: the offsets of a partition are consecutive. A hole is only ever seen together with a [`ReadError`].
/// - **Forward**: log times do not go back within a partition, across restarts included.
/// - **Alive**: a partition without appends gets an empty record, a tick, about once a second, so that its log time moves.
pub trait Log: Send + Sync {
    /// How many partitions there are; fixed when the log was made.
    fn partitions(&self) -> u16;

    /// 16 random bytes made with the log: positions mean something only together with them.
    fn incarnation(&self) -> u128;

    /// Appends records, in their order, as one unit. The answer comes when they are durable, or have failed; it may be
    /// awaited or taken with `blocking_recv`. A dropped answer means what [`AppendError::Closed`] means.
    fn append(&self, records: Vec<NewRecord>) -> Appended;

    /// What a partition holds now. A partition that does not exist is empty.
    fn extent(&self, partition: PartitionId) -> Extent;

    /// A reader of all partitions, from a place on.
    ///
    /// # Errors
    /// [`ReadError::Gone`] and [`ReadError::Ahead`] for positions that the log does not hold, [`ReadError::Io`] when the
    /// place cannot be read.
    fn reader(&self, from: ReadFrom) -> Result<Box<dyn LogReader>, ReadError>;

    /// Counters and sizes since the log was opened.
    fn stats(&self) -> LogStats;

    /// Takes no more appends, answers those already taken, and returns. Readers get what is left, then
    /// [`ReadError::Closed`]. Closing twice is harmless.
    fn close(&self);
}

/// A place in the log that moves forward, over all partitions.
pub trait LogReader: Send {
    /// Appends up to about `bytes_max` of records to `out`, in log order, at least one if there is one; waits up to `wait`
    /// (an hour at most) when there are none. Returns the number of records still ahead; 0 is caught up.
    ///
    /// # Errors
    /// Records before the error have been given out by earlier calls. [`ReadError::Io`] may pass: read again. After
    /// [`ReadError::Gone`] or [`ReadError::Corrupt`] every read says the same until [`LogReader::skip_gap`] is called.
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

/// Why an append did not happen. Nothing of it is in the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    #[error(
        "the disk of the log is full: cannot {action} {file} ({error}); free space, or lower log.embedded.retention_bytes"
    )]
    NoRoom { action: &'static str, file: String, error: Arc<io::Error> },
    #[error("the log cannot be written: cannot {action} {file} ({error}); check the disk")]
    Io { action: &'static str, file: String, error: Arc<io::Error> },
    #[error("{bytes} bytes are too many for one append to the log, the limit is {bytes_max}; send smaller requests")]
    TooLarge { bytes: usize, bytes_max: usize },
    #[error("the log has no partition {}, it has {partitions}", partition.0)]
    UnknownPartition { partition: PartitionId, partitions: u16 },
    #[error("the log is closed: the process is shutting down")]
    Closed,
    #[error(
        "{queued_bytes} bytes already wait to be appended to the log, the limit is {queue_bytes_max}; the disk is too slow"
    )]
    Overloaded { queued_bytes: usize, queue_bytes_max: usize },
}

impl AppendError {
    /// Whether the same append may succeed later (503), or never will.
    pub fn retryable(&self) -> bool {
        match self {
            AppendError::NoRoom { .. } | AppendError::Io { .. } | AppendError::Closed | AppendError::Overloaded { .. } => {
                true
            }
            AppendError::TooLarge { .. } | AppendError::UnknownPartition { .. } => false,
        }
    }
}

/// Why records could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    #[error(
        "the log no longer holds record {} of partition {}: retention has deleted all before {}",
        wanted.0, partition.0, first.0
    )]
    Gone { partition: PartitionId, wanted: Offset, first: Offset },
    #[error(
        "record {} of partition {} is wanted, but the log ends before record {}: it was restored from an older copy, or is \
         another log",
        wanted.0, partition.0, next.0
    )]
    Ahead { partition: PartitionId, wanted: Offset, next: Offset },
    /// Records later than log time `after` may be missing, up to the next record that is read.
    #[error(
        "the log is damaged in {file} at byte {at}: {why}; records after log time {after} are lost up to the next good one"
    )]
    Corrupt { file: String, at: u64, why: String, after: LogTime },
    #[error("the log cannot be read: cannot {action} {file} ({error}); check the disk")]
    Io { action: &'static str, file: String, error: Arc<io::Error> },
    #[error("the log is closed: the process is shutting down")]
    Closed,
}

/// Counters since the log was opened, and sizes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStats {
    /// On the disk, compressed.
    pub bytes: u64,
    /// Files on the disk.
    pub segments: u64,
    /// Records made durable, ticks included.
    pub appended_records: u64,
    /// Bytes written for them, compressed and framed.
    pub appended_bytes: u64,
    /// Syncs that succeeded; appends per sync is how well group commit works.
    pub syncs: u64,
    /// Appends answered with an error.
    pub append_failures: u64,
    /// Bytes of unfinished batches cut off when the log was opened.
    pub torn_bytes_cut: u64,
    /// Files deleted by retention.
    pub segments_deleted: u64,
    /// Bytes that wait to be appended.
    pub queued_bytes: u64,
    /// The newest log time of all partitions; `Timestamp::MIN` when there is none.
    pub newest_log_time: LogTime,
}

impl Default for LogStats {
    fn default() -> LogStats {
        LogStats {
            bytes: 0,
            segments: 0,
            appended_records: 0,
            appended_bytes: 0,
            syncs: 0,
            append_failures: 0,
            torn_bytes_cut: 0,
            segments_deleted: 0,
            queued_bytes: 0,
            newest_log_time: Timestamp::MIN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_never_succeed_is_not_retryable() {
        let error = || Arc::new(io::Error::from(io::ErrorKind::StorageFull));
        let check = |failure: AppendError, expected: bool| assert_eq!(failure.retryable(), expected, "{failure}");
        check(AppendError::NoRoom { action: "write", file: "f".into(), error: error() }, true);
        check(AppendError::Io { action: "write", file: "f".into(), error: error() }, true);
        check(AppendError::Closed, true);
        check(AppendError::Overloaded { queued_bytes: 9, queue_bytes_max: 8 }, true);
        check(AppendError::TooLarge { bytes: 9, bytes_max: 8 }, false);
        check(AppendError::UnknownPartition { partition: PartitionId(4), partitions: 4 }, false);
    }
}
