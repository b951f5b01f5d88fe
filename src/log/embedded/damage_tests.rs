//! Files that are cut, changed or missing when the log is opened or read.
//!
//! What was never acknowledged disappears silently; what was is reported once and then passed; what makes no sense at all is
//! refused with a remedy.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::crash_tests::{appends_of, open, read_all, records};
use super::faulty_disk::{FaultyDisk, Keep};
use super::format::{VERSION, segment_name};
use super::{EmbeddedLog, EmbeddedOptions, OpenError};
use crate::log::{Log, LogReader, LogRecord, LogTimeSource, NewRecord, ReadError, ReadFrom};
use crate::model::{Clock, Offset, PartitionId, Position, Timestamp};

/// A closed log of this many appends.
fn disk_with(appends: usize) -> FaultyDisk {
    let disk = FaultyDisk::new(None, Keep::All);
    let log = open(&disk).unwrap();
    for append in 0..appends {
        log.append(records(append)).blocking_recv().unwrap().unwrap();
    }
    disk
}

/// Reads to the end, skipping gaps, and returns the gaps too.
fn read_with_gaps(log: &EmbeddedLog) -> (Vec<LogRecord>, Vec<ReadError>) {
    let mut reader = log.reader(ReadFrom::Beginning).unwrap();
    read_on(reader.as_mut())
}

