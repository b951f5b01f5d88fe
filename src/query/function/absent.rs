//! absent and absent_over_time: one series where there is none, its labels taken from the selector.

use std::sync::Arc;

use super::{Body, Call, Function};
use crate::model::{Labels, METRIC_NAME, MatchOp, Selector};
use crate::promql::{Expr, ExprKind};
use crate::query::error::QueryError;
use crate::query::evaluate::{Evaluator, Operand};
use crate::query::range_vector::DependsOn;
use crate::query::row::{ABSENT, Row};

pub(super) static FUNCTIONS: &[Function] = &[
    Function { name: "absent", body: Body::Whole(absent) },
    Function { name: "absent_over_time", body: Body::Whole(absent_over_time) },
];

fn absent(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    let arg = call.arg(0)?;
    let rows = evaluator.vector(arg, call.steps)?;
    Ok(where_none(&rows, arg, call))
}

fn absent_over_time(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    let arg = call.arg(0)?;
    let range = evaluator.range_vector(arg, call.steps)?;
    let rows = evaluator.over_windows(&range, call.steps, DependsOn::Window, |_| Some(1.0))?;
    Ok(where_none(&rows, arg, call))
}

fn where_none(rows: &[Row], arg: &Expr, call: &Call<'_>) -> Operand {
    let mut values = vec![1.0; call.steps.count];
    for row in rows {
        values.iter_mut().enumerate().filter(|(step, _)| row.has(*step)).for_each(|(_, value)| *value = ABSENT);
    }
    Operand::Vector(Row::new(Arc::new(labels_of(arg)), values).into_iter().collect())
}

/// The labels a selector fixes by one equality.
fn labels_of(arg: &Expr) -> Labels {
    match &arg.peel().kind {
        ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => equalities(&selector.selector),
        _ => Labels::EMPTY,
    }
}

fn equalities(selector: &Selector) -> Labels {
    let matchers = selector.matchers().iter().filter(|matcher| matcher.name != METRIC_NAME);
    let single = matchers.filter(|m| m.op == MatchOp::Equal && selector.on(&m.name).count() == 1);
    Labels::from_pairs(single.map(|matcher| (matcher.name.clone(), matcher.value.clone())))
}
