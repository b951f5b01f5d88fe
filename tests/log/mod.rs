//! The embedded log through its public door, on a real directory and with real threads.
//!
//! Seen here: order, completeness and starting places of readers, group commit under contention, retention, ticks, locking.
//! Not seen: power failures and failing disks, which need a disk that can be told to fail; those tests are beside the code.

#![allow(clippy::unwrap_used)]

mod following;
mod limits;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prefold::log::{EmbeddedLog, EmbeddedOptions, Log, LogReader, LogRecord, LogTimeSource, NewRecord, ReadFrom};
use prefold::model::{Clock, Offset, PartitionId, Position, Timestamp};

const NOW: i64 = 1_700_000_000_000;

/// Stands still until it is set.
struct ManualClock(AtomicI64);

impl ManualClock {
    fn new() -> Arc<ManualClock> {
        Arc::new(ManualClock(AtomicI64::new(NOW)))
    }

    fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Small files, and no ticks unless a test wants them.
fn options(clock: &Arc<ManualClock>) -> EmbeddedOptions {
    let mut options = EmbeddedOptions::new(clock.clone());
    options.segment_bytes = 2_000;
    options.tick_interval = Duration::from_secs(3600);
    options
}

fn open(dir: &Path, options: EmbeddedOptions) -> EmbeddedLog {
    EmbeddedLog::open(dir, options).unwrap()
}

fn record(partition: u16, payload: impl Into<Bytes>) -> NewRecord {
    NewRecord { partition: PartitionId(partition), payload: payload.into(), newest: None }
}

fn append(log: &EmbeddedLog, records: Vec<NewRecord>) {
    log.append(records).blocking_recv().unwrap().unwrap();
}

/// A log in which a record of noise was appended each second, `bytes` long, so that it does not compress.
pub fn fill(dir: &Path, seconds: u64, bytes: usize) {
    let clock = ManualClock::new();
    let log = open(dir, options(&clock));
    let mut state = 1u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    for second in 0..seconds {
        let payload: Vec<u8> = (0..bytes).map(|_| noise()).collect();
        append(&log, vec![record((second % 4) as u16, payload)]);
        clock.advance(1000);
    }
}

fn read(reader: &mut dyn LogReader, bytes_max: usize) -> Vec<LogRecord> {
    let mut out = Vec::new();
    while reader.read(&mut out, bytes_max, Duration::ZERO).unwrap() > 0 {}
    out
}

fn read_from(log: &EmbeddedLog, from: ReadFrom) -> Vec<LogRecord> {
    read(log.reader(from).unwrap().as_mut(), 64 << 10)
}

/// 200 appends of one or two records, a quarter of a second apart, over many files.
fn filled(dir: &Path, clock: &Arc<ManualClock>) -> (EmbeddedLog, Vec<LogRecord>) {
    let log = open(dir, options(clock));
    let (mut expected, mut next) = (Vec::new(), [0; 4]);
    for index in 0..200u16 {
        let partitions = if index % 3 == 0 { vec![index % 4, (index + 1) % 4] } else { vec![index * 7 % 4] };
        let payload = Bytes::from(format!("{index} {:x}", u128::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15_1234_5678)));
        append(&log, partitions.iter().map(|partition| record(*partition, payload.clone())).collect());
        for partition in partitions {
            let next: &mut u64 = &mut next[usize::from(partition)];
            expected.push(LogRecord {
                partition: PartitionId(partition),
                offset: Offset(*next),
                log_time: clock.now(),
                payload: payload.clone(),
            });
            *next += 1;
        }
        clock.advance(250);
    }
    assert!(log.stats().disk.unwrap().segments > 5);
    (log, expected)
}

#[test]
fn readers_give_what_was_appended_from_any_place() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let (log, expected) = filled(dir.path(), &clock);
    let check_all = |log: &EmbeddedLog| {
        for bytes_max in [0, 1, 100, 1 << 20] {
            assert_eq!(read(log.reader(ReadFrom::Beginning).unwrap().as_mut(), bytes_max), expected);
        }
        for from in (-500..52_000).step_by(170).map(|ms| Timestamp(NOW + ms)) {
            let wanted: Vec<LogRecord> = expected.iter().filter(|record| record.log_time >= from).cloned().collect();
            assert_eq!(read_from(log, ReadFrom::LogTime(from)), wanted, "{from}");
        }
        for split in 0..=expected.len() {
            let mut next = [0; 4];
            expected[..split].iter().for_each(|record| next[usize::from(record.partition.0)] = record.offset.0 + 1);
            let position = |(partition, next): (u16, u64)| Position {
                partition: PartitionId(partition),
                next: Offset(next),
                log_time: Timestamp::MIN,
            };
            let positions: Vec<Position> = (0..4).zip(next).map(position).collect();
            assert_eq!(read_from(log, ReadFrom::Positions(positions)), expected[split..], "{next:?}");
        }
    };
    check_all(&log);
    drop(log);
    let log = open(dir.path(), options(&clock));
    check_all(&log);
    let uneven = vec![Position { partition: PartitionId(2), next: Offset(30), log_time: Timestamp::MIN }];
    let wanted: Vec<LogRecord> =
        expected.iter().filter(|record| record.partition.0 != 2 || record.offset.0 >= 30).cloned().collect();
    assert_eq!(read_from(&log, ReadFrom::Positions(uneven)), wanted);
}

