//! double_exponential_smoothing, and quantile_over_time with its warning.

use super::{Body, Call, Function};
use crate::function::quantile::quantile;
use crate::model::Sample;
use crate::query::error::QueryError;
use crate::query::evaluate::{Evaluator, Operand};
use crate::query::range_vector::{DependsOn, MetricName};

pub(super) static FUNCTIONS: &[Function] = &[
    Function { name: "double_exponential_smoothing", body: Body::Whole(double_exponential) },
    Function { name: "quantile_over_time", body: Body::Whole(quantile_over_time) },
];

fn double_exponential(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    let smoothing = evaluator.scalar(call.arg(1)?, call.steps)?;
    let trend = evaluator.scalar(call.arg(2)?, call.steps)?;
    let range = evaluator.range_vector(call.arg(0)?, call.steps)?;
    let mut wrong = None;
    let rows = evaluator.over_windows(&range, call.steps, DependsOn::WindowAndStep, MetricName::Dropped, |at| {
        let (sf, tf) = (smoothing[at.step], trend[at.step]);
        if sf <= 0.0 || sf >= 1.0 {
            wrong.get_or_insert_with(|| format!("invalid smoothing factor. Expected: 0 < sf < 1, got: {sf:.6}"));
        } else if tf <= 0.0 || tf >= 1.0 {
            wrong.get_or_insert_with(|| format!("invalid trend factor. Expected: 0 < tf < 1, got: {tf:.6}"));
        }
        smooth(at.samples, sf, tf)
    })?;
    wrong.map_or(Ok(Operand::Vector(rows)), |message| Err(QueryError::execution(message)))
}

/// Holt's linear method: a smoothed level and a smoothed trend.
fn smooth(samples: &[Sample], sf: f64, tf: f64) -> Option<f64> {
    let [first, second, ..] = samples else { return None };
    let (mut previous, mut level, mut trend) = (0.0, first.v, second.v - first.v);
    for (at, sample) in samples.iter().enumerate().skip(1) {
        if at > 1 {
            trend = tf * (level - previous) + (1.0 - tf) * trend;
        }
        (previous, level) = (level, sf * sample.v + (1.0 - sf) * (level + trend));
    }
    Some(level)
}

fn quantile_over_time(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    let qs = evaluator.scalar(call.arg(0)?, call.steps)?;
    let range = evaluator.range_vector(call.arg(1)?, call.steps)?;
    let mut values = Vec::new();
    let mut out_of_range: Vec<f64> = Vec::new();
    let rows = evaluator.over_windows(&range, call.steps, DependsOn::WindowAndStep, MetricName::Dropped, |at| {
        let q = qs[at.step];
        if !(0.0..=1.0).contains(&q) && out_of_range.iter().all(|known| known.to_bits() != q.to_bits()) {
            out_of_range.push(q);
        }
        values.clear();
        values.extend(at.samples.iter().map(|sample| sample.v));
        Some(quantile(q, &mut values))
    })?;
    let source = call.arg(0)?.source;
    out_of_range.into_iter().for_each(|q| evaluator.notes.quantile_out_of_range(q, source));
    Ok(Operand::Vector(rows))
}
