//! Aggregations: groups of series to one series each, or to a choice of them.
//!
//! Groups are found once per series; a group's values are then folded over all steps before the next group is touched, so
//! that one set of accumulators serves them all.

mod choose;
mod count_values;
mod fold;
mod ratio;
mod spread;

use std::sync::Arc;

use super::error::QueryError;
use super::evaluate::Evaluator;
use super::grouping::{GroupKey, group_rows};
use super::row::Row;
use super::steps::Steps;
use crate::function::{Aggregation, aggregation};
use crate::promql::{Aggregate, Grouping, SourceRange};

/// Computes the values of one group, given its rows in input order.
type GroupFold<'f> = dyn FnMut(&[&Row]) -> Result<Vec<f64>, QueryError> + 'f;

/// The values of `op by (..) (param, expr)`; `source` is where the whole of it stands.
pub(super) fn aggregate(
    evaluator: &mut Evaluator<'_>,
    node: &Aggregate,
    source: SourceRange,
    steps: &Steps,
) -> Result<Vec<Row>, QueryError> {
    if let Some(entry) = aggregation(&node.op) {
        return registered(evaluator, node, entry, steps);
    }
    match node.op.as_str() {
        "stddev" | "stdvar" => spread::variances(evaluator, node, steps),
        "quantile" => spread::quantiles(evaluator, node, steps),
        "topk" | "bottomk" | "limitk" => choose::choose(evaluator, node, source, steps),
        "limit_ratio" => ratio::limit_ratio(evaluator, node, steps),
        "count_values" => count_values::count_values(evaluator, node, steps),
        other => Err(QueryError::unsupported(other)),
    }
}

/// An aggregation of the registry that the stream folds with.
fn registered(
    evaluator: &mut Evaluator<'_>,
    node: &Aggregate,
    entry: &'static Aggregation,
    steps: &Steps,
) -> Result<Vec<Row>, QueryError> {
    let rows = evaluator.vector(&node.expr, steps)?;
    let mut fold = fold::Fold::new(entry, steps.count);
    let folded = fold_groups(evaluator, node, &rows, &mut |rows| fold.values(rows))?;
    if fold.ignored {
        evaluator.notes.histogram_ignored_in_aggregation(entry.name, node.expr.source);
    }
    if fold.mixed {
        evaluator.notes.mixed_aggregation(node.expr.source);
    }
    Ok(folded)
}

fn group_key(grouping: &Grouping) -> GroupKey {
    match grouping {
        Grouping::By(names) => GroupKey::only(names),
        Grouping::Without(names) => GroupKey::all_but(names),
    }
}

/// One row per group.
fn fold_groups(
    evaluator: &mut Evaluator<'_>,
    node: &Aggregate,
    rows: &[Row],
    fold: &mut GroupFold<'_>,
) -> Result<Vec<Row>, QueryError> {
    let key = group_key(&node.grouping);
    let mut folded = Vec::new();
    let mut members: Vec<&Row> = Vec::new();
    for group in group_rows(rows, key.clone()) {
        evaluator.check()?;
        members.clear();
        members.extend(group.iter().map(|row| &rows[*row]));
        let labels = Arc::new(key.labels(&members[0].labels));
        if let Some(mut row) = Row::new(labels, fold(&members)?) {
            row.drop_name = members.iter().any(|member| member.drop_name);
            evaluator.budget.hold(0, row.values.len())?; // its samples count once their operands are gone
            folded.push(row);
        }
    }
    Ok(folded)
}

/// The parameter's value per step.
fn parameter(evaluator: &mut Evaluator<'_>, node: &Aggregate, steps: &Steps) -> Result<Vec<f64>, QueryError> {
    match &node.param {
        Some(param) => evaluator.scalar(param, steps),
        None => Err(QueryError::bad_data(format!("{} needs a parameter", node.op))),
    }
}
