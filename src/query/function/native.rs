//! Functions that read native histograms. They pass floats over, as in Prometheus; what a native histogram counts is not
//! known here, so one that is read is refused.

use super::{Body, Call, Function};
use crate::query::error::QueryError;
use crate::query::evaluate::{Evaluator, Operand};
use crate::query::native::only_floats;

pub(super) static FUNCTIONS: &[Function] = &[
    Function { name: "histogram_avg", body: Body::Whole(none_of_floats) },
    Function { name: "histogram_count", body: Body::Whole(none_of_floats) },
    Function { name: "histogram_stddev", body: Body::Whole(none_of_floats) },
    Function { name: "histogram_stdvar", body: Body::Whole(none_of_floats) },
    Function { name: "histogram_sum", body: Body::Whole(none_of_floats) },
];

fn none_of_floats(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    let rows = evaluator.vector(call.arg(0)?, call.steps)?;
    rows.iter().try_for_each(|row| only_floats(row.values.iter().copied()))?;
    Ok(Operand::Vector(Vec::new()))
}
