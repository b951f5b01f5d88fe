//! What only a log in Kafka has to cope with: brokers that die, topics that are not what they should be, or not what they
//! were, and records that were deleted while somebody read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prefold::log::{AppendError, Log, ReadError, ReadFrom};
use prefold::model::{Offset, PartitionId};
use rdkafka::admin::{AdminClient, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::cluster::{Cluster, admin, patient, shared};
use super::topics::{append, open, options, payloads, prefix, read, read_on, record, wait};

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub fn create(admin: &AdminClient<DefaultClientContext>, topic: &NewTopic<'_>) {
    let made = runtime().block_on(admin.create_topics([topic], &patient())).unwrap();
    assert!(made[0].is_ok(), "{made:?}");
}

pub fn delete(admin: &AdminClient<DefaultClientContext>, topic: &str) {
    let gone = runtime().block_on(admin.delete_topics(&[topic], &patient())).unwrap();
    assert!(gone[0].is_ok(), "{gone:?}");
}

#[test]
fn nothing_acknowledged_is_lost_when_the_broker_is_killed_again_and_again() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let log = open(options(&cluster.brokers(), "t")).unwrap();
    let mut reader = log.reader(ReadFrom::Beginning).unwrap();
    let (mut acknowledged, mut number) = (Vec::new(), 0);
    for _ in 0..2 {
        let mut waiting = Vec::new();
        for index in 0..600 {
            if index == 200 {
                cluster.kill_node(0);
            }
            if index == 400 {
                cluster.start_node(0);
            }
            number += 1;
            waiting.push((number, log.append(vec![record((number % 4) as u16, number.to_string())])));
        }
        for (number, answer) in waiting {
            match answer.blocking_recv().unwrap() {
                Ok(()) => acknowledged.push(number),
                Err(error) => assert!(error.retryable(), "{error}"),
            }
        }
        cluster.wait().unwrap();
    }
    append(&*log, (0..4).map(|partition| record(partition, "last")).collect());
    let mut seen = Vec::new();
    while seen.iter().filter(|text| *text == "last").count() < 4 {
        let mut out = Vec::new();
        // While the broker was away, reading fails and is tried again.
        let _ = reader.read(&mut out, 1 << 20, Duration::from_secs(1));
        seen.extend(payloads(&out));
    }
    let numbers: Vec<u32> = seen.iter().filter_map(|text| text.parse().ok()).collect();
    let mut once = numbers.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), numbers.len(), "a record is there twice");
    assert!(acknowledged.len() > 200 && acknowledged.iter().all(|number| once.binary_search(number).is_ok()));
}

/// A partition's leader dies, and another broker that has all of it leads on.
#[test]
fn three_brokers_lose_nothing_when_one_dies() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let options = options(&cluster.brokers(), "t");
    let log = open(options.clone()).unwrap();
    let mut reader = log.reader(ReadFrom::Beginning).unwrap();
    for round in 0..3 {
        if round > 0 {
            cluster.kill_node(round);
        }
        let sent: Vec<String> = (0..200).map(|index| format!("{round} {index}")).collect();
        let waiting: Vec<_> =
            sent.iter().zip(0..).map(|(text, place)| log.append(vec![record(place % 4, text.clone())])).collect();
        let outcomes: Vec<bool> = waiting.into_iter().map(|answer| answer.blocking_recv().unwrap().is_ok()).collect();
        assert!(outcomes.iter().all(|taken| *taken), "two brokers of three acknowledge everything");
        let mut read = payloads(&read_on(&mut *reader, sent.len()));
        read.sort();
        let mut sent = sent;
        sent.sort();
        assert_eq!(read, sent, "each once, round {round}");
        if round > 0 {
            cluster.start_node(round);
            cluster.wait().unwrap();
            // Two must have all of it before another dies.
            wait("the broker to catch up", || in_sync(&cluster, &options.topic) == 3);
        }
    }
}

/// The least number of replicas in sync over the partitions of a topic.
fn in_sync(cluster: &Cluster, topic: &str) -> usize {
    let found = admin(&cluster.brokers()).inner().fetch_metadata(Some(topic), Duration::from_secs(60)).unwrap();
    found.topics()[0].partitions().iter().map(|partition| partition.isr().len()).min().unwrap()
}

