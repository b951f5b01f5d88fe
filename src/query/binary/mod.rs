//! Binary operators.

mod matching;
mod operator;
mod set;

use super::error::{NATIVE_HISTOGRAM, QueryError};
use super::evaluate::{Evaluator, Operand};
use super::row::{NameRemoval, Row};
use super::steps::Steps;
use crate::promql::Binary;
use operator::{changes_meaning, combine, compare, scalars};

/// The values of `lhs op rhs`.
pub(super) fn binary(evaluator: &mut Evaluator<'_>, node: &Binary, steps: &Steps) -> Result<Operand, QueryError> {
    if node.op.is_trim() {
        return Err(QueryError::unsupported(NATIVE_HISTOGRAM));
    }
    let lhs = evaluator.eval(&node.lhs, steps)?;
    let rhs = evaluator.eval(&node.rhs, steps)?;
    match (lhs, rhs) {
        (Operand::Scalar(lhs), Operand::Scalar(rhs)) => {
            let values = lhs.iter().zip(&rhs).map(|(l, r)| scalars(node.op, *l, *r));
            Ok(Operand::Scalar(values.collect()))
        }
        (Operand::Vector(rows), Operand::Scalar(scalar)) => with_scalar(node, evaluator.names, rows, |step, v| {
            let right = scalar[step];
            (v, right, v)
        }),
        (Operand::Scalar(scalar), Operand::Vector(rows)) => with_scalar(node, evaluator.names, rows, |step, v| {
            let left = scalar[step];
            (left, v, v)
        }),
        (Operand::Vector(lhs), Operand::Vector(rhs)) if node.op.is_set() => {
            set::set(evaluator, node, lhs, &rhs, steps).map(Operand::Vector)
        }
        (Operand::Vector(lhs), Operand::Vector(rhs)) => {
            matching::matching(evaluator, node, &lhs, &rhs, steps).map(Operand::Vector)
        }
        (Operand::String(_), _) | (_, Operand::String(_)) => {
            Err(QueryError::bad_data("binary expression must contain only scalar and instant vector types"))
        }
    }
}

/// `sides` gives the left and right operand and, for a comparison, the value that stays: always the vector's.
fn with_scalar(
    node: &Binary,
    names: NameRemoval,
    mut rows: Vec<Row>,
    sides: impl Fn(usize, f64) -> (f64, f64, f64),
) -> Result<Operand, QueryError> {
    let (op, return_bool) = (node.op, node.return_bool);
    rows.retain_mut(|row| {
        row.update(|step, v| {
            let (left, right, stays) = sides(step, v);
            if return_bool {
                return Some(f64::from(u8::from(compare(op, left, right))));
            }
            if op.is_comparison() { compare(op, left, right).then_some(stays) } else { combine(op, left, right) }
        })
    });
    if changes_meaning(op) || return_bool { names.drop_names(rows).map(Operand::Vector) } else { Ok(Operand::Vector(rows)) }
}
