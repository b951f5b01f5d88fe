//! Results sent on to a real Prometheus and a real VictoriaMetrics: a query there gives what a query here gives, at every step.
//!
//! There the series live by lookback and staleness markers, here by exact grid points; so a marker that is missing shows
//! as a value too many, and a value that is missing as the one before it.

use prefold::model::{Labels, Sample, Timestamp};
use prefold::wire::{remote_write_v1, snappy};
use serde_json::json;

use super::compare::{Edge, compare, points};
use super::http::{Api, Method, Steps};
use super::prefold::Prefold;
use super::processes::{PATIENCE, free_port, now_ms, wait_for};
use super::prometheus::Prometheus;
use super::victoria_metrics::VictoriaMetrics;

const RECORDS: [&str; 4] = ["zone:work:rate", "zone:level:avg", "shard:level:max", "zone:level:count"];

/// How much is written, in seconds, a sample of every series a second.
const SECONDS: i64 = 300;

const STEP: i64 = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_what_a_sink_sends_to_prometheus_is_what_queries_answer() {
    let Some(prometheus) = Prometheus::start_receiving().await else { return };
    what_arrives_is_what_queries_answer(&prometheus.api, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_what_a_sink_sends_to_victoria_metrics_is_what_queries_answer() {
    let Some(victoria_metrics) = VictoriaMetrics::start_receiving().await else { return };
    // It takes what it has answered once for final, though it is asked again because not everything was there.
    what_arrives_is_what_queries_answer(&victoria_metrics.api, &[("nocache", "1")]).await;
}

/// Asks a receiver, with further parameters if it needs some, for what is sent to it while Prefold is killed.
async fn what_arrives_is_what_queries_answer(receiver: &Api, more: &[(&str, &str)]) {
    let rules = json!([
        {"record": RECORDS[0], "expr": "sum by (zone) (rate(work_total[10s]))", "labels": {"team": "a"}},
        {"record": RECORDS[1], "expr": "avg by (zone) (last_over_time(level[2s]))"},
        {"record": RECORDS[2], "expr": "max by (shard, zone) (last_over_time(level[2s]))"},
        {"record": RECORDS[3], "expr": "count by (zone) (last_over_time(level[5s]))"},
    ]);
    let job = json!({"name": "e2e", "defaults": {"step": "1s", "max_delay": "2s"}, "rules": rules});
    let url = format!("{}/api/v1/write", receiver.url);
    let config = format!(
        "log: {{log_time: samples}}\ningest: {{new_senders: whole}}\n\
         sinks: [{{name: receiver, url: '{url}', from: all, uncovered: send, samples_per_request_max: 70}}]"
    );
    let mut prefold = Prefold::start_job(free_port(), &job, &config).await;
    let begin = now_ms() / 1000 * 1000 - (SECONDS + 60) * 1000;
    for second in 0..SECONDS {
        // Killed in the middle, with whatever is under way.
        if second == SECONDS / 2 {
            prefold.kill_and_restart(None).await;
        }
        write(&prefold, begin, second).await;
    }
    let last = begin + (SECONDS - 4) * 1000;
    let steps = Steps { from: begin, to: last, step: STEP };
    let mut compared = 0;
    for record in RECORDS {
        compared += wait_for("both to answer the same", PATIENCE, async || {
            let ours = prefold.api.range(Method::Form, record, steps, &[]).await?;
            let theirs = receiver.range(Method::Form, record, steps, more).await?;
            let equal = compare(&points(&theirs.data()?), &points(&ours.data()?), Edge::NONE)?;
            // Each is there, though lookback would fill a hole with an equal value, and none is there twice.
            let counting = format!("sum(count_over_time({record}[10m]))");
            let there = points(&receiver.instant(Method::Form, &counting, last, more).await?.data()?);
            match there.values().eq(&[equal as f64]) {
                true => Ok(equal),
                false => Err(format!("{equal} points of {record} are equal, and so many samples are there: {there:?}")),
            }
        })
        .await;
    }
    println!("{compared} points are equal there and here");
    assert!(compared > 2 * SECONDS as usize, "{compared}");
}

/// Series that come and go, one at a time and all of a zone together.
async fn write(prefold: &Prefold, begin: i64, second: i64) {
    let there = |shard: i64| match shard {
        0 => true,
        1 => second / 20 % 2 == 0,
        2 => second % 50 < 30,
        _ => (60..200).contains(&second),
    };
    let t = Timestamp(begin + second * 1000);
    let series = (0..4).filter(|shard| there(*shard)).flat_map(|shard| {
        let labels = |name: &str| {
            let zone = if shard < 2 { "east" } else { "west" };
            let pairs = [("__name__", name.to_owned()), ("shard", shard.to_string()), ("zone", zone.to_owned())];
            Labels::from_pairs(pairs)
        };
        let (work, level) = (1e6 + (second * (shard + 1)) as f64, (second * 7 % 13 + shard) as f64 / 3.0);
        [(labels("work_total"), vec![Sample { t, v: work }]), (labels("level"), vec![Sample { t, v: level }])]
    });
    let body = snappy::compress(&remote_write_v1::encode(&series.collect::<Vec<_>>()));
    let url = format!("{}/api/v1/write", prefold.api.url);
    let answer = reqwest::Client::builder().no_proxy().build().unwrap().post(url).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 204);
}
