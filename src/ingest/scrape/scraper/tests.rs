//! The whole loop against a small server: what reaches the sink when targets answer, fail, change and go.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use axum::response::IntoResponse;
use axum::routing::get;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::ingest::scrape::{FailureReason, Health, SampleBatch, ScrapeOutcome};
use crate::model::{Timestamp, is_stale};

/// A clock that stands still: the scraper has to keep times apart itself.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000)
    }
}

/// Hands batches to the test, and refuses the first deliveries if told to.
struct Channel {
    batches: mpsc::Sender<SampleBatch>,
    refusals: Mutex<u32>,
}

impl SampleSink for Channel {
    fn deliver(&self, batch: SampleBatch) -> oneshot::Receiver<Result<(), String>> {
        let (answer, receiver) = oneshot::channel();
        let mut refusals = self.refusals.lock();
        let refused = *refusals > 0;
        *refusals = refusals.saturating_sub(1);
        let taken = if refused { Err("the log is full".to_owned()) } else { Ok(()) };
        if !refused {
            self.batches.try_send(batch).unwrap();
        }
        answer.send(taken).unwrap();
        receiver
    }
}

#[derive(Default)]
struct Counters {
    scrapes: Mutex<Vec<ScrapeOutcome>>,
    failed: Mutex<Vec<bool>>,
}

impl ScrapeObserver for Counters {
    fn scraped(&self, _: &str, outcome: &ScrapeOutcome) {
        self.scrapes.lock().push(*outcome);
    }
    fn delivery_failed(&self, _: &str, lost: bool) {
        self.failed.lock().push(lost);
    }
}

/// What the server answers next.
#[derive(Clone, Default)]
struct Answer {
    body: Arc<Mutex<String>>,
    content_type: Arc<Mutex<&'static str>>,
    status: Arc<Mutex<StatusCode>>,
    asked: Arc<Mutex<HeaderMap>>,
}

impl Answer {
    fn set(&self, content_type: &'static str, body: &str) {
        *self.content_type.lock() = content_type;
        *self.body.lock() = body.to_owned();
    }

