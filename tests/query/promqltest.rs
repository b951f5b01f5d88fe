//! Prometheus' own engine tests.
//!
//! Every instant query is evaluated as in Prometheus' own runner: once as it is, again with `@` on every selector at other
//! times, and each of these a second time as a step of a range query. A statement may be skipped only for what
//! [`ALLOWED`] names, and only when it needs that: what a native histogram counts, to show or compute with it; a modifier or
//! function of that name, a function of start timestamps over series that have them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prefold::model::{Labels, Timestamp};
use prefold::promql::{At, Expr, ExprKind, TimeShift, parse};
use prefold::query::script::{self, EvalCommand, EvalTime, ExpectedValue, Verdict};
use prefold::query::{
    EvalOptions, Evaluated, MemorySource, QueryError, QueryErrorKind, QueryLimits, Value, almost_equal, instant, range,
};

/// What a refusal may be for, and under which name the skipped statements are counted.
const ALLOWED: [(&str, &str); 6] = [
    ("native-histogram", "native histograms"),
    ("anchored", "anchored/smoothed"),
    ("smoothed", "anchored/smoothed"),
    ("info()", "info()"),
    ("start timestamps", "start timestamps"),
    ("start_timestamp()", "start timestamps"),
];

/// Of the part of the suite beside the repository; raised with what is added, never lowered.
const PASSED_AT_LEAST: usize = 918;

/// The relative difference up to which two answers are the same.
const TOLERANCE: f64 = 1e-6;

/// Functions whose value at a step is not that of their arguments alone: `@` on the selectors does not fix it.
const NOT_FIXED_BY_AT: [&str; 17] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "end",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "range",
    "start",
    "start_timestamp",
    "step",
    "time",
    "timestamp",
    "year",
    "info",
];

/// Texts that make a query depend on the interval it is asked for.
const NOT_THE_SAME_AS_A_RANGE: [&str; 4] = ["start()", "end()", "range()", "step()"];

/// Functions that see a sample's start timestamp.
const OF_START_TIMESTAMPS: [&str; 5] = ["increase", "irate", "rate", "resets", "start_timestamp"];

/// The folder of the suite, and whether it is the part beside the repository.
fn folder() -> Option<(PathBuf, bool)> {
    if let Some(given) = std::env::var_os("PREFOLD_PROMQLTEST_DIR") {
        return Some((PathBuf::from(given), false));
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora/promqltest");
    beside.is_dir().then_some((beside, true))
}

#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: BTreeMap<&'static str, usize>,
}

impl Count {
    fn skipped(&self) -> usize {
        self.skipped.values().sum()
    }

    fn add(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
        other.skipped.into_iter().for_each(|(reason, count)| *self.skipped.entry(reason).or_default() += count);
    }

    fn line(&self) -> String {
        let reasons: Vec<String> = self.skipped.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        format!("{} passed, {} failed, {} skipped{reasons}", self.passed, self.failed, self.skipped())
    }
}

#[test]
fn promqltest() {
    let Some((folder, beside)) = folder() else {
        println!("promqltest: skipped, there is no folder shared/corpora/promqltest beside the repository");
        return;
    };
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    files.sort();
    assert!(!files.is_empty(), "{}: no .test there", folder.display());
    let mut total = Count::default();
    for path in &files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let count = run_file(&name, &std::fs::read_to_string(path).unwrap());
        println!("{name}: {}", count.line());
        total.add(count);
    }
    println!("promqltest: {} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped());
    assert_eq!(total.failed, 0, "statements failed, see above");
    assert!(!beside || total.passed >= PASSED_AT_LEAST, "only {} passed", total.passed);
}

