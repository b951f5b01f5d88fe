//! Appends that brokers refuse: for a while, for good, or because they have forgotten who appends.

use std::time::Duration;

use rdkafka::types::RDKafkaApiKey::{InitProducerId, Produce};

use super::{Brokers, all, append, code, record, wait};
use crate::log::{AppendError, Log, ReadFrom};

/// What librdkafka tries again by itself, each a few times before the append is taken: it is there once.
#[test]
fn errors_that_pass_are_not_seen_by_who_appends() {
    let brokers = Brokers::start(2, 1);
    let log = brokers.log(brokers.options());
    let errors = [
        code!(RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION),
        code!(RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE),
        code!(RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS),
        code!(RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND),
        code!(RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT),
        code!(RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR),
        code!(RD_KAFKA_RESP_ERR__TRANSPORT),
    ];
    let mut expected = Vec::new();
    for error in errors {
        brokers.answer(Produce, &[error; 3]);
        let name = format!("{error:?}");
        append(&log, &name).unwrap_or_else(|refused| panic!("{name}: {refused}"));
        expected.push(name);
    }
    // And of several at once, with another error each time.
    brokers.answer(Produce, &errors);
    let waiting: Vec<_> = (0..200).map(|number| log.append(vec![record(0, &number.to_string())])).collect();
    waiting.into_iter().for_each(|answer| answer.blocking_recv().unwrap().unwrap());
    expected.extend((0..200).map(|number| number.to_string()));
    assert_eq!(all(&log), expected, "each once, in order");
    assert_eq!(log.stats().append_failures, 0);
}

#[test]
fn an_error_that_lasts_is_told_after_the_delivery_timeout_and_what_comes_later_is_taken() {
    let brokers = Brokers::start(1, 1);
    let mut options = brokers.options();
    (options.delivery_timeout, options.tick_interval) = (Duration::from_secs(1), Duration::from_secs(3600));
    let log = brokers.log(options);
    for error in [code!(RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS), code!(RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION)] {
        brokers.always_answer(Produce, error);
        let refused = append(&log, "lost").unwrap_err();
        assert!(matches!(&refused, AppendError::Kafka { .. }) && refused.retryable(), "{refused}");
        assert!(refused.to_string().contains("log.kafka.delivery_timeout; check the brokers"), "{refused}");
        brokers.0.clear_request_errors(Produce);
        append(&log, "after").unwrap();
    }
    assert_eq!(all(&log), ["after", "after"]);
    assert_eq!((log.stats().append_failures, log.stats().queued_bytes), (2, 0));
}

/// The sender is told to come again, because all of these are mended at the brokers, and told what to do there. The next
/// append is taken, as soon as the brokers take it.
#[test]
fn errors_that_do_not_pass_say_what_to_do_and_hold_up_nothing() {
    let brokers = Brokers::start(1, 1);
    let log = brokers.log(brokers.options());
    let refusals = [
        (code!(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED), "may not write to topic t: allow it, with kafka-acls.sh"),
        (code!(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE), "max.message.bytes of topic t was lowered"),
        (code!(RD_KAFKA_RESP_ERR_INVALID_RECORD), "the configuration of topic t was changed"),
        (code!(RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION), "Broker disconnected before response received"),
    ];
    for (error, told) in refusals {
        // A tick may come first, and is refused in its place.
        let mut refused = None;
        wait("an append to be refused", || {
            brokers.answer(Produce, &[error]);
            refused = append(&log, "refused").err();
            refused.is_some()
        });
        let refused = refused.unwrap();
        assert!(refused.retryable() && refused.to_string().contains(told), "{error:?}: {refused}");
        brokers.0.clear_request_errors(Produce);
        wait("an append to be taken", || append(&log, "taken").is_ok());
    }
}