#[test]
fn a_log_is_the_same_after_reopening() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let (log, mut expected) = filled(dir.path(), &clock);
    let extents = |log: &EmbeddedLog| (0..4).map(|p| log.extent(PartitionId(p))).collect::<Vec<_>>();
    let (incarnation, before) = (log.incarnation(), extents(&log));
    drop(log);
    clock.advance(-60_000);
    let log = open(dir.path(), options(&clock));
    assert_eq!((log.incarnation(), extents(&log)), (incarnation, before.clone()));
    assert!(before.iter().all(|extent| !extent.truncated && extent.first == Offset(0)));
    append(&log, vec![record(1, "after the clock went back")]);
    let newest = expected.last().unwrap().log_time;
    let extra = LogRecord {
        partition: PartitionId(1),
        offset: before[1].next,
        log_time: newest,
        payload: Bytes::from("after the clock went back"),
    };
    expected.push(extra);
    assert_eq!(read_from(&log, ReadFrom::Beginning), expected);
    let other = tempfile::tempdir().unwrap();
    assert_ne!(open(other.path(), options(&clock)).incarnation(), incarnation);
}

#[test]
fn eight_appenders_and_a_live_reader() {
    const APPENDS: usize = 300;
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let observed = Arc::new(AtomicU64::new(0));
    let mut options = options(&clock);
    options.segment_bytes = 20_000;
    let count = observed.clone();
    options.append_observer = Some(Arc::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let log = open(dir.path(), options);
    let records = std::thread::scope(|scope| {
        for thread in 0..8u16 {
            let log = &log;
            scope.spawn(move || {
                for index in 0..APPENDS {
                    let text = format!("{thread} {index}");
                    append(log, vec![record(thread % 4, text.clone()), record((thread + 1) % 4, text)]);
                }
            });
        }
        let mut reader = log.reader(ReadFrom::Beginning).unwrap();
        let mut out = Vec::new();
        while out.len() < 8 * APPENDS * 2 {
            reader.read(&mut out, 4096, Duration::from_secs(10)).unwrap();
        }
        out
    });
    let mut next = [0; 4];
    let mut per_thread: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for pair in records.chunks(2) {
        assert_eq!(pair[0].payload, pair[1].payload, "an append is torn apart");
        for record in pair {
            let next = &mut next[usize::from(record.partition.0)];
            assert_eq!(record.offset.0, *next);
            *next += 1;
        }
        let text = String::from_utf8(pair[0].payload.to_vec()).unwrap();
        let (thread, index) = text.split_once(' ').unwrap();
        per_thread.entry(thread.to_owned()).or_default().push(index.parse().unwrap());
    }
    assert_eq!(per_thread.len(), 8);
    assert!(per_thread.values().all(|indexes| *indexes == (0..APPENDS).collect::<Vec<_>>()));
    let stats = log.stats();
    assert_eq!((stats.appended_records, stats.append_failures), (8 * APPENDS as u64 * 2, 0));
    assert!(stats.disk.unwrap().syncs < 8 * APPENDS as u64, "no two appends ever shared a sync: {stats:?}");
    assert_eq!(observed.load(Ordering::Relaxed), 8 * APPENDS as u64);
}

#[test]
fn sample_driven_log_time_is_one_maximum_over_all_partitions() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let mut options = options(&clock);
    options.log_time = LogTimeSource::Samples;
    let log = open(dir.path(), options);
    let hour = 3_600_000;
    let rows =
        [(0, Some(-hour), -hour), (1, Some(-2 * hour), -hour), (2, None, -hour), (3, Some(hour), -hour), (3, Some(-5), -5)];
    let records = rows.map(|(partition, newest, _)| NewRecord {
        newest: newest.map(|ms: i64| Timestamp(NOW + ms)),
        ..record(partition, "x")
    });
    append(&log, records.to_vec());
    let log_times: Vec<i64> =
        read_from(&log, ReadFrom::Beginning).iter().map(|record| record.log_time - Timestamp(NOW)).collect();
    assert_eq!(log_times, rows.map(|(_, _, expected)| expected));
    let late = read_from(&log, ReadFrom::LogTime(Timestamp(NOW - 5)));
    assert_eq!(late.len(), 1);
}

