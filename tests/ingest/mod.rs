//! Requests through the gateway into a real log, and what is read back from there, without HTTP.
//!
//! Sees: what the log keeps of a request. Cannot see: status codes and headers; those tests are of the process.

mod import;

use std::sync::Arc;
use std::time::Duration;

use prefold::ingest::gateway::{Gateway, GatewayOptions, Origin, Protocol, WriteError};
use prefold::ingest::limits::{RefusalReason, SeriesLimits};
use prefold::log::{AppendError, EmbeddedLog, EmbeddedOptions, Log, ReadFrom};
use prefold::model::{Clock, Labels, Sample, Tenant, Timestamp};
use prefold::wire::proto::remote_write_v2 as v2;
use prefold::wire::record::Record;
use prefold::wire::{remote_write_v1, remote_write_v2, snappy};
use prost::Message;

struct StandingClock;

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000)
    }
}

/// Time, value and start timestamp of each sample of each series, series by their label `n`.
type Kept = Vec<(String, Vec<(i64, f64, i64)>)>;

/// Writes the bodies, one after the other, and reads everything back.
async fn kept(bodies: &[(Protocol, Vec<u8>)]) -> Kept {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(StandingClock);
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(folder.path(), EmbeddedOptions::new(Arc::clone(&clock))).unwrap());
    let gateway = Gateway::new(Arc::clone(&log), clock, GatewayOptions::default());
    let origin = Origin { tenant: Tenant::from(""), sender: "one".into(), named: true };
    for (protocol, body) in bodies {
        let written = gateway.write(&origin, *protocol, &snappy::compress(body), 1 << 20).await.unwrap();
        assert!(written.refused.is_empty());
    }
    let (mut reader, mut records) = (log.reader(ReadFrom::Beginning).unwrap(), Vec::new());
    while reader.read(&mut records, 1 << 20, Duration::ZERO).unwrap() > 0 {}
    let mut kept = Kept::new();
    for record in records.iter().filter(|record| !record.is_tick()) {
        for series in Record::parse(&record.payload).unwrap().series() {
            let n = series.labels().unwrap().get("n").to_owned();
            kept.push((n, series.samples_with_start().map(|(sample, start)| (sample.t.0, sample.v, start)).collect()));
        }
    }
    kept.sort_by(|a, b| a.0.cmp(&b.0));
    kept
}

/// A 2.0 request of series `a`, `b` and so on, each with samples as (time, value, start timestamp).
fn request_v2(series: &[&[(i64, f64, i64)]]) -> (Protocol, Vec<u8>) {
    let mut symbols: Vec<String> = ["", "__name__", "up", "n"].map(String::from).into();
    let mut timeseries = Vec::new();
    for (number, samples) in series.iter().enumerate() {
        let labels_refs = vec![1, 2, 3, symbols.len() as u32];
        symbols.push(char::from(b'a' + number as u8).to_string());
        let sample = |(timestamp, value, start): &(i64, f64, i64)| v2::Sample {
            value: *value,
            timestamp: *timestamp,
            start_timestamp: *start,
        };
        let samples = samples.iter().map(sample).collect();
        timeseries.push(v2::TimeSeries { labels_refs, samples, ..v2::TimeSeries::default() });
    }
    (Protocol::V2, v2::Request { symbols, timeseries }.encode_to_vec())
}

#[tokio::test]
async fn start_timestamps_of_remote_write_2_are_kept_in_the_log() {
    let first: &[&[(i64, f64, i64)]] = &[
        &[(5000, 1.0, 4000), (6000, 2.0, 4000), (7000, 0.5, 6500)],
        &[(5000, 1.0, 0)],
        &[(5000, 1.0, 0), (6000, 2.0, 5500)],
        &[(5000, 1.0, -1), (6000, 2.0, i64::MIN)],
    ];
    // The second time the series are known to the gateway.
    let again: &[&[(i64, f64, i64)]] = &[&[(8000, 3.0, 7500)], &[(8000, 3.0, 7500)]];
    let expected = [("a", first[0]), ("a", again[0]), ("b", first[1]), ("b", again[1]), ("c", first[2]), ("d", first[3])];
    let expected: Kept = expected.map(|(n, samples)| (n.to_owned(), samples.to_vec())).into();
    assert_eq!(kept(&[request_v2(first), request_v2(again)]).await, expected);
}

#[tokio::test]
async fn samples_of_remote_write_1_have_no_start_timestamp() {
    let labels = Labels::from_pairs([("__name__", "up"), ("n", "a")]);
    let body = remote_write_v1::encode(&[(labels, vec![Sample { t: Timestamp(5000), v: 1.0 }])]);
    let expected = vec![("a".to_owned(), vec![(5000, 1.0, 0)])];
    assert_eq!(kept(&[(Protocol::V1, body)]).await, expected);
}

/// A gateway over a log of its own.
struct World {
    gateway: Gateway,
    log: Arc<dyn Log>,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(options: GatewayOptions) -> World {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(StandingClock);
        let log: Arc<dyn Log> =
            Arc::new(EmbeddedLog::open(folder.path(), EmbeddedOptions::new(Arc::clone(&clock))).unwrap());
        World { gateway: Gateway::new(Arc::clone(&log), clock, options), log, _folder: folder }
    }

