//! What the suite's scripts cannot say: views, limits, selections, dispatch of errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use prefold::model::{Labels, Sample, Timestamp, ViewId};
use prefold::promql::{Expr, ExprKind, Origin, parse};
use prefold::query::load::load_lines;
use prefold::query::{
    EvalOptions, MemorySource, QueryError, QueryErrorKind, QueryLimits, SelectRequest, SeriesData, SeriesSource, Value,
    instant, range,
};

fn source(lines: &str) -> MemorySource {
    let mut source = MemorySource::new();
    load_lines(&mut source, 60_000, lines).expect("the series of a test are well formed");
    source
}

/// Every selector of an expression reads a view.
fn over_views(mut expr: Expr) -> Expr {
    fn visit(expr: &mut Expr) {
        match &mut expr.kind {
            ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => {
                selector.origin = Origin::View { view: ViewId(1), field: 0 };
            }
            ExprKind::Subquery { expr, .. } | ExprKind::Negate(expr) | ExprKind::Paren(expr) => visit(expr),
            ExprKind::Call { args, .. } => args.iter_mut().for_each(visit),
            ExprKind::Aggregate(node) => visit(&mut node.expr),
            ExprKind::Binary(node) => [&mut node.lhs, &mut node.rhs].into_iter().for_each(visit),
            ExprKind::Number(_) | ExprKind::String(_) => {}
        }
    }
    visit(&mut expr);
    expr
}

#[test]
fn views_are_read_at_exact_points_only() {
    #[track_caller]
    fn check(query: &str, at: i64, samples: usize, view: usize) {
        let source = source("m 1 2 _ 4\nn 1 stale");
        let count = |expr: &Expr| match instant(expr, Timestamp(at), &source, &EvalOptions::default()).unwrap().value {
            Value::Vector(points) => points.len(),
            other => panic!("{other:?}"),
        };
        let expr = parse(query).unwrap();
        assert_eq!((count(&expr), count(&over_views(expr))), (samples, view), "{query} at {at}");
    }
    check("m", 60_000, 1, 1);
    check("m", 60_001, 1, 0);
    check("m", 120_000, 1, 0); // no lookback over a point that is absent
    check("m offset 1m", 120_000, 1, 1);
    check("m @ 60", 90_000, 1, 1);
    check("m @ 61", 90_000, 1, 0);
    check("sum(m)", 120_000, 1, 0);
    check("n", 60_000, 0, 0);
}

/// Counts selections.
struct Counting(MemorySource, AtomicUsize);

impl SeriesSource for Counting {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<SeriesData>, QueryError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.select(request)
    }
}

#[test]
fn a_selector_is_selected_once() {
    for (query, selects) in [
        ("m + m", 1),
        ("m + on() m{}", 1),
        ("m + m offset 1m", 2),
        ("sum(m) / count(m)", 1),
        ("rate(m[1m]) / rate(m[2m])", 2),
        ("m @ 60 + m @ 60", 1),
    ] {
        let source = Counting(source("m 1 2 3"), AtomicUsize::new(0));
        let options = EvalOptions::default();
        range(&parse(query).unwrap(), Timestamp(0), Timestamp(120_000), 60_000, &source, &options).unwrap();
        assert_eq!(source.1.load(Ordering::Relaxed), selects, "{query}");
    }
}

#[track_caller]
fn check_error(query: &str, limits: QueryLimits, kind: QueryErrorKind, text: &str) {
    let source = source("m{a=\"1\"} 1x20\nm{a=\"2\"} 1x20\nn{a=\"1\"} 2x20");
    let options = EvalOptions { limits, ..EvalOptions::default() };
    let expr = parse(query).expect("the queries of a test are well formed");
    let answer = range(&expr, Timestamp(0), Timestamp(600_000), 60_000, &source, &options);
    let error = answer.expect_err("the query must fail");
    assert_eq!((error.kind, error.message.as_str()), (kind, text), "{query}");
}

