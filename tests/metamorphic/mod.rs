//! Every aggregation of Prometheus' own engine tests, asked plainly and asked of views that were folded for it.
//!
//! For each eval the views are derived from the query itself and filled by the real dataflow and store; the query is
//! rewritten over them, and both answers must be equal: labels, values within 1e-9, warnings and infos. This sees what is
//! lost between a rule and an answer: normal form, windows, partials, storage, rewriting, annotations. It cannot see errors
//! that the engine and the stream share; `query::promqltest` judges the plain answers.

mod generated;
mod views;
mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;

use prefold::plan::Catalog;
use prefold::promql::{Expr, ExprKind, parse};
use prefold::query::script::{self, EvalCommand, EvalTime};
use prefold::query::{EvalOptions, Evaluated, MemorySource, QueryError, QueryErrorKind, non_counters};
use prefold::rewrite::{Outcome, QueryTime, Question, rewrite};

use views::{Kept, derive};
use world::{Views, evaluate, floats, same};

/// The step of a subquery that names none: Prometheus' default evaluation interval.
const EVALUATION_INTERVAL_MS: i64 = 60_000;

/// Of the corpus beside the repository: what is rewritten today, as asked and from the finest views. Never lowered.
const REWRITTEN_AT_LEAST: [(Kept, usize); 2] = [(Kept::AsAsked, 209), (Kept::Finest, 205)];

/// Evals that are known to differ, each for a row of README's table: an average whose sum overflows a float.
const KNOWN_TO_DIFFER: [&str; 2] = [r#"avg(data{test="big"})"#, r#"avg(data{test="bigzero"})"#];

/// What became of the evals of one run.
#[derive(Default)]
struct Tally {
    /// How often an eval of [`KNOWN_TO_DIFFER`] did.
    known: usize,
    aggregations: usize,
    rewritten: usize,
    whole: usize,
    points: usize,
    /// Why evals were not rewritten, with how many.
    left: BTreeMap<String, usize>,
    different: Vec<String>,
}

fn corpus() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora/promqltest");
    let folder = std::env::var_os("PREFOLD_PROMQLTEST_DIR").map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("metamorphic: skipped, there is no folder {}", folder.display());
    None
}

#[test]
fn pre_aggregated_subtrees_give_the_plain_answer() {
    let Some(folder) = corpus() else { return };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    files.sort();
    let is_own_corpus = std::env::var_os("PREFOLD_PROMQLTEST_DIR").is_none();
    for (kept, floor) in REWRITTEN_AT_LEAST {
        let mut tally = Tally::default();
        for path in &files {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let script = script::parse(&std::fs::read_to_string(path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
            script::run(&script, &mut |eval, source| {
                let source = floats(source);
                times(eval).into_iter().for_each(|time| tally.eval(&name, eval, time, &source, kept));
                // Whether the plain answer is the right one is for `query::promqltest` to judge.
                Err(QueryError::bad_data("not judged here"))
            });
        }
        let Tally { aggregations, rewritten, whole, points, .. } = tally;
        println!(
            "metamorphic, {kept:?}: {aggregations} evals with an aggregation, {rewritten} rewritten ({whole} wholly), \
             {points} points equal"
        );
        tally.left.iter().for_each(|(why, count)| println!("  {count} not rewritten: {why}"));
        assert!(tally.different.is_empty(), "{} differ:\n{}", tally.different.len(), tally.different.join("\n"));
        assert!(!is_own_corpus || tally.known > 0, "what is known to differ does so no more");
        assert!(!is_own_corpus || rewritten >= floor, "only {rewritten} of {aggregations} were rewritten");
    }
}

fn aggregates(expr: &Expr) -> bool {
    let mut found = false;
    expr.visit(&mut |node| found |= matches!(node.kind, ExprKind::Aggregate(_)));
    found
}

fn options(query: &str) -> EvalOptions {
    EvalOptions { query: query.to_owned(), subquery_step_ms: EVALUATION_INTERVAL_MS, ..EvalOptions::default() }
}

/// When an eval is asked: as it says, and an instant also as a step of a range.
fn times(eval: &EvalCommand) -> Vec<QueryTime> {
    match eval.time {
        EvalTime::Instant(at) => {
            let (start, end) = (at - 2 * EVALUATION_INTERVAL_MS, at + EVALUATION_INTERVAL_MS);
            vec![QueryTime::Instant(at), QueryTime::Range { start, end, step_ms: EVALUATION_INTERVAL_MS }]
        }
        EvalTime::Range { start, end, step_ms } => vec![QueryTime::Range { start, end, step_ms }],
    }
}

impl Tally {
    fn eval(&mut self, file: &str, eval: &EvalCommand, time: QueryTime, source: &MemorySource, kept: Kept) {
        let Some(expr) = parse(&eval.query).ok().filter(aggregates) else { return };
        let plain = match evaluate(&expr, time, source, &options(&eval.query)) {
            Ok(plain) => plain,
            Err(QueryError { kind: QueryErrorKind::Unsupported(_), .. }) => return,
            Err(_) => return self.leave("the query fails on the samples"),
        };
        self.aggregations += 1;
        let catalog = Catalog::of(derive(&expr, time, EVALUATION_INTERVAL_MS, kept));
        if catalog.is_empty() {
            return self.leave("no aggregation over a selector that a rule could keep");
        }
        let evaluation_interval_ms = Some(EVALUATION_INTERVAL_MS);
        let outcome = rewrite(&Question { expr: &expr, tenant: "", time, evaluation_interval_ms }, &catalog);
        if outcome.reads.is_empty() {
            return self.leave(outcome.refusals.first().map_or("without a reason", |refused| refused.slug()));
        }
        self.rewritten += 1;
        self.whole += usize::from(outcome.whole);
        let views = Views::fold(&catalog, source).unwrap_or_else(|error| panic!("{file}:{}: {error}", eval.line));
        let answer = over_views(&options(&eval.query), time, source, &outcome, &views);
        match answer.and_then(|answer| same(&plain, &answer, eval.expectation.ordered)) {
            Ok(points) => self.points += points,
            Err(_) if KNOWN_TO_DIFFER.contains(&eval.query.as_str()) => self.known += 1,
            Err(why) => {
                let place = format!("{file}:{} {} at {time:?}", eval.line, eval.query);
                self.different.push(format!("{place}\n  -> {}\n  {why}", outcome.expr));
            }
        }
    }

    fn leave(&mut self, why: &str) {
        *self.left.entry(why.to_owned()).or_default() += 1;
    }
}

/// What the proxy would answer.
fn over_views(
    options: &EvalOptions,
    time: QueryTime,
    source: &MemorySource,
    outcome: &Outcome,
    views: &Views,
) -> Result<Evaluated, String> {
    let options = EvalOptions { non_counters: non_counters(&parse(&options.query).unwrap()), ..options.clone() };
    evaluate(&outcome.expr, time, &views.beside(source), &options)
        .map_err(|error| format!("only the rewrite fails: {error}"))
}
