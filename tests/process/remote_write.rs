//! Remote write's receiver over HTTP: what is taken, what is refused with which status, and that the rest of a refused
//! request is kept (prometheus.md 2.2, 9.7).

use std::collections::BTreeMap;

use prefold::model::STALE_NAN;
use prefold::wire::proto::{remote_write_v1 as v1, remote_write_v2 as v2};
use prefold::wire::snappy;
use prost::Message;

use super::Random;
use super::processes::{Answer, COUNT_JOB, COUNT_QUERY, Home, Running, body_v1, body_v2, counted, labels, now_ms, sample};

pub const V1: &str = "application/x-protobuf;proto=prometheus.WriteRequest";
pub const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// A series to be sent: labels in the order given, good and bad ones alike.
#[derive(Clone, Default)]
pub struct Sent {
    pub labels: Vec<(String, String)>,
    pub samples: Vec<(i64, f64)>,
    /// Their times.
    pub histograms: Vec<i64>,
    pub exemplars: usize,
}

pub fn sent(pairs: &[(&str, &str)]) -> Sent {
    let labels = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sent { labels, samples: vec![(now_ms(), 1.0)], ..Sent::default() }
}

fn good() -> Sent {
    sent(&[("g", "good"), ("__name__", "c_total")])
}

pub fn encoded_v1(series: &[Sent]) -> Vec<u8> {
    let timeseries = series.iter().map(|one| v1::TimeSeries {
        labels: one.labels.iter().map(|(name, value)| v1::Label { name: name.clone(), value: value.clone() }).collect(),
        samples: one.samples.iter().map(|(timestamp, value)| v1::Sample { value: *value, timestamp: *timestamp }).collect(),
        exemplars: vec![v1::Exemplar { value: 1.0, ..v1::Exemplar::default() }; one.exemplars],
        histograms: one
            .histograms
            .iter()
            .map(|timestamp| v1::Histogram { sum: 1.0, timestamp: *timestamp, ..v1::Histogram::default() })
            .collect(),
    });
    v1::WriteRequest { timeseries: timeseries.collect(), ..v1::WriteRequest::default() }.encode_to_vec()
}

