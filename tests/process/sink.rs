//! Results sent on by remote write: what a receiver gets is what a query gives, with markers, whatever it answers and
//! whenever the process is killed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use prefold::model::STALE_NAN;

use super::processes::{Home, Running, now_ms, sample, until};
use super::sink_receiver::{Manner, Sample, SinkReceiver};
use crate::ports::held_port;

pub const JOB: &str = r#"{"name":"sent","defaults":{"step":"1s","max_delay":"2s","overdue_tolerance":1},"rules":[
  {"expr":"sum by (g) (count_over_time(c_total[2s]))","record":"g:c:count","labels":{"team":"a"}},
  {"expr":"avg by (g) (last_over_time(c_total[3s]))","record":"g:c:avg"},
  {"expr":"max by (g) (max_over_time(c_total[2s]))"}]}"#;

pub const RECORDS: [&str; 2] = ["g:c:count", "g:c:avg"];

pub const STEP: i64 = 1000;

/// How far behind the newest sample results are final.
const FINAL_AFTER: i64 = 3000;

const PAST: &str = "log: {log_time: samples}\ningest: {new_senders: whole}\n";

pub fn sink(name: &str, url: &str, more: &str) -> String {
    format!("- {{name: {name}, url: '{url}', from: all, uncovered: send{more}}}\n")
}

/// Until something is written the log says no time, and queries wait for it.
async fn started(home: &Home) -> Running {
    let mut running = home.spawn();
    running.listening().await.unwrap();
    running
}

/// A history that begins ten minutes ago, written a second at a time, of groups that come and go.
struct History {
    begin: i64,
    /// Seconds written so far.
    written: i64,
}

impl History {
    fn new() -> History {
        History { begin: now_ms() / 1000 * 1000 - 600_000, written: 0 }
    }

    /// Writes some seconds of it.
    async fn write(&mut self, running: &Running, seconds: i64) {
        for second in self.written..self.written + seconds {
            let there = |group: i64| group == 0 || (second / 7 + group) % 3 != 0;
            let series = (0..4).filter(|group| there(*group)).map(|group| {
                let names = [("__name__", "c_total".to_owned()), ("g", format!("g{group}")), ("i", "1".to_owned())];
                let labels = prefold::model::Labels::from_pairs(names);
                (labels, vec![sample(self.begin + second * 1000, (second * 10 + group) as f64 / 7.0)])
            });
            let answer = running.write(&series.collect::<Vec<_>>()).await;
            assert_eq!(answer.status, 204, "{answer:?}");
        }
        self.written += seconds;
    }

    fn last_final(&self) -> i64 {
        self.begin + (self.written - 1) * 1000 - FINAL_AFTER
    }

    async fn expected(&self, running: &Running, records: &[&str]) -> BTreeSet<Sample> {
        expected(running, records, self.begin, self.last_final()).await
    }
}

/// What a sink is to have sent: what queries answer, and a marker after every last value.
pub async fn expected(running: &Running, records: &[&str], from: i64, last: i64) -> BTreeSet<Sample> {
    let mut expected = BTreeSet::new();
    running.final_to(3, last).await;
    for record in records {
        for (labels, points) in running.results(record, from, last, STEP).await {
            for (t, v) in &points {
                expected.insert((labels.clone(), *t, v.parse::<f64>().unwrap().to_bits()));
                if *t < last && !points.contains_key(&(t + STEP)) {
                    expected.insert((labels.clone(), t + STEP, STALE_NAN.to_bits()));
                }
            }
        }
    }
    let markers = expected.iter().filter(|(.., bits)| *bits == STALE_NAN.to_bits()).count();
    assert!(markers > 5 && expected.len() > 100, "{markers} markers among {}", expected.len());
    expected
}

/// Waits until a receiver has everything, and holds that it has nothing else.
pub async fn arrived(receiver: &SinkReceiver, expected: &BTreeSet<Sample>, last: i64) {
    let up_to_last = || receiver.distinct().into_iter().filter(|(_, t, _)| *t <= last).collect::<BTreeSet<_>>();
    until("everything to arrive", async || (up_to_last().len() >= expected.len()).then_some(())).await;
    let found = up_to_last();
    let wrong: Vec<_> = found.symmetric_difference(expected).take(5).collect();
    assert!(wrong.is_empty(), "{} of {} differ: {wrong:?}", found.symmetric_difference(expected).count(), expected.len());
    receiver.check_order();
}

