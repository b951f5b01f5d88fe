//! The window state on its own: what is shared, what is counted, what is said to be uncovered.

use bytes::Bytes;

use super::*;
use crate::compile::{OperatorsPlan, compile};
use crate::dataflow::coverage::ViewCoverage;
use crate::dataflow::filter::Filter;
use crate::dataflow::message::{RawRecord, ViewStart};
use crate::dataflow::partition::Partition;
use crate::model::window::Window;
use crate::model::{Labels, PartitionBy, PartitionId, Partitioner, SpanReason, Timestamp};
use crate::plan::Catalog;
use crate::plan::spec::{ReadOptions, read_job};
use crate::wire::record::encode_record;

/// The set of views of a job that has these expressions.
fn view_set_of(exprs: &[&str]) -> Arc<ViewSet> {
    let rules: Vec<String> =
        exprs.iter().map(|expr| format!(r#"{{ "expr": "{expr}", "step": "1m", "max_delay": "10s" }}"#)).collect();
    let job = format!(r#"{{ "name": "one", "rules": [{}] }}"#, rules.join(", "));
    let job = read_job("one.json".as_ref(), &job, &ReadOptions::default()).unwrap();
    let plan = Arc::new(compile(&Catalog::new(&[job]), &OperatorsPlan::default()));
    let (first, last) = (Timestamp(0), Timestamp::MAX);
    let starts = plan.live().map(|planned| ViewStart {
        slot: planned.slot,
        first,
        whole_from: first,
        last,
        coverage: ViewCoverage::default(),
    });
    Arc::new(ViewSet { starts: starts.collect(), plan: Arc::clone(&plan), ends: Vec::new() })
}

fn view_set() -> Arc<ViewSet> {
    view_set_of(&["sum(rate(a_total[1m]))"])
}

/// What one series of ten samples costs in the operators: selectors it is tried against, times it is looked up and its
/// labels travel, points that travel, series and points that are held, and the views that read them.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    selectors: usize,
    looked_up: usize,
    points: usize,
    series_held: usize,
    points_held: usize,
    views: usize,
}

fn cost_of(exprs: &[&str]) -> Cost {
    let set = view_set_of(exprs);
    let partitioner = Partitioner::new(PartitionBy::default(), 1);
    let (mut filter, mut partition, mut windows) =
        (Filter::new(PartitionId(0), partitioner, &[]), Partition::default(), Windows::default());
    windows.record(partition.record(filter.views(&set)));
    let samples: Vec<Sample> = (1..=10).map(|n| Sample { t: Timestamp(n * 1_000), v: n as f64 }).collect();
    let labels = Labels::from_pairs([("__name__", "a_total"), ("b", "c")]);
    let payload = Bytes::from(encode_record("", "s", &[(labels, samples)]));
    let filtered = filter.record(&RawRecord { partition: PartitionId(0), log_time: Timestamp(10_000), payload });
    let looked_up = filtered.introduced.iter().map(|series| series.selectors.len()).sum();
    let partitioned = partition.record(filtered);
    let points = partitioned.points.len();
    windows.record(partitioned);
    let all = Window::new(Timestamp(60_000), 60_000);
    let held = |series: &Series| series.window(all, 10_000, &mut Vec::new()).len();
    Cost {
        selectors: set.plan.selectors.len(),
        looked_up,
        points,
        series_held: windows.series.len(),
        points_held: windows.series.iter().map(held).sum(),
        views: windows.targets.iter().map(Vec::len).sum(),
    }
}

/// Other functions, windows, aggregations, groupings and order of matchers: still one selector.
#[test]
fn rules_over_one_selector_share_its_lookup_and_points() {
    let one = Cost { selectors: 1, looked_up: 1, points: 10, series_held: 1, points_held: 10, views: 1 };
    assert_eq!(cost_of(&["sum(rate(a_total{b='c',d=''}[1m]))"]), one);
    let four = [
        "sum(rate(a_total{b='c',d=''}[1m]))",
        "sum by (b) (rate(a_total{d='',b='c'}[1m]))",
        "max(increase(a_total{b='c',d=''}[30s]))",
        "count without (d) (a_total{b=~'c',d=''})",
    ];
    assert_eq!(cost_of(&four), Cost { views: 4, ..one });
    // Another selector is one more lookup, and the points are shared all the same.
    assert_eq!(
        cost_of(&["sum(rate(a_total{b='c'}[1m]))", "sum(rate(a_total[1m]))"]),
        Cost { selectors: 2, looked_up: 2, points: 10, series_held: 1, points_held: 10, views: 2 }
    );
}

#[test]
fn a_second_value_of_a_series_and_time_is_counted_once_per_view() {
    let (mut windows, set) = (Windows::default(), view_set());
    let (slot, series) = (set.starts[0].slot, SeriesIndex(0));
    let point = |t, v| Point { series, t: Timestamp(t), v };
    let first = windows.record(Partitioned {
        log_time: Timestamp(1_000),
        views: Some(set),
        assigned: vec![Assigned { series, id: SeriesId(1), targets: vec![(slot, GroupIndex(0))] }],
        points: vec![point(1_000, 1.0), point(1_000, 1.0), point(1_000, 2.0), point(500, 3.0), point(500, 4.0)],
        ..Partitioned::default()
    });
    let rest = windows.record(Partitioned { log_time: Timestamp(130_000), ..Partitioned::default() });
    let evaluated: Vec<_> = first.evaluated.iter().chain(&rest.evaluated).map(|one| one.status).collect();
    let conflicting: u64 = evaluated.iter().map(|status| status.conflicting).sum();
    assert_eq!((evaluated.len() > 1, conflicting), (true, 2));
}

#[test]
fn every_stretch_of_a_record_is_said() {
    let late = |from: i64| (SpanReason::Late, from, from + 60_000);
    let mut windows = Windows::default();
    let set = view_set();
    let slot = set.starts[0].slot;
    let series = SeriesIndex(0);
    let points = [1_000_000, 500_000, 550_000, 100_000].map(|t| Point { series, t: Timestamp(t), v: 1.0 });
    let said = windows.record(Partitioned {
        log_time: Timestamp(1_000_000),
        views: Some(set),
        assigned: vec![Assigned { series, id: SeriesId(1), targets: vec![(slot, GroupIndex(0))] }],
        points: points.to_vec(),
        uncovers: vec![Stretch { slot, reason: SpanReason::Gap, from: Timestamp(0), to: Timestamp(1) }],
        ..Partitioned::default()
    });
    let said: Vec<_> = said.uncovers.iter().map(|one| (one.reason, one.from.0, one.to.0)).collect();
    let expected = [(SpanReason::Gap, 0, 1), (SpanReason::Late, 500_000, 610_000), late(100_000)];
    assert_eq!(said, expected);
}