fn read_on(reader: &mut dyn LogReader) -> (Vec<LogRecord>, Vec<ReadError>) {
    let (mut out, mut gaps) = (Vec::new(), Vec::new());
    loop {
        let before = out.len();
        match reader.read(&mut out, 100, Duration::ZERO) {
            Ok(_) if out.len() == before => return (out, gaps),
            Ok(_) => {}
            Err(gap) => {
                let again = reader.read(&mut out, 100, Duration::ZERO).unwrap_err();
                assert_eq!(again.to_string(), gap.to_string(), "a gap lasts until it is skipped");
                gaps.push(gap);
                reader.skip_gap().unwrap();
            }
        }
    }
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_off() {
    let disk = disk_with(2);
    let name = segment_name(1);
    let whole = disk.contents(&name).len();
    open(&disk).unwrap().append(records(2)).blocking_recv().unwrap().unwrap();
    let longer = disk.contents(&name);
    for len in whole..longer.len() {
        for garbage in [&[][..], &[0; 100], &[0xff; 3], b"PfFr"] {
            let torn = [&longer[..len], garbage].concat();
            if torn.starts_with(&longer) {
                continue; // The garbage is what was cut.
            }
            disk.edit(&name, |content| *content = torn);
            let log = open(&disk).unwrap();
            assert_eq!(appends_of(&read_all(&log)), [0, 1], "cut at {len}");
            assert_eq!(log.stats().disk.unwrap().torn_bytes_cut, (len - whole + garbage.len()) as u64);
            assert_eq!(disk.contents(&name).len(), whole);
            log.append(records(3)).blocking_recv().unwrap().unwrap();
            drop(log);
            assert_eq!(appends_of(&read_all(&open(&disk).unwrap())), [0, 1, 3], "cut at {len}");
        }
    }
}

#[test]
fn older_bytes_behind_the_end_are_not_taken_for_frames() {
    let disk = disk_with(2);
    let name = segment_name(1);
    let short = disk.contents(&name);
    open(&disk).unwrap().append(records(5)).blocking_recv().unwrap().unwrap();
    let stale = disk.contents(&name)[short.len()..].to_vec();
    disk.edit(&name, |content| *content = short.clone());
    open(&disk).unwrap().append(records(1)).blocking_recv().unwrap().unwrap();
    disk.edit(&name, |content| content.extend_from_slice(&stale));
    assert_eq!(appends_of(&read_all(&open(&disk).unwrap())), [0, 1, 1]);
}

/// Each frame is whole by itself, but one stands where another should be.
#[test]
fn a_frame_in_the_place_of_another_is_damage() {
    let disk = FaultyDisk::new(None, Keep::All);
    let log = open(&disk).unwrap();
    let mut lens = Vec::new();
    for append in [0, 0, 0, 3] {
        log.append(records(append)).blocking_recv().unwrap().unwrap();
        lens.push(disk.contents(&segment_name(1)).len());
    }
    assert_eq!(lens[1] - lens[0], lens[2] - lens[1]);
    disk.edit(&segment_name(1), |content| content.copy_within(lens[0]..lens[1], lens[1]));
    let (found, gaps) = read_with_gaps(&log);
    assert_eq!(appends_of(&found), [0, 0, 3]);
    assert!(matches!(&gaps[..], [ReadError::Corrupt { at, .. }] if *at == lens[1] as u64), "{gaps:?}");
}

/// Of 30 appends, one byte is changed; all others have to be readable, and exactly one gap reported.
#[test]
fn one_bad_frame_costs_one_frame_wherever_it_is() {
    let clean = disk_with(30);
    let all = read_all(&open(&clean).unwrap());
    let names = clean.journal_names();
    assert!(names.len() > 4);
    for name in &names[..names.len() - 1] {
        let header = super::format::SegmentHeader::bytes_for(3);
        for at in (header..clean.contents(name).len()).step_by(5) {
            let disk = clean.reboot();
            disk.edit(name, |content| content[at] ^= 0x10);
            let log = open(&disk).unwrap();
            let (found, gaps) = read_with_gaps(&log);
            assert!(matches!(&gaps[..], [ReadError::Corrupt { .. }]), "{name} at {at}: {gaps:?}");
            let lost: Vec<&LogRecord> = all.iter().filter(|record| !found.contains(record)).collect();
            let owned: Vec<LogRecord> = lost.into_iter().cloned().collect();
            assert_eq!(appends_of(&owned).len(), 1, "{name} at {at}: more than one append lost");
            assert_eq!(found.len() + owned.len(), all.len());
        }
    }
}

#[test]
fn damage_within_the_last_segment_is_no_torn_tail() {
    let disk = disk_with(3);
    let name = segment_name(1);
    assert_eq!(disk.journal_names(), std::slice::from_ref(&name));
    let first_frame = super::format::SegmentHeader::bytes_for(3) + 50;
    disk.edit(&name, |content| content[first_frame] ^= 1);
    let log = open(&disk).unwrap();
    assert_eq!(log.stats().disk.unwrap().torn_bytes_cut, 0);
    let (found, gaps) = read_with_gaps(&log);
    assert_eq!((appends_of(&found), gaps.len()), (vec![1, 2], 1));
    log.append(records(3)).blocking_recv().unwrap().unwrap();
    let (found, gaps) = read_with_gaps(&log);
    assert_eq!((appends_of(&found), gaps.len()), (vec![1, 2, 3], 1));
}

#[test]
fn a_missing_file_is_a_gap() {
    let disk = disk_with(30);
    let names = disk.journal_names();
    super::disk::Disk::remove(&disk, &names[2]).unwrap();
    let log = open(&disk).unwrap();
    let (found, gaps) = read_with_gaps(&log);
    assert!(matches!(&gaps[..], [ReadError::Corrupt { .. }]), "{gaps:?}");
    let appends = appends_of(&found);
    assert!(appends.contains(&0) && appends.contains(&29) && appends.len() < 30);
}

#[test]
fn damage_that_appears_while_the_log_is_open_is_passed_by_a_live_reader() {
    let disk = FaultyDisk::new(None, Keep::All);
    let log = open(&disk).unwrap();
    let mut reader = log.reader(ReadFrom::Beginning).unwrap();
    log.append(records(0)).blocking_recv().unwrap().unwrap();
    disk.edit(&segment_name(1), |content| *content.last_mut().unwrap() ^= 1);
    assert!(matches!(reader.read(&mut Vec::new(), 100, Duration::ZERO), Err(ReadError::Corrupt { .. })));
    log.append(records(1)).blocking_recv().unwrap().unwrap();
    reader.skip_gap().unwrap();
    log.append(records(2)).blocking_recv().unwrap().unwrap();
    let (found, gaps) = read_on(reader.as_mut());
    assert_eq!((appends_of(&found), gaps.len()), (vec![1, 2], 0));
}

#[test]
fn a_reader_that_retention_overtakes_is_told_and_continues() {
    let disk = FaultyDisk::new(None, Keep::All);
    let mut options = EmbeddedOptions::new(Arc::new(FixedClock(AtomicI64::new(1_000_000))));
    (options.partitions, options.retention_bytes, options.tick_interval) = (3, 1600, Duration::from_secs(3600));
    let log = EmbeddedLog::open_on(Arc::new(disk.clone()), None, options).unwrap();
    log.append(records(0)).blocking_recv().unwrap().unwrap();
    let mut reader = log.reader(ReadFrom::Beginning).unwrap();
    for append in 1..60 {
        log.append(records(append)).blocking_recv().unwrap().unwrap();
    }
    log.close();
    let partition = PartitionId(0);
    let extent = log.extent(partition);
    assert!(extent.truncated && extent.first > Offset(0) && log.stats().disk.unwrap().segments_deleted > 0);
    let mut out = Vec::new();
    let gone = loop {
        if let Err(gone) = reader.read(&mut out, 100, Duration::ZERO) {
            break gone;
        }
    };
    assert!(matches!(gone, ReadError::Gone { .. }), "{gone}");
    assert_eq!(appends_of(&out)[0], 0, "the open file is still readable");
    reader.skip_gap().unwrap();
    let (mut rest, closed) = (Vec::new(), loop_to_end(reader.as_mut(), &mut Vec::new()));
    assert!(matches!(closed, ReadError::Closed), "{closed}");
    loop_to_end(log.reader(ReadFrom::Beginning).unwrap().as_mut(), &mut rest);
    let first = rest.iter().find(|record| record.partition == partition).unwrap();
    assert_eq!((first.offset, first.log_time), (extent.first, extent.first_log_time));
    let position = |next: Offset| vec![Position { partition, next, log_time: Timestamp::MIN }];
    let reader = |next: Offset| log.reader(ReadFrom::Positions(position(next))).err();
    assert!(matches!(reader(Offset(0)), Some(ReadError::Gone { first, .. }) if first == extent.first));
    assert!(matches!(reader(extent.next.next()), Some(ReadError::Ahead { next, .. }) if next == extent.next));
    assert!(reader(extent.first).is_none() && reader(extent.next).is_none());
}

fn loop_to_end(reader: &mut dyn LogReader, out: &mut Vec<LogRecord>) -> ReadError {
    loop {
        if let Err(error) = reader.read(out, 100, Duration::ZERO) {
            return error;
        }
    }
}

pub(super) struct FixedClock(AtomicI64);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

#[track_caller]
fn check_refused(change: impl FnOnce(&FaultyDisk, &mut EmbeddedOptions), expected: &[&str]) {
    let disk = disk_with(30);
    let mut options = EmbeddedOptions::new(Arc::new(FixedClock(AtomicI64::new(1_000_000))));
    options.partitions = 3;
    change(&disk, &mut options);
    let error = options.check().and_then(|()| EmbeddedLog::open_on(Arc::new(disk), None, options).map(|_| ()));
    let text = error.unwrap_err().to_string();
    assert!(expected.iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn what_cannot_be_opened_is_refused_with_a_remedy() {
    let remove = |name: &'static str| {
        move |disk: &FaultyDisk, _: &mut EmbeddedOptions| super::disk::Disk::remove(disk, name).unwrap()
    };
    check_refused(|_, options| options.partitions = 4, &["has 3 partitions", "is 4", "set it to 3"]);
    check_refused(|_, options| options.partitions = 0, &["partitions is 0", "1 to 1024"]);
    check_refused(|_, options| options.retention_ms = 0, &["retention_ms"]);
    check_refused(remove("meta"), &["meta", "missing", "restore"]);
    let newer = |name: String| {
        move |disk: &FaultyDisk, _: &mut EmbeddedOptions| disk.edit(&name, |content| content[7] = VERSION + 1)
    };
    check_refused(newer("meta".into()), &["version 3", "newer program"]);
    check_refused(newer(segment_name(2)), &["version 3", "newer program"]);
    check_refused(|disk, _| disk.edit(&segment_name(2), |content| content[40] ^= 1), &["checksum", "restore"]);
    let swap = |disk: &FaultyDisk, _: &mut EmbeddedOptions| {
        let third = disk.contents(&segment_name(3));
        disk.edit(&segment_name(2), |content| *content = third);
    };
    check_refused(swap, &["belongs to another"]);
    let early = |_: &FaultyDisk, options: &mut EmbeddedOptions| {
        options.clock = Arc::new(FixedClock(AtomicI64::new(1_000_000 - 3_600_000)));
    };
    check_refused(early, &["ahead of the clock", "set the clock right", "move the directory away"]);
    let all_gone = |disk: &FaultyDisk, _: &mut EmbeddedOptions| {
        for name in disk.journal_names() {
            super::disk::Disk::remove(disk, &name).unwrap();
        }
    };
    check_refused(all_gone, &["files are missing"]);
}

#[test]
fn a_log_that_is_slightly_ahead_of_the_clock_opens_and_does_not_go_back() {
    let disk = disk_with(3);
    let newest = open(&disk).unwrap().stats().newest_log_time;
    let mut options = EmbeddedOptions::new(Arc::new(FixedClock(AtomicI64::new(newest.0 - 599_000))));
    options.partitions = 3;
    let log = EmbeddedLog::open_on(Arc::new(disk), None, options).unwrap();
    log.append(records(3)).blocking_recv().unwrap().unwrap();
    assert_eq!(log.stats().newest_log_time, newest);
}

#[test]
fn a_failed_append_does_not_move_sample_driven_log_time() {
    use super::faulty_disk::{Fault, FaultKind};
    let disk = FaultyDisk::new(None, Keep::All);
    drop(open(&disk).unwrap());
    let full = disk.faulty(Fault { at: disk.changes() + 2..disk.changes() + 3, kind: FaultKind::NoSpace });
    let mut options = EmbeddedOptions::new(Arc::new(FixedClock(AtomicI64::new(1_000_000))));
    (options.partitions, options.log_time) = (3, LogTimeSource::Samples);
    options.tick_interval = Duration::from_secs(3600);
    let log = EmbeddedLog::open_on(Arc::new(full), None, options).unwrap();
    let append = |newest: i64| {
        let record = NewRecord { partition: PartitionId(1), payload: Bytes::from("x"), newest: Some(Timestamp(newest)) };
        log.append(vec![record]).blocking_recv().unwrap()
    };
    assert!(append(900_000).is_err());
    append(800_000).unwrap();
    assert_eq!(read_all(&log)[0].log_time, Timestamp(800_000));
    assert!(matches!(log.extent(PartitionId(0)), extent if extent.newest_log_time == Timestamp::MIN && !extent.truncated));
}

/// An error that names its remedy is no use if its type cannot be told apart.
#[test]
fn open_errors_are_distinguishable() {
    let disk = disk_with(1);
    disk.edit("meta", |content| content[7] = 9);
    assert!(matches!(open(&disk), Err(OpenError::Version { version: 9, known: VERSION, .. })));
}
