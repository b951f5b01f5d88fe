//! timestamp: when the value was taken.

use super::{Body, Call, Function};
use crate::promql::ExprKind;
use crate::query::error::QueryError;
use crate::query::evaluate::{Evaluator, Operand};
use crate::query::select::Reading;

pub(super) static FUNCTIONS: &[Function] = &[Function { name: "timestamp", body: Body::Whole(timestamp) }];

/// Of a selector the samples' own times; of anything computed, the step's.
fn timestamp(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    match &call.arg(0)?.peel().kind {
        ExprKind::Vector(selector) => {
            let rows = evaluator.instant_readings(selector, call.steps, Reading::Time)?;
            evaluator.names.drop_names(rows).map(Operand::Vector)
        }
        _ => {
            let mut rows = evaluator.vector(call.arg(0)?, call.steps)?;
            for row in &mut rows {
                row.update_all(|step, _| Some(call.steps.at(step).seconds()));
            }
            evaluator.names.drop_names(rows).map(Operand::Vector)
        }
    }
}
