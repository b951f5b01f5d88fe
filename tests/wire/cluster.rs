//! Random records between our own processes: written and read back, split, cut short, flipped.
//!
//! What these tests can see: a field that is lost or changed on the way, a piece that says less than the whole or is too
//! large, and a panic. What they cannot: whether what a record says is true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prefold::model::{Labels, Offset, PartitionId, SenderSeen, SpanReason, Timestamp, ViewId};
use prefold::wire::WireError;
use prefold::wire::cluster::{
    Described, GridPartials, GridResults, GroupRow, KeyframePart, PartialsRecord, ResultsRecord, ScopeEntry, SpanOf,
    ViewPartials, ViewResults,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{damage, damaged};

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![super::time(), Just(i64::MIN), Just(i64::MAX), Just(-1)].prop_map(Timestamp)
}

fn value() -> impl Strategy<Value = f64> {
    let some = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 9e15, 9_007_199_254_740_993.0, -9_007_199_254_740_992.0];
    prop_oneof![
        4 => super::value_bits().prop_map(f64::from_bits),
        3 => (-100_000i32..100_000).prop_map(f64::from),
        2 => prop::sample::select(some.to_vec()),
    ]
}

/// Groups of equal names, of a few names each, of so many that there is no column for each, and of none.
fn groups() -> impl Strategy<Value = Vec<GroupRow>> {
    let equal = vec("[a-c]{1,2}", 2).prop_map(|values| vec![("job", values[0].clone()), ("instance", values[1].clone())]);
    let equal = equal.prop_map(Labels::from_pairs);
    let few = vec(("[a-z]{1,3}", super::text()), 0..3).prop_map(Labels::from_pairs);
    let many = (0..90_u32).prop_map(|n| Labels::from_pairs([(format!("name{n}"), "x".to_owned())]));
    let values = || prop_oneof![Just([0.0; 3]), value().prop_map(|v| [v, 0.0, 0.0]), [value(), value(), value()]];
    fn distinct(rows: Vec<(Labels, [f64; 3])>) -> Vec<GroupRow> {
        let rows: BTreeMap<Labels, [f64; 3]> = rows.into_iter().collect();
        rows.into_iter().map(|(labels, values)| GroupRow { labels: Arc::new(labels), values }).collect()
    }
    prop_oneof![
        vec((equal, values()), 0..12).prop_map(distinct),
        vec((few, values()), 0..8).prop_map(distinct),
        vec((many, values()), 60..90).prop_map(distinct),
        values().prop_map(|values| distinct(vec![(Labels::EMPTY, values)])),
    ]
}

fn spans() -> impl Strategy<Value = Vec<SpanOf>> {
    vec((prop::sample::select(SpanReason::ALL.to_vec()), time(), time()), 0..4)
}

fn senders() -> impl Strategy<Value = Vec<SenderSeen>> {
    let seen = (super::text(), super::text(), any::<u16>(), time(), time());
    let seen = seen.prop_map(|(tenant, sender, partition, first, log_time)| SenderSeen {
        tenant: tenant.into(),
        sender: sender.into(),
        partition: PartitionId(partition),
        first,
        log_time,
    });
    vec(seen, 0..4)
}

fn view_partials() -> impl Strategy<Value = ViewPartials> {
    let entry = (time(), time(), time(), any::<bool>(), any::<bool>());
    let entry = entry.prop_map(|(first, whole_from, last, begins, complete)| ScopeEntry {
        first,
        whole_from,
        last,
        begins,
        complete,
    });
    let status = prop_oneof![Just(None), prop::array::uniform12(time()).prop_map(|all| Some(all.map(|t| t.0)))];
    let point = (time(), status, groups()).prop_map(|(t, status, groups)| GridPartials { t, status, groups });
    let feeds = vec((super::text(), super::text()), 0..3)
        .prop_map(|feeds| feeds.into_iter().map(|(tenant, sender)| (tenant.into(), sender.into())).collect());
    (any::<u128>(), option::of(entry), feeds, spans(), vec(point, 0..5)).prop_map(
        |(view, entry, feeds, uncovers, points)| ViewPartials { view: ViewId(view), entry, feeds, uncovers, points },
    )
}

fn partials() -> impl Strategy<Value = PartialsRecord> {
    let keyframe = (1..=u32::MAX, any::<u32>()).prop_map(|(parts, part)| KeyframePart { part, parts });
    let head = (any::<u128>(), any::<u16>(), any::<u64>(), any::<u64>(), any::<u64>(), option::of(time()));
    (head, option::weighted(0.2, keyframe), senders(), vec(view_partials(), 0..4)).prop_map(
        |((log_incarnation, partition, next, scope, set, mark), keyframe, seen, views)| PartialsRecord {
            log_incarnation,
            partition: PartitionId(partition),
            next: Offset(next),
            scope,
            set,
            mark,
            keyframe,
            seen,
            views,
        },
    )
}

