//! Kafka itself: Apache's broker, started by the tests, and the log that Prefold keeps in it.
//!
//! Sees what a mock would not: what a real broker refuses, when it acknowledges, what it deletes, what a client is told when
//! it dies. Needs Java and Maven; without them these tests fail in CI and are skipped, with a message, elsewhere.

mod broker;
mod chaos;
pub mod cluster;
mod compaction;
mod configs;
mod contract;
pub mod fleet;
mod groups;
pub mod host;
mod imports;
mod jars;
mod links;
mod loss;
mod namespaces;
mod pages;
mod partitioned;
mod partitions;
mod process;
mod proxy;
mod roles;
mod security;
mod sinks;
mod streams;
mod tables;
pub mod topics;
mod versions;
mod workers;

use std::time::Duration;

use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Message, Timestamp};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use cluster::{Cluster, admin, patient, shared};

/// The brokers of the tests do what the log relies on: append times, positions by time, and data that survives SIGKILL.
#[tokio::test]
async fn kafka_a_broker_keeps_what_it_acknowledged_when_it_is_killed() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let topic = NewTopic::new("t", 2, TopicReplication::Fixed(1)).set("message.timestamp.type", "LogAppendTime");
    let made = admin(&cluster.brokers()).create_topics([&topic], &patient()).await.unwrap();
    assert!(made[0].is_ok(), "{made:?}");
    let config = |group: &str| {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.brokers());
        if !group.is_empty() {
            config.set("group.id", group);
        }
        config
    };
    let producer: BaseProducer = config("").set("enable.idempotence", "true").create().unwrap();
    producer.send(BaseRecord::<(), str>::to("t").partition(1).payload("kept")).unwrap();
    producer.flush(Duration::from_secs(60)).unwrap();
    assert_eq!(producer.in_flight_count(), 0);
    let consumer: BaseConsumer = config("g").create().unwrap();
    cluster.kill_node(0);
    cluster.start_node(0);
    cluster.wait().unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset("t", 1, Offset::Beginning).unwrap();
    consumer.assign(&from).unwrap();
    // While the broker was away its absence was reported; what comes at last is the record.
    let message = std::iter::repeat_with(|| consumer.poll(Duration::from_secs(1))).flatten().find_map(Result::ok).unwrap();
    assert_eq!((message.payload(), message.offset()), (Some(&b"kept"[..]), 0));
    assert!(matches!(message.timestamp(), Timestamp::LogAppendTime(ms) if ms > 0), "{:?}", message.timestamp());
}

#[test]
fn kafka_the_shared_cluster_answers() {
    let Some(cluster) = shared() else { return };
    let found = admin(&cluster.brokers()).inner().fetch_metadata(None, Duration::from_secs(60)).unwrap();
    assert_eq!(found.brokers().len(), 1);
}