pub fn encoded_v2(series: &[Sent]) -> Vec<u8> {
    let mut symbols = vec![String::new()];
    let mut number = |text: &String| -> u32 {
        let at = symbols.iter().position(|symbol| symbol == text).unwrap_or_else(|| {
            symbols.push(text.clone());
            symbols.len() - 1
        });
        at as u32
    };
    let timeseries = series
        .iter()
        .map(|one| v2::TimeSeries {
            labels_refs: one.labels.iter().flat_map(|(name, value)| [number(name), number(value)]).collect(),
            samples: one
                .samples
                .iter()
                .map(|(timestamp, value)| v2::Sample { value: *value, timestamp: *timestamp, start_timestamp: 1 })
                .collect(),
            histograms: one
                .histograms
                .iter()
                .map(|timestamp| v2::Histogram { sum: 1.0, timestamp: *timestamp, ..v2::Histogram::default() })
                .collect(),
            exemplars: vec![v2::Exemplar { value: 1.0, ..v2::Exemplar::default() }; one.exemplars],
            metadata: Some(v2::Metadata { r#type: 1, help_ref: 0, unit_ref: 0 }),
        })
        .collect();
    v2::Request { symbols, timeseries }.encode_to_vec()
}

pub async fn post(running: &Running, content_type: &str, encoded: &[u8]) -> Answer {
    let headers = [
        ("Content-Type", content_type),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", if content_type == V2 { "2.0.0" } else { "0.1.0" }),
    ];
    running.request("POST", "/api/v1/write", &headers, snappy::compress(encoded)).await
}

/// `prefold_ingest_refused_total` by reason.
async fn refused(running: &Running) -> BTreeMap<String, f64> {
    let text = running.get("/metrics").await.text;
    let lines = text.lines().filter_map(|line| line.strip_prefix("prefold_ingest_refused_total{reason=\""));
    lines
        .map(|line| line.split_once("\"} ").unwrap())
        .map(|(reason, count)| (reason.to_owned(), count.parse().unwrap()))
        .collect()
}

/// The reasons whose counts grew, with how much.
fn grown(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> Vec<(String, f64)> {
    let grew = after.iter().map(|(reason, count)| (reason.clone(), count - before.get(reason).copied().unwrap_or(0.0)));
    grew.filter(|(_, count)| *count != 0.0).collect()
}

/// Method, content type, content encoding, body; the status and the reason counted.
type Announced<'a> = (&'a str, &'a str, &'a str, &'a [u8], u16, &'a str);

/// Name, series of one request; the status, what is counted as refused, and how many samples are written.
type Judged<'a> = (&'a str, Vec<Sent>, u16, Vec<(&'a str, f64)>, u64);

/// Headers are judged before the body, which is rubbish wherever it must not matter.
#[tokio::test]
async fn headers_decide_what_a_body_is() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "");
    let running = home.start().await;
    let (one, two) = (body_v1(&counted("a")), body_v2(&counted("a")));
    let rubbish = b"rubbish".as_slice();
    let table: &[Announced<'_>] = &[
        ("POST", "", "", &one, 204, ""),
        ("POST", "application/x-protobuf", "", &one, 204, ""),
        ("POST", "", "snappy", &one, 204, ""),
        ("POST", V1, "snappy", &one, 204, ""),
        ("POST", "application/x-protobuf; proto=prometheus.WriteRequest", "snappy", &one, 204, ""),
        ("POST", "Application/X-Protobuf", "Snappy", &one, 204, ""),
        ("POST", V2, "snappy", &two, 204, ""),
        ("POST", "application/x-protobuf; proto=\"io.prometheus.write.v2.Request\"", "snappy", &two, 204, ""),
        ("POST", "application/json", "snappy", rubbish, 415, "content-type"),
        ("POST", "image/png", "snappy", rubbish, 415, "content-type"),
        ("POST", "application/x-protobuf;proto=io.prometheus.write.v3.Request", "snappy", rubbish, 415, "content-type"),
        ("POST", V1, "gzip", rubbish, 415, "content-encoding"),
        ("POST", V2, "deflate", rubbish, 415, "content-encoding"),
        ("POST", V2, "zstd", rubbish, 415, "content-encoding"),
        ("POST", V1, "identity", &one, 415, "content-encoding"),
        ("POST", V1, "snappy", rubbish, 400, "body-malformed"),
        ("POST", V2, "snappy", rubbish, 400, "body-malformed"),
        ("POST", V1, "snappy", b"", 400, "body-malformed"),
        // Either version sent as the other would be an empty request, and so be lost in silence.
        ("POST", V1, "snappy", &two, 400, "body-malformed"),
        ("POST", V2, "snappy", &one, 400, "body-malformed"),
        ("GET", V1, "snappy", b"", 405, ""),
        ("PUT", V1, "snappy", &one, 405, ""),
        ("DELETE", V1, "snappy", b"", 405, ""),
    ];
    for (method, content_type, encoding, body, status, reason) in table {
        let headers: Vec<(&str, &str)> = [("Content-Type", *content_type), ("Content-Encoding", *encoding)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let before = refused(&running).await;
        let answer = running.request(method, "/api/v1/write", &headers, body.to_vec()).await;
        let case = format!("{method} {content_type:?} {encoding:?}: {answer:?}");
        assert_eq!(answer.status, *status, "{case}");
        assert_eq!(answer.text.is_empty(), *status == 204, "{case}");
        assert!(answer.text.contains(reason), "{case}");
        let expected: Vec<(String, f64)> =
            Some((reason.to_string(), 1.0)).filter(|_| !reason.is_empty()).into_iter().collect();
        assert_eq!(grown(&before, &refused(&running).await), expected, "{case}");
    }
}

/// A row of series that are all kept.
fn kept<'a>(name: &'a str, series: Vec<Sent>, written: u64) -> Judged<'a> {
    (name, series, 204, vec![], written)
}

/// A row in which something is refused, `count` times for one reason.
fn wrong<'a>(name: &'a str, series: Vec<Sent>, reason: &'a str, count: f64, written: u64) -> Judged<'a> {
    (name, series, 400, vec![(reason, count)], written)
}

fn with(change: impl FnOnce(&mut Sent)) -> Sent {
    let mut one = good();
    change(&mut one);
    one
}

