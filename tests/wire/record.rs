//! Records of our log: written and read back, and read against prost.

use prefold::model::{Labels, STALE_NAN, Sample, SeriesId, Timestamp};
use prefold::wire::proto::record as proto;
use prefold::wire::record::{Record, RecordWriter, RefusedSeries, SymbolTable, encode_record};
use prefold::wire::{Problem, WireError, remote_write_v2};
use proptest::prelude::*;
use prost::Message;

use super::message::{Field, Layout, Value, bytes_of, layout, repeated, sample, scalar, scalar_present, text};
use super::{damage, damaged, foreign_messages, mutilated};

#[derive(Debug, PartialEq, Default)]
pub struct Content {
    pub tenant: String,
    pub sender: String,
    pub series: Vec<Series>,
    pub refusals: Vec<Refusal>,
}

#[derive(Debug, PartialEq)]
pub struct Series {
    pub id: u128,
    /// Value, time, start.
    pub samples: Vec<(u64, i64, i64)>,
    /// None when they cannot be resolved.
    pub labels: Option<Labels>,
}

#[derive(Debug, PartialEq)]
pub struct Refusal {
    pub labels: Option<Labels>,
    pub timestamps: Vec<i64>,
    /// None when they cannot be resolved.
    pub untold: Option<Vec<String>>,
    pub reason: String,
    pub whole_body: bool,
}

pub fn ours(bytes: &[u8]) -> Result<Content, WireError> {
    let record = Record::parse(bytes)?;
    let series = record.series().map(|series| {
        let samples: Vec<_> = series.samples_with_start().map(|(s, start)| (s.v.to_bits(), s.t.0, start)).collect();
        assert_eq!(samples.len(), series.samples().len());
        assert!(series.samples().iter().map(|s| (s.v.to_bits(), s.t.0)).eq(samples.iter().map(|s| (s.0, s.1))));
        Series { id: series.id.0, samples, labels: series.labels().ok() }
    });
    let refusals = record.refusals().map(|refusal| Refusal {
        labels: refusal.labels().ok(),
        timestamps: refusal.timestamps().map(|t| t.0).collect(),
        untold: refusal.untold().ok().map(|names| names.into_iter().map(String::from).collect()),
        reason: refusal.reason().to_owned(),
        whole_body: refusal.is_whole_body(),
    });
    let (series, refusals): (Vec<Series>, Vec<Refusal>) = (series.collect(), refusals.collect());
    assert_eq!(record.sample_count(), series.iter().map(|series| series.samples.len()).sum::<usize>());
    Ok(Content { tenant: record.tenant().to_owned(), sender: record.sender().to_owned(), series, refusals })
}

fn theirs(bytes: &[u8]) -> Option<Content> {
    let record = proto::Record::decode(bytes).ok()?;
    let symbols = &record.symbols;
    let labels = |references: &[u32]| {
        let text = |reference: u32| symbols.get(reference as usize).map(String::as_str);
        let pairs: Option<Vec<_>> = references.chunks(2).map(|p| Some((text(p[0])?, text(*p.get(1)?)?))).collect();
        pairs.filter(|_| symbols.first().is_none_or(String::is_empty)).map(Labels::from_pairs)
    };
    let series = record.timeseries.iter().map(|series| {
        let id: [u8; 16] = series.series_id.as_slice().try_into().unwrap_or_default();
        Series {
            id: u128::from_le_bytes(id),
            samples: series.samples.iter().map(|s| (s.value.to_bits(), s.timestamp, s.start_timestamp)).collect(),
            labels: labels(&series.labels_refs),
        }
    });
    let refusals = record.refusals.iter().map(|refusal| Refusal {
        labels: labels(&refusal.labels_refs),
        timestamps: refusal.timestamps.clone(),
        untold: Some(&refusal.untold_refs)
            .filter(|_| symbols.first().is_none_or(String::is_empty))
            .and_then(|references| references.iter().map(|at| symbols.get(*at as usize).cloned()).collect()),
        reason: refusal.reason.clone(),
        whole_body: [&refusal.labels_refs, &refusal.untold_refs].iter().all(|references| references.is_empty())
            && refusal.timestamps.is_empty(),
    });
    let (series, refusals) = (series.collect(), refusals.collect());
    Some(Content { tenant: record.tenant.clone(), sender: record.sender.clone(), series, refusals })
}