#[tokio::test]
async fn results_and_markers_arrive_by_both_protocols_as_queries_answer_them() {
    let (one, two, covered) = (
        SinkReceiver::start(Manner::Takes).await,
        SinkReceiver::start(Manner::Takes).await,
        SinkReceiver::start(Manner::Takes).await,
    );
    let headers = ", headers: {X-Scope-OrgID: '7', X-Token: {file: TOKEN}, X-Path: {env: PATH}}";
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "secret\n").unwrap();
    let headers = headers.replace("TOKEN", token.path().to_str().unwrap());
    let sinks = [
        sink("one", &one.url, &headers),
        sink("two", &two.url, ", protocol: remote-write-2, samples_per_request_max: 17"),
        format!("- {{name: covered, url: '{}', from: all}}\n", covered.url),
    ];
    let home = Home::new(&[("sent.json", JOB)], &format!("{PAST}sinks:\n{}", sinks.concat()));
    let running = started(&home).await;
    let mut history = History::new();
    history.write(&running, 60).await;
    let expected = history.expected(&running, &RECORDS).await;
    arrived(&one, &expected, history.last_final()).await;
    arrived(&two, &expected, history.last_final()).await;

    until("what is covered to arrive", async || {
        let position = running.metric("prefold_sink_position_timestamp_seconds{sink=\"covered\"}").await;
        (position * 1000.0 >= history.last_final() as f64).then_some(())
    })
    .await;
    covered.check_order();
    check_left_out(&covered.distinct(), &expected, &uncovered(&running).await, history.last_final());

    let said = |headers: &axum::http::HeaderMap, name: &str| headers[name].to_str().unwrap().to_owned();
    for seen in one.headers() {
        let names = ["content-type", "content-encoding", "x-prometheus-remote-write-version", "x-scope-orgid", "x-token"];
        let values = names.map(|name| said(&seen, name));
        assert_eq!(values, ["application/x-protobuf", "snappy", "0.1.0", "7", "secret"]);
        assert_eq!(said(&seen, "user-agent"), concat!("prefold/", env!("CARGO_PKG_VERSION")));
        assert_eq!(said(&seen, "x-path"), std::env::var("PATH").unwrap());
    }
    let version = said(&two.headers()[0], "x-prometheus-remote-write-version");
    assert_eq!((version.as_str(), two.headers().len() >= expected.len() / 17), ("2.0.0", true));
    let counted = running.metric("prefold_sink_samples_total{sink=\"one\"}").await;
    assert!(counted >= expected.len() as f64, "{counted}");
    let position = running.metric("prefold_sink_position_timestamp_seconds{sink=\"two\"}").await;
    assert!(position * 1000.0 >= history.last_final() as f64, "{position}");
}

/// Holds that a reader of what was sent sees all series of a record at a grid point or none, and none only where a span is.
fn check_left_out(
    sent: &BTreeSet<Sample>,
    expected: &BTreeSet<Sample>,
    uncovered: &BTreeMap<String, Vec<(i64, i64)>>,
    last: i64,
) {
    let is_marker = |bits: u64| bits == STALE_NAN.to_bits();
    let (mut whole, mut left_out) = (0, 0);
    for record in RECORDS {
        let series: BTreeSet<&str> =
            expected.iter().map(|(labels, ..)| labels.as_str()).filter(|labels| labels.contains(record)).collect();
        let first = expected.iter().map(|(_, t, _)| *t).min().unwrap();
        for t in (first..=last).step_by(STEP as usize) {
            let there = |samples: &BTreeSet<Sample>, labels: &str| {
                let newest = samples.iter().filter(|(l, at, _)| l == labels && *at <= t).max_by_key(|(_, at, _)| *at);
                newest.map(|(.., bits)| *bits).filter(|bits| !is_marker(*bits))
            };
            let all: Vec<_> = series.iter().map(|labels| there(expected, labels)).collect();
            let seen: Vec<_> = series.iter().map(|labels| there(sent, labels)).collect();
            if seen == all {
                whole += 1;
                continue;
            }
            let in_a_span = uncovered[record].iter().any(|(from, to)| *from <= t && t < *to);
            assert!(in_a_span && seen.iter().all(Option::is_none), "{record} at {t}: {seen:?} for {all:?}");
            left_out += 1;
        }
    }
    assert!(whole > 10 && left_out > 1, "{whole} whole, {left_out} left out");
}

