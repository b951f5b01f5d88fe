//! A table whose topic the broker has compacted: most of its records are gone, and it holds what it held.
//!
//! Sees what topics made by tests do not show, because brokers compact after minutes: offsets with holes, keys of which only
//! the last record is left, and keys whose deletion is not told any more.

use std::time::Duration;

use bytes::Bytes;
use prefold::log::kafka::{KafkaTable, TableOptions};
use prefold::log::topics::TableEntry;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::cluster::Cluster;
use super::configs::alter;
use super::topics::{options, wait};

/// A cleaner that does not wait, in little memory.
const EAGER: &str = "log.cleaner.enable=true\nlog.cleaner.threads=1\nlog.cleaner.backoff.ms=100\n\
                     log.cleaner.dedupe.buffer.size=4194304\nlog.cleaner.io.buffer.size=65536\n\
                     log.segment.delete.delay.ms=100\nlog.retention.check.interval.ms=200\n";

fn put(table: &KafkaTable, key: &str, value: Option<&str>) {
    table.put(key, value.map(|value| Bytes::copy_from_slice(value.as_bytes()))).blocking_recv().unwrap().unwrap();
}

/// All that a table holds, offsets and log times with it.
#[track_caller]
fn held(table: &KafkaTable) -> Vec<(String, TableEntry)> {
    table.catch_up().unwrap();
    table.with(|entries| entries.iter().map(|(key, entry)| (key.clone(), entry.clone())).collect())
}

/// The topic's records as they stand: offset, key, whether there is a value.
fn records(cluster: &Cluster, topic: &str) -> Vec<(i64, String, bool)> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.brokers()).set("group.id", "unused").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&from).unwrap();
    let mut records = Vec::new();
    loop {
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(message)) => {
                let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
                records.push((message.offset(), key, message.payload().is_some()));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return records,
            Some(Err(_)) | None => {}
        }
    }
}

#[test]
fn a_table_that_was_compacted_holds_what_it_held() {
    let Some(cluster) = Cluster::start_with(1, |_| EAGER.to_owned()) else { return };
    let topic = "positions";
    let open = || {
        let connection = options(&cluster.brokers(), "unused");
        KafkaTable::open(TableOptions { connection, topic: topic.to_owned() }).unwrap()
    };
    let table = open();
    alter(&cluster, topic, "segment.ms=200,min.cleanable.dirty.ratio=0.001,delete.retention.ms=0");
    put(&table, "gone", Some("x"));
    for number in 0..200 {
        put(&table, &format!("k{}", number % 5), Some(&number.to_string()));
    }
    put(&table, "gone", None);
    put(&table, "k4", None);
    put(&table, "kept", Some("first"));
    // What is written last is not compacted: files are closed by what comes after them.
    let (mut number, mut left) = (0, Vec::new());
    wait("the broker to compact", || {
        number += 1;
        put(&table, "last", Some(&number.to_string()));
        left = records(&cluster, topic);
        let of = |wanted: &str| left.iter().filter(|(_, key, _)| key == wanted).count();
        of("gone") == 0 && of("k4") == 0 && ["k0", "k1", "k2", "k3"].into_iter().all(|key| of(key) == 1)
    });
    let holes = left.windows(2).filter(|pair| pair[1].0 > pair[0].0 + 1).count();
    assert!(holes > 0 && left[0].0 > 0, "the beginning and more are gone: {left:?}");

    let expected = held(&table);
    let keys: Vec<&str> = expected.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["k0", "k1", "k2", "k3", "kept", "last"]);
    assert_eq!(expected[0].1.value, "195");
    let again = open();
    assert_eq!(held(&again), expected, "read anew, with offsets and log times");
    // It goes on from there: what is deleted now was compacted before.
    put(&again, "k0", None);
    put(&again, "gone", Some("back"));
    for table in [&table, &again] {
        let keys: Vec<String> = held(table).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["gone", "k1", "k2", "k3", "kept", "last"]);
    }
}
