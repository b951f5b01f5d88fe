//! Scalars: time, constants of the query, and the way between scalars and vectors.

use std::f64::consts::PI;

use super::math::{greatest, least};
use super::{Body, Call, Function};
use crate::query::error::QueryError;
use crate::query::evaluate::{Evaluator, Operand, unlabelled};

pub(super) static FUNCTIONS: &[Function] = &[
    Function { name: "end", body: Body::Whole(|evaluator, call| constant(evaluator.query_interval.1.seconds(), call)) },
    Function { name: "max_of", body: Body::Whole(|evaluator, call| pairwise(evaluator, call, greatest)) },
    Function { name: "min_of", body: Body::Whole(|evaluator, call| pairwise(evaluator, call, least)) },
    Function { name: "pi", body: Body::Whole(|_, call| constant(PI, call)) },
    Function { name: "range", body: Body::Whole(query_range) },
    Function { name: "scalar", body: Body::Whole(scalar) },
    Function { name: "start", body: Body::Whole(|evaluator, call| constant(evaluator.query_interval.0.seconds(), call)) },
    Function { name: "step", body: Body::Whole(query_step) },
    Function { name: "time", body: Body::Whole(time) },
    Function { name: "vector", body: Body::Whole(vector) },
];

fn constant(value: f64, call: &Call<'_>) -> Result<Operand, QueryError> {
    Ok(Operand::Scalar(vec![value; call.steps.count]))
}

fn pairwise(evaluator: &mut Evaluator<'_>, call: &Call<'_>, f: fn(f64, f64) -> f64) -> Result<Operand, QueryError> {
    let left = evaluator.scalar(call.arg(0)?, call.steps)?;
    let right = evaluator.scalar(call.arg(1)?, call.steps)?;
    Ok(Operand::Scalar(left.iter().zip(&right).map(|(l, r)| f(*l, *r)).collect()))
}

fn query_range(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    let (start, end) = evaluator.query_interval;
    constant((end - start) as f64 / 1000.0, call)
}

fn query_step(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    let (start, end) = evaluator.query_interval;
    constant(if start == end { 0.0 } else { evaluator.query_step_ms as f64 / 1000.0 }, call)
}

fn time(_: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    Ok(Operand::Scalar(call.steps.times().map(|t| t.seconds()).collect()))
}

fn vector(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    evaluator.scalar(call.arg(0)?, call.steps).map(unlabelled).map(Operand::Vector)
}

/// The number of the only series that has one, NaN at steps with none or several.
fn scalar(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    let rows = evaluator.vector(call.arg(0)?, call.steps)?;
    let mut values = vec![f64::NAN; call.steps.count];
    let mut seen = vec![false; call.steps.count];
    for row in &rows {
        for (step, value) in (0..call.steps.count).filter_map(|step| Some((step, row.float(step)?))) {
            values[step] = if seen[step] { f64::NAN } else { value };
            seen[step] = true;
        }
    }
    Ok(Operand::Scalar(values))
}
