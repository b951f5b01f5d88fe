//! stddev, stdvar and quantile over the series of a group.

use super::{fold_groups, parameter};
use crate::function::quantile::quantile;
use crate::promql::{Aggregate, SourceRange};
use crate::query::error::QueryError;
use crate::query::evaluate::Evaluator;
use crate::query::row::{ABSENT, Row};
use crate::query::steps::Steps;

/// A running variance (Welford, "Note on a method for calculating corrected sums of squares", Technometrics 4, 1962).
#[derive(Clone, Copy, Default)]
struct Variance {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Variance {
    /// The first value decides alone whether the result can be a number: one that is not finite has no spread.
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.mean = value;
            self.squares = if value.is_finite() { 0.0 } else { f64::NAN };
            return;
        }
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }
}

/// `stddev(expr)` and `stdvar(expr)`: the population variance, or its root.
pub(super) fn variances(evaluator: &mut Evaluator<'_>, node: &Aggregate, steps: &Steps) -> Result<Vec<Row>, QueryError> {
    let rows = evaluator.vector(&node.expr, steps)?;
    note_histograms(evaluator, node, &rows);
    let root = node.op == "stddev";
    fold_groups(evaluator, node, &rows, &mut |rows| Ok(variances_of(rows, steps.count, root)))
}

/// Native histograms have no spread to add to: they are passed over, and that is said.
fn note_histograms(evaluator: &mut Evaluator<'_>, node: &Aggregate, rows: &[Row]) {
    if rows.iter().any(Row::has_histograms) {
        evaluator.notes.histogram_ignored_in_aggregation(&node.op, node.expr.source);
    }
}

fn variances_of(rows: &[&Row], steps: usize, root: bool) -> Vec<f64> {
    let mut running = vec![Variance::default(); steps];
    for row in rows {
        let floats = running.iter_mut().enumerate().filter_map(|(step, variance)| Some((row.float(step)?, variance)));
        floats.for_each(|(value, variance)| variance.add(value));
    }
    let finish = |v: &Variance| match v.squares / v.count {
        _ if v.count == 0.0 => ABSENT,
        variance if root => variance.sqrt(),
        variance => variance,
    };
    running.iter().map(finish).collect()
}

/// Of the quantiles of all steps the extreme ones are noted; one that is no number is the extreme of all.
fn note_extremes(evaluator: &mut Evaluator<'_>, qs: &[f64], source: SourceRange) {
    if qs.iter().any(|q| q.is_nan()) {
        return evaluator.notes.quantile_out_of_range(f64::NAN, source);
    }
    let (least, greatest) = qs.iter().fold((f64::MAX, f64::MIN), |(least, greatest), q| (least.min(*q), greatest.max(*q)));
    if greatest > 1.0 {
        evaluator.notes.quantile_out_of_range(greatest, source);
    }
    if least < 0.0 {
        evaluator.notes.quantile_out_of_range(least, source);
    }
}

/// `quantile(q, expr)`, with a warning for a q outside 0 to 1.
pub(super) fn quantiles(evaluator: &mut Evaluator<'_>, node: &Aggregate, steps: &Steps) -> Result<Vec<Row>, QueryError> {
    let qs = parameter(evaluator, node, steps)?;
    let rows = evaluator.vector(&node.expr, steps)?;
    note_histograms(evaluator, node, &rows);
    let source = node.param.as_ref().map(|param| param.source).unwrap_or_default();
    note_extremes(evaluator, &qs, source);
    let mut values = Vec::new();
    fold_groups(evaluator, node, &rows, &mut |rows| {
        let of_step = |step: usize| {
            values.clear();
            values.extend(rows.iter().filter_map(|row| row.float(step)));
            if values.is_empty() { ABSENT } else { quantile(qs[step], &mut values) }
        };
        Ok((0..steps.count).map(of_step).collect())
    })
}
