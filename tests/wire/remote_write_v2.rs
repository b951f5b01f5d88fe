//! Remote write 2.0 against prost.

use prefold::model::{Labels, STALE_NAN, Sample, Timestamp};
use prefold::wire::proto::remote_write_v2 as proto;
use prefold::wire::remote_write_v2::{Request, encode};
use prefold::wire::{Histograms, LABELS_PER_SERIES_MAX, Problem, SYMBOLS_MAX, WireError};
use proptest::prelude::*;
use prost::Message;

use super::message::{Field, Layout, Value, layout, repeated, sample, scalar, text};
use super::{damage, damaged, foreign_messages, mutilated};

#[derive(Debug, PartialEq)]
struct Series {
    references: Vec<u32>,
    /// Value, time, start.
    samples: Vec<(u64, i64, i64)>,
    exemplars: usize,
    histograms: Histograms,
}

type Content = (Vec<String>, Vec<Series>);

fn ours(bytes: &[u8]) -> Result<Content, WireError> {
    let mut request = Request::new(bytes)?;
    let symbols: Vec<String> = request.symbols().iter().map(|symbol| symbol.to_string()).collect();
    let mut read = Vec::new();
    while let Some(series) = request.next_series()? {
        let pairs = series.label_references.chunks(2).map(|pair| (&*symbols[pair[0] as usize], &*symbols[pair[1] as usize]));
        assert!(series.labels().eq(pairs));
        assert!(series.start_timestamps.is_none_or(|starts| starts.len() == series.samples.len()));
        let start = |index| series.start_timestamps.map_or(0, |starts: &[i64]| starts[index]);
        let samples = series.samples.iter().enumerate();
        read.push(Series {
            references: series.label_references.to_vec(),
            samples: samples.map(|(index, sample)| (sample.v.to_bits(), sample.t.0, start(index))).collect(),
            exemplars: series.exemplars,
            histograms: series.histograms,
        });
    }
    Ok((symbols, read))
}

fn theirs(bytes: &[u8]) -> Option<Content> {
    let request = proto::Request::decode(bytes).ok()?;
    let series = request.timeseries.into_iter().map(|series| Series {
        references: series.labels_refs,
        samples: series.samples.iter().map(|s| (s.value.to_bits(), s.timestamp, s.start_timestamp)).collect(),
        exemplars: series.exemplars.len(),
        histograms: super::histograms(series.histograms.iter().map(|histogram| histogram.timestamp)),
    });
    Some((request.symbols, series.collect()))
}

