//! What the log refuses, what it deletes, and what it does when it is closed.

use std::time::Duration;

use prefold::log::{AppendError, EmbeddedLog, Log, LogTimeSource, NewRecord, OpenError, ReadError, ReadFrom};
use prefold::model::{Offset, PartitionId, Timestamp};

use super::{ManualClock, NOW, append, open, options, read_from, record};

#[test]
fn retention_by_bytes_holds_the_limit_and_says_so() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let mut bounded = options(&clock);
    bounded.retention_bytes = 10_000;
    let log = open(dir.path(), bounded.clone());
    for index in 0..400u64 {
        let noise: Vec<u8> =
            (0..12).flat_map(|part| (index * 977 + part).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
        append(&log, vec![record((index % 4) as u16, noise)]);
        clock.advance(1000);
        assert!(log.stats().disk.unwrap().bytes <= 10_000 + 300, "{:?}", log.stats());
    }
    log.close();
    assert!(log.stats().disk.unwrap().bytes > 5_000 && log.stats().disk.unwrap().segments_deleted > 0);
    let extents: Vec<_> = (0..4).map(|p| log.extent(PartitionId(p))).collect();
    drop(log);
    let on_disk: u64 = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(on_disk < 10_500, "{on_disk}");
    let log = open(dir.path(), bounded);
    let records = read_from(&log, ReadFrom::Beginning);
    for (partition, extent) in (0..4).zip(extents) {
        assert_eq!(log.extent(PartitionId(partition)), extent);
        let first = records.iter().find(|record| record.partition.0 == partition).unwrap();
        assert!(extent.truncated && extent.next == Offset(100));
        assert_eq!((first.offset, first.log_time), (extent.first, extent.first_log_time));
    }
}

#[test]
fn retention_by_age_is_measured_against_the_logs_own_time() {
    for (source, deleted) in [(LogTimeSource::Append, true), (LogTimeSource::Samples, false)] {
        let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
        let mut aging = options(&clock);
        (aging.retention_ms, aging.log_time) = (60_000, source);
        let log = open(dir.path(), aging);
        for index in 0..200i64 {
            let text = format!("{index}").repeat(20);
            let newest = Some(Timestamp(NOW - 1_000_000 + index));
            append(&log, vec![NewRecord { newest, ..record(0, text) }]);
            clock.advance(1000);
        }
        log.close();
        let extent = log.extent(PartitionId(0));
        assert_eq!(extent.truncated, deleted, "{source:?}");
        let oldest = extent.newest_log_time - extent.first_log_time;
        // Whole files only: the oldest may hold more than it has to.
        assert!(!deleted || (55_000..90_000).contains(&oldest), "{oldest}");
    }
}

#[test]
fn what_is_refused_says_why() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let mut tight = options(&clock);
    tight.batch_bytes_max = 1000;
    let log = open(dir.path(), tight.clone());
    let refused = |records| log.append(records).blocking_recv().unwrap().unwrap_err();
    let too_large = refused(vec![record(0, "x".repeat(500)), record(1, "x".repeat(500))]);
    assert!(matches!(too_large, AppendError::TooLarge { bytes_max: 1000, .. }) && !too_large.retryable());
    assert!(matches!(refused(vec![record(0, "a"), record(4, "b")]), AppendError::UnknownPartition { .. }));
    append(&log, Vec::new());
    assert!(read_from(&log, ReadFrom::Beginning).is_empty(), "nothing of a refused append is in the log");
    let second = EmbeddedLog::open(dir.path(), tight.clone()).err().unwrap();
    assert!(matches!(second, OpenError::Locked { .. }), "{second}");
    log.close();
    log.close();
    assert!(matches!(refused(vec![record(0, "late")]), AppendError::Closed));
    assert_eq!(log.stats().append_failures, 3);
    let mut reader = log.reader(ReadFrom::Beginning).unwrap();
    assert!(matches!(reader.read(&mut Vec::new(), 1, Duration::from_secs(60)), Err(ReadError::Closed)));
    drop((reader, log));
    open(dir.path(), tight);
}

/// Whatever waits when the log is closed is still written.
#[test]
fn closing_drains_the_queue() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let log = open(dir.path(), options(&clock));
    let waiting: Vec<_> = (0..500).map(|index| log.append(vec![record(index % 4, format!("{index}"))])).collect();
    drop(log);
    assert!(waiting.into_iter().all(|answer| matches!(answer.blocking_recv(), Ok(Ok(())))));
    assert_eq!(read_from(&open(dir.path(), options(&clock)), ReadFrom::Beginning).len(), 500);
}

#[test]
fn a_full_queue_refuses_and_recovers() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let mut tight = options(&clock);
    tight.queue_bytes_max = 2_000;
    let log = open(dir.path(), tight);
    let answers: Vec<_> = (0..5_000).map(|_| log.append(vec![record(0, "x".repeat(500))])).collect();
    let outcomes: Vec<bool> = answers
        .into_iter()
        .map(|answer| match answer.blocking_recv().unwrap() {
            Ok(()) => true,
            Err(AppendError::Overloaded { queue_bytes_max: 2_000, .. }) => false,
            Err(other) => panic!("{other}"),
        })
        .collect();
    let acknowledged = outcomes.iter().filter(|outcome| **outcome).count();
    assert!(acknowledged > 0 && acknowledged < 5_000, "{acknowledged}");
    append(&log, vec![record(0, "again")]);
    assert_eq!(read_from(&log, ReadFrom::Beginning).len(), acknowledged + 1);
}
