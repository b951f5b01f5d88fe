//! What is known of the topic, by everyone who works with it: our own appends, our readers, and what the brokers say.
//!
//! Asking a broker takes a while and may fail, so nobody who wants to know how far the log goes asks one: what was learned
//! last stands here. It lags behind what others append by about half a second, and never says more than there is.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::client::Listener;
use crate::log::{Extent, LogStats, ReadError};
use crate::model::{LogTime, Offset, PartitionBy, PartitionId, Position, Timestamp};

pub(super) struct Shared {
    pub topic: String,
    pub partitions: u16,
    pub partition_by: PartitionBy,
    pub incarnation: u128,
    /// What all clients of the log complain to.
    pub listener: Listener,
    /// A mutex, because it is held for a few assignments, never over a request.
    pub catalog: Mutex<Catalog>,
    /// Bytes of appends that are not answered yet.
    pub queued_bytes: AtomicUsize,
    /// Set once: no more appends are taken.
    pub closed: AtomicBool,
    /// Set once: why the topic is not the one that was opened any more.
    pub replaced: OnceLock<String>,
}

pub(super) struct Catalog {
    /// By partition.
    pub ends: Vec<End>,
    /// `queued_bytes` is kept elsewhere.
    pub stats: LogStats,
    /// What was dealt with, and not yet told to Kafka's own tools.
    pub committed: Vec<Position>,
}

/// What a partition holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub first: Offset,
    pub next: Offset,
    /// `Timestamp::MIN` when there is no record.
    pub first_log_time: LogTime,
    /// The newest that is known; `Timestamp::MIN` when there is none.
    pub newest_log_time: LogTime,
    /// When the partition was last seen to grow.
    heard: Option<Instant>,
    /// A tick waits for its acknowledgement: another would say nothing more.
    ticking: bool,
}

impl Shared {
    pub fn new(topic: String, partitions: u16, partition_by: PartitionBy, incarnation: u128, listener: Listener) -> Shared {
        let end = End {
            first: Offset(0),
            next: Offset(0),
            first_log_time: Timestamp::MIN,
            newest_log_time: Timestamp::MIN,
            heard: None,
            ticking: false,
        };
        let ends = vec![end; usize::from(partitions)];
        Shared {
            topic,
            partitions,
            partition_by,
            incarnation,
            listener,
            catalog: Mutex::new(Catalog { ends, stats: LogStats::default(), committed: Vec::new() }),
            queued_bytes: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            replaced: OnceLock::new(),
        }
    }

    /// # Errors
    /// When another topic stands where this one was.
    pub fn readable(&self) -> Result<(), ReadError> {
        self.replaced.get().map_or(Ok(()), |why| Err(ReadError::Replaced { why: why.clone() }))
    }

    /// Whether no more appends are taken.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

impl Catalog {
    pub fn extent(&self, partition: PartitionId) -> Extent {
        let nothing = Extent {
            first: Offset(0),
            next: Offset(0),
            first_log_time: Timestamp::MIN,
            newest_log_time: Timestamp::MIN,
            truncated: false,
        };
        self.ends.get(usize::from(partition.0)).map_or(nothing, |end| Extent {
            first: end.first,
            next: end.next,
            first_log_time: end.first_log_time,
            newest_log_time: end.newest_log_time,
            truncated: end.first > Offset(0),
        })
    }

    pub fn newest_log_time(&self) -> LogTime {
        self.ends.iter().map(|end| end.newest_log_time).max().unwrap_or(Timestamp::MIN)
    }

    /// A record of ours was acknowledged, of so many bytes.
    pub fn acknowledged(&mut self, partition: u16, offset: Offset, log_time: LogTime, bytes: usize) {
        self.stats.appended_records += 1;
        self.stats.appended_bytes += bytes as u64;
        self.seen(partition, offset, log_time);
    }

