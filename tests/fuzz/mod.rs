//! Expressions that were generated, and queries that were damaged: nothing may panic, hang or overflow the stack, printing
//! keeps the tree, and an instant query is a step of a range query.
//!
//! The texts follow from seeds. PREFOLD_FUZZ_CASES tries more of them; `fuzz/` has the same checks as targets of cargo-fuzz.
//! These see crashes and a difference between instant and range; whether values are right is judged elsewhere.

pub mod generate;
pub mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use prefold::model::{Labels, Timestamp};
use prefold::query::script::{self, EvalTime};
use prefold::query::{Evaluated, MemorySource, QueryError, QueryErrorKind, Value, almost_equal};

use super::promql::mutation::mutate;
use super::promql::random::Random;
use generate::{Choices, expression};
use world::{AT, Evaluation, STEP_MS, evaluate, source};

/// Of one run of each test, unless PREFOLD_FUZZ_CASES says otherwise.
const CASES: usize = 20_000;

pub fn cases(otherwise: usize) -> usize {
    std::env::var("PREFOLD_FUZZ_CASES").map_or(otherwise, |cases| cases.parse().expect("PREFOLD_FUZZ_CASES is a number"))
}

/// Runs on a stack as small as that of the threads that answer requests; names the text that panics.
fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap();
    assert!(thread.join().is_ok(), "see above for the text");
}

fn checked(text: &str, source: &MemorySource, at: Timestamp) -> Option<Evaluation> {
    catch_unwind(AssertUnwindSafe(|| evaluate(text, source, at))).unwrap_or_else(|_| panic!("the text was: {text}"))
}

/// How evaluations end: equal, or by kind of error.
#[derive(Default)]
struct Ends(BTreeMap<String, usize>);

impl Ends {
    fn count(&mut self, instant: &Result<Evaluated, QueryError>) {
        let end = match instant {
            Ok(answer) if is_empty(&answer.value) => "empty".to_owned(),
            Ok(_) => "with values".to_owned(),
            Err(QueryError { kind: QueryErrorKind::Unsupported(what), .. }) => format!("unsupported {what}"),
            Err(error) => format!("{:?}", error.kind),
        };
        *self.0.entry(end).or_default() += 1;
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Vector(points) => points.is_empty(),
        Value::Matrix(series) => series.is_empty(),
        Value::Scalar(_) | Value::String { .. } => false,
    }
}

#[test]
fn generated_expressions_are_evaluated_alike_at_an_instant_and_over_a_range() {
    on_a_small_stack(|| {
        let (mut ends, mut compared) = (Ends::default(), 0);
        for case in 0..cases(CASES) {
            let mut choices = Choices::new(&[], 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(case as u64 + 1));
            let depth = 1 + choices.below(4);
            let text = expression(&mut choices, depth);
            let Some(evaluation) = checked(&text, source(), Timestamp(AT)) else {
                ends.0.entry("not read".to_owned()).and_modify(|n| *n += 1).or_insert(1);
                continue;
            };
            ends.count(&evaluation.instant);
            match same_step(&text, &evaluation) {
                Ok(points) => compared += points,
                Err(why) => panic!("{text}: {why}"),
            }
        }
        println!("generated expressions: {:?}, {compared} points equal", ends.0);
        let read = cases(CASES) - ends.0.get("not read").copied().unwrap_or(0);
        assert!(read * 2 > cases(CASES), "only {read} were read");
        assert!(compared > cases(CASES) / 2, "only {compared} points were compared");
    });
}

/// Values that depend on the interval of the query, on the order of series, which a range has not, or on the first step:
/// there an aggregation of what `@` fixes takes its parameter from.
const NOT_AS_A_STEP: [&str; 11] = [
    "start()",
    "end()",
    "range()",
    "step()",
    "sort",
    "topk",
    "bottomk",
    "limitk",
    "limit_ratio",
    "count_values",
    "quantile ",
];

/// Whether the instant answer is the range's step at that time; how many points.
fn same_step(text: &str, evaluation: &Evaluation) -> Result<usize, String> {
    let (Ok(instant), Ok(range)) = (&evaluation.instant, &evaluation.range) else { return Ok(0) };
    if NOT_AS_A_STEP.iter().any(|word| text.contains(word)) {
        return Ok(0);
    }
    let Value::Matrix(matrix) = &range.value else { return Err(format!("a range query gave {:?}", range.value)) };
    let at_step = |point: &&prefold::model::Sample| point.t == Timestamp(AT);
    let mut stepped: Vec<(&Labels, f64)> = Vec::new();
    for series in matrix {
        stepped.extend(series.points.iter().filter(at_step).map(|point| (&*series.labels, point.v)));
    }
    let none = Labels::EMPTY;
    let mut direct: Vec<(&Labels, f64)> = match &instant.value {
        Value::Scalar(sample) => vec![(&none, sample.v)],
        Value::Vector(points) => points.iter().map(|point| (&*point.labels, point.sample.v)).collect(),
        Value::Matrix(_) | Value::String { .. } => return Ok(0),
    };
    direct.sort_by(|a, b| a.0.cmp(b.0));
    let equal = |a: &(&Labels, f64), b: &(&Labels, f64)| a.0 == b.0 && almost_equal(a.1, b.1, 1e-12);
    match stepped.len() == direct.len() && stepped.iter().zip(&direct).all(|(a, b)| equal(a, b)) {
        true => Ok(direct.len()),
        false => Err(format!("as an instant {direct:?}, as a step of a range {stepped:?}")),
    }
}

/// Every query of Prometheus' own tests, damaged, over the series that it was written for.
#[test]
fn damaged_queries_are_evaluated_without_panic() {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora/promqltest");
    let folder = std::env::var_os("PREFOLD_PROMQLTEST_DIR").map_or_else(beside, PathBuf::from);
    if !folder.is_dir() {
        return println!("skipped: there is no folder {}", folder.display());
    }
    on_a_small_stack(move || {
        let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
        files.sort();
        let texts: Vec<String> = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        let evals = texts.iter().map(|text| text.lines().filter(|line| line.starts_with("eval")).count()).sum::<usize>();
        let each = cases(CASES).div_ceil(evals.max(1));
        let (mut random, mut ends, mut tried) = (Random::new(7), Ends::default(), 0);
        for (file, text) in files.iter().zip(&texts) {
            let script = script::parse(text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            script::run(&script, &mut |eval, source| {
                let at = match eval.time {
                    EvalTime::Instant(at) => at,
                    EvalTime::Range { start, .. } => start + 2 * STEP_MS,
                };
                for _ in 0..each {
                    tried += 1;
                    let damaged = mutate(&mut random, std::slice::from_ref(&eval.query));
                    if let Some(evaluation) = checked(&damaged, source, at) {
                        ends.count(&evaluation.instant);
                    }
                }
                Err(QueryError::bad_data("not judged here"))
            });
        }
        println!("{tried} damaged queries: {:?}", ends.0);
        let read: usize = ends.0.values().sum();
        assert!(read * 10 > tried, "only {read} of {tried} still read: the damage is too heavy to test evaluation");
    });
}
