//! Binary operators.

mod matching;
mod mismatch;
mod operator;
mod set;

use super::error::QueryError;
use super::evaluate::{Evaluator, Operand};
use super::row::{NameRemoval, Row};
use super::steps::Steps;
use crate::promql::{Binary, SourceRange};
use mismatch::Mismatches;
use operator::{Combined, changes_meaning, elements, scalars};

/// The values of `lhs op rhs`; `source` is where the whole of it stands.
pub(super) fn binary(
    evaluator: &mut Evaluator<'_>,
    node: &Binary,
    source: SourceRange,
    steps: &Steps,
) -> Result<Operand, QueryError> {
    let mut mismatches = Mismatches::new(node.op, steps.count);
    let operand = operands(evaluator, node, steps, &mut mismatches)?;
    mismatches.note(&mut evaluator.notes, source);
    Ok(operand)
}

fn operands(
    evaluator: &mut Evaluator<'_>,
    node: &Binary,
    steps: &Steps,
    mismatches: &mut Mismatches,
) -> Result<Operand, QueryError> {
    let lhs = evaluator.eval(&node.lhs, steps)?;
    let rhs = evaluator.eval(&node.rhs, steps)?;
    match (lhs, rhs) {
        (Operand::Scalar(lhs), Operand::Scalar(rhs)) => {
            let values = lhs.iter().zip(&rhs).map(|(l, r)| scalars(node.op, *l, *r));
            Ok(Operand::Scalar(values.collect()))
        }
        (Operand::Vector(rows), Operand::Scalar(scalar)) => {
            with_scalar(node, evaluator.names, rows, mismatches, |step, v| (v, scalar[step]))
        }
        (Operand::Scalar(scalar), Operand::Vector(rows)) => {
            with_scalar(node, evaluator.names, rows, mismatches, |step, v| (scalar[step], v))
        }
        (Operand::Vector(lhs), Operand::Vector(rhs)) if node.op.is_set() => {
            set::set(evaluator, node, lhs, &rhs, steps).map(Operand::Vector)
        }
        (Operand::Vector(lhs), Operand::Vector(rhs)) => {
            matching::matching(evaluator, node, (&lhs, &rhs), steps, mismatches).map(Operand::Vector)
        }
        (Operand::String(_), _) | (_, Operand::String(_)) => {
            Err(QueryError::bad_data("binary expression must contain only scalar and instant vector types"))
        }
    }
}

/// `sides` gives the left and right operand. A true comparison keeps the vector's value, on whichever side it stands.
fn with_scalar(
    node: &Binary,
    names: NameRemoval,
    mut rows: Vec<Row>,
    mismatches: &mut Mismatches,
    sides: impl Fn(usize, f64) -> (f64, f64),
) -> Result<Operand, QueryError> {
    let (op, return_bool) = (node.op, node.return_bool);
    let mut failed = None;
    rows.retain_mut(|row| {
        row.update_all(|step, v| {
            let (left, right) = sides(step, v);
            match elements(op, left, right) {
                Ok(Combined::Value(value)) if return_bool => Some(f64::from(u8::from(value.is_some()))),
                Ok(Combined::Value(value)) => value.map(|value| if op.is_comparison() { v } else { value }),
                Ok(Combined::Incompatible) => {
                    mismatches.add(step, left, right);
                    None
                }
                Err(error) => {
                    failed.get_or_insert(error);
                    None
                }
            }
        })
    });
    match failed {
        Some(error) => Err(error),
        None if changes_meaning(op) || return_bool => names.drop_names(rows).map(Operand::Vector),
        None => Ok(Operand::Vector(rows)),
    }
}
