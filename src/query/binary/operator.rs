//! What each operator does with two elements.

use crate::promql::BinaryOp;
use crate::query::error::QueryError;
use crate::query::native::{is_histogram, needed};

/// What an operator makes of two elements of vectors.
pub(super) enum Combined {
    /// The result, or `None` where a comparison is false.
    Value(Option<f64>),
    /// The operator has no meaning for the kinds of its operands, and gives nothing.
    Incompatible,
}

/// The result for two elements, either of which may be a native histogram.
///
/// # Errors
/// When it depends on what native histograms count.
pub(super) fn elements(op: BinaryOp, left: f64, right: f64) -> Result<Combined, QueryError> {
    match (is_histogram(left), is_histogram(right)) {
        (false, false) if op.is_trim() => Ok(Combined::Incompatible),
        (false, false) => Ok(Combined::Value(combine(op, left, right))),
        (true, false) if op.is_trim() || matches!(op, BinaryOp::Mul | BinaryOp::Div) => Ok(Combined::Value(Some(left))),
        (false, true) if op == BinaryOp::Mul => Ok(Combined::Value(Some(right))),
        (true, true) if matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Equal | BinaryOp::NotEqual) => Err(needed()),
        _ => Ok(Combined::Incompatible),
    }
}

/// The word for the kind of an element in notes.
pub(super) fn kind(v: f64) -> &'static str {
    if is_histogram(v) { "histogram" } else { "float" }
}

/// Whether the result measures something else than its operands, so that the metric's name goes.
pub(super) fn changes_meaning(op: BinaryOp) -> bool {
    !op.is_comparison() && !op.is_set() && !op.is_trim()
}

/// The result for two vector elements: `None` where a comparison is false; a true comparison keeps the left value.
pub(super) fn combine(op: BinaryOp, left: f64, right: f64) -> Option<f64> {
    match op {
        BinaryOp::Add => Some(left + right),
        BinaryOp::Sub => Some(left - right),
        BinaryOp::Mul => Some(left * right),
        BinaryOp::Div => Some(left / right),
        BinaryOp::Mod => Some(left % right),
        BinaryOp::Pow => Some(left.powf(right)),
        BinaryOp::Atan2 => Some(left.atan2(right)),
        _ => compare(op, left, right).then_some(left),
    }
}

/// Whether a comparison holds; false for what is not a comparison.
pub(super) fn compare(op: BinaryOp, left: f64, right: f64) -> bool {
    match op {
        BinaryOp::Equal => left == right,
        BinaryOp::NotEqual => left != right,
        BinaryOp::Greater => left > right,
        BinaryOp::Less => left < right,
        BinaryOp::GreaterEqual => left >= right,
        BinaryOp::LessEqual => left <= right,
        _ => false,
    }
}

/// The result for two scalars, for which a comparison is 0 or 1.
pub(super) fn scalars(op: BinaryOp, left: f64, right: f64) -> f64 {
    if op.is_comparison() {
        return f64::from(u8::from(compare(op, left, right)));
    }
    combine(op, left, right).unwrap_or(f64::NAN)
}