    /// Serves on a free port and returns the address.
    async fn serve(&self) -> String {
        let answer = self.clone();
        let handler = move |headers: HeaderMap| async move {
            *answer.asked.lock() = headers;
            let content_type = *answer.content_type.lock();
            (*answer.status.lock(), [(CONTENT_TYPE, content_type)], answer.body.lock().clone()).into_response()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/metrics", get(handler))).await });
        address
    }
}

fn config(address: &str, interval_ms: i64) -> ScrapeConfig {
    let mut config = ScrapeConfig::of_targets("j", vec![address.to_owned()]);
    // A loaded machine must not make a scrape time out.
    (config.interval_ms, config.timeout_ms) = (interval_ms, 20_000);
    config
}

/// The batch's samples without durations and the target's labels, sorted.
fn shown(batch: &SampleBatch) -> Vec<String> {
    let mut lines: Vec<String> = batch
        .series
        .iter()
        .filter(|(labels, sample)| labels.metric() != "scrape_duration_seconds" || is_stale(sample.v))
        .map(|(labels, sample)| {
            assert_eq!(labels.get("job"), "j");
            let value = if is_stale(sample.v) { "stale".to_owned() } else { sample.v.to_string() };
            format!("{} {value}", labels.drop(&["job", "instance"]))
        })
        .collect();
    lines.sort();
    lines
}

/// Waits for the first batch that holds a line; those before it are of the state before.
async fn until(batches: &mut mpsc::Receiver<SampleBatch>, line: &str) -> (Vec<String>, Timestamp) {
    let wait = async {
        loop {
            let batch = batches.recv().await.expect("the scraper runs");
            assert_eq!((batch.tenant.as_str(), batch.sender.as_str()), ("", "scrape:j"));
            let lines = shown(&batch);
            if lines.iter().any(|other| other == line) {
                return (lines, batch.series.last().map_or(Timestamp::MIN, |(_, sample)| sample.t));
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("no batch with {line}"))
}

fn report(up: u8, samples: u8, added: u8) -> [String; 4] {
    [
        format!("scrape_samples_post_metric_relabeling {samples}"),
        format!("scrape_samples_scraped {samples}"),
        format!("scrape_series_added {added}"),
        format!("up {up}"),
    ]
}

fn lines(samples: &[&str], report: [String; 4]) -> Vec<String> {
    let mut lines: Vec<String> = samples.iter().map(|line| (*line).to_owned()).chain(report).collect();
    lines.sort();
    lines
}

fn start(configs: &[ScrapeConfig], refusals: u32) -> (Scraper, mpsc::Receiver<SampleBatch>, Arc<Counters>) {
    start_within(configs, refusals, SeriesLimits::default())
}

fn start_within(
    configs: &[ScrapeConfig],
    refusals: u32,
    limits: SeriesLimits,
) -> (Scraper, mpsc::Receiver<SampleBatch>, Arc<Counters>) {
    let (sender, batches) = mpsc::channel(10_000);
    let sink = Arc::new(Channel { batches: sender, refusals: Mutex::new(refusals) });
    let counters = Arc::new(Counters::default());
    let observer = Arc::clone(&counters) as Arc<dyn ScrapeObserver>;
    let scraper = Scraper::start(configs, sink, Arc::new(Still), reqwest::Client::new(), observer, limits).unwrap();
    (scraper, batches, counters)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_answers_fails_and_is_taken_away() {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";
    let answer = Answer::default();
    let address = answer.serve().await;
    answer.set(OPENMETRICS, "# TYPE a counter\na_total 1 # {x=\"y\"} 1\nb{job=\"x\"} 2\n# EOF\n");
    let (scraper, mut batches, counters) = start(&[config(&address, 200)], 0);

    let (first, first_at) = until(&mut batches, "a_total 1").await;
    assert_eq!(first, lines(&["a_total 1", "b{exported_job=\"x\"} 2"], report(1, 2, 2)));
    let (second, second_at) = until(&mut batches, "a_total 1").await;
    assert_eq!(second, lines(&["a_total 1", "b{exported_job=\"x\"} 2"], report(1, 2, 0)));
    assert!(second_at > first_at);
    let asked = answer.asked.lock().clone();
    assert!(asked[ACCEPT].to_str().unwrap().starts_with("application/openmetrics-text;version=1.0.0"));
    assert_eq!(asked[USER_AGENT], concat!("prefold/", env!("CARGO_PKG_VERSION")));
    assert_eq!(asked["x-prometheus-scrape-timeout-seconds"], "20");

    answer.set("text/plain; version=0.0.4", "c 1\nc 2\n");
    let (third, _) = until(&mut batches, "c 1").await;
    let ended = ["a_total stale", "b{exported_job=\"x\"} stale", "c 1"];
    assert_eq!(third, lines(&ended, report(1, 2, 1)));

    answer.set("text/plain", "c 1\nd x\n");
    assert_eq!(until(&mut batches, "up 0").await.0, lines(&["c stale"], report(0, 0, 0)));
    assert_eq!(until(&mut batches, "up 0").await.0, lines(&[], report(0, 0, 0)));
    let status = scraper.targets().remove(0);
    assert_eq!((status.health, status.last_error.as_str()), (Health::Down, "line 2: \"x\" is not a number"));

    answer.set("text/plain", "c 5\n");
    assert_eq!(until(&mut batches, "c 5").await.0, lines(&["c 5"], report(1, 1, 0)));
    assert_eq!(scraper.reload(&[]).await, Ok(Reloaded { stopped: 1, ..Reloaded::default() }));
    let (last, _) = until(&mut batches, "up stale").await;
    let names = ["c", "scrape_duration_seconds", "scrape_samples_post_metric_relabeling", "scrape_samples_scraped"];
    let expected: Vec<String> =
        names.into_iter().chain(["scrape_series_added", "up"]).map(|name| format!("{name} stale")).collect();
    assert_eq!(last, expected);
    assert!(scraper.targets().is_empty() && batches.try_recv().is_err());
    let scrapes = counters.scrapes.lock();
    assert_eq!(scrapes[0].exemplars, 1);
    assert!(scrapes.iter().any(|outcome| outcome.duplicates == 1));
    assert!(counters.failed.lock().is_empty());
}

#[tokio::test]
async fn a_reload_leaves_equal_targets_alone_and_hands_series_over() {
    let answer = Answer::default();
    answer.set("text/plain", "a 1\nb 1\n");
    let address = answer.serve().await;
    let (scraper, mut batches, _) = start(&[config(&address, 100)], 0);
    until(&mut batches, "b 1").await;
    assert_eq!(scraper.reload(&[config(&address, 100)]).await, Ok(Reloaded { kept: 1, ..Reloaded::default() }));
    let twice = [config(&address, 100), config(&address, 100)];
    assert!(scraper.reload(&twice).await.is_err() && scraper.targets().len() == 1);

    // The series carry on under the new settings: no marker for those that are still there, one for the one that is not.
    let changed = config(&address, 150);
    assert_eq!(scraper.reload(&[changed]).await, Ok(Reloaded { changed: 1, ..Reloaded::default() }));
    answer.set("text/plain", "a 2\n");
    let (batch, _) = until(&mut batches, "a 2").await;
    assert_eq!(batch, lines(&["a 2", "b stale"], report(1, 1, 0)));
    assert_eq!(scraper.targets()[0].interval_ms, 150);
    scraper.stop().await;
    let (last, _) = until(&mut batches, "up stale").await;
    assert_eq!(last[0], "a stale");
}

#[tokio::test]
async fn a_batch_that_is_refused_is_delivered_again() {
    let answer = Answer::default();
    answer.set("text/plain", "a 1\n");
    let address = answer.serve().await;
    let (scraper, mut batches, counters) = start(&[config(&address, 1_000)], 1);
    until(&mut batches, "a 1").await;
    assert_eq!(*counters.failed.lock(), [false]);
    scraper.stop().await;
}

#[tokio::test]
async fn bodies_and_samples_have_limits() {
    let answer = Answer::default();
    answer.set("text/plain", "a 1\nb 1\n");
    let address = answer.serve().await;
    let whole = config(&address, 100);
    check_failure(
        ScrapeConfig { body_bytes_max: 7, ..whole.clone() },
        FailureReason::BodyTooLarge,
        "the body is larger than the body_size_limit of 7 bytes",
    )
    .await;
    check_failure(
        ScrapeConfig { body_bytes_max: 8, sample_limit: 1, ..whole.clone() },
        FailureReason::BeyondLimits,
        "line 2: more than 1 samples",
    )
    .await;
    check_failure(
        ScrapeConfig { label_limit: 2, ..whole },
        FailureReason::BeyondLimits,
        "has 3 labels, more than label_limit 2",
    )
    .await;
}

/// The node's limits are the parser's, unless a job's are wider.
#[tokio::test]
async fn the_limits_of_the_node_hold_for_bodies() {
    let answer = Answer::default();
    answer.set("text/plain", "a{b=\"1234\",c=\"\",d=\"\"} 1\n");
    let target = config(&answer.serve().await, 100);
    let node = |labels_per_series_max, label_value_bytes_max| SeriesLimits {
        labels_per_series_max,
        label_value_bytes_max,
        ..SeriesLimits::default()
    };
    let job =
        |label_limit, label_value_length_limit| ScrapeConfig { label_limit, label_value_length_limit, ..target.clone() };
    for (node, job, error) in [
        (node(4, 4), job(0, 0), ""),
        (node(3, 4), job(0, 0), "line 1: more than 3 labels"),
        (node(3, 4), job(9, 0), ""),
        (node(4, 3), job(0, 0), "line 1: the value of label \"b\" is longer than 3 bytes"),
        (node(4, 3), job(0, 99), ""),
    ] {
        let (scraper, mut batches, _) = start_within(&[job], 0, node);
        until(&mut batches, if error.is_empty() { "up 1" } else { "up 0" }).await;
        assert_eq!(scraper.targets()[0].last_error, error);
        scraper.stop().await;
    }
}

/// Without a Content-Type it is what the job says.
#[tokio::test]
async fn a_target_that_does_not_say_its_format_is_read_in_the_jobs() {
    let answer = Answer::default();
    answer.set("", "a 1\n# EOF\n");
    let target = config(&answer.serve().await, 100);
    check_failure(target.clone(), FailureReason::ContentType, "fallback_scrape_protocol").await;
    let fallback = Some(crate::ingest::exposition::Format::OpenMetrics);
    let (scraper, mut batches, _) = start(&[ScrapeConfig { fallback, ..target }], 0);
    until(&mut batches, "a 1").await;
    scraper.stop().await;
}

/// Holds the reason and the words of a scrape's failure.
async fn check_failure(config: ScrapeConfig, reason: FailureReason, words: &str) {
    let (scraper, mut batches, counters) = start(&[config], 0);
    until(&mut batches, "up 0").await;
    let error = scraper.targets()[0].last_error.clone();
    assert!(error.contains(words), "{error}, not {words}");
    let failures: Vec<_> = counters.scrapes.lock().iter().map(|outcome| outcome.failure).collect();
    assert!(!failures.is_empty() && failures.iter().all(|failure| *failure == Some(reason)), "{failures:?}");
    scraper.stop().await;
}

#[tokio::test]
async fn every_failure_has_its_reason() {
    let answer = Answer::default();
    let target = config(&answer.serve().await, 100);
    answer.set("text/html", "a 1\n");
    check_failure(target.clone(), FailureReason::ContentType, "text/html").await;
    answer.set("text/plain", "a x\n");
    check_failure(target.clone(), FailureReason::BodyMalformed, "line 1: \"x\" is not a number").await;
    *answer.status.lock() = StatusCode::NOT_FOUND;
    check_failure(target, FailureReason::HttpStatus, "404").await;
    check_failure(config("127.0.0.1:1", 100), FailureReason::Connect, "onnect").await;

    // One that takes connections and says nothing, and one that says what is not HTTP.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = ScrapeConfig { timeout_ms: 100, ..config(&silent.local_addr().unwrap().to_string(), 100) };
    check_failure(silent, FailureReason::Timeout, "no whole answer within the scrape_timeout of 0.1 s").await;
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = other.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut connection, b"220 ready\r\n").await;
        }
    });
    check_failure(config(&address, 100), FailureReason::Transfer, "").await;
}
