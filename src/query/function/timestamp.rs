//! timestamp: when the value was taken.

use super::{Body, Call, Function, each_value};
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
        _ => each_value(evaluator, call, |step, _| Some(call.steps.at(step).seconds())),
    }
}