#[test]
fn idle_partitions_tick() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let mut ticking = options(&clock);
    ticking.tick_interval = Duration::from_millis(40);
    let log = open(dir.path(), ticking);
    let mut reader = log.reader(ReadFrom::Beginning).unwrap();
    let mut out = Vec::new();
    while out.len() < 8 {
        reader.read(&mut out, 1 << 20, Duration::from_secs(10)).unwrap();
        clock.advance(7);
    }
    assert!(out.iter().all(LogRecord::is_tick));
    assert_eq!(log.stats().disk.unwrap().syncs, log.stats().appended_records / 4, "one sync for all idle partitions");
    let partitions: Vec<u16> = out[..8].iter().map(|record| record.partition.0).collect();
    assert_eq!(partitions, [0, 1, 2, 3, 0, 1, 2, 3]);
    assert!(out.windows(2).all(|pair| pair[0].log_time <= pair[1].log_time) && out[7].log_time > out[0].log_time);
    // A partition that is busy all the time gets none.
    let (began, mut busy) = (Instant::now(), Vec::new());
    let mut reader = log.reader(ReadFrom::LogTime(clock.now() + 1)).unwrap();
    clock.advance(1);
    while began.elapsed() < Duration::from_millis(400) {
        append(&log, vec![record(2, "busy")]);
    }
    reader.read(&mut busy, 1 << 20, Duration::ZERO).unwrap();
    let ticks = |partition: u16| busy.iter().filter(|record| record.partition.0 == partition && record.is_tick()).count();
    assert!(ticks(1) > 3 && ticks(2) <= ticks(1) / 3, "{} {}", ticks(1), ticks(2));
    log.close();
    let extent = log.extent(PartitionId(0));
    assert!(extent.newest_log_time <= clock.now() && extent.first_log_time == out[0].log_time);
}

/// After a burst that every partition took part in, log time must go on: else nothing becomes final while senders pause.
#[test]
fn a_log_that_falls_silent_after_a_burst_ticks() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let mut ticking = options(&clock);
    ticking.tick_interval = Duration::from_millis(40);
    let log = open(dir.path(), ticking);
    append(&log, (0..4).map(|partition| record(partition, "burst")).collect());
    let mut reader = log.reader(ReadFrom::Beginning).unwrap();
    let mut out = Vec::new();
    while out.iter().filter(|record: &&LogRecord| record.is_tick()).count() < 8 {
        let before = out.len();
        reader.read(&mut out, 1 << 20, Duration::from_secs(10)).unwrap();
        assert!(out.len() > before, "no tick in ten seconds of silence");
    }
}

#[test]
fn large_appends_keep_their_bytes() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let log = open(dir.path(), options(&clock));
    let payload: Bytes = (0..12_000_000u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    append(&log, vec![record(3, payload.clone()), record(0, vec![0; 3_000_000])]);
    append(&log, vec![record(3, "small")]);
    let records = read_from(&log, ReadFrom::Beginning);
    assert!(records.len() == 3 && records[0].payload == payload && records[1].payload == vec![0; 3_000_000]);
}

/// Files so large that a reader has to find its place within them.
#[test]
fn readers_start_within_large_files() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let mut large = options(&clock);
    large.segment_bytes = 4 << 20;
    let log = open(dir.path(), large.clone());
    let mut state = 1u64;
    let mut next_byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let noise: Bytes = (0..300_000).map(|_| next_byte()).collect();
    for index in 0..40u16 {
        append(&log, vec![record(index % 4, noise.clone())]);
        clock.advance(1000);
    }
    assert!((2..6).contains(&log.stats().disk.unwrap().segments), "{:?}", log.stats());
    let check = |log: &EmbeddedLog| {
        for index in 0..40u64 {
            let offset = |partition: u64| index / 4 + u64::from(index % 4 > partition);
            let position = |partition: u64| Position {
                partition: PartitionId(partition as u16),
                next: Offset(offset(partition)),
                log_time: Timestamp::MIN,
            };
            let by_position = read_from(log, ReadFrom::Positions((0..4).map(position).collect()));
            let by_time = read_from(log, ReadFrom::LogTime(Timestamp(NOW + index as i64 * 1000)));
            assert_eq!((by_position.len() as u64, &by_position), (40 - index, &by_time));
            assert!(by_time.iter().all(|record| record.payload == noise));
        }
    };
    check(&log);
    drop(log);
    check(&open(dir.path(), large));
}
