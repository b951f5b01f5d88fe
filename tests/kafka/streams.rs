//! Streams between our processes: in order and without holes, whatever becomes of the brokers and the writer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use prefold::log::kafka::{KafkaStream, PartitionsReader, StreamOptions};
use prefold::log::topics::{PartitionFrom, Written};
use prefold::log::{AppendError, ReadError};
use prefold::model::{Offset, PartitionBy, PartitionId};

use super::broker::{create, delete};
use super::cluster::{Cluster, admin, shared};
use super::configs::alter;
use super::topics::{options, payloads, prefix, wait};
use rdkafka::admin::{NewTopic, TopicReplication};

fn stream_options(brokers: &str, topic: &str) -> StreamOptions {
    StreamOptions { connection: options(brokers, "unused"), topic: topic.to_owned(), partitions: 2, retention_ms: 7_200_000 }
}

fn numbered(number: usize) -> (PartitionId, Bytes) {
    (PartitionId((number % 2) as u16), Bytes::from(number.to_string()))
}

/// What a stream holds of one partition, once it holds so many records.
#[track_caller]
fn read(reader: &mut PartitionsReader, partition: u16, count: usize) -> Vec<String> {
    reader.add(PartitionId(partition), PartitionFrom::Beginning).unwrap();
    let mut out = Vec::new();
    wait("records", || {
        // While a broker is away, reading fails and is tried again.
        let _ = reader.read(&mut out, 1 << 20, Duration::from_millis(100));
        out.len() >= count
    });
    reader.remove(PartitionId(partition));
    payloads(&out)
}

#[test]
fn a_stream_is_whole_and_in_order_when_the_broker_dies_and_comes_back() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let stream = KafkaStream::open(stream_options(&cluster.brokers(), "partials")).unwrap();
    let writer = stream.writer().unwrap();
    let mut waiting: Vec<Written> = Vec::new();
    for number in 0..6_000 {
        match number {
            2_000 => cluster.kill_node(0),
            4_000 => cluster.start_node(0),
            _ => {}
        }
        let (partition, payload) = numbered(number);
        waiting.push(writer.append(partition, payload));
        if number % 100 == 0 {
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
    assert!(writer.queued_bytes() > 0);
    for (number, written) in waiting.into_iter().enumerate() {
        assert_eq!(written.blocking_recv().unwrap().unwrap(), Offset(number as u64 / 2), "record {number}");
    }
    assert_eq!((writer.queued_bytes(), writer.failed()), (0, None));
    let mut reader = stream.partitions_reader().unwrap();
    for partition in 0..2 {
        let expected: Vec<String> = (0..3_000).map(|place| (2 * place + partition).to_string()).collect();
        assert_eq!(read(&mut reader, partition as u16, 3_000), expected);
    }
    wait("the stream to know its end", || stream.extent(PartitionId(0)).next == Offset(3_000));

    // A writer that goes while the broker is silent is soon gone, and leaves no hole.
    cluster.signal_node(0, "STOP");
    let waiting: Vec<Written> =
        (0..1_000).map(|number| writer.append(numbered(2 * number).0, numbered(2 * number).1)).collect();
    std::thread::park_timeout(Duration::from_millis(100));
    let began = Instant::now();
    drop(writer);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    cluster.signal_node(0, "CONT");
    let outcomes: Vec<bool> =
        waiting.into_iter().map(|written| written.blocking_recv().is_ok_and(|it| it.is_ok())).collect();
    let taken = outcomes.iter().filter(|taken| **taken).count();
    assert!(outcomes[..taken].iter().all(|taken| *taken), "a tail is missing, no more");
    let after = stream.writer().unwrap();
    let last = after.append(PartitionId(0), Bytes::from_static(b"last")).blocking_recv().unwrap().unwrap();
    let read = read(&mut reader, 0, last.0 as usize + 1);
    let tail: Vec<String> = (0..read.len() - 3_001).map(|number| (2 * number).to_string()).collect();
    assert_eq!((&read[3_000..read.len() - 1], read.last().unwrap().as_str()), (&tail[..], "last"));
}

/// The brokers refuse a record for good: nothing behind it may be there.
#[test]
fn a_writer_stops_for_good_at_the_first_record_that_is_not_taken() {
    let Some(cluster) = shared() else { return };
    let topic = format!("{}.partials", prefix());
    let mut options = stream_options(&cluster.brokers(), &topic);
    // What is behind it goes in other batches, most of them on their way before it is refused.
    options.connection.batch_bytes = 2_000;
    let stream = KafkaStream::open(options).unwrap();
    let writer = stream.writer().unwrap();
    let append = |payload: Vec<u8>| writer.append(PartitionId(0), payload.into());
    append(b"first".to_vec()).blocking_recv().unwrap().unwrap();
    alter(cluster, &topic, "max.message.bytes=20000");
    // What cannot be compressed.
    let mut state = 1_u64;
    let large: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    })
    .take(100_000)
    .collect();
    let refused = append(large);
    let behind: Vec<Written> = (0..500).map(|number| append(number.to_string().into())).collect();
    let error = refused.blocking_recv().unwrap().unwrap_err();
    assert!(matches!(error, AppendError::Kafka { .. }), "{error}");
    for written in behind {
        assert!(written.blocking_recv().unwrap().is_err(), "a record is there behind one that is not");
    }
    assert!(writer.failed().is_some());
    let error = append(b"later".to_vec()).blocking_recv().unwrap().unwrap_err();
    assert!(error.retryable(), "{error}");
    let another = stream.writer().unwrap();
    another.append(PartitionId(0), Bytes::from_static(b"second")).blocking_recv().unwrap().unwrap();
    assert_eq!(read(&mut stream.partitions_reader().unwrap(), 0, 2), ["first", "second"]);

    // And of its own.
    let too_large = vec![0; stream.record_bytes_max() + 1];
    let error = another.append(PartitionId(1), too_large.into()).blocking_recv().unwrap().unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { .. }), "{error}");
    assert!(another.append(PartitionId(0), Bytes::new()).blocking_recv().unwrap().is_err());
}

