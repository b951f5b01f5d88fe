//! Every operation on the disk goes wrong once, in every way, and the log is opened again.
//!
//! Seen here: lost, doubled, torn or resurrected appends, holes in offsets, log times that go back. Not seen: faults of the
//! real file system, and two threads at once; tests/log is about those.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::faulty_disk::{Fault, FaultKind, FaultyDisk, Keep};
use super::{EmbeddedLog, EmbeddedOptions};
use crate::log::{Log, LogRecord, NewRecord, ReadError, ReadFrom};
use crate::model::{Clock, PartitionId, Timestamp};

const APPENDS: usize = 20;
const PARTITIONS: u16 = 3;

/// Moves on with every look, and jumps back now and then.
pub(super) struct JumpyClock(AtomicI64);

impl Clock for JumpyClock {
    fn now(&self) -> Timestamp {
        let looks = self.0.fetch_add(1, Ordering::Relaxed);
        Timestamp(1_000_000 + looks * 10 - if looks % 5 == 4 { 35 } else { 0 })
    }
}

pub(super) fn open(disk: &FaultyDisk) -> Result<EmbeddedLog, super::OpenError> {
    let mut options = EmbeddedOptions::new(Arc::new(JumpyClock(AtomicI64::new(0))));
    options.partitions = PARTITIONS;
    options.segment_bytes = 300;
    options.tick_interval = Duration::from_secs(3600);
    // What is on the disk is to be seen.
    options.recent_bytes_max = 0;
    EmbeddedLog::open_on(Arc::new(disk.clone()), None, options)
}

/// One to three records that say which append they belong to and how many there are.
pub(super) fn records(append: usize) -> Vec<NewRecord> {
    let count = 1 + append % 3;
    let record = |index: usize| NewRecord {
        partition: PartitionId(((append + index) % usize::from(PARTITIONS)) as u16),
        payload: Bytes::from(format!("{append} {index} {count} {}", "x".repeat(append * 7 % 90))),
        newest: None,
    };
    (0..count).map(record).collect()
}

/// All records; the log has to be readable from end to end.
pub(super) fn read_all(log: &EmbeddedLog) -> Vec<LogRecord> {
    let mut reader = log.reader(ReadFrom::Beginning).unwrap();
    let mut out = Vec::new();
    while reader.read(&mut out, 100, Duration::ZERO).unwrap() > 0 {}
    out
}

/// The appends that the records are of, each of which has to be whole.
pub(super) fn appends_of(records: &[LogRecord]) -> Vec<usize> {
    let mut appends = Vec::new();
    let mut rest = records.iter();
    while let Some(first) = rest.next() {
        let fields = |record: &LogRecord| -> Vec<usize> {
            let text = String::from_utf8(record.payload.to_vec()).unwrap();
            text.split(' ').take(3).map(|field| field.parse().unwrap()).collect()
        };
        let [append, 0, count] = fields(first)[..] else { panic!("an append begins in its middle: {first:?}") };
        for index in 1..count {
            assert_eq!(fields(rest.next().unwrap()), [append, index, count], "an append is not whole");
        }
        appends.push(append);
    }
    appends
}

pub(super) fn assert_dense_and_forward(records: &[LogRecord]) {
    for partition in 0..PARTITIONS {
        let of: Vec<&LogRecord> = records.iter().filter(|record| record.partition.0 == partition).collect();
        assert!(of.iter().enumerate().all(|(at, record)| record.offset.0 == at as u64), "offsets are not dense");
        assert!(of.windows(2).all(|pair| pair[0].log_time <= pair[1].log_time), "log time goes back");
    }
}

/// Appends one after the other, and says which were acknowledged.
fn run(disk: &FaultyDisk) -> Vec<bool> {
    let Ok(log) = open(disk) else { return vec![false; APPENDS] };
    let acknowledged: Vec<bool> =
        (0..APPENDS).map(|append| log.append(records(append)).blocking_recv().unwrap().is_ok()).collect();
    let readable = read_all(&log);
    assert_dense_and_forward(&readable);
    let expected: Vec<usize> = (0..APPENDS).filter(|append| acknowledged[*append]).collect();
    assert_eq!(appends_of(&readable), expected, "what is readable is not what was acknowledged");
    acknowledged
}

