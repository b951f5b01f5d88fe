//! Topics that others write, imported by real processes from real brokers.
//!
//! Sees: a sample that is lost or counted twice on the way from a topic to a result, a position that is told too early, a
//! record that stops others. The formats themselves are judged where bodies are encoded.

use std::time::Duration;

use prefold::model::{Labels, Sample, Timestamp};
use prefold::wire::{remote_write_v1, remote_write_v2, snappy};
use rdkafka::ClientConfig;
use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use super::cluster::{Cluster, admin, patient, shared};
use super::topics::prefix;
use crate::process::processes::{Home, Running, labels, now_ms, sample, until};

type Series = Vec<(Labels, Vec<Sample>)>;

const JOB: &str = r#"{"name":"same","defaults":{"max_delay":"20s","step":"2s"},"rules":[
  {"expr":"sum by (g) (count_over_time(c_total[10s]))"},
  {"expr":"sum by (g) (rate(c_total[10s]))"},
  {"expr":"sum by (g) (c_total)"}]}"#;

const QUERIES: [&str; 3] =
    ["sum by (g) (count_over_time(c_total[10s]))", "sum by (g) (rate(c_total[10s]))", "sum by (g) (c_total)"];

/// A partition of one that died is read by another well within this delay.
const PATIENT_JOB: &str = r#"{"name":"patient","rules":[
  {"expr":"sum by (g) (count_over_time(c_total[10s]))","step":"1s","max_delay":"40s"}]}"#;

const PATIENT_QUERY: &str = "sum by (g) (count_over_time(c_total[10s]))";

/// The brokers, and a producer of what others write.
struct Others {
    cluster: &'static Cluster,
    prefix: String,
    producer: ThreadedProducer<DefaultProducerContext>,
}

impl Others {
    fn new() -> Option<Others> {
        let cluster = shared()?;
        let producer = ClientConfig::new().set("bootstrap.servers", cluster.brokers()).create().unwrap();
        Some(Others { cluster, prefix: prefix(), producer })
    }

