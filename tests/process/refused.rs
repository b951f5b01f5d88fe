//! What ingest refuses and upstream may have uncovers the views it belongs to, as long as it would be in their windows, and
//! no others.

use std::collections::BTreeMap;

use super::processes::{Home, Running, now_ms};
use super::remote_write::{Sent, V1, V2, encoded_v1, encoded_v2, post, sent};

/// Views of two metrics, of windows of 10 s and 20 s.
const JOB: &str = r#"{"name":"mine","rules":[
    {"expr":"sum(count_over_time(c_total[10s]))","step":"1s","max_delay":"2s","record":"v:all"},
    {"expr":"sum(count_over_time(c_total{env=\"prod\"}[20s]))","step":"1s","max_delay":"2s","record":"v:prod"},
    {"expr":"sum(count_over_time(other[10s]))","step":"1s","max_delay":"2s","record":"v:other"}]}"#;

/// The `refused` spans of each view that has any, by rule, once all that was written so far is in them.
pub async fn refused(running: &Running) -> BTreeMap<String, Vec<(i64, i64)>> {
    running.final_to(3, now_ms() + 1).await;
    let mut refused = BTreeMap::new();
    for view in running.views().await {
        let spans = view["spans"].as_array().unwrap().iter().filter(|span| span["reason"] == "refused");
        let spans: Vec<_> = spans.map(|span| (span["from_ms"].as_i64().unwrap(), span["to_ms"].as_i64().unwrap())).collect();
        if !spans.is_empty() {
            refused.insert(view["rule"].as_str().unwrap().trim_start_matches("v:").to_owned(), spans);
        }
    }
    refused
}

fn spans(of: &[(&str, &[(i64, i64)])]) -> BTreeMap<String, Vec<(i64, i64)>> {
    of.iter().map(|(rule, spans)| ((*rule).to_owned(), spans.to_vec())).collect()
}

/// Of a metric, with more labels.
fn series(metric: &str, more: &[(&str, &str)], times: &[i64]) -> Sent {
    let mut one = sent(&[&[("__name__", metric)], more].concat());
    one.samples = times.iter().map(|t| (*t, 1.0)).collect();
    one
}

/// Each case by a process of its own, in one version the first time and in the other when the series is known.
async fn check(name: &str, one: impl Fn(i64) -> Sent, expected: impl Fn(i64) -> BTreeMap<String, Vec<(i64, i64)>>) {
    let home = Home::new(&[("mine.json", JOB)], "");
    let running = home.start().await;
    let t = now_ms();
    for (version, encoded) in [(V1, encoded_v1(&[one(t)])), (V2, encoded_v2(&[one(t)])), (V1, encoded_v1(&[one(t)]))] {
        let answer = post(&running, version, &encoded).await;
        assert_eq!(answer.status, 400, "{name}: {answer:?}");
        assert_eq!(refused(&running).await, expected(t), "{name}, {version}, at {t}");
    }
}

#[tokio::test]
async fn a_refused_series_uncovers_its_views_where_its_samples_would_count() {
    let long = "x".repeat(20_000);
    let many: Vec<String> = (0..200).map(|n| format!("l{n:03}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "1")).collect();
    // Its env is known, and its samples are older than any delay.
    let two = |t: i64| [t - 40_000, t - 35_000];
    let of_a_known_env = check(
        "a long value",
        |t| series("c_total", &[("env", "dev"), ("a", &long)], &two(t)),
        |t| spans(&[("all", &[(t - 40_000, t - 25_000)])]),
    );
    let of_any_env = check(
        "a long value that is asked for",
        |t| series("c_total", &[("env", &long)], &two(t)),
        |t| spans(&[("all", &[(t - 40_000, t - 25_000)]), ("prod", &[(t - 40_000, t - 15_000)])]),
    );
    let many_labels = check(
        "many labels",
        |t| series("c_total", &many, &[t]),
        |t| spans(&[("all", &[(t, t + 10_000)]), ("prod", &[(t, t + 20_000)])]),
    );
    let a_long_name =
        check("a long name", |t| series("other", &[(&long, "1")], &[t]), |t| spans(&[("other", &[(t, t + 10_000)])]));
    let of_no_view = check("a metric that no view is of", |t| series("elsewhere", &[("a", &long)], &[t]), |_| spans(&[]));
    let nameless = check("no metric", |t| series("", &[("env", "prod")], &[t]), |_| spans(&[]));
    tokio::join!(of_a_known_env, of_any_env, many_labels, a_long_name, of_no_view, nameless);
}

#[tokio::test]
async fn native_histograms_uncover_their_views_where_they_would_count() {
    let native = |t: i64| Sent { samples: vec![], histograms: vec![t - 5_000, t - 7_000], ..series("c_total", &[], &[]) };
    check("native histograms", native, |t| spans(&[("all", &[(t - 7_000, t + 5_000)])])).await;
}
