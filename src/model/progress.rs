//! Where in the log something stands: partition, offset, log time.

use super::time::Timestamp;

/// A partition of the log "samples"; comes from the log's configuration, stored in records and commits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct PartitionId(pub u16);

/// The number of a record within its partition, from 0; given by the log, stored in commits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Offset(pub u64);

impl Offset {
    pub fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

/// When a record was appended. Never goes back within a partition.
pub type LogTime = Timestamp;

/// How far a partition has been read: the next record to read, and the log time of the last one read before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    pub partition: PartitionId,
    /// The offset of the first record not yet read.
    pub next: Offset,
    /// The log time of the newest record read; `Timestamp::MIN` when none was.
    pub log_time: LogTime,
}
