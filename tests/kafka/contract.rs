//! What both logs promise, asked of each: the embedded one in a directory, and the one in Kafka.
//!
//! Sees: a record lost, twice, out of order or changed, a place that is not where it is said to be, an answer that does not
//! come. What only one of them can do wrong has tests of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prefold::log::{AppendError, EmbeddedLog, EmbeddedOptions, Log, LogRecord, ReadError, ReadFrom};
use prefold::model::{Offset, PartitionId, Position, Timestamp};
use prefold::node::clock::SystemClock;

use super::cluster::{Cluster, shared};
use super::topics::{append, open, options, payloads, prefix, read, read_on, record, wait};

/// Where a log can be opened again and again.
enum Place {
    Embedded(tempfile::TempDir),
    Kafka(&'static Cluster, String),
}

/// What a test wants to be otherwise.
#[derive(Clone, Copy)]
struct Tuning {
    tick_interval: Duration,
    queue_bytes_max: usize,
}

const USUAL: Tuning = Tuning { tick_interval: Duration::from_secs(3600), queue_bytes_max: 64 << 20 };

impl Place {
    fn all() -> Vec<Place> {
        let kafka = shared().map(|cluster| Place::Kafka(cluster, prefix()));
        [Place::Embedded(tempfile::tempdir().unwrap())].into_iter().chain(kafka).collect()
    }

