//! Consumer groups whose coordinator refuses, forgets or is away: importing goes on with nothing lost, and partitions are ours
//! again.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::mocking::MockCoordinator;
use rdkafka::types::RDKafkaApiKey::{Fetch, FindCoordinator, Heartbeat, JoinGroup, OffsetCommit, OffsetFetch, SyncGroup};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::{Brokers, code, record, wait};
use crate::log::Log;
use crate::log::kafka::{ImportReader, KafkaLog, Membership};
use crate::model::{Offset, PartitionId, Position, Timestamp};

const PARTITIONS: u16 = 4;

/// The mock cluster lets a member that it refused join again when its session ends.
const SESSION: Duration = Duration::from_secs(6);

/// What a coordinator answers whoever wants to be in the group, or to stay, or to know or tell positions.
const COORDINATOR: [RDKafkaRespErr; 4] = [
    code!(RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE),
    code!(RD_KAFKA_RESP_ERR_NOT_COORDINATOR),
    code!(RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS),
    code!(RD_KAFKA_RESP_ERR__TRANSPORT),
];

/// What it answers a member that it does not know as it thinks it is.
const MEMBER: [RDKafkaRespErr; 3] = [
    code!(RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS),
    code!(RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION),
    code!(RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID),
];

/// Requests in the order in which a member makes them.
const TO_JOIN: [RDKafkaApiKey; 4] = [FindCoordinator, JoinGroup, SyncGroup, OffsetFetch];

fn log(brokers: &Brokers) -> KafkaLog {
    let mut options = brokers.options();
    options.tick_interval = Duration::from_secs(3600);
    brokers.log(options)
}

fn join(brokers: &Brokers) -> ImportReader {
    ImportReader::join(&brokers.options(), "g", vec![super::TOPIC.to_owned()]).unwrap()
}

/// Appends so many records, each another number.
fn write(log: &KafkaLog, from: u16, count: u16) {
    let answers: Vec<_> =
        (from..from + count).map(|number| log.append(vec![record(number % PARTITIONS, &number.to_string())])).collect();
    answers.into_iter().for_each(|answer| answer.blocking_recv().unwrap().unwrap());
}

/// Imports until all numbers of a range have come, and returns all that came.
#[track_caller]
fn import(reader: &mut ImportReader, from: u16, to: u16, refused: RDKafkaApiKey) -> Vec<u16> {
    let mut came = Vec::new();
    let wanted: BTreeSet<u16> = (from..to).collect();
    wait(&format!("records, {refused:?} refused"), || {
        let batch = reader.read(1 << 20, Duration::from_millis(50));
        assert!(batch.gone.is_empty(), "nothing was deleted");
        came.extend(
            batch.records.iter().map(|record| std::str::from_utf8(&record.payload).unwrap().parse::<u16>().unwrap()),
        );
        reader.done(&batch);
        wanted.is_subset(&came.iter().copied().collect())
    });
    came
}

/// Each request in turn, each with brokers of its own: they take their time to see who else comes.
fn with_each(requests: &[RDKafkaApiKey], test: impl Fn(RDKafkaApiKey) + Sync) {
    std::thread::scope(|scope| {
        for request in requests {
            scope.spawn(|| test(*request));
        }
    });
}

#[test]
fn importing_joins_a_group_whatever_its_coordinator_answers_first() {
    with_each(&TO_JOIN, |request| {
        let brokers = Brokers::start(2, i32::from(PARTITIONS));
        let log = log(&brokers);
        write(&log, 0, 40);
        // After each refusal of this kind the mock waits for the end of a session.
        let errors = if request == SyncGroup { 1 } else { COORDINATOR.len() };
        brokers.answer(request, &COORDINATOR[..errors]);
        let mut reader = join(&brokers);
        let mut came = import(&mut reader, 0, 40, request);
        came.sort_unstable();
        assert_eq!(came, (0..40).collect::<Vec<u16>>(), "{request:?}: each once");
        drop(reader);
        // The next one begins where this one was.
        write(&log, 40, 40);
        if [JoinGroup, SyncGroup].contains(&request) {
            brokers.answer(request, &MEMBER[..1]);
        }
        let mut came = import(&mut join(&brokers), 40, 80, request);
        came.sort_unstable();
        assert_eq!(came, (40..80).collect::<Vec<u16>>(), "{request:?}: positions were told when the group was left");
    });
}