    fn topic(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    async fn create(&self, name: &str, partitions: i32) {
        let topic = self.topic(name);
        let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
        let made = admin(&self.cluster.brokers()).create_topics([&new], &patient()).await.unwrap();
        assert!(made[0].is_ok(), "{made:?}");
    }

    /// A process with its log in Kafka that imports topics, each with its format.
    fn home(&self, job: &str, topics: &[(&str, &str)], further: &str) -> Home {
        let list: Vec<String> =
            topics.iter().map(|(name, format)| format!("{{ topic: {}, format: {format} }}", self.topic(name))).collect();
        let config = format!(
            "ingest: {{ new_senders: whole }}\nlog:\n  {further}\n  kafka:\n    brokers: [\"{}\"]\n    topic_prefix: {}\n    \
             partitions: 4\n    import_topics: [{}]",
            self.cluster.brokers(),
            self.prefix,
            list.join(", ")
        );
        Home::new(&[("job.json", job)], &config)
    }

    fn send(&self, name: &str, partition: i32, payload: &[u8]) {
        self.send_typed(name, partition, payload, None);
    }

    /// Waits until the brokers have all of it.
    fn settle(&self) {
        self.producer.flush(Duration::from_secs(60)).unwrap();
    }

    fn send_typed(&self, name: &str, partition: i32, payload: &[u8], content_type: Option<&str>) {
        let topic = self.topic(name);
        let record = BaseRecord::<(), [u8]>::to(&topic).partition(partition).payload(payload);
        let record = match content_type {
            Some(value) => record.headers(OwnedHeaders::new().insert(Header { key: "Content-Type", value: Some(value) })),
            None => record,
        };
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
    }
}

/// As prometheus-kafka-adapter writes it, but for the milliseconds that it leaves out.
fn json((labels, samples): &(Labels, Vec<Sample>)) -> Vec<u8> {
    let pairs: serde_json::Map<String, serde_json::Value> =
        labels.iter().map(|label| (label.name.to_string(), label.value.as_str().into())).collect();
    let Sample { t, v } = samples[0];
    serde_json::json!({"timestamp": t.to_string(), "value": v.to_string(), "name": labels.metric(), "labels": pairs})
        .to_string()
        .into_bytes()
}

/// Counters of three groups, one sample each.
fn body(t: i64, turn: usize, series: usize) -> Series {
    let one = |n: usize| {
        let labels = labels(&[("__name__", "c_total"), ("g", &format!("g{}", n % 3)), ("n", &n.to_string())]);
        (labels, vec![sample(t, (turn * (n + 1) % 97) as f64 * 0.1)])
    };
    (0..series).map(one).collect()
}

async fn imported(running: &Running, others: &Others, topic: &str) -> f64 {
    running.metric(&format!("prefold_import_records_total{{topic=\"{}\"}}", others.topic(topic))).await
}

#[tokio::test]
async fn imported_samples_give_the_results_of_requests_with_poison_in_between() {
    let Some(others) = Others::new() else { return };
    others.create("rw", 2).await;
    others.create("js", 2).await;
    let topics = [("rw", "remote-write"), ("js", "json"), ("late", "remote-write")];
    let home = others.home(JOB, &topics, "partition_by: []");
    let embedded = Home::new(&[("job.json", JOB)], "ingest: { new_senders: whole }");
    let (mut importing, receiving) = (home.start().await, embedded.start().await);
    until("the missing topic to be told", async || importing.logs().contains("is missing").then_some(())).await;
    others.create("late", 1).await;
    let (mut first, mut last, mut poison) = (0, 0, 0.0);
    for turn in 0..100 {
        let (t, n) = (now_ms(), turn % 4);
        (first, last) = (if first == 0 { t } else { first }, t);
        let all = body(t, turn, 30);
        assert_eq!(receiving.write(&all).await.status, 204);
        let (v1, v2, late) = (&all[..8], &all[8..16], &all[16..20]);
        match n {
            0 => others.send("rw", 0, &remote_write_v1::encode(v1)),
            _ => others.send("rw", 0, &snappy::compress(&remote_write_v1::encode(v1))),
        }
        let content_type = (n == 1).then_some("application/x-protobuf;proto=io.prometheus.write.v2.Request");
        match n {
            2 => others.send("rw", 1, &remote_write_v2::encode(v2)),
            _ => others.send_typed("rw", 1, &snappy::compress(&remote_write_v2::encode(v2)), content_type),
        }
        others.send("late", 0, &snappy::compress(&remote_write_v2::encode(late)));
        all[20..].iter().enumerate().for_each(|(place, one)| others.send("js", (place % 2) as i32, &json(one)));
        // What uncovers is over long before the points that are compared.
        if turn < 3 {
            others.send("rw", (turn % 2) as i32, b"rubbish");
            others.send("js", (turn % 2) as i32, b"{\"rubbish\":");
            poison += 1.0;
        }
        tokio::time::sleep(Duration::from_millis(160)).await;
    }
    let (from, to) = (first / 2_000 * 2_000 + 14_000, last / 2_000 * 2_000);
    importing.final_to(QUERIES.len(), to).await;
    receiving.final_to(QUERIES.len(), to).await;
    for query in QUERIES {
        let ours = importing.results(query, from, to, 2_000).await;
        assert_eq!(ours, receiving.results(query, from, to, 2_000).await, "{query}");
        assert!(ours.values().map(|points| points.len()).sum::<usize>() >= 3, "{query}: {ours:?}");
    }
    for (name, records) in [("rw", 200.0 + poison), ("js", 1000.0 + poison), ("late", 100.0)] {
        assert_eq!(imported(&importing, &others, name).await, records, "{name}");
    }
    for name in ["rw", "js"] {
        let labels = format!("{{topic=\"{}\",reason=\"body-malformed\"}}", others.topic(name));
        assert_eq!(importing.metric(&format!("prefold_import_refused_total{labels}")).await, poison, "{name}");
        let samples = format!("prefold_import_samples_total{{topic=\"{}\"}}", others.topic(name));
        assert_eq!(importing.metric(&samples).await, if name == "rw" { 1600.0 } else { 1000.0 });
    }
    let spans = importing.views().await[0]["spans"].clone();
    assert!(spans.as_array().unwrap().iter().any(|span| span["reason"] == "refused"), "poison uncovers: {spans}");
    assert!(importing.logs().contains("a record cannot be imported and is skipped"));
    importing.signal("TERM");
    assert!(importing.ended().await.success());
    // All was told to the group when it was left.
    assert_eq!(told(&others, "js", 2), told_to_the_end(&others, "js", 2));
}

fn group(others: &Others) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", others.cluster.brokers());
    config.set("group.id", format!("{}.import", others.prefix)).create().unwrap()
}

