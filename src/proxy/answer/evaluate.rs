//! Evaluation: on blocking threads, a bounded number at once, stopped when nobody waits for it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::request::Asked;
use crate::model::Timestamp;
use crate::proxy::json::Notes;
use crate::proxy::source::StoreSource;
use crate::proxy::stitch::Stretch;
use crate::query::{EvalOptions, Evaluated, MatrixSeries, QueryError, QueryErrorKind, Value};

impl Asked<'_> {
    pub async fn evaluate_range(&self, served: Vec<Stretch>) -> Result<(Vec<Vec<MatrixSeries>>, Notes), QueryError> {
        let expr = self.outcome.expr.clone();
        let evaluate = move |source: &StoreSource, options: &EvalOptions| {
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
        self.blocking(evaluate).await
    }

    pub async fn evaluate_instant(&self, at: Timestamp) -> Result<Evaluated, QueryError> {
        let expr = self.outcome.expr.clone();
        self.blocking(move |source, options| crate::query::instant(&expr, at, source, options)).await
    }

    /// Runs an evaluation on a blocking thread, one of a bounded number; a client that goes away stops it.
    async fn blocking<T: Send + 'static>(
        &self,
        evaluate: impl FnOnce(&StoreSource, &EvalOptions) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let internal = |message: String| QueryError { kind: QueryErrorKind::Internal, message };
        let running = &self.proxy.running;
        let _permit = running.acquire().await.map_err(|_| internal("the proxy is shutting down".to_owned()))?;
        let cancel = Arc::new(AtomicBool::new(false));
        let guard = CancelOnDrop(Arc::clone(&cancel));
        let mut limits = self.proxy.options.limits.clone();
        limits.deadline = Some(Instant::now() + self.proxy.options.query_timeout);
        limits.cancel = Some(cancel);
        let options = EvalOptions { query: self.query.clone(), limits, ..EvalOptions::default() };
        let source = StoreSource { store: Arc::clone(&self.proxy.store) };
        let done = tokio::task::spawn_blocking(move || evaluate(&source, &options)).await;
        drop(guard);
        done.unwrap_or_else(|error| Err(internal(format!("the evaluation failed: {error}"))))
    }
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
