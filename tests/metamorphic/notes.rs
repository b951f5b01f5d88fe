//! What rate() and increase() would have noted about names, had they been evaluated over samples.
//!
//! Prometheus notes a name when the call gives a value. The proxy cannot see that in a view and notes it by the query's text, so
//! it notes names of empty answers, too; nothing else is forgiven here.

use prefold::promql::{Expr, ExprKind, parse};
use prefold::query::{EvalOptions, MemorySource, Value, counter_infos};
use prefold::rewrite::QueryTime;

use super::world::evaluate;

/// The proxy's infos, without those of calls that give nothing at the instants at which the query evaluates them.
pub fn counters_noted(expr: &Expr, time: QueryTime, source: &MemorySource, options: &EvalOptions) -> Vec<String> {
    let mut noted = Vec::new();
    collect(expr, &mut Vec::new(), &mut |call| {
        let gives_values = evaluate(call, time, source, options).is_ok_and(|answer| match answer.value {
            Value::Vector(points) => !points.is_empty(),
            Value::Matrix(series) => !series.is_empty(),
            Value::Scalar(_) | Value::String { .. } => true,
        });
        if gives_values {
            noted.extend(counter_infos(call, &options.query));
        }
    });
    noted
}

/// Visits every call over a range selector, inside the subqueries that are around it.
fn collect(expr: &Expr, around: &mut Vec<Expr>, visit: &mut dyn FnMut(&Expr)) {
    let over_range = |child: &&Expr| matches!(child.peel().kind, ExprKind::Matrix { .. });
    if matches!(expr.kind, ExprKind::Call { .. }) && expr.children().iter().any(over_range) {
        visit(&around.iter().rev().fold(expr.clone(), |call, subquery| {
            let (mut subquery, mut present) = (subquery.clone(), parse("present_over_time(x[1m])").unwrap());
            *subquery.children_mut()[0] = call;
            *present.children_mut()[0] = subquery;
            present
        }));
    }
    let is_subquery = matches!(expr.kind, ExprKind::Subquery { .. });
    if is_subquery {
        around.push(expr.clone());
    }
    expr.children().into_iter().for_each(|child| collect(child, around, visit));
    if is_subquery {
        around.pop();
    }
}