    /// Sender and labels of each series, and sender, labels and reason of each refusal, in the log's order.
    fn read(&self) -> Vec<String> {
        let (mut reader, mut records) = (self.log.reader(ReadFrom::Beginning).unwrap(), Vec::new());
        while reader.read(&mut records, 1 << 20, Duration::ZERO).unwrap() > 0 {}
        let mut read = Vec::new();
        for record in records.iter().filter(|record| !record.is_tick()) {
            let record = Record::parse(&record.payload).unwrap();
            let sender = record.sender();
            read.extend(record.series().map(|series| format!("{sender}: {:?}", series.labels().unwrap())));
            read.extend(record.refusals().map(|one| format!("{sender}: {} {:?}", one.reason(), one.labels().unwrap())));
        }
        read
    }
}

fn of(pairs: &[(&str, &str)]) -> (Labels, Vec<Sample>) {
    (Labels::from_pairs(pairs.iter().copied()), vec![Sample { t: Timestamp(5000), v: 1.0 }])
}

/// A relay mixes what several senders sent; the label that tells them apart may be one that is dropped.
#[tokio::test]
async fn a_request_is_split_by_the_senders_that_labels_name() {
    let (sender_labels, drop_labels) = (vec!["cluster".to_owned(), "pod".to_owned()], vec!["pod".to_owned()]);
    let options = GatewayOptions { sender_labels, drop_labels, senders_max: 3, ..GatewayOptions::default() };
    let world = World::new(options);
    let origin = |named| Origin { tenant: Tenant::from(""), sender: "relay".into(), named };
    let series = [
        of(&[("__name__", "a"), ("cluster", "c1"), ("pod", "p")]),
        of(&[("__name__", "b"), ("cluster", "c1"), ("pod", "p")]),
        of(&[("__name__", "c"), ("cluster", "c2")]),
        of(&[("__name__", "d")]),
        of(&[("__name__", "e"), ("cluster", "c1"), ("pod", "p")]),
        of(&[("__name__", "f"), ("cluster", "c2"), ("x", &"x".repeat(20_000))]),
    ];
    let mut expected = [
        r#"c1/p: a{cluster="c1"}"#,
        r#"c1/p: b{cluster="c1"}"#,
        r#"c1/p: e{cluster="c1"}"#,
        r#"c2: c{cluster="c2"}"#,
        r#"c2: label-value-too-long f{cluster="c2"}"#,
        "relay: d",
    ];
    expected.sort_unstable();
    let mut before = 0;
    // The second time every series is known; the versions know apart.
    for (protocol, body) in [
        (Protocol::V1, remote_write_v1::encode(&series)),
        (Protocol::V1, remote_write_v1::encode(&series)),
        (Protocol::V2, remote_write_v2::encode(&series)),
        (Protocol::V2, remote_write_v2::encode(&series)),
    ] {
        let written = world.gateway.write(&origin(false), protocol, &snappy::compress(&body), 1 << 20).await.unwrap();
        assert_eq!((written.samples, written.refused.len()), (5, 1));
        let mut read = world.read().split_off(before);
        before += read.len();
        read.sort_unstable();
        assert_eq!(read, expected, "{protocol:?}");
    }
    // A header goes before labels.
    let body = snappy::compress(&remote_write_v1::encode(&series));
    world.gateway.write(&origin(true), Protocol::V1, &body, 1 << 20).await.unwrap();
    assert!(world.read()[before..].iter().all(|line| line.starts_with("relay: ")));
    // One more sender than may write: all of the request comes again.
    let more = [series[0].clone(), of(&[("__name__", "a"), ("cluster", "c3")])];
    let before = world.read().len();
    let body = snappy::compress(&remote_write_v1::encode(&more));
    let refused = world.gateway.write(&origin(false), Protocol::V1, &body, 1 << 20).await.unwrap_err();
    assert!(matches!(refused, WriteError::NotAdmitted(_)), "{refused}");
    assert_eq!(world.read().len(), before);
}