/// What we refuse though prost accepts it.
fn stricter(problem: &Problem) -> bool {
    matches!(
        problem,
        Problem::Group { .. }
            | Problem::FormatMissing
            | Problem::FormatNewer { .. }
            | Problem::SeriesIdMissing
            | Problem::SeriesIdLength { .. }
    )
}

#[track_caller]
pub fn check(bytes: &[u8]) {
    match (theirs(bytes), ours(bytes)) {
        (Some(theirs), Ok(ours)) => assert_eq!(ours, theirs, "{bytes:x?}"),
        (Some(_), Err(error)) => assert!(stricter(error.problem()), "{error}: {bytes:x?}"),
        (None, Err(error)) => assert!(error.offset() <= bytes.len(), "{error}: {bytes:x?}"),
        (None, Ok(_)) => {} // a symbol that is not UTF-8, which only those who ask for labels see
    }
}

/// Symbols, apart because their order numbers them, and the other fields of a record.
fn record() -> impl Strategy<Value = (Vec<Field>, Vec<Field>)> {
    let references = |symbols: u64| {
        prop::collection::vec(0..symbols, 0..3).prop_map(move |half| {
            let pairs: Vec<u64> = half.iter().flat_map(|reference| [*reference, symbols - 1 - *reference]).collect();
            vec![(1, Value::Packed(pairs))]
        })
    };
    let id = || scalar_present(100, any::<u128>().prop_map(|id| Value::Bytes(id.to_le_bytes().to_vec())));
    let series = move |symbols| {
        (id(), repeated(2, sample(true), 3), references(symbols))
            .prop_map(|(id, samples, refs)| [id, samples, refs].concat())
    };
    let times = || {
        prop::collection::vec(super::time().prop_map(|t| t as u64), 0..4).prop_map(|times| vec![(2, Value::Packed(times))])
    };
    let names = |symbols: u64| prop::collection::vec(0..symbols, 0..3).prop_map(|names| vec![(4, Value::Packed(names))]);
    let refusal = move |symbols| {
        (references(symbols), times(), scalar(3, bytes_of(super::text())), names(symbols))
            .prop_map(|(refs, times, reason, untold)| [refs, times, reason, untold].concat())
    };
    prop::collection::vec(super::text(), 0..150).prop_flat_map(move |texts| {
        let symbols: Vec<Field> = std::iter::once("").chain(texts.iter().map(String::as_str)).map(|t| text(4, t)).collect();
        let count = symbols.len() as u64;
        let head = (scalar(101, bytes_of(super::text())), scalar(102, bytes_of(super::text())));
        let rest = (head, repeated(5, series(count), 4), repeated(103, refusal(count), 2));
        let rest = rest.prop_map(|((tenant, sender), series, refusals)| {
            [vec![(100, Value::Varint(2))], tenant, sender, series, refusals].concat()
        });
        (Just(symbols), rest)
    })
}

/// Series with distinct labels, as a writer is given them.
fn written() -> impl Strategy<Value = Vec<(Labels, Vec<(Sample, i64)>)>> {
    let labels = prop::collection::vec((super::text(), super::text()), 0..6).prop_map(Labels::from_pairs);
    let sample = (super::time(), super::value_bits(), prop_oneof![Just(0), super::time()])
        .prop_map(|(t, bits, start)| (Sample { t: Timestamp(t), v: f64::from_bits(bits) }, start));
    prop::collection::vec((labels, prop::collection::vec(sample, 0..4)), 0..8)
}

