//! Reading while brokers refuse it: what there is comes once, in order, as soon as they give it.

use std::time::Duration;

use rdkafka::types::RDKafkaApiKey::{Fetch, ListOffsets, Metadata};
use rdkafka::types::RDKafkaRespErr;

use super::{Brokers, PATIENCE, Read, code, payloads, read_on, record, wait};
use crate::log::kafka::KafkaLog;
use crate::log::topics::PartitionFrom;
use crate::log::{Log, ReadError, ReadFrom};
use crate::model::{Offset, PartitionId};

const PARTITIONS: u16 = 3;

/// What brokers answer whose leaders move, whose disks fail, or whose links break.
const ERRORS: [RDKafkaRespErr; 9] = [
    code!(RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION),
    code!(RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE),
    code!(RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE),
    code!(RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE),
    code!(RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR),
    code!(RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION),
    code!(RD_KAFKA_RESP_ERR_UNKNOWN),
    code!(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
    code!(RD_KAFKA_RESP_ERR__TRANSPORT),
];

fn log(brokers: &Brokers) -> KafkaLog {
    let mut options = brokers.options();
    options.tick_interval = Duration::from_secs(3600);
    brokers.log(options)
}

/// Appends so many records from a number on, to the partitions in turn.
fn write(log: &KafkaLog, from: u16, count: u16) {
    let answers: Vec<_> =
        (from..from + count).map(|number| log.append(vec![record(number % PARTITIONS, &number.to_string())])).collect();
    answers.into_iter().for_each(|answer| answer.blocking_recv().unwrap().unwrap());
}

/// As they were appended.
fn written(from: u16, to: u16) -> Read {
    let of = |partition| (from..to).filter(move |number| number % PARTITIONS == partition).map(|number| number.to_string());
    (0..PARTITIONS).map(|partition| (partition, of(partition).collect())).collect()
}

#[test]
fn errors_of_fetches_lose_nothing_and_give_nothing_twice() {
    let brokers = Brokers::start(2, i32::from(PARTITIONS));
    let log = log(&brokers);
    write(&log, 0, 30);
    brokers.answer(Fetch, &ERRORS);
    let mut reader = log.reader(ReadFrom::Beginning).unwrap();
    assert_eq!(read_on(&mut *reader, 30), written(0, 30));
    for (round, error) in (0..).zip(ERRORS) {
        brokers.answer(Fetch, &[error; 3]);
        let from = 30 + 30 * round;
        write(&log, from, 30);
        assert_eq!(read_on(&mut *reader, 30), written(from, from + 30), "{error:?}");
    }
}

#[test]
fn errors_of_fetches_are_no_gaps_of_partitions_that_come_and_go() {
    let brokers = Brokers::start(2, i32::from(PARTITIONS));
    let log = log(&brokers);
    let mut reader = log.partitions_reader().unwrap();
    write(&log, 0, 30);
    brokers.answer(Fetch, &ERRORS);
    let mut out = Vec::new();
    for partition in (0..PARTITIONS).map(PartitionId) {
        reader.add(partition, PartitionFrom::Beginning).unwrap();
        brokers.answer(Fetch, &ERRORS);
        wait("records of a partition that came", || {
            if let Err(error) = reader.read(&mut out, 1 << 20, Duration::from_millis(50)) {
                assert!(matches!(error, ReadError::Kafka { .. }), "{error}");
            }
            out.iter().filter(|record| record.partition == partition).count() == 10
        });
    }
    assert_eq!(payloads(&out), written(0, 30));
}

/// A question is asked again until there is an answer.
#[test]
fn errors_of_the_question_where_partitions_begin_and_end_pass() {
    let brokers = Brokers::start(1, i32::from(PARTITIONS));
    let log = log(&brokers);
    write(&log, 0, 30);
    for error in ERRORS {
        brokers.answer(ListOffsets, &[error; 3]);
        brokers.answer(Metadata, &[code!(RD_KAFKA_RESP_ERR__TRANSPORT)]);
        let mut reader = log.reader(ReadFrom::Beginning).unwrap_or_else(|refused| panic!("{error:?}: {refused}"));
        assert_eq!(read_on(&mut *reader, 30), written(0, 30), "{error:?}");
        let mut reader = log.partitions_reader().unwrap();
        brokers.answer(ListOffsets, &[error; 3]);
        reader.add(PartitionId(1), PartitionFrom::Beginning).unwrap_or_else(|refused| panic!("{error:?}: {refused}"));
    }
    brokers.0.clear_request_errors(ListOffsets);
}

/// Else a topic would seem to be empty, and positions in it to lie behind its end.
#[test]
fn a_question_that_is_not_answered_has_no_answer() {
    let brokers = Brokers::start(2, i32::from(PARTITIONS));
    let log = log(&brokers);
    write(&log, 0, 30);
    assert_eq!(log.survey.ends().unwrap(), vec![Offset(10); usize::from(PARTITIONS)]);
    brokers.0.broker_round_trip_time(-1, Duration::from_secs(60)).unwrap();
    for answer in [log.survey.ends(), log.survey.beginnings(), log.survey.next_of(PartitionId(0)).map(|next| vec![next])] {
        assert!(answer.is_err(), "{answer:?}");
    }
}

/// A broker says that a place is not there, and it is: what was read before it may be gone, so that is told. Nothing is lost
/// behind it, however often that happens.
#[test]
fn a_place_that_a_broker_denies_is_told_and_read_on_from() {
    let brokers = Brokers::start(1, 1);
    let log = log(&brokers);
    let append = |number: u64| log.append(vec![record(0, &number.to_string())]).blocking_recv().unwrap().unwrap();
    let mut reader = log.reader(ReadFrom::Beginning).unwrap();
    append(0);
    assert_eq!(read_on(&mut *reader, 1), Read::from([(0, vec!["0".to_owned()])]));
    for next in 1..=12 {
        let (mut out, mut told) = (Vec::new(), None);
        wait("the gap", || {
            // An error that comes with the news that the end was reached is not told.
            brokers.0.clear_request_errors(Fetch);
            brokers.answer(Fetch, &[code!(RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)]);
            told = reader.read(&mut out, 1 << 20, Duration::from_millis(1500)).err();
            told.is_some()
        });
        brokers.0.clear_request_errors(Fetch);
        let told = told.unwrap();
        let is_at =
            |next: u64| matches!(&told, ReadError::Ahead { wanted, next: end, .. } if wanted.0 == next && end.0 == next);
        assert!(is_at(next) && out.is_empty(), "{told}");
        reader.skip_gap().unwrap();
        append(next);
        assert_eq!(read_on(&mut *reader, 1), Read::from([(0, vec![next.to_string()])]));
    }
}

#[test]
fn brokers_that_are_away_or_slow_are_read_on_from() {
    let brokers = Brokers::start(2, i32::from(PARTITIONS));
    let log = log(&brokers);
    let mut reader = log.reader(ReadFrom::Beginning).unwrap();
    for round in 0..2 {
        write(&log, 30 * round, 30);
        brokers.0.broker_down(-1).unwrap();
        let mut out = Vec::new();
        for _ in 0..10 {
            let _ = reader.read(&mut out, 1 << 20, Duration::from_millis(30));
        }
        brokers.0.broker_up(-1).unwrap();
        let given = out.len();
        let rest = read_on_from(&mut *reader, out, 30);
        assert_eq!(rest, written(30 * round, 30 * round + 30), "{given} were there before");
    }
    brokers.0.broker_round_trip_time(-1, Duration::from_millis(300)).unwrap();
    write(&log, 60, 30);
    assert_eq!(read_on(&mut *reader, 30), written(60, 90));
}

#[track_caller]
fn read_on_from(reader: &mut dyn crate::log::LogReader, mut out: Vec<crate::log::LogRecord>, count: usize) -> Read {
    let began = std::time::Instant::now();
    while out.len() < count {
        let _ = reader.read(&mut out, 1 << 20, Duration::from_millis(50));
        assert!(began.elapsed() < PATIENCE, "read {} of {count}", out.len());
    }
    payloads(&out)
}