/// A name of a sender that is too long is refused, and comes no better again: what it may have sent, its address's views miss.
#[tokio::test]
async fn a_sender_whose_name_is_too_long_uncovers() {
    let world = World::new(GatewayOptions { sender_labels: vec!["cluster".to_owned()], ..GatewayOptions::default() });
    let write = async |sender: &str, cluster: &str| {
        let origin = Origin { tenant: Tenant::from(""), sender: sender.into(), named: false };
        let series = [of(&[("__name__", "a"), ("cluster", cluster)])];
        let body = snappy::compress(&remote_write_v1::encode(&series));
        world.gateway.write(&origin, Protocol::V1, &body, 1 << 20).await.map_err(|error| error.to_string())
    };
    write("relay", "c1").await.unwrap();
    for sender in ["relay", "relay", "stranger"] {
        let refused = write(sender, &"c".repeat(257)).await.unwrap_err();
        assert!(
            refused.starts_with("origin-too-long: ") && refused.contains("has 257 bytes, the limit is 256"),
            "{refused}"
        );
    }
    let read = world.read();
    assert_eq!(read, [r#"c1: a{cluster="c1"}"#, "relay: origin-too-long {}"], "once a minute, and of no stranger");
}

/// What is scraped is treated as what is written.
#[tokio::test]
async fn labels_are_dropped_from_scraped_series_and_limits_hold_for_them() {
    let limits = SeriesLimits { labels_per_series_max: 2, ..SeriesLimits::default() };
    let world = World::new(GatewayOptions { limits, drop_labels: vec!["zone".to_owned()], ..GatewayOptions::default() });
    let scraped = [
        of(&[("__name__", "a"), ("zone", "z")]),
        of(&[("__name__", "b"), ("job", "j"), ("zone", "z")]),
        of(&[("__name__", "c"), ("job", "j"), ("x", "1")]),
    ];
    let scraped: Vec<(Labels, Sample)> = scraped.into_iter().map(|(labels, samples)| (labels, samples[0])).collect();
    let origin = Origin { tenant: Tenant::from(""), sender: "scrape:j".into(), named: true };
    world.gateway.deliver(&origin, &scraped).await.unwrap();
    let mut read = world.read();
    read.sort_unstable();
    let expected = ["scrape:j: a", r#"scrape:j: b{job="j"}"#, r#"scrape:j: too-many-labels c{job="j"}"#];
    assert_eq!(read, expected);
    assert_eq!(world.gateway.counters().refused(RefusalReason::TooManyLabels), 1);
}

/// Series of 2.0 whose labels cannot be read are refused each by itself.
#[tokio::test]
async fn a_bad_reference_or_text_refuses_its_series_and_no_other() {
    let world = World::new(GatewayOptions::default());
    let request = |references: &[&[u32]]| {
        let samples = || vec![v2::Sample { value: 1.0, timestamp: 5000, start_timestamp: 0 }];
        let timeseries = references.iter().map(|refs| v2::TimeSeries {
            labels_refs: refs.to_vec(),
            samples: samples(),
            ..v2::TimeSeries::default()
        });
        let symbols = ["", "__name__", "up", "n", "ab"].map(String::from).to_vec();
        let mut body = v2::Request { symbols, timeseries: timeseries.collect() }.encode_to_vec();
        // The last symbol becomes no UTF-8.
        let at = body.windows(2).position(|two| two == b"ab").unwrap();
        body[at] = 0xff;
        body
    };
    let body = request(&[&[1, 2], &[1, 9], &[1, 2, 3, 4], &[1, 2, 3], &[1, 2, 3, 2]]);
    let origin = Origin { tenant: Tenant::from(""), sender: "s".into(), named: true };
    for _ in 0..2 {
        let written = world.gateway.write(&origin, Protocol::V2, &snappy::compress(&body), 1 << 20).await.unwrap();
        assert_eq!((written.samples, &*written.refused), (2, &[(RefusalReason::LabelsMalformed, 3)][..]));
    }
    let mut read = world.read();
    read.sort_unstable();
    assert_eq!(read, ["s: up", "s: up", r#"s: up{n="up"}"#, r#"s: up{n="up"}"#]);
}

/// A body that was read and that the log then did not take may have held anything.
#[tokio::test]
async fn what_is_too_large_for_the_log_is_noted_there() {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(StandingClock);
    let options = EmbeddedOptions { batch_bytes_max: 1000, ..EmbeddedOptions::new(Arc::clone(&clock)) };
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(folder.path(), options).unwrap());
    let gateway = Gateway::new(Arc::clone(&log), clock, GatewayOptions::default());
    let origin = Origin { tenant: Tenant::from("t"), sender: "one".into(), named: true };
    let long = Labels::from_pairs([("__name__", "up".to_owned()), ("n", "x".repeat(2000))]);
    let body = snappy::compress(&remote_write_v1::encode(&[(long, vec![Sample { t: Timestamp(5000), v: 1.0 }])]));
    for _ in 0..2 {
        let refused = gateway.write(&origin, Protocol::V1, &body, 1 << 20).await.unwrap_err();
        assert!(matches!(refused, WriteError::Append(AppendError::TooLarge { .. })), "{refused}");
    }
    let (mut reader, mut records) = (log.reader(ReadFrom::Beginning).unwrap(), Vec::new());
    while reader.read(&mut records, 1 << 20, Duration::ZERO).unwrap() > 0 {}
    let mut noted = Vec::new();
    for record in records.iter().filter(|record| !record.is_tick()) {
        let record = Record::parse(&record.payload).unwrap();
        let refusals = record.refusals().map(|refusal| (refusal.is_whole_body(), refusal.reason()));
        noted.push((
            record.tenant().to_owned(),
            record.sender().to_owned(),
            refusals.map(|(w, r)| (w, r.to_owned())).collect(),
        ));
    }
    let expected: Vec<(bool, String)> = vec![(true, "body-too-large".to_owned())];
    assert_eq!(noted, [("t".to_owned(), "one".to_owned(), expected)], "once a minute");
}
