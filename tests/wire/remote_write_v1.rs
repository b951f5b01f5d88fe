//! Remote write 1.0 against prost.

use prefold::model::{Labels, STALE_NAN, Sample, Timestamp};
use prefold::wire::proto::remote_write_v1 as proto;
use prefold::wire::remote_write_v1::{LabelBlock, Request, decode_labels, encode};
use prefold::wire::{Histograms, LABELS_PER_SERIES_MAX, Problem, SAMPLES_PER_SERIES_MAX, WireError};
use proptest::prelude::*;
use prost::Message;

use super::message::{Field, Value, bytes_of, layout, repeated, sample, scalar, text};
use super::{damage, damaged, foreign_messages, mutilated};

/// What both decoders say of a request.
#[derive(Debug, PartialEq, Default)]
struct Content {
    series: Vec<Series>,
    metadata: usize,
}

#[derive(Debug, PartialEq)]
struct Series {
    labels: Vec<(String, String)>,
    samples: Vec<(u64, i64)>,
    exemplars: usize,
    histograms: Histograms,
}

fn ours(bytes: &[u8]) -> Result<Content, WireError> {
    let mut request = Request::new(bytes);
    let mut content = Content::default();
    let mut buffer = Vec::new();
    while let Some(series) = request.next_series()? {
        let labels = decode_labels(series.labels)?;
        let block = series.labels.contiguous(&mut buffer)?;
        assert_eq!(decode_labels(LabelBlock::Contiguous(block)).as_ref(), Ok(&labels), "one piece says the same");
        content.series.push(Series {
            labels: labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            samples: series.samples.iter().map(|sample| (sample.v.to_bits(), sample.t.0)).collect(),
            exemplars: series.exemplars,
            histograms: series.histograms,
        });
    }
    content.metadata = request.metadata();
    Ok(content)
}

fn theirs(bytes: &[u8]) -> Option<Content> {
    let request = proto::WriteRequest::decode(bytes).ok()?;
    let series = request.timeseries.into_iter().map(|series| Series {
        labels: series.labels.into_iter().map(|label| (label.name, label.value)).collect(),
        samples: series.samples.iter().map(|sample| (sample.value.to_bits(), sample.timestamp)).collect(),
        exemplars: series.exemplars.len(),
        histograms: super::histograms(series.histograms.iter().map(|histogram| histogram.timestamp)),
    });
    Some(Content { series: series.collect(), metadata: request.metadata.len() })
}

/// What we refuse though prost accepts it.
fn stricter(problem: &Problem) -> bool {
    matches!(problem, Problem::Group { .. } | Problem::OtherProtocol { .. } | Problem::TooMany { .. })
}

#[track_caller]
fn check(bytes: &[u8]) {
    match (theirs(bytes), ours(bytes)) {
        (Some(theirs), Ok(ours)) => assert_eq!(ours, theirs, "{bytes:x?}"),
        (Some(_), Err(error)) => assert!(stricter(error.problem()), "{error}: {bytes:x?}"),
        (None, Err(error)) => assert!(error.offset() <= bytes.len(), "{error}: {bytes:x?}"),
        (None, Ok(_)) => {} // what prost finds wrong is inside what we pass over
    }
}

#[track_caller]
fn check_error(bytes: &[u8], expected: &str) {
    assert_eq!(ours(bytes).expect_err("refused").to_string(), expected);
}

fn label() -> impl Strategy<Value = Vec<Field>> {
    (scalar(1, bytes_of(super::text())), scalar(2, bytes_of(super::text()))).prop_map(|(name, value)| [name, value].concat())
}

