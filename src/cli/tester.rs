//! Answers the evals of a job's test from the job's views: folded, stored, rewritten and evaluated as in a running node.

use std::sync::Arc;

use super::test::{EvalReport, JobTester};
use crate::model::{Labels, Sample};
use crate::node::replay::replay;
use crate::plan::{Catalog, Job};
use crate::promql::parse;
use crate::proxy::source::StoreSource;
use crate::query::script::{self, EvalCommand, EvalTime, Verdict};
use crate::query::{self, EvalOptions, Evaluated, MemorySource, NATIVE_HISTOGRAM, QueryError, QueryErrorKind, is_histogram};
use crate::rewrite::{QueryTime, Question, Refused, rewrite};
use crate::store::{Store, StoreOptions};

/// Tests jobs by their views.
pub struct ViewTester;

impl JobTester for ViewTester {
    fn run(&self, jobs: &[Job], script_text: &str) -> Result<Vec<EvalReport>, String> {
        let script = script::parse(script_text)?;
        let catalog = Catalog::new(jobs);
        let outcomes = script::run(&script, &mut |eval, source| answer(&catalog, eval, source));
        let report = |outcome: script::Outcome| {
            let (passed, message) = match outcome.verdict {
                Verdict::Passed => (true, String::new()),
                Verdict::Failed(message) => (false, message),
                Verdict::Skipped(reason) => (false, format!("cannot be tested: {reason}")),
            };
            EvalReport { line: outcome.line, passed, message }
        };
        Ok(outcomes.into_iter().map(report).collect())
    }
}

fn answer(catalog: &Catalog, eval: &EvalCommand, source: &MemorySource) -> Result<Evaluated, QueryError> {
    let failed = |message: String| QueryError { kind: QueryErrorKind::Execution, message };
    let expr = parse(&eval.query).map_err(|error| failed(error.to_string()))?;
    let time = match eval.time {
        EvalTime::Instant(at) => QueryTime::Instant(at),
        EvalTime::Range { start, end, step_ms } => QueryTime::Range { start, end, step_ms },
    };
    let outcome = rewrite(&Question { expr: &expr, tenant: "", time, evaluation_interval_ms: Some(60_000) }, catalog);
    if !outcome.whole {
        let why: Vec<String> = outcome.refusals.iter().map(Refused::to_string).collect();
        return Err(failed(format!("the job's views do not answer this: {}", why.join("; "))));
    }
    let folder = tempfile::tempdir().map_err(|error| failed(format!("cannot make a folder for the store: {error}")))?;
    let store = Store::open(folder.path(), StoreOptions::default()).map_err(|error| failed(error.to_string()))?;
    if source.iter().any(|(_, samples)| samples.iter().any(|sample| is_histogram(sample.v))) {
        return Err(QueryError::unsupported(NATIVE_HISTOGRAM)); // no view is fed with one
    }
    let series: Vec<(Labels, Vec<Sample>)> =
        source.iter().map(|(labels, samples)| (labels.clone(), samples.to_vec())).collect();
    replay(catalog, &series, &store).map_err(failed)?;
    let source = StoreSource { store: Arc::new(store) };
    let options = EvalOptions { query: eval.query.clone(), ..EvalOptions::default() };
    match eval.time {
        EvalTime::Instant(at) => query::instant(&outcome.expr, at, &source, &options),
        EvalTime::Range { start, end, step_ms } => query::range(&outcome.expr, start, end, step_ms, &source, &options),
    }
}