fn split(samples: &[(Sample, i64)]) -> (Vec<Sample>, Vec<i64>) {
    samples.iter().copied().unzip()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn valid_records_read_equal((symbols, rest) in record(), mut layout in layout(), last: bool, damage in damage()) {
        let (symbols, rest) = (Layout(0).encode(&symbols), layout.encode(&rest));
        let bytes = if last { [rest, symbols].concat() } else { [symbols, rest].concat() };
        prop_assert!(theirs(&bytes).is_some() && ours(&bytes).is_ok());
        check(&bytes);
        check(&damaged(&bytes, &damage));
        check(&bytes[..damage[0].0.index(bytes.len() + 1)]);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        check(&bytes);
        check(&[&[0xa0, 0x06, 0x01, 0x2a, bytes.len() as u8][..], &bytes].concat());
    }

    #[test]
    fn what_is_written_reads_back(records in prop::collection::vec((super::text(), written()), 1..4)) {
        let table = SymbolTable::new(1 << 20);
        let mut writer = RecordWriter::new();
        for (tenant, series) in records {
            writer.begin(&tenant, "me");
            for (labels, samples) in &series {
                let (samples, starts) = split(samples);
                let interned = table.intern_labels(labels).unwrap();
                writer.series(labels.series_id(&tenant), interned.ids(&table).unwrap(), &samples, Some(&starts));
            }
            let len = writer.len_bytes(&table);
            let bytes = writer.finish(&table).unwrap();
            prop_assert_eq!(len, bytes.len());
            check(&bytes);
            let content = ours(&bytes).unwrap();
            prop_assert_eq!((content.tenant, content.sender, content.series.len()), (tenant.clone(), "me".to_owned(), series.len()));
            for ((labels, samples), read) in series.iter().zip(content.series) {
                let samples: Vec<_> = samples.iter().map(|(s, start)| (s.v.to_bits(), s.t.0, *start)).collect();
                let expected = Series { id: labels.series_id(&tenant).0, samples, labels: Some(labels.clone()) };
                prop_assert_eq!(read, expected);
            }
            remote_write_2_reads_the_same(&bytes, &series);
        }
    }
}

/// Whoever reads remote write 2.0 reads our records.
fn remote_write_2_reads_the_same(record: &[u8], series: &[(Labels, Vec<(Sample, i64)>)]) {
    let mut request = remote_write_v2::Request::new(record).expect("a request");
    for (labels, samples) in series {
        let read = request.next_series().expect("well formed").expect("as many series");
        assert_eq!(Labels::from_pairs(read.labels().expect("readable")), *labels);
        assert_eq!(read.samples, split(samples).0);
    }
    assert!(matches!(request.next_series(), Ok(None)));
}

pub fn example() -> Vec<(Labels, Vec<Sample>)> {
    let sample = |t, v| Sample { t: Timestamp(t), v };
    vec![
        (Labels::from_pairs([("__name__", "up"), ("job", "node")]), vec![sample(1_700_000_000_000, 1.0)]),
        (Labels::from_pairs([("__name__", "up"), ("job", "x")]), vec![sample(0, 0.0), sample(-5, STALE_NAN)]),
    ]
}

/// Golden: logs hold these bytes. A reader that no longer takes them cannot replay what was written.
#[test]
fn a_record_is_these_bytes_for_ever() {
    let table = SymbolTable::new(1 << 20);
    let mut writer = RecordWriter::new();
    writer.begin("t", "s");
    let mut last = None;
    for (labels, samples) in example() {
        let interned = table.intern_labels(&labels).unwrap();
        writer.series(labels.series_id("t"), interned.ids(&table).unwrap(), &samples, None);
        last = Some(interned);
    }
    let same = writer.finish(&table).unwrap();
    assert_eq!(same, encode_record("t", "s", &example()), "both writers write the same");
    let labels = last.as_ref().unwrap().ids(&table).unwrap();
    writer.refusal(&RefusedSeries { labels, timestamps: &[1_700_000_000_000, -1], reason: "late", untold: &[] });
    writer.refusal(&RefusedSeries { reason: "body-malformed", ..RefusedSeries::default() });
    let refusals = writer.finish(&table).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&same), GOLDEN_SERIES);
    assert_eq!(hex(&refusals), GOLDEN_REFUSALS);
    let read = ours(&refusals).unwrap();
    assert_eq!((read.tenant.as_str(), read.sender.as_str(), read.series.len()), ("t", "s", 0));
    assert_eq!(
        read.refusals,
        [
            Refusal {
                labels: Some(example()[1].0.clone()),
                timestamps: vec![1_700_000_000_000, -1],
                untold: Some(vec![]),
                reason: "late".to_owned(),
                whole_body: false
            },
            Refusal {
                labels: Some(Labels::EMPTY),
                timestamps: vec![],
                untold: Some(vec![]),
                reason: "body-malformed".to_owned(),
                whole_body: true
            },
        ]
    );
}

