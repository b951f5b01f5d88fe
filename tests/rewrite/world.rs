//! A small world: series in memory, views over them whose contents are computed on demand, and the comparison of answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use prefold::model::window::Grid;
use prefold::model::{Labels, METRIC_NAME, STALE_NAN, Sample, Tenant, Timestamp, ViewId};
use prefold::plan::{Catalog, CatalogEntry, RuleLimits, View, normalize};
use prefold::promql::{Expr, ExprKind, Grouping, Origin, parse};
use prefold::query::{self, EvalOptions, MemorySource, QueryError, SelectRequest, SeriesData, SeriesSource, Value};
use prefold::rewrite::{Outcome, QueryTime, Question, ViewRead, rewrite};

use crate::oracle::equal;

/// The samples end here; queries of the tests stay before it.
pub const END_S: i64 = 1500;

/// A view of a test's catalog, known by a short name.
#[derive(Clone, Debug)]
pub struct TestView {
    pub name: &'static str,
    pub expr: String,
    pub step_s: i64,
    pub tenant: &'static str,
    /// Name and labels.
    pub record: Option<(&'static str, Labels)>,
}

pub fn catalog(views: &[TestView]) -> Catalog {
    Catalog::of(views.iter().map(|view| {
        let (shape, _) = normalize(&parse(&view.expr).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", view.expr));
        Arc::new(CatalogEntry {
            view: View::new(Tenant::new(view.tenant), shape, view.step_s * 1000, 30_000),
            job: "test".into(),
            rule: view.name.into(),
            expr: view.expr.clone(),
            records: view.record.iter().map(|(name, labels)| ((*name).into(), labels.clone())).collect(),
            overdue_tolerance: 0.0,
            retention_ms: 86_400_000,
            limits: RuleLimits::default(),
            retired: false,
        })
    }))
}

pub fn ask(query: &str, time: QueryTime, interval_ms: Option<i64>, catalog: &Catalog) -> (Expr, Outcome) {
    let expr = parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
    let outcome = rewrite(&Question { expr: &expr, tenant: "", time, evaluation_interval_ms: interval_ms }, catalog);
    (expr, outcome)
}

/// The rewritten text with the views' names and fields instead of their ids.
pub fn readable(outcome: &Outcome, catalog: &Catalog) -> String {
    let mut text = outcome.expr.to_string();
    for entry in catalog.entries() {
        for (at, field) in entry.view.shape.aggregation.fields.iter().enumerate() {
            let printed = format!("view:{:08x}.field{at}", entry.view.id.0 >> 96);
            text = text.replace(&printed, &format!("{}.{field}", entry.rule));
        }
    }
    text
}

/// Numbers without a source of randomness: the same world in every run.
struct Sequence(u64);

impl Sequence {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Counters `m` (with resets, gaps and series that end), gauges `g` and `h` (NaN and markers), histogram `b_bucket`; the
/// labels a, b and c take few values, and are absent from some series.
pub fn samples() -> MemorySource {
    let mut sequence = Sequence(7);
    let mut source = MemorySource::new();
    for a in ["", "1", "2", "3"] {
        for b in ["", "x", "xy", "y"] {
            for c in ["p", "q"] {
                for name in ["m", "g", "h"] {
                    if sequence.next(5) > 0 {
                        let labels = Labels::from_pairs([(METRIC_NAME, name), ("a", a), ("b", b), ("c", c)]);
                        source.add(labels, series(&mut sequence, name == "m"));
                    }
                }
            }
        }
        for le in ["0.1", "1", "+Inf"] {
            let labels = Labels::from_pairs([(METRIC_NAME, "b_bucket"), ("le", le), ("a", a)]);
            source.add(labels, series(&mut sequence, true));
        }
    }
    source
}

fn series(sequence: &mut Sequence, counter: bool) -> Vec<Sample> {
    let (mut t, mut value) = (sequence.next(15_000) as i64, sequence.next(100) as f64);
    let until = if sequence.next(4) == 0 { 700_000 } else { END_S * 1000 };
    let mut samples = Vec::new();
    while t < until {
        let v = match (counter, sequence.next(20)) {
            (true, 0) => sequence.next(5) as f64,
            (true, _) => value + sequence.next(40) as f64 / 8.0,
            (false, 0) => f64::NAN,
            (false, _) => sequence.next(1000) as f64 / 16.0 - 20.0,
        };
        samples.push(Sample { t: Timestamp(t), v });
        value = v;
        t += 15_000 + if sequence.next(12) == 0 { 180_000 } else { 0 };
    }
    samples.push(Sample { t: Timestamp(t), v: STALE_NAN });
    samples
}

/// Samples, and views over them. Remembers what was read of views.
pub struct World<'a> {
    pub samples: &'a MemorySource,
    pub catalog: &'a Catalog,
    pub reads: Mutex<Vec<(ViewId, Timestamp, Timestamp)>>,
}

impl SeriesSource for World<'_> {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<SeriesData>, QueryError> {
        let Origin::View { view, field } = &request.selector.origin else { return self.samples.select(request) };
        let entry = self.catalog.get(*view).expect("a view of the catalog");
        self.reads.lock().unwrap().push((*view, request.from + 1, request.to));
        let grid = entry.view.grid();
        let field = entry.view.shape.aggregation.fields[usize::from(*field)];
        let points =
            contents(self.samples, &entry.expr, Some(field), grid, grid.after(request.from), grid.floor(request.to));
        let matching = points.into_iter().filter(|(labels, _)| request.selector.selector.matches(labels));
        Ok(matching.map(|(labels, samples)| SeriesData { labels: Arc::new(labels), samples: samples.into() }).collect())
    }
}