#[test]
fn what_a_paused_broker_does_not_acknowledge_is_answered_with_an_error_that_passes() {
    let Some(cluster) = Cluster::start(1) else { return };
    let mut impatient = options(&cluster.brokers(), "t");
    impatient.delivery_timeout = Duration::from_secs(2);
    let log = open(impatient).unwrap();
    append(&*log, vec![record(0, "before")]);
    cluster.signal_node(0, "STOP");
    let error = log.append(vec![record(0, "a"), record(1, "b")]).blocking_recv().unwrap().unwrap_err();
    assert!(matches!(&error, AppendError::Kafka { .. }) && error.retryable(), "{error}");
    assert!(error.to_string().contains("log.kafka.delivery_timeout"), "{error}");
    assert_eq!((log.stats().append_failures, log.stats().queued_bytes), (1, 0));
    cluster.signal_node(0, "CONT");
    wait("appends to be taken again", || log.append(vec![record(0, "after")]).blocking_recv().unwrap().is_ok());
}

/// Whoever waits is answered, and nobody waits for what no broker will say.
#[test]
fn a_log_whose_brokers_are_gone_is_soon_closed() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let log = open(options(&cluster.brokers(), "t")).unwrap();
    append(&*log, vec![record(0, "before")]);
    let reader = log.reader(ReadFrom::Beginning).unwrap();
    cluster.kill_node(0);
    let unanswered = log.append(vec![record(0, "after")]);
    let began = std::time::Instant::now();
    log.close();
    assert!(unanswered.blocking_recv().unwrap().is_err());
    drop((reader, log));
    // Less than deliveries may take.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_topic_that_cannot_hold_the_log_is_refused_with_what_mends_it() {
    let Some(cluster) = shared() else { return };
    let (admin, prefix) = (admin(&cluster.brokers()), prefix());
    let topic = format!("{prefix}.samples");
    let compacted = NewTopic::new(&topic, 4, TopicReplication::Fixed(1)).set("cleanup.policy", "compact");
    create(&admin, &compacted.set("retention.ms", "60000"));
    let error = open(options(&cluster.brokers(), &prefix)).err().unwrap().to_string();
    for (what, set) in [
        ("message.timestamp.type is CreateTime", "message.timestamp.type=LogAppendTime"),
        ("cleanup.policy is compact", "cleanup.policy=delete"),
        ("retention.ms is 60000", "retention.ms=21600000"),
    ] {
        let command = format!("--alter --entity-type topics --entity-name {topic} --add-config {set}");
        assert!(error.contains(what) && error.contains(&command), "{error}");
    }
}

#[test]
fn a_broker_that_is_not_there_is_said_with_what_to_check() {
    if shared().is_none() {
        return;
    }
    let mut options = options("127.0.0.1:1", "t");
    options.open_timeout = Duration::from_millis(10);
    let error = open(options).err().unwrap().to_string();
    assert!(error.contains("cannot reach Kafka at 127.0.0.1:1") && error.contains("log.kafka.brokers"), "{error}");
}

#[test]
fn a_topic_made_anew_is_another_log() {
    let Some(cluster) = shared() else { return };
    let (admin, prefix) = (admin(&cluster.brokers()), prefix());
    let mut watchful = options(&cluster.brokers(), &prefix);
    watchful.tick_interval = Duration::from_millis(200);
    let log = open(watchful.clone()).unwrap();
    append(&*log, vec![record(0, "before")]);
    let mut reader = log.reader(ReadFrom::Beginning).unwrap();
    assert_eq!(payloads(&read_on(&mut *reader, 1)), ["before"]);
    delete(&admin, &watchful.topic);
    wait("the log to miss its topic", || {
        let answer = log.append(vec![record(0, "during")]).blocking_recv().unwrap();
        matches!(answer, Err(AppendError::Replaced { .. }))
    });
    let read = reader.read(&mut Vec::new(), 1, Duration::from_secs(60)).unwrap_err();
    assert!(matches!(&read, ReadError::Replaced { why } if why.contains("restart Prefold")), "{read}");
    let before = log.incarnation();
    drop((reader, log));
    watchful.known_incarnation = Some(before);
    let log = open(watchful).unwrap();
    assert_ne!(log.incarnation(), before);
    append(&*log, vec![record(0, "after")]);
    assert_eq!(payloads(&super::topics::read(&*log, ReadFrom::Beginning, 1)), ["after"]);
}