    fn open(&self, tuning: Tuning) -> Arc<dyn Log> {
        let Tuning { tick_interval, queue_bytes_max } = tuning;
        match self {
            Place::Embedded(dir) => {
                let options = EmbeddedOptions::new(Arc::new(SystemClock));
                let options = EmbeddedOptions { tick_interval, queue_bytes_max, batch_bytes_max: 1 << 20, ..options };
                Arc::new(EmbeddedLog::open(dir.path(), options).unwrap())
            }
            Place::Kafka(cluster, prefix) => {
                let mut options = options(&cluster.brokers(), prefix);
                (options.tick_interval, options.queue_bytes_max) = (tick_interval, queue_bytes_max);
                open(options).unwrap()
            }
        }
    }
}

fn of(records: &[LogRecord], partition: u16) -> Vec<LogRecord> {
    records.iter().filter(|record| record.partition.0 == partition).cloned().collect()
}

/// Waits until the log knows of so many records in each partition.
fn settled(log: &dyn Log, next: [u64; 4]) {
    wait("the log to know its ends", || (0..4).all(|p| log.extent(PartitionId(p)).next == Offset(next[usize::from(p)])));
}

#[test]
fn what_is_appended_is_read_from_every_place_and_after_opening_again() {
    for place in Place::all() {
        let log = place.open(USUAL);
        assert_eq!((log.partitions(), log.extent(PartitionId(0)).next), (4, Offset(0)));
        let mut appended = Vec::new();
        for index in 0..40u16 {
            let text = format!("{index} {}", "x".repeat(usize::from(index) * 100));
            append(&*log, vec![record(index % 3, text.clone())]);
            appended.push(text);
            // So that log times differ.
            std::thread::park_timeout(Duration::from_millis(3));
        }
        let records = read(&*log, ReadFrom::Beginning, 40);
        assert_eq!(payloads(&records), appended, "in the order of log time");
        for partition in 0..3u16 {
            let mine = of(&records, partition);
            assert!(mine.windows(2).all(|two| two[0].offset < two[1].offset && two[0].log_time <= two[1].log_time));
            let extent = log.extent(PartitionId(partition));
            assert_eq!((extent.first, extent.first_log_time), (mine[0].offset, mine[0].log_time));
            assert_eq!(extent.newest_log_time, mine[mine.len() - 1].log_time);
            assert!(!extent.truncated && extent.next == mine[mine.len() - 1].offset.next());
        }
        assert_eq!(log.extent(PartitionId(3)).newest_log_time, Timestamp::MIN);
        assert_eq!(log.extent(PartitionId(9)).next, Offset(0));
        let incarnation = log.incarnation();
        drop(log);
        let log = place.open(USUAL);
        assert_eq!(log.incarnation(), incarnation);
        settled(&*log, [14, 13, 13, 0]);
        assert_eq!(read(&*log, ReadFrom::Beginning, 40), records);
        for from in [0, 7, 20, 39] {
            let since: Vec<_> = records.iter().filter(|record| record.log_time >= records[from].log_time).cloned().collect();
            assert_eq!(read(&*log, ReadFrom::LogTime(records[from].log_time), since.len()), since);
            let position = |partition: u16| {
                let before = of(&records[..from], partition);
                let log_time = before.last().map_or(Timestamp::MIN, |record| record.log_time);
                let next = before.last().map_or(Offset(0), |record| record.offset.next());
                Position { partition: PartitionId(partition), next, log_time }
            };
            let positions = ReadFrom::Positions((0..4).map(position).collect());
            assert_eq!(read(&*log, positions, 40 - from), records[from..]);
        }
        let at = |next| vec![Position { partition: PartitionId(1), next: Offset(next), log_time: Timestamp::MIN }];
        assert!(matches!(log.reader(ReadFrom::Positions(at(99))).err(), Some(ReadError::Ahead { .. })));
        let mut idle = log.reader(ReadFrom::LogTime(records[39].log_time + 3_600_000)).unwrap();
        assert_eq!(idle.read(&mut Vec::new(), 1, Duration::ZERO).unwrap(), 0, "caught up");
    }
}

#[test]
fn many_appenders_and_a_live_reader() {
    const APPENDS: usize = 200;
    for place in Place::all() {
        let log = place.open(USUAL);
        let mut reader = log.reader(ReadFrom::Beginning).unwrap();
        let records = std::thread::scope(|scope| {
            for thread in 0..6u16 {
                let log = &log;
                scope.spawn(move || {
                    for index in 0..APPENDS {
                        let text = format!("{thread} {index}");
                        append(&**log, vec![record(thread % 4, text.clone()), record((thread + 1) % 4, text)]);
                    }
                });
            }
            read_on(&mut *reader, 6 * APPENDS * 2)
        });
        let mut heard: BTreeMap<(u16, String), Vec<usize>> = BTreeMap::new();
        for record in &records {
            let text = String::from_utf8(record.payload.to_vec()).unwrap();
            let (thread, index) = text.split_once(' ').unwrap();
            heard.entry((record.partition.0, thread.to_owned())).or_default().push(index.parse().unwrap());
        }
        assert_eq!(heard.len(), 12);
        assert!(heard.values().all(|indexes| *indexes == (0..APPENDS).collect::<Vec<_>>()), "each once and in order");
        let stats = log.stats();
        assert_eq!((stats.appended_records, stats.append_failures, stats.queued_bytes), (6 * APPENDS as u64 * 2, 0, 0));
    }
}

#[test]
fn idle_partitions_tick_and_busy_ones_do_not() {
    for place in Place::all() {
        let log = place.open(Tuning { tick_interval: Duration::from_millis(300), ..USUAL });
        let (began, mut reader, mut out) = (Instant::now(), log.reader(ReadFrom::Beginning).unwrap(), Vec::new());
        let ticks = |out: &[LogRecord], partition| of(out, partition).iter().filter(|record| record.is_tick()).count();
        while (0..4).any(|partition| partition != 2 && ticks(&out, partition) < 9) {
            append(&*log, vec![record(2, "busy")]);
            reader.read(&mut out, 1 << 20, Duration::from_millis(10)).unwrap();
            assert!(began.elapsed() < super::topics::PATIENCE, "partitions do not tick");
        }
        assert!(ticks(&out, 2) <= 4, "{} ticks of a busy partition", ticks(&out, 2));
        let idle = of(&out, 0);
        assert!(idle.windows(2).all(|two| two[0].log_time <= two[1].log_time) && idle[8].log_time > idle[0].log_time);
    }
}

#[test]
fn what_is_refused_says_why_and_leaves_nothing() {
    for place in Place::all() {
        let log = place.open(USUAL);
        let refused = |records| log.append(records).blocking_recv().unwrap().unwrap_err();
        let too_large = refused(vec![record(0, "small"), record(1, vec![1; log.record_bytes_max() + 1])]);
        assert!(matches!(too_large, AppendError::TooLarge { .. }) && !too_large.retryable(), "{too_large}");
        assert!(matches!(refused(vec![record(0, "a"), record(4, "b")]), AppendError::UnknownPartition { .. }));
        append(&*log, Vec::new());
        let noise: Vec<u8> =
            (0..log.record_bytes_max() as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        append(&*log, vec![record(3, noise.clone())]);
        let largest = read(&*log, ReadFrom::Beginning, 1);
        assert!(largest.len() == 1 && largest[0].payload == noise, "the largest record fits, and nothing else is there");
        assert_eq!(log.stats().append_failures, 2);
    }
}

#[test]
fn a_closed_log_gives_what_is_left_and_takes_nothing() {
    for place in Place::all() {
        let log = place.open(USUAL);
        let mut reader = log.reader(ReadFrom::Beginning).unwrap();
        let waiting: Vec<_> = (0..200).map(|index| log.append(vec![record(index % 4, format!("{index}"))])).collect();
        log.close();
        log.close();
        assert!(waiting.into_iter().all(|answer| matches!(answer.blocking_recv(), Ok(Ok(())))));
        let late = log.append(vec![record(0, "late")]).blocking_recv().unwrap();
        assert!(matches!(late, Err(AppendError::Closed)));
        assert_eq!(read_on(&mut *reader, 200).len(), 200);
        assert!(matches!(reader.read(&mut Vec::new(), 1, Duration::from_secs(60)), Err(ReadError::Closed)));
        drop((reader, log));
        assert_eq!(read(&*place.open(USUAL), ReadFrom::Beginning, 200).len(), 200);
    }
}

#[test]
fn a_full_queue_refuses_and_recovers() {
    for place in Place::all() {
        let log = place.open(Tuning { queue_bytes_max: 20_000, ..USUAL });
        let answers: Vec<_> = (0..3_000).map(|_| log.append(vec![record(0, "x".repeat(500))])).collect();
        let outcomes: Vec<bool> = answers
            .into_iter()
            .map(|answer| match answer.blocking_recv().unwrap() {
                Ok(()) => true,
                Err(error) => {
                    assert!(matches!(error, AppendError::Overloaded { .. }) && error.retryable(), "{error}");
                    false
                }
            })
            .collect();
        let acknowledged = outcomes.iter().filter(|outcome| **outcome).count();
        assert!(acknowledged > 0 && acknowledged < 3_000, "{acknowledged}");
        append(&*log, vec![record(0, "again")]);
        assert_eq!(read(&*log, ReadFrom::Beginning, acknowledged + 1).len(), acknowledged + 1);
    }
}
