//! Tables: the same newest values everywhere, across restarts and writers, whatever stands in the topic.

use std::time::Duration;

use bytes::Bytes;
use prefold::log::AppendError;
use prefold::log::kafka::{KafkaTable, TableOptions};
use prefold::model::{Offset, Timestamp};
use rdkafka::ClientConfig;
use rdkafka::admin::{NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::broker::{create, delete, runtime};
use super::cluster::{Cluster, admin, patient, shared};
use super::topics::{options, prefix, wait};

fn table_options(cluster: &Cluster, topic: &str) -> TableOptions {
    TableOptions { connection: options(&cluster.brokers(), "unused"), topic: topic.to_owned() }
}

fn open(cluster: &Cluster, topic: &str) -> KafkaTable {
    KafkaTable::open(table_options(cluster, topic)).unwrap()
}

#[track_caller]
fn put(table: &KafkaTable, key: &str, value: Option<&str>) -> Offset {
    table.put(key, value.map(|value| Bytes::copy_from_slice(value.as_bytes()))).blocking_recv().unwrap().unwrap()
}

/// As text: `key=value`, by key.
#[track_caller]
fn entries(table: &KafkaTable) -> Vec<String> {
    table.catch_up().unwrap();
    let text = |value: &Bytes| String::from_utf8(value.to_vec()).unwrap();
    table.with(|entries| entries.iter().map(|(key, entry)| format!("{key}={}", text(&entry.value))).collect())
}

#[test]
fn a_table_has_the_newest_values_of_all_writers_across_restarts() {
    let Some(cluster) = shared() else { return };
    let topic = format!("{}.jobs", prefix());
    let (one, other) = (open(cluster, &topic), open(cluster, &topic));
    assert!(entries(&one).is_empty());
    let mut changes = one.changed();
    let before = *changes.borrow_and_update();
    assert_eq!(put(&one, "a", Some("1")), Offset(0));
    put(&other, "b", Some("2"));
    put(&one, "c", Some(""));
    assert_eq!((entries(&one), entries(&other)), (vec!["a=1".into(), "b=2".into(), "c=".into()], entries(&one)));
    assert!(changes.has_changed().unwrap() && *changes.borrow() == before + 3);
    put(&other, "a", Some("3"));
    put(&other, "b", None);
    put(&other, "never", None);
    assert_eq!((entries(&one), entries(&other)), (vec!["a=3".into(), "c=".into()], entries(&one)));
    assert_eq!(*one.changed().borrow(), before + 5, "what was not there is no change");
    one.with(|entries| assert!(entries["a"].offset == Offset(3) && entries["a"].log_time > Timestamp(0)));
    drop((one, other));
    let again = open(cluster, &topic);
    again.with(|held| assert_eq!(held.len(), 2, "it is read before it is given out"));
    assert_eq!(entries(&again), ["a=3", "c="]);

    let described = admin(&cluster.brokers());
    let described = runtime().block_on(described.describe_configs([&ResourceSpecifier::Topic(&topic)], &patient()));
    let described = described.unwrap().remove(0).unwrap();
    let setting = |key: &str| described.get(key).unwrap().value.clone().unwrap();
    assert_eq!((setting("cleanup.policy"), setting("message.timestamp.type")), ("compact".into(), "LogAppendTime".into()));
    again.close();
    assert!(again.catch_up().unwrap_err().contains("closed"));
    let answer = again.put("a", None).blocking_recv().unwrap();
    assert!(matches!(answer, Err(AppendError::Closed)), "{answer:?}");
}

/// What others write there: keys that are no text, and what ends a transaction, which is at the end and no record.
#[test]
fn a_table_reads_to_the_end_whatever_stands_there() {
    let Some(cluster) = shared() else { return };
    let topic = format!("{}.positions", prefix());
    let table = open(cluster, &topic);
    put(&table, "a", Some("1"));
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", cluster.brokers()).set("transactional.id", &topic);
    let producer: BaseProducer = client.create().unwrap();
    producer.init_transactions(Duration::from_secs(60)).unwrap();
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<[u8], str>::to(&topic).key(&[0xff, 0xfe][..]).payload("no text")).unwrap();
    producer.send(BaseRecord::<str, str>::to(&topic).key("b").payload("2")).unwrap();
    producer.commit_transaction(Duration::from_secs(60)).unwrap();
    assert_eq!(entries(&table), ["a=1", "b=2"]);
    assert_eq!(entries(&open(cluster, &topic)), ["a=1", "b=2"]);
    put(&table, "a", Some("3"));
    assert_eq!(entries(&table), ["a=3", "b=2"]);
}

#[test]
fn a_value_that_is_too_large_is_refused_and_a_failed_put_is_not_the_last() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let mut impatient = table_options(&cluster, "senders");
    impatient.connection.delivery_timeout = Duration::from_secs(1);
    let table = KafkaTable::open(impatient).unwrap();
    let too_large = Bytes::from(vec![0; table.value_bytes_max()]);
    let answer = table.put("a", Some(too_large)).blocking_recv().unwrap();
    assert!(matches!(answer, Err(AppendError::TooLarge { .. })), "{answer:?}");
    let is_taken = |key: &str, value: &'static str| {
        table.put(key, Some(Bytes::from_static(value.as_bytes()))).blocking_recv().unwrap().is_ok()
    };
    // A broker that has just started numbers no producers for a while.
    wait("the first put", || is_taken("a", "1"));
    cluster.kill_node(0);
    let answer = table.put("a", Some(Bytes::from_static(b"2"))).blocking_recv().unwrap();
    assert!(answer.is_err_and(|error| error.retryable()));
    cluster.start_node(0);
    wait("puts to be taken again", || is_taken("b", "3"));
    wait("the table to be read again", || table.catch_up().is_ok());
    let read = entries(&table);
    assert!(read.last().unwrap() == "b=3" && (read[0] == "a=1" || read[0] == "a=2"), "{read:?}");
    cluster.kill_node(0);
    let began = std::time::Instant::now();
    drop(table);
    assert!(began.elapsed() < Duration::from_secs(15), "without brokers it is closed all the same: {:?}", began.elapsed());
}

#[test]
fn a_topic_that_cannot_be_a_table_is_refused_and_one_that_is_deleted_is_missed() {
    let Some(cluster) = shared() else { return };
    let (admin, topic) = (admin(&cluster.brokers()), format!("{}.jobs", prefix()));
    create(&admin, &NewTopic::new(&topic, 2, TopicReplication::Fixed(1)));
    let error = KafkaTable::open(table_options(cluster, &topic)).err().unwrap().to_string();
    for what in [
        "cleanup.policy is delete",
        "--add-config cleanup.policy=compact",
        "has 2 partitions and must have one",
        "message.timestamp.type is CreateTime",
    ] {
        assert!(error.contains(what), "{error}");
    }
    assert!(!error.contains("retention"), "{error}");
    delete(&admin, &topic);
    let mut table = None;
    wait("the topic to be made", || {
        table = KafkaTable::open(table_options(cluster, &topic)).ok();
        table.is_some()
    });
    let table = table.unwrap();
    put(&table, "a", Some("1"));
    delete(&admin, &topic);
    wait("the table to miss its topic", || table.catch_up().is_err_and(|why| why.contains("was deleted")));
    let answer = table.put("a", None).blocking_recv().unwrap();
    assert!(matches!(answer, Err(AppendError::Replaced { .. })), "{answer:?}");
}
