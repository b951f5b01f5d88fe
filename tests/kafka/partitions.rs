//! A reader of partitions that come and go: each from its own place, whole and in order, whatever happens to the others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prefold::log::kafka::PartitionsReader;
use prefold::log::topics::{Committed, PartitionFrom};
use prefold::log::{KafkaLog, Log, LogRecord, ReadError};
use prefold::model::{Offset, PartitionId, Timestamp};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::broker::runtime;
use super::cluster::{admin, patient, shared};
use super::topics::{PATIENCE, append, options, payloads, prefix, record, wait};

const ALL: [u16; 4] = [0, 1, 2, 3];

/// Reads until it is enough.
#[track_caller]
fn read_until(reader: &mut PartitionsReader, enough: impl Fn(&[LogRecord]) -> bool) -> Vec<LogRecord> {
    let mut out = Vec::new();
    wait("records", || {
        reader.read(&mut out, 1 << 16, Duration::from_millis(100)).unwrap();
        enough(&out)
    });
    out
}

fn offsets(records: &[LogRecord]) -> BTreeMap<u16, Vec<u64>> {
    let mut offsets: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
    for record in records {
        offsets.entry(record.partition.0).or_default().push(record.offset.0);
    }
    offsets
}

fn fill(log: &KafkaLog, partition: u16, count: usize) {
    append(log, (0..count).map(|number| record(partition, format!("{partition} {number}"))).collect());
}

/// While all partitions are appended to.
#[test]
fn partitions_come_and_go_and_do_not_disturb_each_other() {
    let Some(cluster) = shared() else { return };
    let log = KafkaLog::open(options(&cluster.brokers(), &prefix())).unwrap();
    ALL.iter().for_each(|partition| fill(&log, *partition, 100));
    let mut reader = log.partitions_reader().unwrap();
    reader.read(&mut Vec::new(), 1, Duration::ZERO).unwrap();
    let mut seen: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
    let mut go_on = |reader: &mut PartitionsReader, partitions: &[u16], count: usize| {
        let until = |out: &[LogRecord]| {
            let offsets = offsets(out);
            partitions.iter().all(|partition| offsets.get(partition).is_some_and(|offsets| offsets.len() >= count))
        };
        let read = offsets(&read_until(reader, until));
        assert_eq!(read.keys().copied().collect::<Vec<u16>>(), partitions, "only those that are read");
        read.into_iter().for_each(|(partition, offsets)| seen.entry(partition).or_default().extend(offsets));
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                append(&log, ALL.iter().flat_map(|p| (0..20).map(|_| record(*p, "more"))).collect());
            }
        });
        let begin = |reader: &mut PartitionsReader, partition: u16, from| reader.add(PartitionId(partition), from).unwrap();
        begin(&mut reader, 0, PartitionFrom::Beginning);
        go_on(&mut reader, &[0], 150);
        begin(&mut reader, 1, PartitionFrom::Offset(Offset(50)));
        go_on(&mut reader, &[0, 1], 60);
        reader.pause(PartitionId(0), true);
        begin(&mut reader, 2, PartitionFrom::LogTime(Timestamp(0)));
        // What was given out before it was paused came in an earlier call.
        go_on(&mut reader, &[1, 2], 150);
        reader.pause(PartitionId(0), false);
        reader.remove(PartitionId(1));
        go_on(&mut reader, &[0, 2], 100);
        begin(&mut reader, 1, PartitionFrom::Committed(Committed { next: Offset(7), log_time: Timestamp(1 << 50) }));
        go_on(&mut reader, &[0, 1, 2], 100);
        done.store(true, Ordering::Relaxed);
    });
    let whole = |from: u64, offsets: &[u64]| assert_eq!(offsets, (from..from + offsets.len() as u64).collect::<Vec<u64>>());
    whole(0, &seen[&0]);
    whole(0, &seen[&2]);
    let again = seen[&1].iter().rposition(|offset| *offset == 7).unwrap();
    whole(50, &seen[&1][..again]);
    whole(7, &seen[&1][again..]);
    wait("the log to know its ends", || reader.ahead(PartitionId(1)) > 0);
    assert_eq!((reader.ahead(PartitionId(3)), reader.ahead(PartitionId(9))), (0, 0));
}

/// Read again from an earlier place, with much of the later one fetched already: nothing of it may come.
#[test]
fn a_partition_is_read_again_from_where_it_is_wanted() {
    let Some(cluster) = shared() else { return };
    let log = KafkaLog::open(options(&cluster.brokers(), &prefix())).unwrap();
    fill(&log, 0, 5_000);
    let mut reader = log.partitions_reader().unwrap();
    for from in [0, 4_000, 10, 4_990, 3_000, 0] {
        reader.add(PartitionId(0), PartitionFrom::Offset(Offset(from))).unwrap();
        let read = read_until(&mut reader, |out| !out.is_empty());
        assert_eq!(read[0].offset, Offset(from));
        assert!(read.windows(2).all(|pair| pair[1].offset == pair[0].offset.next()));
    }
    let newest = log.extent(PartitionId(0)).newest_log_time;
    reader
        .add(PartitionId(0), PartitionFrom::Committed(Committed { next: Offset(1), log_time: Timestamp(1 << 50) }))
        .unwrap();
    assert_eq!(read_until(&mut reader, |out| !out.is_empty())[0].log_time, Timestamp(1 << 50), "log time does not go back");
    fill(&log, 0, 1);
    reader.add(PartitionId(0), PartitionFrom::LogTime(Timestamp(newest.0 + 1))).unwrap();
    let read = read_until(&mut reader, |out| !out.is_empty());
    assert!(read[0].log_time > newest && read[0].offset == Offset(5_000), "{:?}", read[0]);
    let error = reader.add(PartitionId(4), PartitionFrom::Beginning).unwrap_err();
    assert!(error.to_string().contains("has no partition 4, it has 4"), "{error}");
}