fn view_results() -> impl Strategy<Value = ViewResults> {
    let positive = || prop_oneof![0..100_000_000i64, Just(i64::MAX)];
    let described = (positive(), 0..=3u8, positive(), positive(), super::text());
    let described = described.prop_map(|(step_ms, fields, retention_ms, settles_ms, text)| Described {
        step_ms,
        fields,
        retention_ms,
        settles_ms,
        text,
    });
    let told = prop_oneof![Just([0; 8]), prop::array::uniform8(any::<u64>())];
    let point = (time(), told, groups()).prop_map(|(t, told, groups)| GridResults { t, told, groups });
    (any::<u128>(), option::of(described), option::of((time(), time())), spans(), vec(point, 0..5)).prop_map(
        |(view, described, decided, spans, points)| ViewResults { view: ViewId(view), described, decided, spans, points },
    )
}

fn results() -> impl Strategy<Value = ResultsRecord> {
    (any::<u128>(), any::<u64>(), senders(), vec(view_results(), 0..4))
        .prop_map(|(log_incarnation, set, senders, views)| ResultsRecord { log_incarnation, set, senders, views })
}

/// Floats compare by their bits, which `==` does not; text shows -0, and NaNs are told by bits.
fn bits(groups: &[GroupRow]) -> Vec<[u64; 3]> {
    groups.iter().map(|group| group.values.map(f64::to_bits)).collect()
}

/// Everything that a record of partials says, wherever in it; order within a view and a grid point is kept.
#[derive(Debug, Default, PartialEq)]
struct Said {
    entries: BTreeMap<ViewId, Vec<String>>,
    points: BTreeMap<(ViewId, Timestamp), Vec<String>>,
    seen: Vec<SenderSeen>,
}

impl Said {
    fn view(&mut self, view: ViewId, what: impl IntoIterator<Item = String>) {
        self.entries.entry(view).or_default().extend(what);
    }

    fn point(&mut self, key: (ViewId, Timestamp), about: Option<String>, groups: &[GroupRow]) {
        let rows = groups.iter().zip(bits(groups)).map(|(group, bits)| format!("{:?} {bits:x?}", group.labels));
        self.points.entry(key).or_default().extend(about.into_iter().chain(rows));
    }

    fn partials(&mut self, record: &PartialsRecord) {
        self.seen.extend(record.seen.iter().cloned());
        for view in &record.views {
            self.view(view.view, view.entry.iter().map(|entry| format!("{entry:?}")));
            self.view(view.view, view.feeds.iter().map(|feed| format!("{feed:?}")));
            self.view(view.view, view.uncovers.iter().map(|span| format!("{span:?}")));
            for point in &view.points {
                self.point((view.view, point.t), point.status.map(|status| format!("{status:?}")), &point.groups);
            }
        }
    }

    fn results(&mut self, record: &ResultsRecord) {
        self.seen.extend(record.senders.iter().cloned());
        for view in &record.views {
            self.view(view.view, view.described.iter().map(|described| format!("{described:?}")));
            self.view(view.view, view.spans.iter().map(|span| format!("{span:?}")));
            for point in &view.points {
                self.point((view.view, point.t), Some(format!("{:?}", point.told)), &point.groups);
            }
        }
    }
}

/// Everything but the values, and the values by their bits.
fn exactly(record: &PartialsRecord) -> String {
    let values: Vec<_> = record.views.iter().flat_map(|view| &view.points).map(|point| bits(&point.groups)).collect();
    format!("{record:?} {values:x?}")
}

fn exactly_results(record: &ResultsRecord) -> String {
    let values: Vec<_> = record.views.iter().flat_map(|view| &view.points).map(|point| bits(&point.groups)).collect();
    format!("{record:?} {values:x?}")
}

/// Neither may harm; an error stands within the bytes.
pub fn survived(bytes: &[u8]) {
    let stands_within = |error: &WireError| assert!(error.offset() <= bytes.len(), "{error}");
    let _ = PartialsRecord::decode(bytes).inspect_err(stands_within);
    let _ = ResultsRecord::decode(bytes).inspect_err(stands_within);
}

