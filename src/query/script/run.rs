//! Runs a script and judges each answer.

use super::{Command, EvalCommand, EvalTime, Expectation, ExpectedValue, Script, TextMatch};
use crate::model::{Labels, Sample, Timestamp};
use crate::query::almost::almost_equal;
use crate::query::error::{QueryError, QueryErrorKind};
use crate::query::load::{Item, SeriesLine, samples};
use crate::query::memory::MemorySource;
use crate::query::value::{Evaluated, MatrixSeries, Value, VectorPoint};

/// The relative difference up to which an answer is the expected one.
const TOLERANCE: f64 = 1e-6;

/// What became of one `eval`.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Counted from 1.
    pub line: usize,
    pub query: String,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Passed,
    /// What was expected and what came.
    Failed(String),
    /// What is not supported.
    Skipped(String),
}

/// Runs all commands; `evaluate` answers each `eval` from the series loaded so far.
pub fn run(
    script: &Script,
    evaluate: &mut dyn FnMut(&EvalCommand, &MemorySource) -> Result<Evaluated, QueryError>,
) -> Vec<Outcome> {
    let mut source = MemorySource::new();
    let mut outcomes = Vec::new();
    for command in &script.commands {
        match command {
            Command::Clear => source = MemorySource::new(),
            Command::Load(load) => load.into_source(&mut source),
            Command::Eval(eval) => {
                let verdict = match &eval.expectation.unsupported {
                    Some(reason) => Verdict::Skipped(reason.clone()),
                    None => judge(eval, evaluate(eval, &source)),
                };
                outcomes.push(Outcome { line: eval.line, query: eval.query.clone(), verdict });
            }
        }
    }
    outcomes
}

fn judge(eval: &EvalCommand, answer: Result<Evaluated, QueryError>) -> Verdict {
    let expectation = &eval.expectation;
    let judged = match (answer, &expectation.fail) {
        (Err(QueryError { kind: QueryErrorKind::Unsupported(what), .. }), _) => {
            return Verdict::Skipped(what);
        }
        (Err(error), Some(expected)) if expected.matches(&error.message) => Ok(()),
        (Err(error), Some(expected)) => Err(format!("expected an error {expected:?}, got {error}")),
        (Err(error), None) => Err(error.to_string()),
        (Ok(_), Some(_)) => Err("expected an error, got none".to_owned()),
        (Ok(answer), None) => notes(expectation, &answer).and_then(|()| compare(eval, &answer.value)),
    };
    judged.map_or_else(Verdict::Failed, |()| Verdict::Passed)
}

fn notes(expectation: &Expectation, answer: &Evaluated) -> Result<(), String> {
    let one = |kind: &str, expected: &[TextMatch], none: bool, actual: &[String]| {
        if none && !actual.is_empty() {
            return Err(format!("expected no {kind}, got {actual:?}"));
        }
        let missing = expected.iter().find(|expected| !actual.iter().any(|text| expected.matches(text)));
        if let Some(missing) = missing {
            return Err(format!("expected {kind} {missing:?}, got {actual:?}"));
        }
        let surplus = actual.iter().find(|text| !expected.iter().any(|expected| expected.matches(text)));
        match surplus.filter(|_| !expected.is_empty()) {
            Some(surplus) => Err(format!("unexpected {kind} {surplus:?}")),
            None => Ok(()),
        }
    };
    one("warning", &expectation.warnings, expectation.no_warnings, &answer.warnings)?;
    one("info", &expectation.infos, expectation.no_infos, &answer.infos)
}

fn compare(eval: &EvalCommand, value: &Value) -> Result<(), String> {
    match (&eval.expectation.value, value) {
        (ExpectedValue::Scalar(expected), Value::Scalar(actual)) if almost_equal(*expected, actual.v, TOLERANCE) => Ok(()),
        (ExpectedValue::Scalar(expected), Value::Scalar(actual)) => Err(format!("expected {expected}, got {}", actual.v)),
        (ExpectedValue::String(expected), Value::String { text, .. }) if expected == text => Ok(()),
        (ExpectedValue::Series(expected), Value::Vector(actual)) => vector(expected, actual, eval.expectation.ordered),
        (ExpectedValue::Series(expected), Value::Matrix(actual)) => match eval.time {
            EvalTime::Range { start, step_ms, .. } => matrix(expected, actual, start, step_ms),
            EvalTime::Instant(_) => Err("got a range vector where none is expected".to_owned()),
        },
        (ExpectedValue::RangeVector { start, step_ms, series }, Value::Matrix(actual)) => {
            matrix(series, actual, *start, *step_ms)
        }
        (expected, actual) => Err(format!("expected {expected:?}, got {actual:?}")),
    }
}

fn vector(expected: &[SeriesLine], actual: &[VectorPoint], ordered: bool) -> Result<(), String> {
    for (at, point) in actual.iter().enumerate() {
        let known = expected.iter().position(|line| line.labels == *point.labels);
        let Some(place) = known else { return Err(format!("unexpected series {} = {}", point.labels, point.sample.v)) };
        if ordered && place != at {
            return Err(format!("expected {} at place {}, it is at {}", point.labels, place + 1, at + 1));
        }
        let [Item::Float(value)] = expected[place].items.as_slice() else {
            return Err(format!("one value must be expected of {}", point.labels));
        };
        if !almost_equal(*value, point.sample.v, TOLERANCE) {
            return Err(format!("expected {} of {}, got {}", value, point.labels, point.sample.v));
        }
    }
    all_seen(expected, actual.iter().map(|point| &*point.labels))
}

