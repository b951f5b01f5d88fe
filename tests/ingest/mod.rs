//! Requests through the gateway into a real log, and what is read back from there, without HTTP.
//!
//! Sees: what the log keeps of a request. Cannot see: status codes and headers; those tests are of the process.

use std::sync::Arc;
use std::time::Duration;

use prefold::ingest::gateway::{Gateway, GatewayOptions, Origin, Protocol, WriteError};
use prefold::log::{AppendError, EmbeddedLog, EmbeddedOptions, Log, ReadFrom};
use prefold::model::{Clock, Labels, Sample, Tenant, Timestamp};
use prefold::wire::proto::remote_write_v2 as v2;
use prefold::wire::record::Record;
use prefold::wire::{remote_write_v1, snappy};
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