fn series_that_are_kept() -> Vec<Judged<'static>> {
    let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, STALE_NAN, -0.0, 5e-324];
    let floats = |one: &mut Sent| {
        one.labels = vec![("__name__".into(), "floats".into())];
        one.samples = special.iter().zip(now_ms() - 10..).map(|(v, t)| (t, *v)).collect();
    };
    let odd = sent(&[("__name__", "x.y"), ("a b", "c\nd"), ("é", "\u{1F600}")]);
    vec![
        kept("nothing but a name", vec![sent(&[("__name__", "x")])], 1),
        kept("dots, spaces, line breaks", vec![odd], 1),
        kept("an empty value is an absent label", vec![sent(&[("__name__", "x"), ("a", ""), ("b", "1")])], 1),
        kept("special floats", vec![with(floats)], 6),
    ]
}

fn series_that_are_refused() -> Vec<Judged<'static>> {
    let mib = "x".repeat(1 << 20);
    let many: Vec<(String, String)> = (0..10_000).map(|n| (format!("l{n:05}"), "x".to_owned())).collect();
    let native = |one: &mut Sent| {
        one.samples.clear();
        one.histograms = vec![now_ms(); 2];
    };
    let twice = sent(&[("a", "1"), ("__name__", "x"), ("a", "2")]);
    let long_name = sent(&[("__name__", "x"), (&mib, "y")]);
    let long_value = sent(&[("__name__", "x"), ("a", &mib)]);
    let several = vec![sent(&[("a", "1")]), good(), sent(&[("b", "1")]), sent(&[("__name__", "x"), ("a", "1"), ("a", "1")])];
    let reasons = vec![("label-duplicate", 1.0), ("metric-name-missing", 2.0)];
    vec![
        wrong("no name", vec![good(), sent(&[("a", "1")])], "metric-name-missing", 1.0, 1),
        wrong("an empty name", vec![good(), sent(&[("__name__", "")])], "metric-name-missing", 1.0, 1),
        wrong("no labels", vec![sent(&[]), good()], "metric-name-missing", 1.0, 1),
        wrong("a label without a name", vec![sent(&[("__name__", "x"), ("", "y")])], "label-name-empty", 1.0, 0),
        wrong("a label twice", vec![twice, good()], "label-duplicate", 1.0, 1),
        wrong("a name of 1 MiB", vec![long_name, good()], "label-name-too-long", 1.0, 1),
        wrong("a value of 1 MiB", vec![long_value, good()], "label-value-too-long", 1.0, 1),
        wrong("10,000 labels", vec![with(|one| one.labels.extend(many)), good()], "too-many-labels", 1.0, 1),
        wrong("no samples", vec![with(|one| one.samples.clear()), good()], "no-samples", 1.0, 1),
        wrong("native histograms", vec![with(native), good()], "native-histogram", 2.0, 1),
        wrong("exemplars", vec![with(|one| one.exemplars = 3)], "exemplar", 3.0, 1),
        ("several wrongs at once", several, 400, reasons, 1),
    ]
}

/// In both versions.
#[tokio::test]
async fn what_is_wrong_is_refused_by_name_and_the_rest_is_kept() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "");
    let running = home.start().await;
    for (name, series, status, reasons, written) in series_that_are_kept().iter().chain(&series_that_are_refused()) {
        for (content_type, encoded) in [(V1, encoded_v1(series)), (V2, encoded_v2(series))] {
            let (before, samples) = (refused(&running).await, running.metric("prefold_ingest_samples_total").await);
            let answer = post(&running, content_type, &encoded).await;
            let case = format!("{name}, {content_type}: {answer:?}");
            assert_eq!(answer.status, *status, "{case}");
            let expected: Vec<(String, f64)> =
                reasons.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
            assert_eq!(grown(&before, &refused(&running).await), expected, "{case}");
            assert!(reasons.iter().all(|(reason, count)| answer.text.contains(&format!("{count} x {reason}"))), "{case}");
            check_written(&answer, content_type, *written);
            assert_eq!(running.metric("prefold_ingest_samples_total").await - samples, *written as f64, "{case}");
        }
    }
}

/// A 2.0 request learns what was written in every answer, a 1.0 request never.
#[track_caller]
fn check_written(answer: &Answer, content_type: &str, samples: u64) {
    let header = |what: &str| answer.header(&format!("X-Prometheus-Remote-Write-{what}-Written")).to_owned();
    let found = ["Samples", "Histograms", "Exemplars"].map(header);
    let expected = [samples.to_string(), "0".to_owned(), "0".to_owned()];
    assert_eq!(found, if content_type == V2 { expected } else { Default::default() }, "{answer:?}");
}