#[track_caller]
fn check(fault: Option<Fault>, keep: Keep) -> usize {
    let label = format!("{fault:?}, {keep:?}");
    let disk = FaultyDisk::new(fault, keep);
    let acknowledged = run(&disk);
    let after_failure = disk.reboot();
    let log = open(&after_failure).unwrap_or_else(|error| panic!("{label}: {error}"));
    let found = read_all(&log);
    assert_dense_and_forward(&found);
    let appends = appends_of(&found);
    assert!(appends.windows(2).all(|pair| pair[0] < pair[1]), "{label}: doubled or out of order: {appends:?}");
    for (append, acknowledged_this) in acknowledged.iter().enumerate() {
        let followed = acknowledged[append..].contains(&true);
        match (acknowledged_this, appends.contains(&append)) {
            (true, found) => assert!(found, "{label}: append {append} was acknowledged and is lost"),
            // Of what failed last nothing was promised; once something was acknowledged after it, it is gone for good.
            (false, found) => assert!(!(found && followed), "{label}: append {append} failed and is back"),
        }
    }
    log.append(records(APPENDS)).blocking_recv().unwrap().unwrap();
    drop(log);
    let again = read_all(&open(&after_failure.reboot()).unwrap());
    assert_dense_and_forward(&again);
    assert_eq!(appends_of(&again), [appends, vec![APPENDS]].concat(), "{label}: not the same after another start");
    disk.changes()
}

fn check_everywhere(kind: FaultKind, lengths: &[usize]) {
    let changes = check(None, Keep::Nothing);
    assert!(changes > 60, "the scenario has become too small to mean much: {changes}");
    for at in 0..changes {
        for length in lengths {
            for keep in [Keep::Nothing, Keep::Half, Keep::All] {
                check(Some(Fault { at: at..at + length, kind }), keep);
            }
        }
    }
}

#[test]
fn a_crash_anywhere_loses_and_doubles_nothing() {
    check_everywhere(FaultKind::Crash, &[1]);
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    check_everywhere(FaultKind::NoSpace, &[1, 2, 7, 1000]);
}

#[test]
fn a_failed_sync_never_brings_back_what_was_refused() {
    check_everywhere(FaultKind::SyncFails, &[1, 2, 3, 9, 1000]);
}

#[test]
fn a_disk_that_refuses_everything_for_a_while_does_no_harm() {
    check_everywhere(FaultKind::AllFails, &[1, 2, 3, 4, 5, 6, 7, 8, 12, 1000]);
}

/// Two faults in one run: a sync fails, and some time later the power goes.
#[test]
fn a_crash_after_a_failed_sync_does_not_bring_back_what_was_refused() {
    for at in 0..40 {
        for keep in [Keep::Nothing, Keep::Half, Keep::All] {
            let disk = FaultyDisk::new(Some(Fault { at: at..at + 1, kind: FaultKind::SyncFails }), keep);
            let Ok(log) = open(&disk) else { continue };
            let mut acknowledged = Vec::new();
            for append in 0..APPENDS {
                if log.append(records(append)).blocking_recv().unwrap().is_ok() {
                    acknowledged.push(append);
                    // A copy of the disk as a power failure at this moment would leave it.
                    let found = appends_of(&read_all(&open(&disk.snapshot().reboot()).unwrap()));
                    assert_eq!(found, acknowledged, "sync {at} failed, {keep:?}, power lost after append {append}");
                }
            }
        }
    }
}

/// What one failed append does to the file it was written to, and whether that file is used again.
#[test]
fn a_segment_is_only_used_again_if_its_sync_did_not_fail() {
    for (kind, used_again) in [(FaultKind::NoSpace, true), (FaultKind::SyncFails, false)] {
        let whole = FaultyDisk::new(None, Keep::All);
        open(&whole).unwrap().append(records(0)).blocking_recv().unwrap().unwrap();
        let (name, good) = (whole.journal_names()[0].clone(), whole.contents(&whole.journal_names()[0]));
        // Opening syncs file and directory; then come the write and its sync.
        let at = whole.changes() + if kind == FaultKind::NoSpace { 2 } else { 3 };
        let disk = whole.faulty(Fault { at: at..at + 1, kind });
        let log = open(&disk).unwrap();
        assert!(log.append(records(1)).blocking_recv().unwrap().is_err());
        assert_eq!(disk.contents(&name), good, "{kind:?}: a refused append left bytes behind");
        log.append(records(2)).blocking_recv().unwrap().unwrap();
        assert_eq!(disk.contents(&name) != good, used_again, "{kind:?}");
        assert_eq!(appends_of(&read_all(&log)), [0, 2]);
    }
}

#[test]
fn errors_say_what_failed() {
    let fault = Fault { at: 20..1000, kind: FaultKind::NoSpace };
    let log = open(&FaultyDisk::new(Some(fault), Keep::Nothing)).unwrap();
    let failed = (0..APPENDS).find_map(|append| log.append(records(append)).blocking_recv().unwrap().err()).unwrap();
    assert!(failed.retryable());
    let text = failed.to_string();
    assert!(text.contains("disk of the log is full") && text.contains("memory/") && text.contains("free space"), "{text}");
    assert!(log.stats().append_failures > 0);
    log.close();
    assert!(matches!(log.reader(ReadFrom::Beginning).unwrap().read(&mut Vec::new(), 1 << 20, Duration::ZERO), Ok(0)));
    let mut reader = log.reader(ReadFrom::LogTime(Timestamp::MAX)).unwrap();
    assert!(matches!(reader.read(&mut Vec::new(), 1, Duration::from_secs(60)), Err(ReadError::Closed)));
}
