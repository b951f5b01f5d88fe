//! `prefold run` with its log in Kafka, as a process: the same answers as with the embedded log, across kills, and what
//! becomes of it when others meddle with the topic.

use std::time::Duration;

use prefold::model::{Labels, Sample};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::cluster::{Cluster, admin, patient, shared};
use super::topics::prefix;
use crate::process::processes::{
    COUNT_JOB, Home, Running, body_v1, counted, finished, labels, now_ms, prefold, sample, until,
};

/// Restarts must not make anything late.
pub(super) const JOB: &str = r#"{"name":"same","defaults":{"max_delay":"20s","step":"2s"},"rules":[
  {"expr":"sum by (g) (count_over_time(c_total[10s]))"},
  {"expr":"sum by (g) (rate(c_total[10s]))"},
  {"expr":"max by (g) (max_over_time(c_total[4s]))"},
  {"expr":"sum by (g) (c_total)"}]}"#;

/// Of a short window, so that what uncovers it is soon over.
pub(super) const SHORT_JOB: &str = r#"{"name":"short","rules":[
  {"expr":"sum by (g) (count_over_time(c_total[2s]))","step":"1s","max_delay":"2s"}]}"#;

pub(super) const QUERIES: [&str; 4] = [
    "sum by (g) (count_over_time(c_total[10s]))",
    "sum by (g) (rate(c_total[10s]))",
    "max by (g) (max_over_time(c_total[4s]))",
    "sum by (g) (c_total)",
];

pub(super) fn config(cluster: &Cluster, prefix: &str) -> String {
    format!(
        "ingest: {{ new_senders: whole }}\nlog: {{ kafka: {{ brokers: [\"{}\"], topic_prefix: {prefix}, partitions: 4 }} }}",
        cluster.brokers()
    )
}

/// Thirty counters at a time.
pub(super) fn body(t: i64, turn: usize) -> Vec<(Labels, Vec<Sample>)> {
    let series = |n: usize| {
        let labels = labels(&[("__name__", "c_total"), ("g", &format!("g{}", n % 3)), ("n", &n.to_string())]);
        (labels, vec![sample(t, (turn * (n + 1) % 97) as f64 * 0.1)])
    };
    (0..30).map(series).collect()
}

/// Sends until it is taken.
pub(super) async fn deliver(running: &Running, body: &[(Labels, Vec<Sample>)]) {
    until("the body to be taken", async || (running.write(body).await.status == 204).then_some(())).await;
}

#[tokio::test]
async fn answers_equal_those_of_an_embedded_log_across_kills() {
    let Some(cluster) = shared() else { return };
    let kafka = Home::new(&[("same.json", JOB)], &config(cluster, &prefix()));
    let embedded = Home::new(&[("same.json", JOB)], "ingest: { new_senders: whole }");
    let (mut killed, unbroken) = (kafka.start().await, embedded.start().await);
    let (mut first, mut last) = (0, 0);
    for turn in 0..75 {
        let t = now_ms();
        (first, last) = (if first == 0 { t } else { first }, t);
        deliver(&unbroken, &body(t, turn)).await;
        deliver(&killed, &body(t, turn)).await;
        if turn == 30 || turn == 50 {
            killed.kill();
            killed = kafka.start().await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Log time goes on by ticks: nothing more is sent.
    let (from, to) = (first / 2_000 * 2_000 + 14_000, last / 2_000 * 2_000);
    killed.final_to(QUERIES.len(), to).await;
    unbroken.final_to(QUERIES.len(), to).await;
    let mut points = 0;
    for query in QUERIES {
        let (ours, theirs) = (killed.results(query, from, to, 2_000).await, unbroken.results(query, from, to, 2_000).await);
        assert_eq!(ours, theirs, "{query}");
        points += ours.values().map(|points| points.len()).sum::<usize>();
    }
    assert!(points > 3 * QUERIES.len(), "{points}");
    assert!(killed.metric("prefold_log_append_failures_total").await == 0.0);
    assert!(!killed.get("/metrics").await.text.contains("prefold_log_bytes"), "there is no disk to speak of");
    killed.signal("TERM");
    assert!(killed.ended().await.success());
}

#[tokio::test]
async fn what_others_do_to_the_topic_is_seen_and_survived() {
    let Some(cluster) = shared() else { return };
    let prefix = prefix();
    let topic = format!("{prefix}.samples");
    let home = Home::new(&[("short.json", SHORT_JOB)], &config(cluster, &prefix));
    let mut running = home.start().await;
    deliver(&running, &counted("a")).await;
    running.final_to(1, now_ms()).await;

    // A record that is none of ours.
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", cluster.brokers());
    let producer: BaseProducer = client.create().unwrap();
    producer.send(BaseRecord::<(), str>::to(&topic).partition(2).payload("no record of Prefold's")).unwrap();
    producer.flush(Duration::from_secs(60)).unwrap();
    until("it to be skipped and counted", async || {
        (running.metric("prefold_fold_skipped_total").await == 1.0).then_some(())
    })
    .await;
    until("it to uncover", async || {
        let views = running.views().await;
        views[0]["spans"].as_array().unwrap().iter().any(|span| span["reason"] == "gap").then_some(())
    })
    .await;
    deliver(&running, &counted("a")).await;
    running.final_to(1, now_ms() + 5_000).await;

    // Kafka's own tools see how far results have been committed.
    let group: BaseConsumer = client.set("group.id", format!("{prefix}.fold")).create().unwrap();
    let mut wanted = rdkafka::TopicPartitionList::new();
    wanted.add_partition_range(&topic, 0, 3);
    until("the group's offsets", async || {
        let found = group.committed_offsets(wanted.clone(), Duration::from_secs(60)).unwrap();
        let offsets: Vec<_> = found.elements().iter().map(|element| element.offset().to_raw().unwrap_or(-1)).collect();
        offsets.iter().all(|offset| *offset > 0).then_some(())
    })
    .await;

    // The topic is made anew: nothing of the old one is mixed with it.
    let deleted = admin(&cluster.brokers()).delete_topics(&[&topic], &patient()).await.unwrap();
    assert!(deleted[0].is_ok(), "{deleted:?}");
    until("the process to say so", async || running.logs().contains("was deleted").then_some(())).await;
    let refused = running.write(&counted("a")).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "5"), "{refused:?}");
    assert!(refused.text.contains("restart Prefold"), "{refused:?}");
    running.signal("TERM");
    assert!(running.ended().await.success());
    let restarted = home.start().await;
    deliver(&restarted, &counted("a")).await;
    restarted.final_to(1, now_ms()).await;
    let views = restarted.views().await;
    let gaps = views[0]["spans"].as_array().unwrap().iter().filter(|span| span["reason"] == "gap").count();
    assert!(gaps >= 2, "what lies between the topics is uncovered: {views:?}");
}

