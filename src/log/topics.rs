//! What processes of a cluster need beside the log of samples: topics between them, tables, and who has which partition.
//!
//! Kafka is what implements it. It stands here as traits, so that what is built on it can be tried in memory, with every
//! order of events that a test can think of.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::Receiver;
use tokio::sync::{oneshot, watch};

use super::{AppendError, Extent, LogRecord, ReadError};
use crate::model::{LogTime, Offset, PartitionId, Partitioner, Position};

/// The answer to one record handed over: its offset, once it is durable.
pub type Written = oneshot::Receiver<Result<Offset, AppendError>>;

/// A topic whose partitions are read apart.
pub trait Topic: Send + Sync {
    fn partitions(&self) -> u16;

    /// 16 bytes that tell this topic from every other; positions mean something only together with them.
    fn incarnation(&self) -> u128;

    /// What a partition holds, as far as is known.
    fn extent(&self, partition: PartitionId) -> Extent;

    /// A reader that reads nothing yet.
    ///
    /// # Errors
    /// When it cannot be made.
    fn reader(&self) -> Result<Box<dyn PartitionsRead>, ReadError>;
}

/// The log of samples, as a topic.
pub trait Samples: Topic {
    /// In which partition a series belongs.
    fn partitioner(&self) -> Partitioner;
}

/// A topic between our own processes.
pub trait Stream: Topic {
    /// The largest record that it takes.
    fn record_bytes_max(&self) -> usize;

    /// A writer of its own.
    ///
    /// # Errors
    /// When it cannot be made.
    fn writer(&self) -> Result<Box<dyn StreamWrite>, String>;
}

/// Where one partition is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionFrom {
    /// The oldest record kept.
    Beginning,
    /// The first record kept whose log time is at least this. Whether older ones are missing is told by the topic's extent,
    /// asked after the partition was added.
    LogTime(LogTime),
    /// This record. Log times begin with that of the first record read: use [`PartitionFrom::Committed`] where they must not go
    /// back behind what was read before.
    Offset(Offset),
    /// Where somebody stopped.
    Committed(Committed),
}

/// How far a partition was dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The first record that was not.
    pub next: Offset,
    /// The log time of the newest record that was; `Timestamp::MIN` when it is not known.
    pub log_time: LogTime,
}

/// Reads a changing set of partitions, each from a place of its own, in turn: one that is far behind holds up no other.
pub trait PartitionsRead: Send {
    /// Reads a partition from a place on; one that is read already, from there.
    ///
    /// # Errors
    /// When the place cannot be looked for.
    fn add(&mut self, partition: PartitionId, from: PartitionFrom) -> Result<(), ReadError>;

    fn remove(&mut self, partition: PartitionId);

    /// A partition that is paused gives nothing.
    fn pause(&mut self, partition: PartitionId, paused: bool);

    /// Adds records to `out`, about `bytes_max` in all and a share of it of each partition, in the order of each; waits up to
    /// `wait` when there are none.
    ///
    /// # Errors
    /// As [`super::LogReader::read`]; a gap names its partition, and is said until [`PartitionsRead::skip_gap`].
    fn read(&mut self, out: &mut Vec<LogRecord>, bytes_max: usize, wait: Duration) -> Result<(), ReadError>;

    /// Moves on behind the gap that was told.
    ///
    /// # Errors
    /// When what is behind it cannot be looked for; the gap stays.
    fn skip_gap(&mut self) -> Result<(), ReadError>;

    /// Records of a partition not given out yet, as far as is known.
    fn ahead(&self, partition: PartitionId) -> u64;
}

/// Writes in order: of a partition no record is there without all that this writer wrote before it.
pub trait StreamWrite: Send {
    fn append(&self, partition: PartitionId, payload: Bytes) -> Written;

    /// Bytes handed over and not yet durable.
    fn queued_bytes(&self) -> usize;

    /// Why it writes no more, if so: whoever wrote begins again from where all was durable, with another writer.
    fn failed(&self) -> Option<String>;
}

/// Values by key, shared by all processes: the last one written stays.
pub trait Table: Send + Sync {
    fn get(&self, key: &str) -> Option<TableEntry>;

    /// The keys that begin with this, and what stands there.
    fn entries(&self, prefix: &str) -> Vec<(String, TableEntry)>;

    /// How many keys there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes a value, or takes it away.
    fn put(&self, key: &str, value: Option<Bytes>) -> Written;

    /// When this returns, everything written before it was called is there.
    ///
    /// # Errors
    /// When the brokers do not answer.
    fn catch_up(&self) -> Result<(), String>;

    /// Rises with every change.
    fn changed(&self) -> watch::Receiver<u64>;

    /// The largest value that it takes.
    fn value_bytes_max(&self) -> usize;
}

/// What stands at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// Rises with every write to the table.
    pub offset: Offset,
    pub log_time: LogTime,
    pub value: Bytes,
}

/// This process among those that share the partitions of a topic.
pub trait Group: Send + Sync {
    /// Partitions that come and go.
    fn events(&self) -> &Receiver<Assigned>;

    /// Up to where a partition of ours was dealt with, by whoever had it before.
    ///
    /// # Errors
    /// When the brokers do not answer.
    fn committed(&self, partition: PartitionId) -> Result<Option<Committed>, String>;

    /// Notes up to where partitions were dealt with; of those that are not ours nothing is noted.
    fn commit(&self, positions: &[Position]);

    fn owned(&self) -> BTreeSet<PartitionId>;

    /// Gives its partitions to others and takes none, or none any longer; until told otherwise.
    fn stand_aside(&self, aside: bool);
}

/// What becomes of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// It is ours from now on.
    Arrived(PartitionId),
    /// It is another's, or nobody's, from now on.
    Left(PartitionId),
}
