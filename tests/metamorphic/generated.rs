//! Expressions that were generated, over series with everything a float can be: whatever is rewritten has the same answer.
//!
//! As the test of Prometheus' own evals, with one store for the views of many queries, so that a query finds views that were
//! derived for others. Left out: choices among equal values or by the order of series, which PromQL does not define.

use std::sync::LazyLock;

use prefold::model::Timestamp;
use prefold::plan::Catalog;
use prefold::promql::{Expr, parse};
use prefold::query::{EvalOptions, Evaluated, MemorySource, QueryLimits};
use prefold::rewrite::{QueryTime, Question, rewrite};

use super::views::{Kept, derive};
use super::world::{Views, evaluate, floats, same};
use super::{EVALUATION_INTERVAL_MS, aggregates, options, over_views};
use crate::fuzz::cases;
use crate::fuzz::generate::{Choices, expression};
use crate::fuzz::world::{self, AT, STEP_MS};

/// Queries of one run, unless PREFOLD_FUZZ_CASES says otherwise.
const CASES: usize = 2_000;

/// Queries whose views share a store.
const QUERIES_PER_STORE: usize = 50;

const UNDEFINED: [&str; 4] = ["topk", "bottomk", "limitk", "limit_ratio"];

static SOURCE: LazyLock<MemorySource> = LazyLock::new(|| floats(world::source()));

fn source() -> &'static MemorySource {
    &SOURCE
}

/// Few samples: windows as long as subqueries have steps take the square of them.
fn bounded(query: &str) -> EvalOptions {
    let limits = QueryLimits { samples_max: 20_000, ..QueryLimits::default() };
    EvalOptions { limits, ..options(query) }
}

struct Query {
    text: String,
    expr: Expr,
    time: QueryTime,
    kept: Kept,
    plain: Evaluated,
}

impl Query {
    /// The next one that has an aggregation and an answer.
    fn generate(choices: &mut Choices<'_>) -> Query {
        loop {
            let depth = 1 + choices.below(3);
            let text = expression(choices, depth);
            let at = Timestamp(AT);
            let (time, kept) = match choices.below(4) {
                0 => (QueryTime::Instant(at), Kept::AsAsked),
                1 => (QueryTime::Instant(at), Kept::Finest),
                2 => (QueryTime::Range { start: at, end: at + 3 * STEP_MS, step_ms: STEP_MS }, Kept::AsAsked),
                _ => (QueryTime::Range { start: at - 90_000, end: at + STEP_MS, step_ms: 30_000 }, Kept::Finest),
            };
            if UNDEFINED.iter().any(|word| text.contains(word)) {
                continue;
            }
            let Some(expr) = parse(&text).ok().filter(aggregates) else { continue };
            if let Ok(plain) = evaluate(&expr, time, source(), &bounded(&text)) {
                return Query { text, expr, time, kept, plain };
            }
        }
    }
}

#[test]
fn generated_queries_have_the_plain_answer() {
    let (mut rewritten, mut points, mut different) = (0, 0, Vec::new());
    let mut choices = Choices::new(&[], 0x5eed);
    for _ in (0..cases(CASES)).step_by(QUERIES_PER_STORE) {
        let queries: Vec<Query> = (0..QUERIES_PER_STORE).map(|_| Query::generate(&mut choices)).collect();
        let kept = queries.iter().flat_map(|query| derive(&query.expr, query.time, EVALUATION_INTERVAL_MS, query.kept));
        let catalog = Catalog::of(kept);
        let views = Views::fold(&catalog, source()).unwrap();
        for Query { text, expr, time, plain, .. } in queries {
            let evaluation_interval_ms = Some(EVALUATION_INTERVAL_MS);
            let outcome = rewrite(&Question { expr: &expr, tenant: "", time, evaluation_interval_ms }, &catalog);
            if outcome.reads.is_empty() {
                continue;
            }
            rewritten += 1;
            let answer = over_views(&bounded(&text), time, source(), &outcome, &views);
            match answer.and_then(|answer| same(&plain, &answer, false)) {
                Ok(equal) => points += equal,
                Err(why) => different.push(format!("{text} at {time:?}\n  -> {}\n  {why}", outcome.expr)),
            }
        }
    }
    println!("{rewritten} of {} generated queries rewritten, {points} points equal", cases(CASES));
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
    assert!(rewritten * 4 > cases(CASES), "only {rewritten} were rewritten");
}
