//! Functions that read native histograms. They pass floats over, as in Prometheus, and floats are all there is: a source
//! that has a native histogram refuses to be read.

use super::{Body, Call, Function};
use crate::query::error::QueryError;
use crate::query::evaluate::{Evaluator, Operand};

pub(super) static FUNCTIONS: &[Function] = &[
    Function { name: "histogram_avg", body: Body::Whole(none_of_floats) },
    Function { name: "histogram_count", body: Body::Whole(none_of_floats) },
    Function { name: "histogram_stddev", body: Body::Whole(none_of_floats) },
    Function { name: "histogram_stdvar", body: Body::Whole(none_of_floats) },
    Function { name: "histogram_sum", body: Body::Whole(none_of_floats) },
];

fn none_of_floats(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    evaluator.vector(call.arg(0)?, call.steps)?;
    Ok(Operand::Vector(Vec::new()))
}
