//! The PromQL engine, over any set of series.
//!
//! An expression is evaluated series by series over all steps of a query at once, not step by step: a series is decoded,
//! grouped and labelled once, whatever the number of steps. An instant query is a range query of one step. The numbers are
//! Prometheus 3's; what the engine does not know it names ([`QueryErrorKind::Unsupported`]) instead of guessing.

mod aggregate;
mod almost;
mod annotations;
mod binary;
mod budget;
mod counters;
mod error;
mod evaluate;
mod function;
mod go_text;
mod grouping;
mod invariant;
pub mod load;
pub mod memory;
mod native;
mod options;
mod range_vector;
mod row;
pub mod script;
mod select;
mod source;
mod stack;
mod steps;
mod value;

use std::sync::Arc;

pub use almost::almost_equal;
pub use counters::{NonCounter, non_counters};
pub use error::{NATIVE_HISTOGRAM, QueryError, QueryErrorKind};
pub use memory::MemorySource;
pub use native::is_histogram;
pub use options::{EvalOptions, QueryLimits};
pub use source::{Samples, SelectRequest, SeriesData, SeriesSource};
pub use value::{EvalStats, Evaluated, MatrixSeries, Value, VectorPoint};

use crate::model::{Labels, Sample, Timestamp};
use crate::promql::{Expr, QuerySpan, ValueType};
use evaluate::{Evaluator, Operand};
use row::{Row, is_absent};
use steps::Steps;

/// The value of an expression at one instant.
///
/// # Errors
/// When evaluation fails, passes a limit of `options`, or meets what this engine does not know.
pub fn instant(
    expr: &Expr,
    at: Timestamp,
    source: &dyn SeriesSource,
    options: &EvalOptions,
) -> Result<Evaluated, QueryError> {
    let span = QuerySpan { step_ms: 0, range_ms: 0 };
    let known = expr.with_known_durations(span).map_err(QueryError::bad_data)?;
    stack::with_room_for(&known, |expr| evaluate_instant(expr, at, source, options))
}

fn evaluate_instant(
    expr: &Expr,
    at: Timestamp,
    source: &dyn SeriesSource,
    options: &EvalOptions,
) -> Result<Evaluated, QueryError> {
    let steps = Steps::instant(at);
    let mut evaluator = Evaluator::new(steps, (at, at), 0, source, options);
    let value = match expr.value_type() {
        ValueType::Matrix => Value::Matrix(evaluator.raw_matrix(expr.peel())?),
        _ => match evaluator.eval(expr, &steps)? {
            Operand::Scalar(values) => Value::Scalar(Sample { t: at, v: values[0] }),
            Operand::String(text) => Value::String { t: at, text },
            Operand::Vector(rows) => {
                let rows = answered(rows)?;
                Value::Vector(rows.into_iter().map(|row| vector_point(row, at)).collect())
            }
        },
    };
    Ok(evaluator.finish(value))
}

/// The values of an expression at `start`, `start + step_ms`, ... up to `end`.
///
/// # Errors
/// As [`instant`]; also when the interval or step is not a valid one or the expression is not a scalar or instant vector.
pub fn range(
    expr: &Expr,
    start: Timestamp,
    end: Timestamp,
    step_ms: i64,
    source: &dyn SeriesSource,
    options: &EvalOptions,
) -> Result<Evaluated, QueryError> {
    let steps = range_steps(start, end, step_ms, options)?;
    let wrong_type = match expr.value_type() {
        ValueType::Matrix => Some("range vector"),
        ValueType::String => Some("string"),
        ValueType::Scalar | ValueType::Vector => None,
    };
    if let Some(wrong) = wrong_type {
        let message = format!("invalid expression type {wrong:?} for range query, must be Scalar or instant Vector");
        return Err(QueryError::bad_data(message));
    }
    let whole = options.whole_range.unwrap_or((start, end));
    let span = QuerySpan { step_ms, range_ms: whole.1 - whole.0 };
    let known = expr.with_known_durations(span).map_err(QueryError::bad_data)?;
    stack::with_room_for(&known, |expr| evaluate_range(Evaluator::new(steps, whole, step_ms, source, options), expr, &steps))
}

fn evaluate_range(mut evaluator: Evaluator<'_>, expr: &Expr, steps: &Steps) -> Result<Evaluated, QueryError> {
    let rows = match evaluator.eval(expr, steps)? {
        Operand::Scalar(values) => Row::new(Arc::new(Labels::EMPTY), values).into_iter().collect(),
        Operand::Vector(rows) => answered(rows)?,
        Operand::String(_) => Vec::new(),
    };
    let mut matrix: Vec<MatrixSeries> = rows.into_iter().map(|row| matrix_series(row, steps)).collect();
    matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(evaluator.finish(Value::Matrix(matrix)))
}

fn range_steps(start: Timestamp, end: Timestamp, step_ms: i64, options: &EvalOptions) -> Result<Steps, QueryError> {
    if step_ms <= 0 {
        return Err(QueryError::bad_data(
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if end < start {
        return Err(QueryError::bad_data("end timestamp must not be before start time"));
    }
    let last = (end - start) / step_ms;
    if usize::try_from(last).map_or(true, |last| last > options.limits.steps_max) {
        return Err(QueryError::bad_data(format!(
            "exceeded maximum resolution of {} points per timeseries. Try decreasing the query resolution (?step=XX)",
            thousands(options.limits.steps_max)
        )));
    }
    Ok(Steps::range(start, end, step_ms))
}

/// `11000` as `11,000`.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap_or("")).collect();
    groups.join(",")
}

/// Rows as they are shown: without the names kept until now, and only when all their values can be.
fn answered(rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    rows.iter().try_for_each(|row| native::only_floats(row.values.iter().copied()))?;
    row::drop_names_kept(rows)
}

fn vector_point(row: Row, t: Timestamp) -> VectorPoint {
    VectorPoint { labels: row.labels, sample: Sample { t, v: row.values[0] } }
}

fn matrix_series(row: Row, steps: &Steps) -> MatrixSeries {
    let points = steps.times().zip(row.values).filter(|(_, v)| !is_absent(*v)).map(|(t, v)| Sample { t, v });
    MatrixSeries { labels: row.labels, points: points.collect() }
}