#[test]
fn a_stream_is_checked_and_another_topic_is_not_taken_for_it() {
    let Some(cluster) = shared() else { return };
    let (admin, topic) = (admin(&cluster.brokers()), format!("{}.results", prefix()));
    create(&admin, &NewTopic::new(&topic, 3, TopicReplication::Fixed(1)).set("cleanup.policy", "compact,delete"));
    let error = KafkaStream::open(stream_options(&cluster.brokers(), &topic)).err().unwrap().to_string();
    for what in ["message.timestamp.type is CreateTime", "cleanup.policy is compact,delete"] {
        assert!(error.contains(what), "{error}");
    }
    delete(&admin, &topic);
    let mut stream = None;
    wait("the topic to be made", || {
        stream = KafkaStream::open(stream_options(&cluster.brokers(), &topic)).ok();
        stream.is_some()
    });
    let stream = stream.unwrap();
    let (writer, mut reader) = (stream.writer().unwrap(), stream.partitions_reader().unwrap());
    writer.append(PartitionId(1), Bytes::from_static(b"x")).blocking_recv().unwrap().unwrap();
    assert_eq!((stream.partitions(), read(&mut reader, 1, 1)), (2, vec!["x".to_owned()]));
    delete(&admin, &topic);
    wait("the stream to miss its topic", || {
        let answer = writer.append(PartitionId(1), Bytes::from_static(b"y")).blocking_recv().unwrap();
        matches!(answer, Err(AppendError::Replaced { .. }))
    });
    let error = reader.read(&mut Vec::new(), 1, Duration::ZERO).unwrap_err();
    assert!(matches!(&error, ReadError::Replaced { why } if why.contains("was deleted")), "{error}");
    stream.close();
    let (incarnation, again) =
        (stream.incarnation(), KafkaStream::open(stream_options(&cluster.brokers(), &topic)).unwrap());
    assert_ne!(again.incarnation(), incarnation);
    // The labels by which samples are partitioned are nothing to a stream.
    let mut by_job = stream_options(&cluster.brokers(), &topic);
    by_job.connection.partition_by = PartitionBy::new(["job"]);
    assert_eq!(KafkaStream::open(by_job).unwrap().incarnation(), again.incarnation());
    again.close();
    let mut reader = again.partitions_reader().unwrap();
    assert!(matches!(reader.read(&mut Vec::new(), 1, Duration::from_secs(60)), Err(ReadError::Closed)));
    let closed = again.writer().unwrap().append(PartitionId(0), Bytes::new()).blocking_recv().unwrap();
    assert!(matches!(closed, Err(AppendError::Closed)), "{closed:?}");
}