#[test]
fn each_partition_has_its_turn() {
    let Some(cluster) = shared() else { return };
    let log = KafkaLog::open(options(&cluster.brokers(), &prefix())).unwrap();
    (0..3).for_each(|partition| append(&log, (0..500).map(|_| record(partition, vec![b'x'; 436])).collect()));
    let mut reader = log.partitions_reader().unwrap();
    let each = |reader: &mut PartitionsReader, act: fn(&mut PartitionsReader, PartitionId)| {
        (0..3).for_each(|partition| act(reader, PartitionId(partition)));
    };
    let mut turns = Vec::new();
    wait("all three to have been fetched", || {
        each(&mut reader, |reader, partition| reader.add(partition, PartitionFrom::Beginning).unwrap());
        each(&mut reader, |reader, partition| reader.pause(partition, true));
        turns.clear();
        reader.read(&mut turns, 8_000, Duration::from_millis(200)).unwrap();
        assert_eq!(turns.len(), 0, "all are paused");
        each(&mut reader, |reader, partition| reader.pause(partition, false));
        reader.read(&mut turns, 8_000, Duration::from_secs(1)).unwrap();
        offsets(&turns).len() == 3
    });
    let counts: Vec<usize> = offsets(&turns).values().map(Vec::len).collect();
    // Four shares of 2,000 bytes, records of 500 with their overhead.
    assert_eq!((counts.iter().sum::<usize>(), counts.iter().max()), (16, Some(&8)), "{counts:?}");
    let mut one = Vec::new();
    reader.read(&mut one, 1, Duration::from_secs(1)).unwrap();
    assert_eq!(one.len(), 1, "at least one, however little is asked for");
}

#[test]
fn a_gap_is_told_until_it_is_skipped_and_others_go_on() {
    let Some(cluster) = shared() else { return };
    let (admin, mut slow) = (admin(&cluster.brokers()), options(&cluster.brokers(), &prefix()));
    slow.batch_bytes = 20_000;
    let log = KafkaLog::open(slow.clone()).unwrap();
    (0..50).for_each(|_| fill(&log, 0, 1));
    fill(&log, 1, 20);
    fill(&log, 2, 5);
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&slow.topic, 0, KafkaOffset::Offset(40)).unwrap();
    runtime().block_on(admin.delete_records(&before, &patient())).unwrap();
    let mut reader = log.partitions_reader().unwrap();
    reader.add(PartitionId(0), PartitionFrom::Offset(Offset(5))).unwrap();
    reader.add(PartitionId(1), PartitionFrom::Beginning).unwrap();
    reader.add(PartitionId(2), PartitionFrom::Offset(Offset(1_000))).unwrap();
    let (mut out, mut gaps) = (Vec::new(), Vec::new());
    let began = std::time::Instant::now();
    while offsets(&out).get(&1).map_or(0, Vec::len) < 20 || gaps.len() < 2 {
        assert!(began.elapsed() < PATIENCE, "{gaps:?}");
        match reader.read(&mut out, 1, Duration::from_millis(20)) {
            Err(error @ (ReadError::Gone { .. } | ReadError::Ahead { .. })) => gaps.push(error),
            result => result.unwrap(),
        }
    }
    assert_eq!(offsets(&out).keys().copied().collect::<Vec<u16>>(), [1], "nothing is passed over");
    let mut skip = |reader: &mut PartitionsReader| {
        let mut told = None;
        wait("the gap to be told", || {
            told = reader.read(&mut out, 1, Duration::from_millis(20)).err();
            told.is_some()
        });
        reader.skip_gap().unwrap();
        told.unwrap()
    };
    let told = [skip(&mut reader), skip(&mut reader)];
    assert!(
        told.iter()
            .any(|gap| matches!(gap, ReadError::Gone { partition: PartitionId(0), wanted: Offset(5), first: Offset(40) })),
        "{told:?}"
    );
    let ahead = |gap: &ReadError| {
        matches!(gap, ReadError::Ahead { partition: PartitionId(2), wanted: Offset(1_000), next: Offset(5) })
    };
    assert!(told.iter().any(ahead), "{told:?}");
    append(&log, vec![record(2, "behind")]);
    let rest = read_until(&mut reader, |out| out.len() >= 11);
    assert_eq!((offsets(&rest)[&0].clone(), offsets(&rest)[&2].clone()), ((40..50).collect(), vec![5]));
    assert!(payloads(&rest).contains(&"behind".to_owned()));
    assert!(log.extent(PartitionId(0)).truncated, "what is missing is known");
}