/// The stretches of each record's view that spans uncover.
async fn uncovered(running: &Running) -> BTreeMap<String, Vec<(i64, i64)>> {
    let views = running.views().await;
    let of_view = |view: &serde_json::Value| {
        let spans = view["spans"].as_array().unwrap().iter().filter(|span| span["reason"] != "gone");
        let end = |span: &serde_json::Value| span["to_ms"].as_i64().unwrap_or(i64::MAX);
        let spans = spans.map(|span| (span["from_ms"].as_i64().unwrap(), end(span))).collect();
        (view["rule"].as_str().unwrap().to_owned(), spans)
    };
    views.iter().map(of_view).collect()
}

#[tokio::test]
async fn what_cannot_be_taken_now_is_sent_again_and_holds_up_no_other_sink() {
    let good = SinkReceiver::start(Manner::Takes).await;
    let absent = held_port();
    let address = absent.local_addr().unwrap();
    let failing = VecDeque::from([
        (503, Vec::new()),
        (500, vec![("retry-after", "0")]),
        (429, vec![("retry-after", "1")]),
        (429, Vec::new()),
    ]);
    let failing = SinkReceiver::start(Manner::Fails(failing)).await;
    let sinks = [
        sink("good", &good.url, ""),
        sink("absent", &format!("http://{address}/api/v1/write"), ""),
        sink("failing", &failing.url, ", samples_per_request_max: 40"),
    ];
    let home = Home::new(&[("sent.json", JOB)], &format!("{PAST}sinks:\n{}", sinks.concat()));
    let running = started(&home).await;
    let mut history = History::new();
    history.write(&running, 50).await;
    let expected = history.expected(&running, &RECORDS).await;
    arrived(&good, &expected, history.last_final()).await;
    arrived(&failing, &expected, history.last_final()).await;
    let failures = async |sink: &str, reason: &str| {
        running.metric(&format!("prefold_sink_failures_total{{sink=\"{sink}\",reason=\"{reason}\"}}")).await
    };
    let counted = [failures("failing", "server-error").await, failures("failing", "too-many-requests").await];
    assert_eq!(counted, [2.0, 2.0], "{}", running.logs());
    assert_eq!(failing.samples().len(), failing.distinct().len(), "nothing that was taken is sent again");

    // Both are said anew whenever it is tried.
    until("failures to be counted", async || (failures("absent", "unreachable").await > 0.0).then_some(())).await;
    let behind = async || running.metric("prefold_sink_behind_seconds{sink=\"absent\"}").await;
    until("the sink to be behind", async || (behind().await > 30.0).then_some(())).await;
    let page = running.get("/prefold/").await.text;
    assert!(page.contains("Sink absent has had trouble since"), "{page}");
    let receiver = SinkReceiver::listen(absent.listen(64).unwrap(), Manner::Takes);
    arrived(&receiver, &expected, history.last_final()).await;
    until("the log to say so", async || running.logs().contains("the sink delivers again").then_some(())).await;
}

#[tokio::test]
async fn what_is_refused_is_counted_and_takes_nothing_else_along() {
    let receiver = SinkReceiver::start(Manner::Refuses("g:c:avg", "out of order sample\nfor all I know")).await;
    let home = Home::new(&[("sent.json", JOB)], &format!("{PAST}sinks:\n{}", sink("one", &receiver.url, "")));
    let running = started(&home).await;
    let mut history = History::new();
    history.write(&running, 40).await;
    let last = history.last_final();
    let both = history.expected(&running, &RECORDS).await;
    let expected: BTreeSet<Sample> = both.iter().filter(|(labels, ..)| labels.contains("g:c:count")).cloned().collect();
    arrived(&receiver, &expected, last).await;
    let dropped = "prefold_sink_dropped_samples_total{sink=\"one\",reason=\"out-of-order\"}";
    let refused = (both.len() - expected.len()) as f64;
    until("all of it to be refused", async || (running.metric(dropped).await >= refused).then_some(())).await;
    let words = "it answered 400 Bad Request: out of order sample; what is refused (out-of-order) is not sent again";
    assert!(running.logs().contains(words), "{}", running.logs());
    let behind = "prefold_sink_behind_seconds{sink=\"one\"}";
    until("its position to have moved on", async || (running.metric(behind).await == 0.0).then_some(())).await;
}

