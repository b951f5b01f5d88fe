//! How a query is evaluated, and how much it may cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::counters::NonCounter;
use super::error::{QueryError, QueryErrorKind};
use crate::model::Timestamp;
use crate::promql::TREE_DEPTH_MAX;

/// What holds for one evaluation.
#[derive(Clone, Debug)]
pub struct EvalOptions {
    /// How far back an instant selector looks for a sample, in milliseconds. Views are read without lookback.
    pub lookback_ms: i64,
    /// The step of a subquery that names none, in milliseconds: the evaluation interval.
    pub subquery_step_ms: i64,
    /// The query's text, from which warnings and infos compute their position; empty leaves the position out.
    pub query: String,
    /// Whether the metric's name goes only at the end of the evaluation, so that `label_replace` still sees it. Off, as in
    /// Prometheus' default settings.
    pub delayed_name_removal: bool,
    /// Start and end of the query of which a range is only some steps: what `start()`, `end()` and `range()` name. `None`
    /// when the range is the whole query.
    pub whole_range: Option<(Timestamp, Timestamp)>,
    /// Whether rate() and increase() tell a counter by its label `__type__`, not by its name. Off, as in Prometheus' default
    /// settings.
    pub type_labels: bool,
    /// What stood in the query where views are read: noted when they give values.
    pub non_counters: Vec<NonCounter>,
    pub limits: QueryLimits,
}

impl Default for EvalOptions {
    fn default() -> EvalOptions {
        EvalOptions {
            lookback_ms: 300_000,
            subquery_step_ms: 60_000,
            query: String::new(),
            delayed_name_removal: false,
            whole_range: None,
            type_labels: false,
            non_counters: Vec::new(),
            limits: QueryLimits::default(),
        }
    }
}

/// The most levels that a rewrite adds to a tree: what stands in an aggregation's place is a quotient in parentheses.
const REWRITE_LEVELS_MAX: usize = 16;

/// Bounds of one evaluation. Reaching one is an error that says so.
#[derive(Clone, Debug)]
pub struct QueryLimits {
    /// Samples held at once, counted as Prometheus counts them; also those that a source brings into memory for one selector.
    pub samples_max: usize,
    /// Series one selector may return.
    pub series_max: usize,
    /// Steps of a range query.
    pub steps_max: usize,
    /// Depth of the expression as a tree: by default that of the parser, and what a rewrite may add.
    pub depth_max: usize,
    /// When evaluation must have ended.
    pub deadline: Option<Instant>,
    /// Set by whoever no longer wants the answer.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Default for QueryLimits {
    fn default() -> QueryLimits {
        QueryLimits {
            samples_max: 50_000_000,
            series_max: 10_000_000,
            steps_max: 11_000,
            depth_max: TREE_DEPTH_MAX as usize + REWRITE_LEVELS_MAX,
            deadline: None,
            cancel: None,
        }
    }
}

impl QueryLimits {
    /// # Errors
    /// When the query was cancelled or its deadline has passed. Called inside every loop over series.
    pub(super) fn check(&self) -> Result<(), QueryError> {
        if self.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
            let message = "query was canceled in expression evaluation".to_owned();
            return Err(QueryError { kind: QueryErrorKind::Canceled, message });
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let message = "query timed out in expression evaluation".to_owned();
            return Err(QueryError { kind: QueryErrorKind::Timeout, message });
        }
        Ok(())
    }
}
