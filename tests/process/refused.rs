//! What ingest refuses and upstream may have uncovers the views it belongs to, as long as it would be in their windows, and
//! no others.

use std::collections::BTreeMap;

use super::processes::{Home, Running, body_v1, counted, labels, now_ms, sample};
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

/// The views' `refused` spans, one each, begin at `from - max_delay` and end at `to + window`, with log times of the bodies
/// between those given.
#[track_caller]
fn check_around(found: &BTreeMap<String, Vec<(i64, i64)>>, first: (i64, i64), last: (i64, i64)) {
    assert_eq!(found.len(), 3, "{found:?}");
    for (rule, spans) in found {
        let window = if rule == "prod" { 20_000 } else { 10_000 };
        let [(from, to)] = spans[..] else { panic!("{rule}: {spans:?}") };
        let (began, ended) = (from + 2_000, to - window);
        let inside = |t: i64, (least, most): (i64, i64)| (least..=most).contains(&t);
        assert!(inside(began, first) && inside(ended, last), "{rule}: {spans:?} not around {first:?} to {last:?}");
    }
}

/// Sends a body; between which times it was answered.
async fn rubbish(running: &Running, header: (&str, &str), body: &[u8], status: u16) -> (i64, i64) {
    let began = now_ms();
    let answer = running.request("POST", "/api/v1/write", &[header], body.to_vec()).await;
    assert_eq!(answer.status, status, "{answer:?}");
    (began, now_ms())
}

#[tokio::test]
async fn a_body_of_a_known_sender_that_is_not_read_uncovers_all_views_and_a_strangers_none() {
    let home = Home::new(&[("mine.json", JOB)], "ingest: { body_bytes_max: 256KiB }");
    let mut running = home.start().await;
    let (known, stranger) = (("X-Prefold-Sender", "known"), ("X-Prefold-Sender", "stranger"));
    let (good, large) = (body_v1(&counted("good")), vec![0x55; 300_000]);
    for _ in 0..2 {
        rubbish(&running, known, b"rubbish", 400).await;
        rubbish(&running, stranger, &large, 413).await;
    }
    assert_eq!(refused(&running).await, spans(&[]), "nobody is known yet");
    rubbish(&running, known, &good, 204).await;
    rubbish(&running, stranger, b"rubbish", 400).await;
    rubbish(&running, stranger, &large, 413).await;
    assert_eq!(refused(&running).await, spans(&[]), "a stranger");
    let first = rubbish(&running, known, b"rubbish", 400).await;
    rubbish(&running, known, b"rubbish", 400).await;
    rubbish(&running, known, &large, 413).await;
    check_around(&refused(&running).await, first, first);
    running.kill();
    // The commit knows it.
    let running = home.start().await;
    rubbish(&running, stranger, b"rubbish", 400).await;
    check_around(&refused(&running).await, first, first);
    let last = rubbish(&running, known, &large, 413).await;
    check_around(&refused(&running).await, first, last);
}

#[tokio::test]
async fn a_sender_that_labels_name_is_known_by_its_address() {
    let home = Home::new(&[("mine.json", JOB)], "ingest: { sender_labels: [cluster] }");
    let mut running = home.start().await;
    let (known, stranger) = (("X-Forwarded-For", "10.0.0.1"), ("X-Forwarded-For", "10.0.0.2"));
    let good = vec![(labels(&[("__name__", "c_total"), ("cluster", "c1")]), vec![sample(now_ms(), 1.0)])];
    rubbish(&running, known, &body_v1(&good), 204).await;
    rubbish(&running, stranger, b"rubbish", 400).await;
    assert_eq!(refused(&running).await, spans(&[]), "a stranger");
    let first = rubbish(&running, known, b"rubbish", 400).await;
    check_around(&refused(&running).await, first, first);
    running.kill();
    // As long as a sender of the commit has not written again, any address may be its.
    let running = home.start().await;
    let last = rubbish(&running, stranger, b"rubbish", 400).await;
    check_around(&refused(&running).await, first, last);
}