/// The offsets that the group knows.
fn told(others: &Others, name: &str, partitions: i32) -> Vec<i64> {
    let mut wanted = rdkafka::TopicPartitionList::new();
    wanted.add_partition_range(&others.topic(name), 0, partitions - 1);
    let found = group(others).committed_offsets(wanted, Duration::from_secs(60)).unwrap();
    found.elements().iter().map(|element| element.offset().to_raw().unwrap_or(-1)).collect()
}

fn told_to_the_end(others: &Others, name: &str, partitions: i32) -> Vec<i64> {
    let end = |partition| group(others).fetch_watermarks(&others.topic(name), partition, Duration::from_secs(60)).unwrap().1;
    (0..partitions).map(end).collect()
}

/// Two share the topic's partitions; one is killed while it has half of them.
#[tokio::test]
async fn every_sample_is_counted_when_one_of_two_that_import_is_killed() {
    let Some(others) = Others::new() else { return };
    others.create("rw", 4).await;
    let topics = [("rw", "remote-write")];
    // Where a series lies is another question than who brings it there.
    let homes = [0, 1].map(|_| others.home(PATIENT_JOB, &topics, "partition_by: [g]"));
    let (mut killed, survivor) = (homes[0].start().await, homes[1].start().await);
    let (mut times, mut turn) = (Vec::new(), 0);
    let mut write = async |turns: usize| {
        for _ in 0..turns {
            let t = now_ms();
            times.push(t);
            for (place, one) in body(t, turn, 24).chunks(6).enumerate() {
                others.send("rw", place as i32, &snappy::compress(&remote_write_v1::encode(one)));
            }
            turn += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    // Until each has a share, and windows are whole.
    let mut both = false;
    for turn in 0..150 {
        write(2).await;
        both = imported(&killed, &others, "rw").await > 20.0 && imported(&survivor, &others, "rw").await > 20.0;
        if both && turn > 60 {
            break;
        }
    }
    assert!(both, "each imports a share");
    killed.kill();
    write(80).await;
    let (from, to) = (times[0] / 1_000 * 1_000 + 12_000, times.last().unwrap() / 1_000 * 1_000);
    survivor.final_to(1, to).await;
    let counted = |at: i64| times.iter().filter(|t| (at - 10_000 < **t) && **t <= at).count();
    let results = survivor.results(PATIENT_QUERY, from, to, 1_000).await;
    assert_eq!(results.len(), 3);
    for (group, points) in results {
        let expected: Vec<(i64, String)> =
            (from..=to).step_by(1_000).map(|at| (at, (counted(at) * 8).to_string())).collect();
        assert!(expected.len() > 8);
        assert_eq!(points.into_iter().collect::<Vec<_>>(), expected, "{group}");
    }
    assert_eq!(survivor.metric("prefold_fold_skipped_total").await, 0.0, "both agree where series lie");
    until("nothing to be left", async || {
        let lag = format!("prefold_import_lag_records{{topic=\"{}\"}}", others.topic("rw"));
        (survivor.metric(&lag).await == 0.0 && told(&others, "rw", 4) == told_to_the_end(&others, "rw", 4)).then_some(())
    })
    .await;
}

/// While the log takes nothing, nothing is told to the group, and nothing is lost.
#[tokio::test]
async fn importing_waits_for_a_log_that_is_away() {
    let Some(others) = Others::new() else { return };
    others.create("rw", 1).await;
    let home = others.home(PATIENT_JOB, &[("rw", "remote-write")], "partition_by: []");
    let running = home.start().await;
    let send = |n: i64| {
        let series = vec![(labels(&[("__name__", "c_total"), ("g", "a")]), vec![sample(now_ms() + n, 1.0)])];
        others.send("rw", 0, &remote_write_v1::encode(&series));
    };
    send(0);
    until("the group to know the first", async || (told(&others, "rw", 1) == [1]).then_some(())).await;
    // The topic of the log goes away: the log takes nothing more until it is opened anew.
    let samples = format!("{}.samples", others.prefix);
    let gone = admin(&others.cluster.brokers()).delete_topics(&[&samples], &patient()).await.unwrap();
    assert!(gone[0].is_ok(), "{gone:?}");
    until("the process to say so", async || running.logs().contains("was deleted").then_some(())).await;
    send(1);
    send(2);
    until("importing to wait", async || running.logs().contains("importing waits, and tries again").then_some(())).await;
    // Longer than it takes until positions are told.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((imported(&running, &others, "rw").await, told(&others, "rw", 1)), (1.0, vec![1]));
    // A gateway that dies now has told nothing too early.
    drop(running);
    let restarted = home.start().await;
    until("the others to be imported", async || (imported(&restarted, &others, "rw").await == 2.0).then_some(())).await;
    until("the group to know", async || (told(&others, "rw", 1) == [3]).then_some(())).await;
}

/// What retention deleted before it was read is counted and uncovers.
#[tokio::test]
async fn records_deleted_before_they_were_imported_are_told() {
    let Some(others) = Others::new() else { return };
    others.create("js", 1).await;
    let home = others.home(PATIENT_JOB, &[("js", "json")], "partition_by: []");
    let send = |count: usize| (0..count).for_each(|n| others.send("js", 0, &json(&body(now_ms() + n as i64, 0, 1)[0])));
    let mut running = home.start().await;
    send(2);
    until("the group to know", async || (told(&others, "js", 1) == [2]).then_some(())).await;
    running.signal("TERM");
    assert!(running.ended().await.success());
    send(3);
    others.settle();
    let mut before = rdkafka::TopicPartitionList::new();
    before.add_partition_offset(&others.topic("js"), 0, rdkafka::Offset::Offset(4)).unwrap();
    admin(&others.cluster.brokers()).delete_records(&before, &patient()).await.unwrap();
    let restarted = home.start().await;
    until("the last to be imported", async || (imported(&restarted, &others, "js").await == 1.0).then_some(())).await;
    let gone = format!("prefold_import_refused_total{{topic=\"{}\",reason=\"records-gone\"}}", others.topic("js"));
    assert_eq!(restarted.metric(&gone).await, 1.0);
    assert!(restarted.logs().contains("records were deleted before they were imported"));
    until("it to uncover", async || {
        let spans = restarted.views().await[0]["spans"].clone();
        spans.as_array().unwrap().iter().any(|span| span["reason"] == "refused").then_some(())
    })
    .await;
}

#[test]
fn times_are_written_as_the_adapter_writes_them() {
    let line = json(&(labels(&[("__name__", "a")]), vec![sample(1_700_000_000_123, 0.5)]));
    let read = prefold::wire::JsonSample::parse(&line).unwrap();
    assert_eq!((read.sample.t, read.sample.v), (Timestamp(1_700_000_000_123), 0.5));
}