/// What was written beside refused series counts, and labels in any order are one series.
#[tokio::test]
async fn the_good_part_of_a_bad_request_is_in_the_results() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "");
    let running = home.start().await;
    let (mut random, t) = (Random(7), now_ms());
    for n in 0..20 {
        let mut one = sent(&[("__name__", "c_total"), ("g", "mixed"), ("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
        random.shuffle(&mut one.labels);
        // Every time is sent twice: once in each version, in another order of labels.
        one.samples = vec![(t + i64::from(n / 2), 1.0)];
        let bad = sent(&[("nameless", "1")]);
        let (content_type, encoded) = if n % 2 == 0 { (V1, encoded_v1(&[bad, one])) } else { (V2, encoded_v2(&[one, bad])) };
        let answer = post(&running, content_type, &encoded).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    let at = (t / 1000 + 2) * 1000;
    running.final_to(1, at).await;
    let results = running.results(COUNT_QUERY, at, at, 1000).await;
    assert_eq!(results[r#"{"g":"mixed"}"#][&at], "10", "{results:?}");
}

/// The first value of a series and time stays; another one is counted, the same once more is not.
#[tokio::test]
async fn a_second_value_of_one_time_is_counted_and_not_taken() {
    const SUM_QUERY: &str = "sum by (g) (sum_over_time(c_total[10s]))";
    let job = format!(r#"{{"name":"sum","rules":[{{"expr":"{SUM_QUERY}","step":"1s","max_delay":"2s"}}]}}"#);
    let home = Home::new(&[("sum.json", &job)], "");
    let running = home.start().await;
    // What comes before a view's first grid point is told of none.
    running.final_to(1, now_ms()).await;
    let t = now_ms();
    for value in [3.0, 5.0, 3.0, 7.0] {
        let series = [(labels(&[("__name__", "c_total"), ("g", "twice")]), vec![sample(t, value)])];
        assert_eq!(running.write(&series).await.status, 204);
    }
    let at = (t / 1000 + 2) * 1000;
    running.final_to(1, at).await;
    assert_eq!(running.results(SUM_QUERY, at, at, 1000).await[r#"{"g":"twice"}"#][&at], "3");
    assert_eq!(running.metric(r#"prefold_samples_conflicting_total{job="sum",rule="0"}"#).await, 2.0);
}

#[tokio::test]
async fn requests_without_series_are_taken() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "");
    let running = home.start().await;
    assert_eq!(post(&running, V1, &[]).await.status, 204);
    let metadata = v1::WriteRequest {
        metadata: vec![v1::MetricMetadata { r#type: 1, metric_family_name: "x".to_owned(), ..Default::default() }],
        ..Default::default()
    };
    assert_eq!(post(&running, V1, &metadata.encode_to_vec()).await.status, 204);
    let empty = v2::Request { symbols: vec![String::new()], timeseries: Vec::new() };
    let answer = post(&running, V2, &empty.encode_to_vec()).await;
    assert_eq!(answer.status, 204);
    check_written(&answer, V2, 0);
}

/// Samples of impossible times are refused by no rule of remote write: they count nowhere and harm nothing.
#[tokio::test]
async fn times_at_the_ends_of_the_world_do_no_harm() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "");
    let mut running = home.start().await;
    let t = now_ms();
    for time in [i64::MIN, i64::MIN + 1, -1, 0, 1, t - 86_400_000, t + 86_400_000, i64::MAX - 1, i64::MAX] {
        let mut one = sent(&[("__name__", "c_total"), ("g", "odd")]);
        one.samples = vec![(time, 1.0)];
        for (content_type, encoded) in [(V1, encoded_v1(&[one.clone()])), (V2, encoded_v2(&[one.clone()]))] {
            let answer = post(&running, content_type, &encoded).await;
            assert!(answer.status < 500, "{time}: {answer:?}");
        }
        assert_eq!(
            running.write(&[(labels(&[("__name__", "c_total"), ("g", "usual")]), vec![sample(t, 1.0)])]).await.status,
            204
        );
    }
    let at = (t / 1000 + 2) * 1000;
    running.final_to(1, at).await;
    let results = running.results(COUNT_QUERY, at, at, 1000).await;
    assert_eq!(results.keys().collect::<Vec<_>>(), [r#"{"g":"usual"}"#]);
    assert_eq!(results[r#"{"g":"usual"}"#][&at], "1");
    assert!(running.is_alive());
}