#[test]
fn another_partition_count_is_refused_by_whoever_knew_the_first() {
    let Some(cluster) = shared() else { return };
    let (admin, prefix) = (admin(&cluster.brokers()), prefix());
    let mut watchful = options(&cluster.brokers(), &prefix);
    watchful.tick_interval = Duration::from_millis(200);
    let log = open(watchful.clone()).unwrap();
    append(&*log, vec![record(0, "four")]);
    let grown = NewPartitions::new(&watchful.topic, 6);
    let grown = runtime().block_on(admin.create_partitions([&grown], &patient())).unwrap();
    assert!(grown[0].is_ok(), "{grown:?}");
    wait("the log to see it", || {
        let answer = log.append(vec![record(0, "four")]).blocking_recv().unwrap();
        matches!(answer, Err(AppendError::Replaced { why }) if why.contains("has 6 partitions now and had 4"))
    });
    watchful.known_incarnation = Some(log.incarnation());
    drop(log);
    let error = open(watchful.clone()).err().unwrap().to_string();
    assert!(error.contains("has 6 partitions now and had 4") && error.contains("kafka-topics.sh --delete"), "{error}");
    watchful.known_incarnation = None;
    assert_eq!(open(watchful).unwrap().partitions(), 6);
}

#[test]
fn records_deleted_before_they_were_read_are_a_gap() {
    let Some(cluster) = shared() else { return };
    let (admin, prefix) = (admin(&cluster.brokers()), prefix());
    let mut slow = options(&cluster.brokers(), &prefix);
    slow.batch_bytes = 20_000;
    let log = open(slow.clone()).unwrap();
    let mut reader = log.reader(ReadFrom::Beginning).unwrap();
    append(&*log, vec![record(0, "first")]);
    assert_eq!(payloads(&read_on(&mut *reader, 1)), ["first"]);
    let positions = |next| {
        let log_time = prefold::model::Timestamp::MIN;
        ReadFrom::Positions(vec![prefold::model::Position { partition: PartitionId(0), next: Offset(next), log_time }])
    };
    let mut paused = log.reader(positions(1)).unwrap();
    (0..50).for_each(|index| append(&*log, vec![record(0, format!("{index}"))]));
    // More than a reader fetches ahead is not needed: it is told to read again from a place that is gone.
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&slow.topic, 0, KafkaOffset::Offset(40)).unwrap();
    runtime().block_on(admin.delete_records(&before, &patient())).unwrap();
    let gone = log.reader(positions(5)).err().unwrap();
    assert!(matches!(gone, ReadError::Gone { wanted: Offset(5), first: Offset(40), .. }), "{gone}");
    let extent = log.extent(PartitionId(0));
    assert!(extent.truncated && extent.first == Offset(40) && extent.next == Offset(51), "{extent:?}");
    let rest = read(&*log, ReadFrom::Beginning, 11);
    assert_eq!((rest[0].offset, rest[0].log_time), (Offset(40), extent.first_log_time));
    // One that had fetched them has them; one that had not says so, and goes on behind the gap.
    let mut out = Vec::new();
    loop {
        match paused.read(&mut out, 1, Duration::from_secs(1)) {
            Err(ReadError::Gone { wanted, first, .. }) => {
                assert_eq!((wanted.0, first), (1 + out.len() as u64, Offset(40)));
                assert!(
                    matches!(paused.read(&mut out, 1, Duration::ZERO), Err(ReadError::Gone { .. })),
                    "until it is noted"
                );
                paused.skip_gap().unwrap();
                out.clear();
            }
            result => drop(result.unwrap()),
        }
        if out.last().is_some_and(|record| record.offset == Offset(50)) {
            break;
        }
    }
}

#[test]
fn two_gateways_share_a_topic_and_its_ticks() {
    let Some(cluster) = shared() else { return };
    let prefix = prefix();
    let mut ticking = options(&cluster.brokers(), &prefix);
    ticking.tick_interval = Duration::from_millis(400);
    let (one, other) = (open(ticking.clone()).unwrap(), open(ticking).unwrap());
    assert_eq!(one.incarnation(), other.incarnation());
    let (mut reader, mut out) = (one.reader(ReadFrom::Beginning).unwrap(), Vec::new());
    let ticks = |out: &[prefold::log::LogRecord], partition: u16| {
        out.iter().filter(|record| record.partition.0 == partition && record.is_tick()).count()
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Only the other appends to partition 1: neither needs to tick there.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                append(&*other, vec![record(1, "other")]);
                append(&*one, vec![record(2, "one")]);
            }
        });
        while ticks(&out, 0) < 12 {
            reader.read(&mut out, 1 << 20, Duration::from_millis(20)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    let (idle, others, ours) = (ticks(&out, 0), ticks(&out, 1), ticks(&out, 2));
    assert!(others <= idle / 2 && ours <= idle / 2, "{idle}, {others} and {ours}");
    let (mine, theirs) = (one.stats().appended_records, other.stats().appended_records);
    wait("each to see what the other appended", || {
        let total = |log: &dyn Log| (0..4).map(|p| log.extent(PartitionId(p)).next.0).sum::<u64>();
        total(&*one) >= mine + theirs && total(&*other) >= mine + theirs
    });
}