const GOLDEN_SERIES: &str = "\
    a00601aa060174b2060173220022085f5f6e616d655f5f2202757022036a6f6222046e6f64652201782a2ba20610c882945d\
    d128faab69da945eeb04247d121009000000000000f03f1080d095ffbc310a04010203042a3ca2061041f9c01a8545442a9b\
    2b299ab364af59120b0900000000000000001000121409020000000000f07f10fbffffffffffffffff010a0401020305";
const GOLDEN_REFUSALS: &str = "\
    a00601aa060174b2060173ba061e0a0401020304121080d095ffbc31ffffffffffffffffff011a046c617465ba06101a0e62\
    6f64792d6d616c666f726d6564220022085f5f6e616d655f5f2202757022036a6f62220178";

#[test]
fn no_damage_goes_unnoticed_that_prost_notices_differently() {
    mutilated(&encode_record("tenant", "sender", &example())).for_each(|bytes| check(&bytes));
    foreign_messages().iter().for_each(|bytes| check(bytes));
}

#[test]
fn what_is_not_ours_is_refused_by_name() {
    let problem = |fields: &[Field]| ours(&Layout(0).encode(fields)).unwrap_err().problem().clone();
    let format = |version| (100, Value::Varint(version));
    assert_eq!(problem(&[]), Problem::FormatMissing);
    assert_eq!(problem(&[format(3), (5, Value::Varint(1))]), Problem::FormatNewer { found: 3, known: 2 });
    assert_eq!(problem(&[format(1), (5, Value::Message(vec![]))]), Problem::SeriesIdMissing);
    let short = (5, Value::Message(vec![(100, Value::Bytes(vec![1; 15]))]));
    assert_eq!(problem(&[format(1), short]), Problem::SeriesIdLength { len: 15 });
    let body = remote_write_v2::encode(&example());
    assert_eq!(*ours(&body).unwrap_err().problem(), Problem::SeriesIdMissing, "a plain 2.0 request is not a record");
}

#[test]
fn labels_that_cannot_be_resolved_are_an_error_of_their_own() {
    let series = |references: &[u64]| {
        let id = (100, Value::Bytes(vec![7; 16]));
        (5, Value::Message(vec![id, (1, Value::Packed(references.to_vec()))]))
    };
    let labels = |fields: &[Field]| {
        let bytes = Layout(0).encode(&[&[(100, Value::Varint(1))], fields].concat());
        let record = Record::parse(&bytes).unwrap();
        let series = record.series().next().unwrap();
        assert_eq!(series.id, SeriesId(u128::from_le_bytes([7; 16])));
        series.labels().map_err(|error| error.problem().clone())
    };
    assert_eq!(labels(&[text(4, ""), series(&[0, 1])]), Err(Problem::ReferenceOutOfRange { reference: 1, symbols: 1 }));
    assert_eq!(labels(&[text(4, ""), series(&[0])]), Err(Problem::ReferencesOdd { count: 1 }));
    assert_eq!(labels(&[text(4, "x"), series(&[0, 0])]), Err(Problem::FirstSymbolNotEmpty));
    let not_text = (4, Value::Bytes(vec![0xff]));
    assert_eq!(labels(&[text(4, ""), not_text, series(&[0, 0])]), Err(Problem::NotUtf8));
}