fn matrix(expected: &[SeriesLine], actual: &[MatrixSeries], start: Timestamp, step_ms: i64) -> Result<(), String> {
    if !actual.is_sorted_by(|a, b| a.labels < b.labels) {
        return Err("the series are not sorted by their labels".to_owned());
    }
    for series in actual {
        let known = expected.iter().find(|line| line.labels == *series.labels);
        let Some(SeriesLine { labels, items }) = known else {
            return Err(format!("unexpected series {}", series.labels));
        };
        let wanted: Vec<Sample> = samples(items, step_ms).into_iter().map(|s| Sample { t: s.t + start.0, v: s.v }).collect();
        let same = |a: &Sample, b: &Sample| a.t == b.t && almost_equal(a.v, b.v, TOLERANCE);
        if wanted.len() != series.points.len() || !wanted.iter().zip(&series.points).all(|(a, b)| same(a, b)) {
            return Err(format!("expected {wanted:?} of {labels}, got {:?}", series.points));
        }
    }
    let with_points = |line: &&SeriesLine| line.items.iter().any(|item| *item != Item::Gap);
    let expected: Vec<SeriesLine> = expected.iter().filter(with_points).cloned().collect();
    all_seen(&expected, actual.iter().map(|series| &*series.labels))
}

fn all_seen<'l>(expected: &[SeriesLine], actual: impl Iterator<Item = &'l Labels>) -> Result<(), String> {
    let actual: Vec<&Labels> = actual.collect();
    match expected.iter().find(|line| !actual.contains(&&line.labels)) {
        Some(line) => Err(format!("expected series {} is missing", line.labels)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::STALE_NAN;
    use crate::query::script::parse;
    use crate::query::value::EvalStats;
    use std::sync::Arc;

    fn answer(value: Value) -> Evaluated {
        Evaluated {
            value,
            warnings: Vec::new(),
            infos: vec!["PromQL info: x (1:1)".to_owned()],
            stats: EvalStats::default(),
        }
    }

    /// The answer is always `a{x="1"} 3` at 5m.
    #[track_caller]
    fn check(eval: &str, passes: bool) {
        let script = parse(&format!("load 1m\n  a{{x=\"1\"}} 0+1x5 stale\n\n{eval}\n")).unwrap();
        let outcomes = run(&script, &mut |eval, source| {
            assert_eq!(eval.time, EvalTime::Instant(Timestamp(300_000)));
            let (labels, samples) = source.iter().next().unwrap();
            assert_eq!(samples.last(), Some(&Sample { t: Timestamp(360_000), v: STALE_NAN }));
            let sample = Sample { t: Timestamp(300_000), v: 3.0 };
            Ok(answer(Value::Vector(vec![VectorPoint { labels: Arc::new(labels.clone()), sample }])))
        });
        assert_eq!(outcomes.iter().map(|o| o.verdict == Verdict::Passed).collect::<Vec<_>>(), [passes], "{outcomes:?}");
    }

    #[test]
    fn answers_are_judged() {
        check("eval instant at 5m a\n  a{x=\"1\"} 3", true);
        check("eval instant at 5m a\n  a{x=\"1\"} 3.000001", true);
        check("eval instant at 5m a\n  a{x=\"1\"} 3.0001", false);
        check("eval instant at 5m a\n  {x=\"1\"} 3", false); // the name counts
        check("eval instant at 5m a", false); // nothing expected
        check("eval instant at 5m a\n  a{x=\"1\"} 3\n  a{x=\"2\"} 3", false);
        check("eval instant at 5m a\n  expect fail\n", false);
        check("eval instant at 5m a\n  expect no_info\n  a{x=\"1\"} 3", false);
        check("eval instant at 5m a\n  expect info msg: PromQL info: x (1:1)\n  a{x=\"1\"} 3", true);
        check("eval instant at 5m a\n  expect info regex: ^x\n  a{x=\"1\"} 3", false);
        check("eval instant at 5m a\n  expect warn\n  a{x=\"1\"} 3", false);
        check("eval instant at 5m a\n  3", false);
    }

    /// Only what shows a native histogram is skipped, or what expects one.
    #[test]
    fn native_histograms_are_skipped_by_name() {
        let script = "load 1m\n  h 1 2 {{sum:1}} 4\n  h_sum 1 1 1 1\n\neval instant at 2m h\n  h {{sum:1}}\n\n\
            eval instant at 2m h\n\neval instant at 2m h_sum\n  h_sum 1\n\neval instant at 1m h\n  h 2\n\n\
            eval instant at 3m count_over_time(h[1m])\n  {} 1\n\neval instant at 3m count_over_time(h[2m])\n  {} 2\n";
        let script = parse(script).unwrap();
        let outcomes = run(&script, &mut |eval, source| {
            let EvalTime::Instant(at) = eval.time else { panic!("{eval:?}") };
            let expr = crate::promql::parse(&eval.query).unwrap();
            crate::query::instant(&expr, at, source, &crate::query::EvalOptions::default())
        });
        let skipped = Verdict::Skipped("native-histogram".to_owned());
        let verdicts: Vec<_> = outcomes.into_iter().map(|outcome| outcome.verdict).collect();
        use Verdict::Passed;
        assert_eq!(verdicts, [skipped.clone(), skipped, Passed, Passed, Passed, Passed]);
    }

    #[test]
    fn bad_scripts_are_named_by_line() {
        for (text, expected) in [
            ("clear\nfoo", "line 2: unknown command"),
            ("load 5x\n a 1", "line 1: "),
            ("\neval range from 0 step 1m up", "line 2: write"),
            ("eval instant at 1m up\n  expect nothing", "line 1: unknown expectation \"nothing\" (line 2)"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