/// What a view holds at the grid points of `[first, last]`: its expression's value, or one stored field of it.
pub fn contents(
    samples: &MemorySource,
    expr: &str,
    field: Option<&str>,
    grid: Grid,
    first: Timestamp,
    last: Timestamp,
) -> BTreeMap<Labels, Vec<Sample>> {
    if first > last {
        return BTreeMap::new();
    }
    let mut expr = parse(expr).unwrap();
    if let (ExprKind::Aggregate(aggregate), Some(field)) = (&mut expr.kind, field) {
        aggregate.op = field.into(); // fields are named after the aggregation that they are
    }
    let options = EvalOptions::default();
    match query::range(&expr, first, last, grid.step_ms(), samples, &options).expect("views evaluate").value {
        Value::Matrix(series) => series.into_iter().map(|s| ((*s.labels).clone(), s.points)).collect(),
        other => panic!("a view is a vector, not {other:?}"),
    }
}

type Answer = BTreeMap<Labels, Vec<Sample>>;

/// The answer of an expression; instant answers as series of one point.
pub fn evaluate(
    expr: &Expr,
    time: QueryTime,
    interval_ms: Option<i64>,
    source: &dyn SeriesSource,
) -> Result<Answer, String> {
    let options = EvalOptions { subquery_step_ms: interval_ms.unwrap_or(60_000), ..EvalOptions::default() };
    let evaluated = match time {
        QueryTime::Instant(t) => query::instant(expr, t, source, &options),
        QueryTime::Range { start, end, step_ms } => query::range(expr, start, end, step_ms, source, &options),
    };
    Ok(match evaluated.map_err(|error| error.message)?.value {
        Value::Scalar(sample) => BTreeMap::from([(Labels::EMPTY, vec![sample])]),
        Value::Vector(points) => points.into_iter().map(|p| ((*p.labels).clone(), vec![p.sample])).collect(),
        Value::Matrix(series) => series.into_iter().map(|s| ((*s.labels).clone(), s.points)).collect(),
        Value::String { text, .. } => panic!("no string is asked for: {text}"),
    })
}