#[test]
fn limits_and_errors_are_named_as_prometheus_names_them() {
    use QueryErrorKind::{BadData, Canceled, Execution, Timeout, Unsupported};
    let limits = QueryLimits::default;
    let too_many = "query processing would load too many samples into memory in query execution";
    check_error("m", QueryLimits { samples_max: 20, ..limits() }, Execution, too_many);
    check_error("sum_over_time(vector(1)[100y:1ms])", limits(), Execution, too_many);
    check_error(
        "m",
        QueryLimits { steps_max: 9, ..limits() },
        BadData,
        "exceeded maximum resolution of 9 points per timeseries. Try decreasing the query resolution (?step=XX)",
    );
    check_error("m", QueryLimits { series_max: 1, ..limits() }, Execution, "selector m returns more than 1 series");
    let depth_max = "expression is nested more than 3 levels deep";
    check_error("abs(abs(abs(abs(m))))", QueryLimits { depth_max: 3, ..limits() }, BadData, depth_max);
    let cancel = Some(Arc::new(AtomicBool::new(true)));
    check_error("m", QueryLimits { cancel, ..limits() }, Canceled, "query was canceled in expression evaluation");
    let deadline = Some(Instant::now());
    check_error("m", QueryLimits { deadline, ..limits() }, Timeout, "query timed out in expression evaluation");
    check_error(
        "n * on() m",
        limits(),
        Execution,
        "found duplicate series for the match group {} on the right hand-side of the operation: \
         [{__name__=\"m\", a=\"1\"}, {__name__=\"m\", a=\"2\"}]\
         ;many-to-many matching not allowed: matching labels must be unique on one side",
    );
    check_error(
        "m * on() n",
        limits(),
        Execution,
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
    );
    let same = "vector cannot contain metrics with the same labelset";
    check_error("-{a=\"1\"}", limits(), Execution, same);
    check_error("topk(NaN, m)", limits(), Execution, "Parameter value is NaN");
    check_error(
        "m[5m]",
        limits(),
        BadData,
        "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector",
    );
    let unsupported = "histogram_count() is not evaluated here: ask the upstream database";
    check_error("histogram_count(m)", limits(), Unsupported("histogram_count()".to_owned()), unsupported);
}

/// A request is evaluated on a thread of a runtime, whose stack has 2 MiB.
#[test]
fn the_deepest_expression_fits_the_stack() {
    let depth = QueryLimits::default().depth_max;
    let chains = [
        "1 + ".repeat(depth - 2) + "1",
        "m or ".repeat(depth - 2) + "m",
        "abs(".repeat(depth - 2) + "m" + &")".repeat(depth - 2),
        "max_over_time(".repeat(depth / 2 - 2) + "m" + &"[1m:1m])".repeat(depth / 2 - 2),
        "topk(1, sum by (a) (".repeat(depth / 2 - 2) + "m" + &"))".repeat(depth / 2 - 2),
    ];
    for chain in chains {
        let evaluate = move || {
            let expr = parse(&chain).map_err(|error| error.to_string())?;
            let options = EvalOptions::default();
            instant(&expr, Timestamp(60_000), &source("m 1 2"), &options).map(drop).map_err(|error| error.to_string())
        };
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(evaluate).unwrap();
        assert_eq!(thread.join().unwrap(), Ok(()));
    }
}

#[test]
fn samples_are_shared_with_the_source() {
    let labels = Labels::from_pairs([("__name__", "m")]);
    let samples: Vec<Sample> = (0..10).map(|i| Sample { t: Timestamp(i * 60_000), v: 1.0 }).collect();
    let source = MemorySource::from_iter([(labels, samples)]);
    let answer = instant(&parse("m[5m]").unwrap(), Timestamp(540_000), &source, &EvalOptions::default()).unwrap();
    assert_eq!((answer.stats.series_read, answer.stats.samples_read), (1, 5));
    let Value::Matrix(matrix) = answer.value else { panic!("{:?}", answer.value) };
    assert_eq!(matrix[0].points.len(), 5);
}

/// One series, and nearly a million windows of nearly a million samples: only a look at the limits in between ends it.
#[test]
fn cancelling_stops_a_query_of_one_series() {
    let cancel = Arc::new(AtomicBool::new(false));
    let limits = QueryLimits { cancel: Some(Arc::clone(&cancel)), ..QueryLimits::default() };
    let options = EvalOptions { limits, ..EvalOptions::default() };
    let expr = parse("sum_over_time(sum_over_time(vector(1)[10d:1s])[10d:1s])").unwrap();
    let query = std::thread::spawn(move || instant(&expr, Timestamp(0), &MemorySource::new(), &options));
    cancel.store(true, Ordering::Relaxed);
    assert_eq!(query.join().unwrap().unwrap_err().kind, QueryErrorKind::Canceled);
}