/// What we refuse though prost accepts it: what the protocol forbids and protobuf cannot say.
fn stricter(problem: &Problem) -> bool {
    matches!(
        problem,
        Problem::Group { .. }
            | Problem::OtherProtocol { .. }
            | Problem::TooMany { .. }
            | Problem::FirstSymbolNotEmpty
            | Problem::ReferencesOdd { .. }
            | Problem::ReferenceOutOfRange { .. }
    )
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

fn series(symbols: u64) -> impl Strategy<Value = Vec<Field>> {
    let references = prop::collection::vec(0..symbols, 0..4).prop_map(move |half| {
        let pairs: Vec<u64> = half.iter().flat_map(|reference| [*reference, symbols - 1 - *reference]).collect();
        vec![(1, Value::Packed(pairs))]
    });
    let exemplar = scalar(3, super::time().prop_map(|t| Value::Varint(t as u64)));
    let histogram = scalar(15, super::time().prop_map(|t| Value::Varint(t as u64)));
    let metadata = repeated(5, scalar(3, (0..9u64).prop_map(Value::Varint)), 1);
    (references, repeated(2, sample(true), 3), repeated(3, histogram, 1), repeated(4, exemplar, 1), metadata).prop_map(
        |(references, samples, histograms, exemplars, metadata)| {
            [references, samples, histograms, exemplars, metadata].concat()
        },
    )
}

/// The symbols, and the rest. The symbols' order is what numbers them, so they are encoded apart.
fn request() -> impl Strategy<Value = (Vec<Field>, Vec<Field>)> {
    prop::collection::vec(super::text(), 0..150).prop_flat_map(|texts| {
        let symbols: Vec<Field> = std::iter::once("").chain(texts.iter().map(String::as_str)).map(|t| text(4, t)).collect();
        let count = symbols.len() as u64;
        (Just(symbols), repeated(5, series(count), 4))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn valid_requests_decode_equal(
        (symbols, series) in request(), mut layout in layout(), symbols_last: bool, damage in damage()
    ) {
        let (symbols, series) = (Layout(0).encode(&symbols), layout.encode(&series));
        let bytes = if symbols_last { [series, symbols].concat() } else { [symbols, series].concat() };
        prop_assert!(theirs(&bytes).is_some() && ours(&bytes).is_ok());
        check(&bytes);
        check(&damaged(&bytes, &damage));
        check(&bytes[..damage[0].0.index(bytes.len() + 1)]);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        check(&bytes);
        check(&[&[0x22, 0x00, 0x2a, bytes.len() as u8][..], &bytes].concat());
    }
}

fn sent() -> Vec<(Labels, Vec<Sample>)> {
    let sample = |t, v| Sample { t: Timestamp(t), v };
    vec![
        (Labels::from_pairs([("__name__", "up"), ("job", "node"), ("note", "ü")]), vec![sample(1_700_000_000_000, 1.0)]),
        (Labels::from_pairs([("__name__", "up"), ("job", "x")]), vec![sample(0, 0.0), sample(-5, STALE_NAN)]),
        (Labels::EMPTY, vec![]),
    ]
}

#[test]
fn what_we_encode_reads_back() {
    let bytes = encode(&sent());
    check(&bytes);
    let (symbols, series) = ours(&bytes).unwrap();
    assert_eq!(symbols, ["", "__name__", "up", "job", "node", "note", "ü", "x"]);
    for ((labels, samples), read) in sent().iter().zip(series) {
        let text = |reference: u32| symbols[reference as usize].as_str();
        let pairs = read.references.chunks(2).map(|pair| (text(pair[0]), text(pair[1])));
        let expected: Vec<(u64, i64, i64)> = samples.iter().map(|sample| (sample.v.to_bits(), sample.t.0, 0)).collect();
        assert_eq!((&Labels::from_pairs(pairs), read.samples), (labels, expected));
    }
}

#[test]
fn no_damage_goes_unnoticed_that_prost_notices_differently() {
    mutilated(&encode(&sent())).for_each(|bytes| check(&bytes));
    foreign_messages().iter().for_each(|bytes| check(bytes));
}

#[test]
fn what_the_protocol_forbids_is_refused() {
    let empty = || text(4, "");
    let series = |references: &[u64]| (5, Value::Message(vec![(1, Value::Packed(references.to_vec()))]));
    let refused = [
        (vec![text(4, "a")], Problem::FirstSymbolNotEmpty),
        (vec![empty(), series(&[0])], Problem::ReferencesOdd { count: 1 }),
        (vec![empty(), series(&[0, 1])], Problem::ReferenceOutOfRange { reference: 1, symbols: 1 }),
        (vec![series(&[0, 0])], Problem::ReferenceOutOfRange { reference: 0, symbols: 0 }),
    ];
    for (fields, expected) in refused {
        assert_eq!(*ours(&Layout(0).encode(&fields)).unwrap_err().problem(), expected);
    }
    let accepted = [vec![], vec![series(&[])], vec![series(&[0, 1]), empty(), text(4, "a")]];
    for fields in accepted {
        assert!(ours(&Layout(0).encode(&fields)).is_ok(), "{fields:?}");
    }
}

#[test]
fn a_body_of_version_1_is_not_an_empty_request() {
    let body = prefold::wire::remote_write_v1::encode(&sent());
    assert!(matches!(ours(&body).unwrap_err().problem(), Problem::OtherProtocol { field: 1, .. }));
}

#[test]
fn counts_are_bounded() {
    let symbols = [0x22, 0x00].repeat(SYMBOLS_MAX + 1);
    assert_eq!(*ours(&symbols).unwrap_err().problem(), Problem::TooMany { what: "symbols", max: SYMBOLS_MAX });
    let references = (5, Value::Message(vec![(1, Value::Packed(vec![0; 2 * LABELS_PER_SERIES_MAX + 2]))]));
    let bytes = Layout(0).encode(&[text(4, ""), references]);
    let expected = Problem::TooMany { what: "labels in a series", max: LABELS_PER_SERIES_MAX };
    assert_eq!(*ours(&bytes).unwrap_err().problem(), expected);
}