/// What can be said apart: what a view is, each span, each grid point, with which open spans stay.
fn things_of(view: &ViewResults) -> usize {
    let spans = view.spans.iter().filter(|(_, _, to)| view.decided.is_none() || *to != Timestamp::MAX).count();
    usize::from(view.described.is_some()) + spans + view.points.len().max(usize::from(view.decided.is_some()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn partials_read_back_as_they_were_written(record in partials(), damage in damage()) {
        let bytes = record.encode();
        let read = PartialsRecord::decode(&bytes).map_err(|error| TestCaseError::fail(format!("{error}: {record:?}")))?;
        prop_assert_eq!(exactly(&read), exactly(&record));
        survived(&damaged(&bytes, &damage));
        let cut = damage[0].0.index(bytes.len());
        prop_assert!(PartialsRecord::decode(&bytes[..cut]).is_err(), "{} of {} bytes", cut, bytes.len());
    }

    #[test]
    fn results_read_back_as_they_were_written(record in results(), damage in damage()) {
        let bytes = record.encode();
        let read = ResultsRecord::decode(&bytes).map_err(|error| TestCaseError::fail(format!("{error}: {record:?}")))?;
        prop_assert_eq!(exactly_results(&read), exactly_results(&record));
        survived(&damaged(&bytes, &damage));
        let cut = damage[0].0.index(bytes.len());
        prop_assert!(ResultsRecord::decode(&bytes[..cut]).is_err(), "{} of {} bytes", cut, bytes.len());
    }

    #[test]
    fn pieces_of_partials_say_what_the_whole_says_and_the_mark_last(mut record in partials(), bytes_max in 60..2_000usize) {
        record.keyframe = None;
        record.views.iter_mut().for_each(|view| (view.entry, view.feeds) = (None, Vec::new()));
        let (mut whole, mut together) = (Said::default(), Said::default());
        whole.partials(&record);
        let pieces = record.clone().encode_within(bytes_max);
        for (at, piece) in pieces.iter().enumerate() {
            let read = PartialsRecord::decode(piece).unwrap();
            let is_last = at + 1 == pieces.len();
            prop_assert_eq!(read.mark, record.mark.filter(|_| is_last));
            let head = |r: &PartialsRecord| (r.log_incarnation, r.partition, r.next, r.scope, r.set, r.keyframe);
            prop_assert_eq!(head(&read), head(&record));
            let groups = |view: &ViewPartials| view.points.iter().map(|point| point.groups.len().max(1)).sum::<usize>();
            let things = |view: &ViewPartials| view.uncovers.len() + groups(view);
            let things: usize = read.seen.len() + read.views.iter().map(things).sum::<usize>();
            prop_assert!(piece.len() <= bytes_max || things <= 1, "{} bytes for {} things", piece.len(), things);
            together.partials(&read);
        }
        whole.entries.retain(|_, said| !said.is_empty());
        together.entries.retain(|_, said| !said.is_empty());
        prop_assert_eq!(together, whole);
    }

    #[test]
    fn pieces_of_results_say_what_the_whole_says(mut record in results(), bytes_max in 60..2_000usize, from in -5..5i64) {
        // As combine says it: each grid point that is decided once, in order, and each span.
        for view in &mut record.views {
            let mut said = BTreeSet::new();
            view.spans.retain(|(reason, from, _)| said.insert((*reason, *from)));
            view.points.iter_mut().zip(from..).for_each(|(point, t)| point.t = Timestamp(t * 60_000));
            view.decided = view.points.first().map(|first| first.t).zip(view.points.last().map(|last| last.t));
        }
        let (mut whole, mut together) = (Said::default(), Said::default());
        whole.results(&record);
        let mut decided: BTreeMap<ViewId, Vec<(Timestamp, Timestamp)>> = BTreeMap::new();
        for piece in record.clone().encode_within(bytes_max) {
            let read = ResultsRecord::decode(&piece).unwrap();
            prop_assert_eq!((read.log_incarnation, read.set), (record.log_incarnation, record.set));
            let things: usize = read.senders.len() + read.views.iter().map(things_of).sum::<usize>();
            prop_assert!(piece.len() <= bytes_max || things <= 1, "{} bytes of {}: {:?}", piece.len(), bytes_max, read);
            read.views.iter().for_each(|view| decided.entry(view.view).or_default().extend(view.decided));
            together.results(&read);
        }
        // Closed spans may come before open ones.
        [&mut together, &mut whole].into_iter().flat_map(|said| said.entries.values_mut()).for_each(|said| said.sort());
        prop_assert_eq!(together, whole);
        for view in &record.views {
            let pieces = &decided[&view.view];
            prop_assert_eq!(pieces.first().zip(pieces.last()).map(|(first, last)| (first.0, last.1)), view.decided);
            prop_assert!(pieces.windows(2).all(|two| two[0].1 + 60_000 == two[1].0), "{:?}", pieces);
        }
    }
}