fn run_file(name: &str, text: &str) -> Count {
    let mut count = Count::default();
    let script = match script::parse(text) {
        Ok(script) => script,
        Err(error) => {
            println!("  {name}: {error}");
            count.failed = text.lines().filter(|line| line.trim_start().starts_with("eval")).count().max(1);
            return count;
        }
    };
    for outcome in script::run(&script, &mut evaluate) {
        let allowed = |what: &str| ALLOWED.iter().find(|(refused, _)| *refused == what).map(|(_, reason)| *reason);
        let failure = match outcome.verdict {
            Verdict::Passed => {
                count.passed += 1;
                continue;
            }
            Verdict::Skipped(what) => match allowed(&what) {
                Some(reason) => {
                    *count.skipped.entry(reason).or_default() += 1;
                    if std::env::var_os("PREFOLD_PROMQLTEST_SKIPPED").is_some() {
                        println!("  {name}:{} {} -- skipped: {what}", outcome.line, outcome.query);
                    }
                    continue;
                }
                None => format!("skipped for what must not be: {what}"),
            },
            Verdict::Failed(reason) => reason,
        };
        println!("  {name}:{} {} -- {failure}", outcome.line, outcome.query);
        count.failed += 1;
    }
    count
}

/// Answers a statement as the suite's engine is configured. An instant query whose other forms answer otherwise is an
/// error.
fn evaluate(eval: &EvalCommand, source: &MemorySource) -> Result<Evaluated, QueryError> {
    let query = eval.query.clone();
    let expr = parse(&query).map_err(|error| QueryError::bad_data(error.to_string()))?;
    if needs_start_timestamps(&expr, source) {
        return Err(QueryError::unsupported("start timestamps"));
    }
    let limits = QueryLimits { samples_max: 10_000, ..QueryLimits::default() };
    let options = EvalOptions { query, limits, delayed_name_removal: true, ..EvalOptions::default() };
    let at = match eval.time {
        EvalTime::Range { start, end, step_ms } => return range(&expr, start, end, step_ms, source, &options),
        EvalTime::Instant(at) => at,
    };
    let answer = instant(&expr, at, source, &options);
    check_as_step(eval, &expr, at, &answer, source, &options)?;
    let Some(fixed) = fixed_at(&expr, at) else { return answer };
    let times = if at.0 == 0 { [-1000, 0, 1000, 0, 0] } else { [-10 * at.0, 0, at.0 / 5, at.0, 10 * at.0] };
    for time in times.map(Timestamp) {
        let again = instant(&fixed, time, source, &options);
        match (&answer, &again) {
            (Ok(answer), Ok(again)) => same(&answer.value, &again.value, eval.expectation.ordered)
                .map_err(|why| QueryError::internal(format!("as {fixed} at {time:?}: {why}")))?,
            (Err(_), Err(_)) => {}
            _ => return Err(QueryError::internal(format!("as {fixed} at {time:?}: {again:?}, but {answer:?} plainly"))),
        }
        check_as_step(eval, &fixed, time, &again, source, &options)?;
    }
    answer
}

/// Whether a function that sees start timestamps stands over series that have them. A subquery's samples have none.
fn needs_start_timestamps(expr: &Expr, source: &MemorySource) -> bool {
    let mut needed = false;
    expr.visit(&mut |expr| {
        let ExprKind::Call { function, args } = &expr.kind else { return };
        let over = |arg: &Expr| match &arg.peel().kind {
            ExprKind::Matrix { selector, .. } | ExprKind::Vector(selector) => {
                source.has_start_timestamps(&selector.selector)
            }
            _ => false,
        };
        needed |= OF_START_TIMESTAMPS.contains(&function.as_str()) && args.iter().any(over);
    });
    needed
}

/// The query with `@ at` on every selector and subquery that has no time of its own and stands in no subquery that has one.
/// `None` when that does not fix its value.
fn fixed_at(expr: &Expr, at: Timestamp) -> Option<Expr> {
    let mut unsafe_call = false;
    expr.visit(&mut |expr| {
        if let ExprKind::Call { function, .. } = &expr.kind {
            unsafe_call |= NOT_FIXED_BY_AT.contains(&function.as_str());
        }
    });
    if unsafe_call {
        return None;
    }
    let mut fixed = expr.clone();
    fix(&mut fixed, at);
    Some(fixed)
}

fn fix(expr: &mut Expr, at: Timestamp) {
    let set = |shift: &mut TimeShift| {
        if !matches!(shift.at, Some(At::Time(_))) {
            shift.at = Some(At::Time(at));
        }
    };
    match &mut expr.kind {
        ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => set(&mut selector.shift),
        ExprKind::Subquery { shift, .. } => set(shift),
        _ => expr.children_mut().into_iter().for_each(|child| fix(child, at)),
    }
}

