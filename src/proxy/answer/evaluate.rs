//! Evaluation: on blocking threads, a bounded number at once, stopped when nobody waits for it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::request::{Asked, Range};
use super::steps::StepPlan;
use crate::model::Timestamp;
use crate::plan::Catalog;
use crate::proxy::Proxy;
use crate::proxy::edge::EdgePoints;
use crate::proxy::json::Notes;
use crate::proxy::source::ViewSource;
use crate::query::{EvalOptions, Evaluated, MatrixSeries, QueryError, QueryErrorKind, Value};

/// What evaluating the stretches of a range gives.
pub(super) type Parts = (Vec<Vec<MatrixSeries>>, Notes);

impl Asked<'_> {
    /// Evaluates the stretches; that they are only a part of `range` shows in no value.
    pub async fn evaluate_range(&self, range: Range, plan: &StepPlan, edge: EdgePoints) -> Result<Parts, QueryError> {
        let (expr, served) = (self.outcome.expr.clone(), plan.served.clone());
        let evaluate = move |source: &ViewSource, options: &EvalOptions| {
            let options = &EvalOptions { whole_range: Some((range.start, range.end)), ..options.clone() };
            let (mut parts, mut notes) = (Vec::new(), Notes::default());
            for stretch in &served {
                let evaluated = crate::query::range(&expr, stretch.start, stretch.end, stretch.step_ms, source, options)?;
                notes.warnings.extend(evaluated.warnings);
                notes.infos.extend(evaluated.infos);
                if let Value::Matrix(series) = evaluated.value {
                    parts.push(series);
                }
            }
            notes.warnings.dedup();
            notes.infos.dedup();
            Ok((parts, notes))
        };
        self.blocking(plan, edge, evaluate).await
    }

    pub async fn evaluate_instant(&self, at: Timestamp, plan: &StepPlan, edge: EdgePoints) -> Result<Evaluated, QueryError> {
        let expr = self.outcome.expr.clone();
        self.blocking(plan, edge, move |source, options| crate::query::instant(&expr, at, source, options)).await
    }

    /// Runs an evaluation when it is its turn. A client that goes away stops it, and the next one's turn comes when it has
    /// in fact stopped.
    async fn blocking<T: Send + 'static>(
        &self,
        plan: &StepPlan,
        edge: EdgePoints,
        evaluate: impl FnOnce(&ViewSource, &EvalOptions) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let internal = |message: String| QueryError { kind: QueryErrorKind::Internal, message };
        let proxy = Arc::clone(self.proxy);
        let turn = Arc::clone(&proxy.running).acquire_owned();
        let permit = match tokio::time::timeout_at(self.deadline.into(), turn).await {
            Ok(permit) => permit.map_err(|_| internal("the proxy is shutting down".to_owned()))?,
            Err(_) => {
                proxy.counters.timed_out.fetch_add(1, Ordering::Relaxed);
                let message = "query timed out in query queue".to_owned();
                return Err(QueryError { kind: QueryErrorKind::Timeout, message });
            }
        };
        let cancel = Arc::new(AtomicBool::new(false));
        let guard = CancelOnDrop(Arc::clone(&cancel));
        let options = self.options(cancel);
        let (catalog, steps) = (Arc::clone(&self.catalog), plan.steps_served());
        let work = move || {
            let source = ViewSource::new(Arc::clone(&proxy.store), edge);
            let evaluated = evaluate(&source, &options);
            match &evaluated {
                Ok(_) => count_avoided(&proxy, &catalog, &source, steps),
                Err(error) => count_stopped(&proxy, error),
            }
            drop(permit);
            evaluated
        };
        let done = tokio::task::spawn_blocking(work).await;
        drop(guard);
        done.unwrap_or_else(|error| Err(internal(format!("the evaluation failed: {error}"))))
    }

    fn options(&self, cancel: Arc<AtomicBool>) -> EvalOptions {
        let mut limits = self.proxy.options.limits.clone();
        limits.deadline = Some(self.deadline);
        limits.cancel = Some(cancel);
        let (query, non_counters) = (self.query.clone(), self.non_counters.clone());
        EvalOptions { query, limits, non_counters, ..EvalOptions::default() }
    }
}

/// What evaluating over samples would have read at as many steps: the windows of the series behind the groups that were
/// read, as they stood at each view's newest grid point.
fn count_avoided(proxy: &Proxy, catalog: &Catalog, source: &ViewSource, steps: u64) {
    for (view, read) in source.read() {
        let (activity, entry) = ((proxy.activity)(view), catalog.get(view));
        if let (Some(entry), true) = (entry, activity.output_series > 0) {
            let share = (read.groups as f64 / activity.output_series as f64).min(1.0);
            let raw = activity.window_samples as f64 * share * steps as f64;
            proxy.counters.avoided(&entry.job, (raw as u64).saturating_sub(read.points as u64));
        }
    }
}

fn count_stopped(proxy: &Proxy, error: &QueryError) {
    match error.kind {
        QueryErrorKind::Canceled => proxy.counters.canceled.fetch_add(1, Ordering::Relaxed),
        QueryErrorKind::Timeout => proxy.counters.timed_out.fetch_add(1, Ordering::Relaxed),
        _ => 0,
    };
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