fn request() -> impl Strategy<Value = Vec<Field>> {
    let exemplar = (repeated(1, label(), 2), sample(false)).prop_map(|(labels, _)| labels);
    let histogram = scalar(15, super::time().prop_map(|t| Value::Varint(t as u64)));
    let series =
        (repeated(1, label(), 5), repeated(2, sample(false), 3), repeated(3, exemplar, 1), repeated(4, histogram, 1));
    let series =
        series.prop_map(|(labels, samples, exemplars, histograms)| [labels, samples, exemplars, histograms].concat());
    let metadata = scalar(4, bytes_of(super::text()));
    (repeated(1, series, 4), repeated(3, metadata, 2)).prop_map(|(series, metadata)| [series, metadata].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn valid_requests_decode_equal(fields in request(), mut layout in layout(), damage in damage()) {
        let bytes = layout.encode(&fields);
        prop_assert!(theirs(&bytes).is_some() && ours(&bytes).is_ok());
        check(&bytes);
        check(&damaged(&bytes, &damage));
        check(&bytes[..damage[0].0.index(bytes.len() + 1)]);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        check(&bytes);
        let series = [&[0x0a, bytes.len() as u8][..], &bytes].concat();
        check(&series);
    }
}

fn series() -> Vec<(Labels, Vec<Sample>)> {
    let sample = |t, v| Sample { t: Timestamp(t), v };
    vec![
        (Labels::from_pairs([("__name__", "up"), ("job", "node"), ("note", "ü")]), vec![sample(1_700_000_000_000, 1.0)]),
        (Labels::EMPTY, vec![sample(0, 0.0), sample(-5, STALE_NAN)]),
        (Labels::from_pairs([("long", "x".repeat(300))]), vec![]),
    ]
}

#[test]
fn what_we_encode_reads_back() {
    let content = theirs(&encode(&series())).unwrap();
    check(&encode(&series()));
    for ((labels, samples), read) in series().iter().zip(content.series) {
        let expected: Vec<(u64, i64)> = samples.iter().map(|sample| (sample.v.to_bits(), sample.t.0)).collect();
        assert_eq!((&Labels::from_pairs(read.labels), read.samples), (labels, expected));
    }
}

#[test]
fn no_damage_goes_unnoticed_that_prost_notices_differently() {
    mutilated(&encode(&series())).for_each(|bytes| check(&bytes));
    foreign_messages().iter().for_each(|bytes| check(bytes));
}

#[test]
fn labels_in_one_piece_are_borrowed_wherever_they_stand() {
    let label = |name: &str| (1, Value::Message(vec![text(1, name), text(2, "v")]));
    let sample = || (2, Value::Message(vec![(1, Value::Fixed64(7)), (2, Value::Varint(9))]));
    let orders = [
        (vec![label("a"), label("b"), sample()], true),
        (vec![sample(), label("a"), label("b")], true),
        (vec![sample()], true),
        (vec![label("a"), sample(), label("b")], false),
        (vec![label("a"), (9, Value::Varint(1)), label("b")], false),
    ];
    for (fields, expected) in orders {
        let bytes = super::message::Layout(0).encode(&[(1, Value::Message(fields.clone()))]);
        let mut request = Request::new(&bytes);
        let series = request.next_series().unwrap().unwrap();
        assert_eq!(matches!(series.labels, LabelBlock::Contiguous(_)), expected, "{fields:?}");
        check(&bytes);
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    check_error(&[0x0a, 0x05, 0x12], "a field claims 5 bytes where 1 are left (at byte 2)");
    check_error(
        &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        "a field claims 18446744073709551615 bytes where 0 are left (at byte 11)",
    );
    check_error(&[0x0a, 0x02, 0x10, 0x01], "field 2 is of wire type 0, which is not the one it must have (at byte 3)");
    check_error(&[0x0b, 0x0c], "field 1 is a group; groups are not read (at byte 1)");
    check_error(&[0x0e], "field 1 is of wire type 6, which does not exist (at byte 1)");
    check_error(&[0x00], "0 is not the key of a field (at byte 0)");
    check_error(&[0x80; 10], "a number is longer than 64 bits (at byte 0)");
    check_error(&[0x0a, 0x05, 0x0a, 0x03, 0x0a, 0x01, 0xff], "a string is not UTF-8 (at byte 4)");
}

#[test]
fn a_body_of_version_2_is_not_an_empty_request() {
    let body = prefold::wire::remote_write_v2::encode(&series());
    assert!(matches!(ours(&body).unwrap_err().problem(), Problem::OtherProtocol { field: 4, .. }));
}

#[test]
fn counts_are_bounded() {
    let one_series = |field: [u8; 2], count: usize| {
        let body = field.repeat(count);
        let mut bytes = vec![0x0a];
        prost::encoding::encode_varint(body.len() as u64, &mut bytes);
        bytes.extend(body);
        bytes
    };
    let too_many = |what, max| Problem::TooMany { what, max };
    let samples = one_series([0x12, 0x00], SAMPLES_PER_SERIES_MAX + 1);
    assert_eq!(*ours(&samples).unwrap_err().problem(), too_many("samples in a series", SAMPLES_PER_SERIES_MAX));
    let labels = one_series([0x0a, 0x00], LABELS_PER_SERIES_MAX + 1);
    assert_eq!(*ours(&labels).unwrap_err().problem(), too_many("labels in a series", LABELS_PER_SERIES_MAX));
    check(&one_series([0x0a, 0x00], LABELS_PER_SERIES_MAX));
}