    /// A record is there.
    pub fn seen(&mut self, partition: u16, offset: Offset, log_time: LogTime) {
        let Some(end) = self.ends.get_mut(usize::from(partition)) else { return };
        if offset.next() > end.next {
            (end.next, end.heard) = (offset.next(), Some(Instant::now()));
        }
        end.newest_log_time = end.newest_log_time.max(log_time);
        if end.first_log_time == Timestamp::MIN && offset == end.first {
            end.first_log_time = log_time;
        }
    }

    /// The brokers say where a partition ends.
    pub fn ends_at(&mut self, partition: usize, next: Offset) {
        let Some(end) = self.ends.get_mut(partition) else { return };
        if next > end.next {
            (end.next, end.heard) = (next, Some(Instant::now()));
        }
    }

    /// The brokers say where a partition begins, and with what log time: `None` when it is empty.
    pub fn begins_at(&mut self, partition: usize, first: Offset, log_time: Option<LogTime>) {
        let Some(end) = self.ends.get_mut(partition) else { return };
        if first > end.first || (first == end.first && log_time.is_some()) {
            (end.first, end.next) = (first, end.next.max(first));
            end.first_log_time = log_time.unwrap_or(Timestamp::MIN);
        }
    }

    /// The partitions that nobody had appended to for so long at a time; each is given out once until its tick is answered.
    pub fn idle(&mut self, silence: Duration, at: Instant) -> Vec<u16> {
        let silent = |heard: Instant| at.saturating_duration_since(heard) >= silence;
        let is_idle = |end: &End| !end.ticking && end.heard.is_none_or(silent);
        let idle = (0..).zip(&mut self.ends).filter(|(_, end)| is_idle(end));
        idle.map(|(partition, end)| {
            end.ticking = true;
            partition
        })
        .collect()
    }

    /// A tick was acknowledged, or has failed.
    pub fn ticked(&mut self, partition: u16) {
        if let Some(end) = self.ends.get_mut(usize::from(partition)) {
            end.ticking = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_idle_until_somebody_appends_and_ticks_once_at_a_time() {
        let shared = Shared::new("t".to_owned(), 3, PartitionBy::default(), 1, Listener::default());
        let mut catalog = shared.catalog.lock();
        assert_eq!(catalog.idle(Duration::from_secs(60), Instant::now()), [0, 1, 2]);
        assert!(catalog.idle(Duration::ZERO, Instant::now()).is_empty(), "their ticks are under way");
        (0..3).for_each(|partition| catalog.ticked(partition));
        catalog.acknowledged(0, Offset(0), Timestamp(5), 3);
        catalog.ends_at(1, Offset(1));
        catalog.ends_at(2, Offset(0));
        assert_eq!(catalog.idle(Duration::from_secs(60), Instant::now()), [2], "ours and others' appends are heard of");
        catalog.ticked(2);
        catalog.seen(2, Offset(0), Timestamp(5));
        assert!(catalog.idle(Duration::from_secs(60), Instant::now()).is_empty(), "and what is read");
    }

    #[test]
    fn what_is_known_grows_from_all_sides_and_never_shrinks() {
        let shared = Shared::new("t".to_owned(), 1, PartitionBy::default(), 1, Listener::default());
        let mut catalog = shared.catalog.lock();
        let extent = |catalog: &Catalog| catalog.extent(PartitionId(0));
        catalog.seen(0, Offset(0), Timestamp(50));
        catalog.acknowledged(0, Offset(4), Timestamp(70), 3);
        catalog.seen(0, Offset(1), Timestamp(60));
        catalog.ends_at(0, Offset(3));
        let expected = Extent {
            first: Offset(0),
            next: Offset(5),
            first_log_time: Timestamp(50),
            newest_log_time: Timestamp(70),
            truncated: false,
        };
        assert_eq!(extent(&catalog), expected);
        catalog.begins_at(0, Offset(9), None);
        let empty =
            Extent { first: Offset(9), next: Offset(9), first_log_time: Timestamp::MIN, truncated: true, ..expected };
        assert_eq!(extent(&catalog), empty);
        catalog.seen(0, Offset(9), Timestamp(90));
        assert_eq!(extent(&catalog).first_log_time, Timestamp(90));
        assert_eq!(catalog.extent(PartitionId(1)).next, Offset(0));
    }
}