/// The coordinator answers long before the partitions' leader does.
#[test]
fn importing_goes_on_where_the_group_stands_however_slow_the_leaders_are() {
    let brokers = Brokers::start(2, i32::from(PARTITIONS));
    let (coordinator, leader) = (1, 2);
    brokers.0.coordinator(MockCoordinator::Group("g".to_owned()), coordinator).unwrap();
    for partition in 0..i32::from(PARTITIONS) {
        brokers.0.partition_leader(super::TOPIC, partition, Some(leader)).unwrap();
    }
    let log = log(&brokers);
    write(&log, 0, 40);
    import(&mut join(&brokers), 0, 40, JoinGroup);
    write(&log, 40, 40);
    brokers.0.broker_round_trip_time(leader, Duration::from_millis(700)).unwrap();
    // What is asked for at first is not given at once.
    brokers.answer(Fetch, &[code!(RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR)]);
    let came = import(&mut join(&brokers), 40, 80, JoinGroup);
    assert_eq!(came.into_iter().min(), Some(40), "nothing is read again");
}

#[test]
fn importing_loses_nothing_when_positions_are_refused_or_the_member_is_forgotten() {
    let brokers = Brokers::start(1, i32::from(PARTITIONS));
    let log = log(&brokers);
    write(&log, 0, 40);
    let mut reader = join(&brokers);
    import(&mut reader, 0, 40, OffsetCommit);
    for (round, errors) in (1..).zip([&COORDINATOR[..], &MEMBER]) {
        brokers.answer(OffsetCommit, errors);
        brokers.answer(Heartbeat, &errors[..2]);
        write(&log, 40 * round, 40);
        // What comes twice is no loss.
        import(&mut reader, 40 * round, 40 * round + 40, Heartbeat);
    }
    drop(reader);
    brokers.0.clear_request_errors(OffsetCommit);
    brokers.0.clear_request_errors(Heartbeat);
    write(&log, 120, 40);
    import(&mut join(&brokers), 120, 160, OffsetCommit);
}

/// A coordinator that takes no more positions is not waited for; what it was not told is read again.
#[test]
fn importing_ends_while_positions_cannot_be_told() {
    let brokers = Brokers::start(1, i32::from(PARTITIONS));
    let log = log(&brokers);
    write(&log, 0, 40);
    let mut reader = join(&brokers);
    brokers.always_answer(OffsetCommit, code!(RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS));
    import(&mut reader, 0, 40, OffsetCommit);
    drop(reader);
    brokers.0.clear_request_errors(OffsetCommit);
    import(&mut join(&brokers), 0, 40, OffsetCommit);
}

/// All partitions are ours, come what may, and positions are told in the end.
#[test]
fn a_member_has_its_partitions_and_tells_positions_whatever_the_coordinator_answers_first() {
    with_each(&TO_JOIN[..3], |request| {
        let brokers = Brokers::start(2, i32::from(PARTITIONS));
        brokers.answer(request, &COORDINATOR);
        let membership = Membership::join(&brokers.options(), "g", super::TOPIC, SESSION).unwrap();
        let owns_all = || membership.owned().len() == usize::from(PARTITIONS);
        wait(&format!("the partitions, {request:?} refused"), owns_all);
        for (round, errors) in (1..).zip([&COORDINATOR[..], &MEMBER]) {
            brokers.answer(OffsetCommit, errors);
            brokers.answer(OffsetFetch, &COORDINATOR);
            let position = |partition| Position {
                partition: PartitionId(partition),
                next: Offset(10 * round + u64::from(partition)),
                log_time: Timestamp(round as i64),
            };
            let positions: Vec<Position> = (0..PARTITIONS).map(position).collect();
            let is_told = |position: &Position| {
                let found = membership.committed(position.partition).ok().flatten();
                found.is_some_and(|found| (found.next, found.log_time) == (position.next, position.log_time))
            };
            wait("positions to be told", || {
                // Who loses a partition meanwhile, and gets it again, hands its position over again.
                membership.commit(&positions);
                positions.iter().all(is_told)
            });
            wait("the partitions, still or again", owns_all);
        }
    });
}
