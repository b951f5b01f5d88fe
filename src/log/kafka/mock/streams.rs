//! Writing in order while brokers refuse something in the middle: whatever it is, it leaves no hole.

use std::time::Duration;

use bytes::Bytes;
use rdkafka::types::RDKafkaApiKey::Produce;
use rdkafka::types::RDKafkaRespErr;

use super::{ALWAYS, Brokers, Read, code, payloads, wait};
use crate::log::kafka::KafkaStream;
use crate::log::topics::{PartitionFrom, Written};
use crate::model::PartitionId;

const NONE: RDKafkaRespErr = code!(RD_KAFKA_RESP_ERR_NO_ERROR);

/// A stream of two partitions in batches of a few records, so that many are on their way at once.
fn stream(brokers: &Brokers) -> KafkaStream {
    let mut options = brokers.options();
    options.batch_bytes = 300;
    brokers.stream(options)
}

/// What both partitions hold, once a last record stands in each.
#[track_caller]
fn whole(stream: &KafkaStream) -> Read {
    let (writer, mut reader) = (stream.writer().unwrap(), stream.partitions_reader().unwrap());
    for partition in [0, 1].map(PartitionId) {
        writer.append(partition, Bytes::from_static(b"end")).blocking_recv().unwrap().unwrap();
        reader.add(partition, PartitionFrom::Beginning).unwrap();
    }
    let mut out = Vec::new();
    wait("the last records", || {
        let _ = reader.read(&mut out, 1 << 20, Duration::from_millis(50));
        out.iter().filter(|record| &record.payload[..] == b"end").count() == 2
    });
    let mut read = payloads(&out);
    read.values_mut().for_each(|of| assert_eq!(of.pop().as_deref(), Some("end")));
    read
}

/// Appends numbers with an error after a few requests, and says how many of each partition were acknowledged.
#[track_caller]
fn broken(stream: &KafkaStream, brokers: &Brokers, error: RDKafkaRespErr) -> [usize; 2] {
    let writer = stream.writer().unwrap();
    brokers.answer(Produce, &[NONE, NONE, NONE, error]);
    let waiting: Vec<Written> =
        (0..400_u16).map(|number| writer.append(PartitionId(number % 2), Bytes::from((number / 2).to_string()))).collect();
    let mut taken: [Vec<bool>; 2] = Default::default();
    for (number, written) in waiting.into_iter().enumerate() {
        taken[number % 2].push(written.blocking_recv().unwrap().is_ok());
    }
    let all_taken = taken.iter().flatten().all(|taken| *taken);
    assert_eq!(writer.failed().is_none(), all_taken, "{error:?}: {:?}", writer.failed());
    taken.map(|taken| {
        let count = taken.iter().take_while(|taken| **taken).count();
        assert!(!taken[count..].contains(&true), "{error:?}: one was acknowledged behind one that was not");
        count
    })
}

#[test]
fn an_error_in_the_middle_leaves_no_hole() {
    let passing = [
        code!(RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION),
        code!(RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS),
        code!(RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND),
        code!(RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT),
        code!(RD_KAFKA_RESP_ERR__TRANSPORT),
        // Nothing is on its way to it: it is numbered anew.
        code!(RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID),
    ];
    let lasting = [
        code!(RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION),
        code!(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
        code!(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE),
        code!(RD_KAFKA_RESP_ERR_INVALID_RECORD),
        code!(RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER),
        code!(RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH),
    ];
    for (error, passes) in passing.map(|error| (error, true)).into_iter().chain(lasting.map(|error| (error, false))) {
        let brokers = Brokers::start(1, 2);
        let stream = stream(&brokers);
        let acknowledged = broken(&stream, &brokers, error);
        assert_eq!(acknowledged == [200, 200], passes, "{error:?}: {acknowledged:?}");
        let read = whole(&stream);
        for (partition, acknowledged) in (0..).zip(acknowledged) {
            let read = read.get(&partition).map_or(&[][..], Vec::as_slice);
            let numbers: Vec<String> = (0..read.len()).map(|number| number.to_string()).collect();
            assert_eq!(read, numbers, "{error:?}: a hole, or one twice");
            assert!(read.len() >= acknowledged, "{error:?}: {} of {acknowledged} are there", read.len());
        }
    }
}

/// A writer waits for brokers as long as it takes.
#[test]
fn an_error_that_lasts_and_brokers_that_are_away_are_waited_for() {
    let brokers = Brokers::start(2, 2);
    let stream = stream(&brokers);
    let writer = stream.writer().unwrap();
    let write = |from: u16| -> Vec<Written> {
        (from..from + 100)
            .map(|number| writer.append(PartitionId(number % 2), Bytes::from((number / 2).to_string())))
            .collect()
    };
    brokers.0.request_errors(Produce, &vec![code!(RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS); ALWAYS]);
    let refused = write(0);
    std::thread::park_timeout(Duration::from_millis(500));
    brokers.0.broker_down(-1).unwrap();
    brokers.0.clear_request_errors(Produce);
    let away = write(100);
    std::thread::park_timeout(Duration::from_millis(500));
    assert!(writer.queued_bytes() > 0 && writer.failed().is_none());
    brokers.0.broker_up(-1).unwrap();
    refused.into_iter().chain(away).for_each(|written| assert!(written.blocking_recv().unwrap().is_ok()));
    let numbers: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(whole(&stream), Read::from([(0, numbers.clone()), (1, numbers)]));
}