#[tokio::test]
async fn a_receiver_that_does_not_know_2_0_gets_1_0() {
    for manner in [Manner::KnowsNoV2, Manner::TakesV2ForV1] {
        let receiver = SinkReceiver::start(manner.clone()).await;
        let sinks = sink("one", &receiver.url, ", protocol: remote-write-2");
        let home = Home::new(&[("sent.json", JOB)], &format!("{PAST}sinks:\n{sinks}"));
        let running = started(&home).await;
        let mut history = History::new();
        history.write(&running, 40).await;
        let expected = history.expected(&running, &RECORDS).await;
        arrived(&receiver, &expected, history.last_final()).await;
        assert!(running.logs().contains("does not take remote write 2.0"), "{manner:?}: {}", running.logs());
        let versions: Vec<_> =
            receiver.headers().iter().map(|seen| seen["x-prometheus-remote-write-version"].clone()).collect();
        let of_v2 = versions.iter().filter(|version| *version == "2.0.0").count();
        assert!(versions[0] == "2.0.0" && of_v2 == 1, "{manner:?}: {versions:?}");
    }
}

/// kill -9 while requests are under way: everything is there, each with one value, and a clean stop sends nothing again.
#[tokio::test]
async fn killed_at_any_moment_everything_arrives_with_one_value() {
    let receiver = SinkReceiver::start(Manner::Slow(Duration::from_millis(15))).await;
    let sinks = sink("one", &receiver.url, ", samples_per_request_max: 9");
    let home = Home::new(&[("sent.json", JOB)], &format!("{PAST}sinks:\n{sinks}"));
    let mut history = History::new();
    for kill in 0..7 {
        let mut running = started(&home).await;
        history.write(&running, 9).await;
        let so_far = receiver.samples().len();
        until("more to arrive", async || (receiver.samples().len() > so_far).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(7 * kill)).await;
        running.kill();
    }
    let mut running = started(&home).await;
    history.write(&running, 9).await;
    let expected = history.expected(&running, &RECORDS).await;
    arrived(&receiver, &expected, history.last_final()).await;
    let again = receiver.samples().len() - receiver.distinct().len();
    println!("{} samples, of which {again} were sent twice", receiver.distinct().len());
    assert!(again <= 7 * 2 * 9 * 2, "{again}: no more than one batch a kill");

    let behind = "prefold_sink_behind_seconds{sink=\"one\"}";
    until("everything to be settled", async || (running.metric(behind).await == 0.0).then_some(())).await;
    running.signal("TERM");
    assert!(running.ended().await.success());
    receiver.forget();
    let running = started(&home).await;
    let last = history.last_final();
    history.write(&running, 9).await;
    running.final_to(3, history.last_final()).await;
    until("what is new to arrive", async || {
        receiver.samples().iter().any(|(_, t, _)| *t == history.last_final()).then_some(())
    })
    .await;
    let old: Vec<_> = receiver.samples().into_iter().filter(|(_, t, _)| *t <= last).collect();
    assert!(old.is_empty(), "{old:?}");
}

/// The file of a header may change, a secret is never shown, and what is not there is said at the start.
#[tokio::test]
async fn a_header_that_cannot_be_read_is_said_at_the_start() {
    let sinks = "- {name: one, url: 'http://127.0.0.1:1/', headers: {Authorization: {file: /absent/token}}}";
    let home = Home::new(&[("sent.json", JOB)], &format!("sinks:\n{sinks}"));
    let mut running = home.spawn();
    let ended = running.ended().await;
    let words = "sink one: header Authorization: cannot read /absent/token";
    assert!(ended.code() == Some(3) && running.logs().contains(words), "{ended} {}", running.logs());
}
