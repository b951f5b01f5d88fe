//! What the suite's scripts cannot say: views, limits, selections, dispatch of errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use prefold::model::{Labels, Sample, Timestamp, ViewId};
use prefold::plan::Catalog;
use prefold::promql::{Expr, ExprKind, NESTING_MAX, Origin, TREE_DEPTH_MAX, parse};
use prefold::query::load::load_lines;
use prefold::query::{
    EvalOptions, MemorySource, QueryError, QueryErrorKind, QueryLimits, SelectRequest, SeriesData, SeriesSource, Value,
    instant, range,
};
use prefold::rewrite::{QueryTime, Question, explain, rewrite};

pub fn source(lines: &str) -> MemorySource {
    let mut source = MemorySource::new();
    load_lines(&mut source, 60_000, lines).expect("the series of a test are well formed");
    source
}

/// Every selector of an expression reads a view.
fn over_views(mut expr: Expr) -> Expr {
    fn visit(expr: &mut Expr) {
        if let ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } = &mut expr.kind {
            selector.origin = Origin::View { view: ViewId(1), field: 0 };
        }
        expr.children_mut().into_iter().for_each(visit);
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
    use QueryErrorKind::{BadData, Canceled, Execution, Timeout, TooLarge, Unsupported};
    let limits = QueryLimits::default;
    let too_many = "query processing would load too many samples into memory in query execution";
    check_error("m", QueryLimits { samples_max: 20, ..limits() }, TooLarge, too_many);
    check_error("sum_over_time(vector(1)[100y:1ms])", limits(), TooLarge, too_many);
    check_error(
        "m",
        QueryLimits { steps_max: 9, ..limits() },
        BadData,
        "exceeded maximum resolution of 9 points per timeseries. Try decreasing the query resolution (?step=XX)",
    );
    check_error("m", QueryLimits { series_max: 1, ..limits() }, TooLarge, "selector m returns more than 1 series");
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
    for (query, what) in [
        ("info(m)", "info()"),
        ("start_timestamp(m)", "start_timestamp()"),
        ("rate(m[5m] anchored)", "anchored"),
        ("sum(m smoothed)", "smoothed"),
    ] {
        let message = format!("{what} is not evaluated here: ask the upstream database");
        check_error(query, limits(), Unsupported(what.to_owned()), &message);
    }
    check_error("sum_over_time(m[step() - 1m:])", limits(), BadData, "duration must be greater than 0");
    check_error("sum_over_time(m[1 / (step() - 1m):])", limits(), BadData, "division by zero");
    let smoothed = "smoothed modifier can only be used with: delta, increase, rate - not with resets";
    check_error("resets(m[5m] smoothed)", limits(), Execution, smoothed);
    check_error("limit_ratio(NaN, m)", limits(), Execution, "Ratio value is NaN");
    let destination = "invalid destination label name in label_replace(): \u{fffd}";
    check_error(r#"label_replace(m, "\xff", "", "a", "")"#, limits(), Execution, destination);
    check_error(r#"count_values("", m)"#, limits(), Execution, "invalid label name \"\"");
}

/// Samples are counted as Prometheus counts them: results that are alive, and the window a function looks at.
#[test]
fn samples_held_at_once_have_an_exact_bound() {
    let source = source("a{i=\"1\"} 0+1x60\na{i=\"2\"} 0+2x60\nb 1x60");
    let (at, minute) = (Timestamp(3_600_000), 60_000);
    for (query, steps, least) in [
        ("b", 0, 1),
        ("b", 2, 3),
        ("1", 2, 3),
        ("a", 2, 6),
        ("b @ 60", 2, 3),
        ("b[5m]", 0, 5),
        ("a[5m:1m]", 0, 10),
        ("max_over_time(b[5m])", 0, 6), // the window and the result
        ("max_over_time(b[2m])", 9, 12),
        ("deriv(b[1m])", 9, 1),                    // windows without a result
        ("max_over_time(a[10m:1m] @ 600)", 2, 32), // the subquery, one window and two results
        ("a + a", 0, 6),
        ("sum(a)", 2, 6),
        ("max_over_time(b[5m:1m])", 0, 11),
    ] {
        let fits = |samples_max: usize| {
            let options =
                EvalOptions { limits: QueryLimits { samples_max, ..QueryLimits::default() }, ..EvalOptions::default() };
            let expr = parse(query).unwrap();
            match steps {
                0 => instant(&expr, at, &source, &options).is_ok(),
                _ => range(&expr, at - steps * minute, at, minute, &source, &options).is_ok(),
            }
        };
        let found = (0..200).find(|samples_max| fits(*samples_max));
        assert_eq!(found, Some(least), "{query} at {} instants", steps + 1);
    }
}

/// The deepest queries that are read, of each way to nest.
fn deepest() -> Vec<String> {
    let (depth, nesting) = (TREE_DEPTH_MAX as usize, NESTING_MAX as usize);
    let nest = |open: &str, close: &str, levels: usize| open.repeat(levels) + "m" + &close.repeat(levels);
    let chain = |op: &str, terms: usize| vec!["m"; terms].join(op);
    vec![
        vec!["1"; depth].join(" + "),
        chain(" or ", depth),
        chain(" + on () ", depth),
        vec!["1"; nesting].join(" ^ "),
        nest("(", ")", nesting),
        nest("-(", ")", nesting / 2),
        nest("abs(", ")", nesting),
        nest("label_replace(", ", 'a', '$1', 'b', '(.*)')", nesting),
        nest("topk(1, sum by (a) (", "))", nesting / 2),
        nest("max_over_time(", "[1m:1m])", nesting - 1),
        nest("max_over_time((", ")[1m*1:30+1*30s] offset min_of(0, step()))", nesting / 2 - 1),
        format!("{}{}{}", "(".repeat(nesting - 1), chain(" and ", depth - nesting + 1), ")".repeat(nesting - 1)),
    ]
}

fn on_a_stack_of(bytes: usize, work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(bytes).spawn(work).unwrap().join().unwrap();
}

/// Whatever is read is evaluated: no limit lies between the two. On 2 MiB, as any thread has.
#[test]
fn the_deepest_queries_that_read_are_evaluated_on_any_stack() {
    let source = source("m 1 2 3");
    on_a_stack_of(2 << 20, move || {
        let options = EvalOptions::default();
        for text in deepest() {
            let start = &text[..text.len().min(40)];
            let expr = parse(&text).unwrap_or_else(|error| panic!("{start}: {error}"));
            assert_eq!(parse(&expr.clone().to_string()).as_ref(), Ok(&expr), "{start}");
            let (from, to) = (Timestamp(60_000), Timestamp(120_000));
            range(&expr, from, to, 30_000, &source, &options).unwrap_or_else(|error| panic!("{start}: {error}"));
            instant(&expr, to, &source, &options).unwrap_or_else(|error| panic!("{start}: {error}"));
        }
    });
    assert!(QueryLimits::default().depth_max > TREE_DEPTH_MAX as usize);
    for text in [vec!["1"; TREE_DEPTH_MAX as usize + 1].join("+"), "(".repeat(NESTING_MAX as usize + 2)] {
        assert!(parse(&text).unwrap_err().message.contains("the limit of"));
    }
}

/// Rewriting and explaining descend the tree as well; the threads of a node that do have 8 MiB.
#[test]
fn the_deepest_queries_that_read_are_rewritten_on_a_nodes_stack() {
    on_a_stack_of(8 << 20, || {
        let catalog = Catalog::new(&[]);
        for text in deepest() {
            let expr = parse(&text).unwrap();
            for time in [
                QueryTime::Instant(Timestamp(0)),
                QueryTime::Range { start: Timestamp(0), end: Timestamp(60_000), step_ms: 30_000 },
            ] {
                let question = Question { expr: &expr, tenant: "", time, evaluation_interval_ms: None };
                let outcome = rewrite(&question, &catalog);
                assert!(!outcome.whole && !explain(&text, &outcome, &catalog).to_string().is_empty());
            }
        }
    });
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

/// Names go at once, as in Prometheus' default settings, unless asked otherwise.
#[test]
fn names_go_at_once_or_at_the_end() {
    let labels = |query: &str, delayed: bool| -> Result<Vec<String>, String> {
        let options = EvalOptions { delayed_name_removal: delayed, query: query.to_owned(), ..EvalOptions::default() };
        let answer = instant(&parse(query).unwrap(), Timestamp(120_000), &source("a 1 2 3\nb{x=\"1\"} 1 2 3"), &options);
        match answer.map_err(|error| error.message)?.value {
            Value::Vector(points) => Ok(points.iter().map(|point| point.labels.to_string()).collect()),
            Value::Matrix(series) => Ok(series.iter().map(|series| series.labels.to_string()).collect()),
            other => panic!("{other:?}"),
        }
    };
    let set = r#"label_replace(rate(a[5m]), "__name__", "rate_$1", "__name__", "(.*)")"#;
    for (query, at_once, at_the_end) in [
        ("abs(a)", &["{}"][..], &["{}"][..]),
        (set, &["rate_"], &["rate_a"]),
        ("sum by (__name__, x) (-b)", &["{x=\"1\"}"], &["{x=\"1\"}"]),
        ("last_over_time(abs(a)[2m:])", &["{}"], &["{}"]),
        ("abs(a)[2m:1m]", &["{}"], &["{}"]),
        ("a > 1", &["a"], &["a"]),
        ("a > bool 1", &["{}"], &["{}"]),
    ] {
        assert_eq!(labels(query, false).unwrap(), at_once, "{query}");
        assert_eq!(labels(query, true).unwrap(), at_the_end, "{query}");
    }
    let same = Err("vector cannot contain metrics with the same labelset".to_owned());
    let both = r#"sum by (__name__) (rate({__name__=~"a|b"}[5m]))"#;
    assert_eq!(labels(both, false), Ok(vec!["{}".to_owned()]));
    assert_eq!(labels(both, true), same);
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