/// The brokers have forgotten the producer's numbers, and librdkafka appends nothing more with it.
#[test]
fn a_producer_that_has_failed_for_good_is_replaced_and_nothing_waits_for_ever() {
    let brokers = Brokers::start(1, 1);
    let log = brokers.log(brokers.options());
    append(&log, "before").unwrap();
    for error in [
        code!(RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER),
        code!(RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID),
        code!(RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH),
    ] {
        brokers.answer(Produce, &[error]);
        let waiting: Vec<_> = (0..300).map(|number| log.append(vec![record(0, &number.to_string())])).collect();
        let refused = waiting.into_iter().filter_map(|answer| answer.blocking_recv().unwrap().err());
        for refused in refused {
            let told = refused.to_string();
            assert!(refused.retryable() && !matches!(refused, AppendError::Closed), "{error:?}: {told}");
            assert!(told.contains("what it knew of this producer"), "{error:?}: {told}");
        }
        wait("an append to be taken", || append(&log, "after").is_ok());
    }
    assert_eq!(log.stats().queued_bytes, 0);
}

/// Nobody can append before the brokers have given the producer a number: it is asked for until they do.
#[test]
fn a_number_for_the_producer_is_asked_for_until_it_is_given() {
    let brokers = Brokers::start(1, 1);
    brokers.answer(InitProducerId, &[code!(RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS); 2]);
    brokers.answer(InitProducerId, &[code!(RD_KAFKA_RESP_ERR__TRANSPORT); 2]);
    brokers.answer(InitProducerId, &[code!(RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT); 2]);
    let log = brokers.log(brokers.options());
    append(&log, "first").unwrap();
    assert_eq!(all(&log), ["first"]);
}

#[test]
fn brokers_that_are_away_or_slow_take_each_append_once() {
    let brokers = Brokers::start(2, 1);
    let log = brokers.log(brokers.options());
    let mut expected = Vec::new();
    for round in 0..2 {
        brokers.0.broker_down(-1).unwrap();
        let names: Vec<String> = (0..100).map(|number| format!("{round} {number}")).collect();
        let waiting: Vec<_> = names.iter().map(|name| log.append(vec![record(0, name)])).collect();
        std::thread::park_timeout(Duration::from_millis(300));
        brokers.0.broker_up(-1).unwrap();
        waiting.into_iter().for_each(|answer| answer.blocking_recv().unwrap().unwrap());
        expected.extend(names);
    }
    brokers.0.broker_round_trip_time(-1, Duration::from_millis(300)).unwrap();
    append(&log, "slow").unwrap();
    expected.push("slow".to_owned());
    assert_eq!(all(&log), expected);
}

/// A process that only reads has no producer; one appears with the first append, or where nobody else ticks.
#[test]
fn who_does_not_append_has_no_producer_until_it_does() {
    let brokers = Brokers::start(1, 1);
    let (mut reads, mut ticks) = (brokers.options(), brokers.options());
    (reads.appends, reads.tick_interval) = (false, Duration::from_secs(3600));
    let log = brokers.log(reads);
    assert!(!log.appender.is_open());
    append(&log, "one").unwrap();
    assert!(log.appender.is_open());
    assert_eq!(all(&log), ["one"]);
    drop(log);

    ticks.appends = false;
    let log = brokers.log(ticks);
    let mut reader = log.reader(ReadFrom::Beginning).unwrap();
    let mut out = Vec::new();
    wait("a tick", || {
        reader.read(&mut out, 1 << 20, Duration::from_millis(50)).unwrap();
        out.last().is_some_and(|record| record.is_tick())
    });
    assert!(log.appender.is_open());

    let mut wrong = brokers.options();
    (wrong.appends, wrong.linger) = (false, Duration::from_secs(3600));
    let (survey, message_bytes_max) = brokers.survey(&wrong);
    let error = crate::log::KafkaLog::over(wrong, survey, message_bytes_max).err().unwrap().to_string();
    assert!(error.contains("linger.ms"), "{error}");
}