/// Whether the query answers the same as the middle step of a range query, where that is to be expected.
fn check_as_step(
    eval: &EvalCommand,
    expr: &Expr,
    at: Timestamp,
    answer: &Result<Evaluated, QueryError>,
    source: &MemorySource,
    options: &EvalOptions,
) -> Result<(), QueryError> {
    let Ok(answer) = answer else { return Ok(()) };
    let comparable = matches!(eval.expectation.value, ExpectedValue::Series(_) | ExpectedValue::Scalar(_))
        && !eval.expectation.ordered
        && !NOT_THE_SAME_AS_A_RANGE.iter().any(|text| eval.query.contains(text));
    if !comparable {
        return Ok(());
    }
    match range(expr, at - 60_000, at + 60_000, 60_000, source, options) {
        Ok(stretched) => same_at(at, answer, &stretched).map_err(|why| QueryError::internal(format!("{expr}: {why}"))),
        // A step before or after reads a native histogram that this one does not.
        Err(QueryError { kind: QueryErrorKind::Unsupported(_), .. }) => Ok(()),
        Err(error) => Err(QueryError::internal(format!("{expr} as a range: {error}"))),
    }
}

/// Whether the step `at` of a range answer is the instant answer.
fn same_at(at: Timestamp, instant: &Evaluated, range: &Evaluated) -> Result<(), String> {
    let Value::Matrix(matrix) = &range.value else { return Err(format!("a range query gave {:?}", range.value)) };
    if !matrix.is_sorted_by(|a, b| a.labels < b.labels) {
        return Err("a range query's series are not sorted".to_owned());
    }
    let mut stepped: Vec<(&Labels, f64)> = Vec::new();
    for series in matrix {
        stepped.extend(series.points.iter().filter(|point| point.t == at).map(|point| (&*series.labels, point.v)));
    }
    let mut direct = elements(&instant.value);
    direct.sort_by(|a, b| a.0.cmp(b.0));
    equal(&direct, &stepped).map_err(|why| format!("as an instant and as a step of a range: {why}"))
}

fn same(a: &Value, b: &Value, ordered: bool) -> Result<(), String> {
    if let (Value::Matrix(a), Value::Matrix(b)) = (a, b) {
        let same = a.len() == b.len()
            && a.iter().zip(b).all(|(a, b)| {
                let points = a.points.iter().zip(&b.points);
                a.labels == b.labels
                    && a.points.len() == b.points.len()
                    && points.into_iter().all(|(a, b)| a.t == b.t && almost_equal(a.v, b.v, TOLERANCE))
            });
        return if same { Ok(()) } else { Err(format!("{a:?} and {b:?}")) };
    }
    if let (Value::String { text: a, .. }, Value::String { text: b, .. }) = (a, b) {
        return if a == b { Ok(()) } else { Err(format!("{a:?} and {b:?}")) };
    }
    let (mut a, mut b) = (elements(a), elements(b));
    if !ordered {
        a.sort_by(|a, b| a.0.cmp(b.0));
        b.sort_by(|a, b| a.0.cmp(b.0));
    }
    equal(&a, &b)
}

static NO_LABELS: Labels = Labels::EMPTY;

/// The elements of a vector, or a scalar as one without labels.
fn elements(value: &Value) -> Vec<(&Labels, f64)> {
    match value {
        Value::Scalar(sample) => vec![(&NO_LABELS, sample.v)],
        Value::Vector(points) => points.iter().map(|point| (&*point.labels, point.sample.v)).collect(),
        Value::Matrix(_) | Value::String { .. } => Vec::new(),
    }
}

fn equal(a: &[(&Labels, f64)], b: &[(&Labels, f64)]) -> Result<(), String> {
    let same = |a: &(&Labels, f64), b: &(&Labels, f64)| a.0 == b.0 && almost_equal(a.1, b.1, TOLERANCE);
    if a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)) {
        return Ok(());
    }
    Err(format!("{a:?} and {b:?}"))
}