/// A request whose records are larger than a topic takes goes into several; one that holds a series that can never fit is
/// refused for good.
#[tokio::test]
async fn requests_are_split_as_far_as_they_can_be() {
    let Some(cluster) = shared() else { return };
    let home = Home::new(&[("count.json", COUNT_JOB)], &config(cluster, &prefix()));
    let running = home.start().await;
    let long = "x".repeat(14_000);
    let wide = |n: usize, labels_each: usize| {
        let names: Vec<String> = (0..labels_each).map(|index| format!("l{index:03}")).collect();
        let value = |index: usize| format!("{n} {index} {long}");
        let values: Vec<String> = (0..labels_each).map(value).collect();
        let pairs = names.iter().map(String::as_str).zip(values.iter().map(String::as_str));
        Labels::from_pairs(pairs.chain([("__name__", "c_total"), ("g", "wide")]))
    };
    let now = now_ms();
    // 2.8 MB of labels, and a series of many samples.
    let mut body: Vec<(Labels, Vec<Sample>)> = (0..20).map(|n| (wide(n, 10), vec![sample(now, 1.0)])).collect();
    let many = (0..40_000).map(|index| sample(now - 40_000 + index, 1.0)).collect();
    body.push((labels(&[("__name__", "c_total"), ("g", "many")]), many));
    let taken = running.write(&body).await;
    assert_eq!(taken.status, 204, "{taken:?}");
    until("all samples to be folded", async || {
        (running.metric("prefold_fold_samples_total").await == 40_020.0).then_some(())
    })
    .await;
    let refused = running.write(&[(wide(0, 100), vec![sample(now, 1.0)])]).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.text.contains("too many for one append"), "{refused:?}");
    // One whose body is taken by a request that is not: nothing else keeps it.
    let alone = running.request("POST", "/api/v1/write", &[], body_v1(&counted("after"))).await;
    assert_eq!(alone.status, 204, "{alone:?}");
}

#[tokio::test]
async fn a_process_whose_brokers_are_gone_ends_when_it_is_told_to() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let home = Home::new(&[("count.json", COUNT_JOB)], &config(&cluster, "t"));
    let mut running = home.start().await;
    deliver(&running, &counted("a")).await;
    cluster.kill_node(0);
    let began = std::time::Instant::now();
    running.signal("TERM");
    assert!(running.ended().await.success());
    // Less than deliveries may take.
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}

#[test]
fn brokers_that_cannot_be_are_refused_by_name() {
    let (status, _, err) = finished(&mut prefold(&["run", "--kafka", "127.0.0.1:9092,elsewhere"]));
    assert_eq!(status, 2);
    assert!(err.contains("--kafka: \"elsewhere\" is not the address of a broker"), "{err}");
}