/// The rewrite over views answers as the query over samples does, and reads what the outcome says it reads.
///
/// Gives the number of points compared; `None` when the query fails on the samples, in the rewrite too.
#[track_caller]
pub fn same_answer(
    query: &Expr,
    outcome: &Outcome,
    time: QueryTime,
    interval_ms: Option<i64>,
    original: &MemorySource,
    world: &World<'_>,
) -> Option<usize> {
    let before = evaluate(query, time, interval_ms, original);
    let after = evaluate(&outcome.expr, time, interval_ms, world);
    let context = || format!("{query}\n  -> {}\n  at {time:?}", outcome.expr);
    let (before, after) = match (before, after) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(_), _) => return None,
        (Ok(_), Err(error)) => panic!("only the rewrite fails: {error}\n  {}", context()),
    };
    let keys = |answer: &Answer| answer.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&before), keys(&after), "labels differ (before, after)\n  {}", context());
    let mut points = 0;
    for (labels, left) in &before {
        let right = &after[labels];
        let times = |samples: &[Sample]| samples.iter().map(|s| s.t).collect::<Vec<_>>();
        assert_eq!(times(left), times(right), "steps of {labels} differ\n  {}", context());
        for (a, b) in left.iter().zip(right) {
            assert!(equal(a.v, b.v), "{labels} at {:?}: {} before, {} after\n  {}", a.t, a.v, b.v, context());
        }
        points += left.len();
    }
    reads_are_announced(outcome, time, world, &context);
    Some(points)
}

fn reads_are_announced(outcome: &Outcome, time: QueryTime, world: &World<'_>, context: &dyn Fn() -> String) {
    let steps: Vec<Timestamp> = match time {
        QueryTime::Instant(t) => vec![t],
        QueryTime::Range { start, end, step_ms } => (start.0..=end.0).step_by(step_ms as usize).map(Timestamp).collect(),
    };
    let hull = |read: &ViewRead| {
        let intervals: Vec<_> = steps.iter().filter_map(|step| read.grid_points(*step)).collect();
        let (first, last) = (intervals.iter().map(|i| i.0).min()?, intervals.iter().map(|i| i.1).max()?);
        Some((read.view, first, last))
    };
    let announced: Vec<_> = outcome.reads.iter().filter_map(hull).collect();
    for (view, first, last) in world.reads.lock().unwrap().drain(..) {
        let known = announced.iter().any(|(id, from, to)| *id == view && *from <= first && last <= *to);
        assert!(known || first > last, "[{first:?}, {last:?}] was read, announced {announced:?}\n  {}", context());
        let grid = world.catalog.get(view).unwrap().view.grid();
        assert!(grid.contains(first) && grid.contains(last), "read off the grid\n  {}", context());
    }
}

/// The series published under the recorded names, beside the samples: the finished values at grid points with the rule's
/// labels, and a staleness marker where a series ends.
pub fn with_records(samples: &MemorySource, views: &[TestView]) -> MemorySource {
    let mut all: MemorySource = samples.iter().map(|(labels, samples)| (labels.clone(), samples.to_vec())).collect();
    for view in views {
        let Some((name, set)) = &view.record else { continue };
        let grid = Grid::new(view.step_s * 1000);
        for (labels, points) in contents(samples, &view.expr, None, grid, Timestamp(0), Timestamp(END_S * 1000)) {
            let labels = set.iter().fold(labels.with(METRIC_NAME, name), |l, label| l.with(&label.name, &label.value));
            let mut published: Vec<Sample> = Vec::new();
            for point in points {
                let ended = published.last().map(|last| last.t + grid.step_ms()).filter(|next| *next < point.t);
                published.extend(ended.map(|t| Sample { t, v: STALE_NAN }));
                published.push(point);
            }
            published.extend(published.last().map(|last| Sample { t: last.t + grid.step_ms(), v: STALE_NAN }));
            all.add(labels, published);
        }
    }
    all
}

/// For generators: `by (a, b)` as text.
pub fn grouping_text(grouping: &Grouping) -> String {
    match grouping {
        Grouping::By(names) => format!("by ({})", names.join(", ")),
        Grouping::Without(names) => format!("without ({})", names.join(", ")),
    }
}
