//! Why records were not appended, and why they cannot be read: each says what to do.

use std::io;
use std::sync::Arc;

use crate::model::{LogTime, Offset, PartitionId};

/// Why an append did not happen, or not as a whole. Its sender repeats it if [`retryable`](AppendError::retryable) says so.
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
        "{queued_bytes} bytes already wait to be appended to the log, the limit is {queue_bytes_max}; the disk or \
         the brokers are too slow"
    )]
    Overloaded { queued_bytes: usize, queue_bytes_max: usize },
    #[error("Kafka has not taken the records: {error}")]
    Kafka { error: String },
    #[error("{why}")]
    Replaced { why: String },
}

impl AppendError {
    /// Whether the same append may succeed later (503), or never will.
    pub fn retryable(&self) -> bool {
        match self {
            AppendError::NoRoom { .. }
            | AppendError::Io { .. }
            | AppendError::Closed
            | AppendError::Overloaded { .. }
            | AppendError::Kafka { .. }
            | AppendError::Replaced { .. } => true,
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
    #[error("the log cannot be read from Kafka: {error}")]
    Kafka { error: String },
    /// Another log stands where this one was: nothing more can be read from it.
    #[error("{why}")]
    Replaced { why: String },
    #[error("the log is closed: the process is shutting down")]
    Closed,
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
        check(AppendError::Kafka { error: "no".into() }, true);
        check(AppendError::Replaced { why: "no".into() }, true);
        check(AppendError::TooLarge { bytes: 9, bytes_max: 8 }, false);
        check(AppendError::UnknownPartition { partition: PartitionId(4), partitions: 4 }, false);
    }
}
