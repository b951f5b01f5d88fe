//! What each operator does with two floats.

use crate::promql::BinaryOp;

/// Whether the result measures something else than its operands, so that the metric's name goes.
pub(super) fn changes_meaning(op: BinaryOp) -> bool {
    !op.is_comparison() && !op.is_set()
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
