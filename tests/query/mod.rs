//! The query engine against Prometheus' own engine tests, and at the scale of a raw answer.
//!
//! Sees: wrong values, labels, errors and annotations of what the suite covers, and any difference between an instant query
//! and the same query as a step of a range. Cannot see: native histograms, which are skipped by name, and what two wrongs
//! of engine and runner would cancel out.

mod engine;

use std::path::PathBuf;

use prefold::model::{Labels, Timestamp};
use prefold::promql::parse;
use prefold::query::script::{self, EvalCommand, EvalTime, ExpectedValue, Verdict};
use prefold::query::{EvalOptions, Evaluated, MemorySource, QueryError, QueryLimits, Value, almost_equal, instant, range};

/// What the engine reaches today; raised with every function that is added, never lowered.
const PASSED_AT_LEAST: usize = 743;

/// Queries whose value depends on the interval of the query itself, or whose order a range query does not have.
const NOT_THE_SAME_AS_A_RANGE: [&str; 5] = ["start()", "end()", "range()", "step()", "sort"];

fn corpora() -> Option<PathBuf> {
    let folder = std::env::var_os("PREFOLD_CORPORA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora"), PathBuf::from);
    folder.join("promqltest").is_dir().then_some(folder)
}

#[test]
fn promqltest() {
    let Some(corpora) = corpora() else {
        println!("promqltest: skipped, there is no folder shared/corpora beside the repository");
        return;
    };
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(corpora.join("promqltest")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    files.sort();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for path in &files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let script =
            script::parse(&std::fs::read_to_string(path).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let outcomes = script::run(&script, &mut evaluate);
        let count = |judge: fn(&Verdict) -> bool| outcomes.iter().filter(|outcome| judge(&outcome.verdict)).count();
        let counts = [
            count(|verdict| *verdict == Verdict::Passed),
            count(|verdict| matches!(verdict, Verdict::Failed(_))),
            count(|verdict| matches!(verdict, Verdict::Skipped(_))),
        ];
        println!("{name}: {} passed, {} failed, {} skipped", counts[0], counts[1], counts[2]);
        for outcome in &outcomes {
            match &outcome.verdict {
                Verdict::Failed(reason) => println!("  {name}:{} {} -- {reason}", outcome.line, outcome.query),
                Verdict::Skipped(reason) if !reason.contains("native histogram") => {
                    println!("  {name}:{} {} -- {reason}", outcome.line, outcome.query);
                }
                _ => {}
            }
        }
        passed += counts[0];
        failed += counts[1];
        skipped += counts[2];
    }
    println!("promqltest: {passed} passed, {failed} failed, {skipped} skipped");
    assert!(passed >= PASSED_AT_LEAST, "only {passed} passed");
}

/// Answers a command as the suite's engine is configured, and every instant query a second time as a step of a range.
fn evaluate(eval: &EvalCommand, source: &MemorySource) -> Result<Evaluated, QueryError> {
    let query = eval.query.clone();
    let expr = parse(&query).map_err(|error| QueryError::bad_data(error.to_string()))?;
    let limits = QueryLimits { samples_max: 10_000, ..QueryLimits::default() };
    let options = EvalOptions { query, limits, ..EvalOptions::default() };
    match eval.time {
        EvalTime::Range { start, end, step_ms } => range(&expr, start, end, step_ms, source, &options),
        EvalTime::Instant(at) => {
            let answer = instant(&expr, at, source, &options);
            let comparable = matches!(eval.expectation.value, ExpectedValue::Series(_) | ExpectedValue::Scalar(_))
                && !eval.expectation.ordered
                && eval.expectation.fail.is_none()
                && !NOT_THE_SAME_AS_A_RANGE.iter().any(|text| eval.query.contains(text));
            if let (Ok(answer), true) = (&answer, comparable) {
                let stretched = range(&expr, at - 60_000, at + 60_000, 60_000, source, &options)?;
                same_at(at, answer, &stretched).map_err(QueryError::internal)?;
            }
            answer
        }
    }
}

/// Whether the step `at` of a range answer is the instant answer.
fn same_at(at: Timestamp, instant: &Evaluated, range: &Evaluated) -> Result<(), String> {
    let Value::Matrix(matrix) = &range.value else { return Err(format!("a range query gave {:?}", range.value)) };
    let mut stepped: Vec<(&Labels, f64)> = Vec::new();
    for series in matrix {
        stepped.extend(series.points.iter().filter(|point| point.t == at).map(|point| (&*series.labels, point.v)));
    }
    let none = Labels::EMPTY;
    let mut direct: Vec<(&Labels, f64)> = match &instant.value {
        Value::Scalar(sample) => vec![(&none, sample.v)],
        Value::Vector(points) => points.iter().map(|point| (&*point.labels, point.sample.v)).collect(),
        Value::Matrix(_) | Value::String { .. } => return Ok(()),
    };
    direct.sort_by(|a, b| a.0.cmp(b.0));
    let equal = |a: &(&Labels, f64), b: &(&Labels, f64)| a.0 == b.0 && almost_equal(a.1, b.1, 1e-6);
    if stepped.len() == direct.len() && stepped.iter().zip(&direct).all(|(a, b)| equal(a, b)) {
        return Ok(());
    }
    Err(format!("as an instant {direct:?}, as a step of a range {stepped:?}"))
}
