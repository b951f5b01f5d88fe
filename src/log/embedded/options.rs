//! The limits of an embedded log.

use std::sync::Arc;
use std::time::Duration;

use super::error::OpenError;
use super::format::PARTITIONS_MAX;
use crate::log::{AppendObserver, LogTimeSource};
use crate::model::{Clock, PartitionBy};

const MIB: u64 = 1 << 20;

/// What an embedded log is opened with.
#[derive(Clone)]
pub struct EmbeddedOptions {
    /// Fixed when the log is made; 1 to 1024.
    pub partitions: u16,
    /// The labels that decide where series belong; fixed when the log is made.
    pub partition_by: PartitionBy,
    /// A new file begins beyond this; a quarter of `retention_bytes` if that is less.
    pub segment_bytes: u64,
    /// Whole files are deleted when all in them is older, measured against the log's own time.
    pub retention_ms: i64,
    /// The oldest files are deleted, however young, when the log takes more on the disk. Exceeded by at most one batch,
    /// and never below the file that is written to.
    pub retention_bytes: u64,
    /// Appends that would make more than this wait are refused with `Overloaded`; at least one may always wait.
    pub queue_bytes_max: usize,
    /// A larger append is refused with `TooLarge`; at most 512 MiB.
    pub batch_bytes_max: usize,
    /// The newest records up to so many bytes stay in memory, for readers that are no further behind.
    pub recent_bytes_max: usize,
    /// What log times are.
    pub log_time: LogTimeSource,
    /// Partitions without a record for this long get a tick. By the monotonic clock, not by `clock`.
    pub tick_interval: Duration,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Told after each successful append how long it took, on the writer's thread: it has to be quick.
    pub append_observer: Option<AppendObserver>,
}

impl EmbeddedOptions {
    /// 4 partitions, files of 64 MiB, 6 h and 8 GiB kept, log time by the clock.
    pub fn new(clock: Arc<dyn Clock>) -> EmbeddedOptions {
        EmbeddedOptions {
            partitions: 4,
            partition_by: PartitionBy::default(),
            segment_bytes: 64 * MIB,
            retention_ms: 6 * 3_600_000,
            retention_bytes: 8 * 1024 * MIB,
            queue_bytes_max: (256 * MIB) as usize,
            batch_bytes_max: (64 * MIB) as usize,
            recent_bytes_max: (16 * MIB) as usize,
            log_time: LogTimeSource::Append,
            tick_interval: Duration::from_secs(1),
            clock,
            append_observer: None,
        }
    }

    /// The segment size that leaves retention by bytes something to delete.
    pub(super) fn effective_segment_bytes(&self) -> u64 {
        self.segment_bytes.min(self.retention_bytes / 4)
    }

    pub(super) fn check(&self) -> Result<(), OpenError> {
        let partitions = u64::from(self.partitions);
        let batch = self.batch_bytes_max as u64;
        let names = self.partition_by.names();
        let by_fits = names.iter().all(|name| name.len() <= PartitionBy::NAME_BYTES_MAX);
        let by_fits = by_fits && names.len() <= PartitionBy::LABELS_MAX;
        let rules = [
            ("partitions", partitions, (1..=u64::from(PARTITIONS_MAX)).contains(&partitions), "1 to 1024"),
            ("partition_by", names.len() as u64, by_fits, "at most 16 labels with names of at most 128 bytes"),
            ("segment_bytes", self.segment_bytes, self.segment_bytes > 0, "more than 0"),
            ("retention_ms", self.retention_ms.max(0).unsigned_abs(), self.retention_ms > 0, "more than 0"),
            ("retention_bytes", self.retention_bytes, self.retention_bytes > 0, "more than 0"),
            ("queue_bytes_max", self.queue_bytes_max as u64, self.queue_bytes_max > 0, "more than 0"),
            ("batch_bytes_max", batch, (1..=512 * MIB).contains(&batch), "1 byte to 512 MiB"),
            ("tick_interval", self.tick_interval.as_secs(), !self.tick_interval.is_zero(), "more than 0"),
        ];
        match rules.into_iter().find(|(_, _, fine, _)| !fine) {
            Some((option, value, _, bound)) => Err(OpenError::Option { option, value, bound }),
            None => Ok(()),
        }
    }
}
