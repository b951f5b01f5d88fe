//! What has the same value at every step, because `@` fixes when it looks: evaluated once, at the first step.
//!
//! Which expressions these are is Prometheus' judgement, for it shows: a note is counted once, `sort` is no sort in a range,
//! and the parameter of an aggregation is not looked at, so that it, too, has the value of the first step.

use super::error::QueryError;
use super::evaluate::{Evaluator, Operand};
use super::row::Row;
use super::steps::Steps;
use crate::promql::{Expr, ExprKind};

/// Functions that read the step's time; sorted. Those of the query's interval are the same at every step.
const OF_THE_STEP: [&str; 11] = [
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "time",
    "timestamp",
    "year",
];

/// Whether an expression is evaluated once for all steps.
fn is_invariant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => selector.shift.at.is_some(),
        ExprKind::Subquery { shift, .. } => shift.at.is_some(),
        ExprKind::Paren(inner) | ExprKind::Negate(inner) => is_invariant(inner),
        ExprKind::Aggregate(node) => is_invariant(&node.expr),
        // The right side first: a chain is deep on the left.
        ExprKind::Binary(node) => is_invariant(&node.rhs) && is_invariant(&node.lhs),
        ExprKind::Call { function, args } => {
            let of_step = OF_THE_STEP.binary_search(&function.as_str()).is_ok();
            let of_samples =
                || function == "timestamp" && args.iter().all(|arg| matches!(arg.peel().kind, ExprKind::Vector(_)));
            (!of_step || of_samples()) && args.iter().all(is_invariant)
        }
        ExprKind::Modified(_) => false,
    }
}

impl Evaluator<'_> {
    /// The values of a node that is the same at every step; `None` when it is not, or as cheap to evaluate at each.
    pub fn invariant(&mut self, expr: &Expr, steps: &Steps) -> Result<Option<Operand>, QueryError> {
        let is_leaf = matches!(expr.kind, ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_));
        if steps.is_instant() || is_leaf || !is_invariant(expr) {
            return Ok(None);
        }
        let at_every_step = |value: f64| vec![value; steps.count];
        let operand = match self.eval_kind(expr, &Steps::instant(steps.start))? {
            Operand::Scalar(values) => Operand::Scalar(at_every_step(values[0])),
            Operand::Vector(rows) => {
                let stretched = |row: Row| Row { values: at_every_step(row.values[0]), ..row };
                Operand::Vector(rows.into_iter().map(stretched).collect())
            }
            Operand::String(text) => Operand::String(text),
        };
        Ok(Some(operand))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse;

    #[test]
    fn what_at_fixes_is_the_same_at_every_step() {
        assert!(OF_THE_STEP.is_sorted());
        for (query, invariant) in [
            ("m @ 10", true),
            ("m", false),
            ("sum(rate(m[5m] @ end())) * 2 + vector(1)", true),
            ("m @ 10 + m", false),
            ("m + m @ 10", false),
            ("max_over_time(m[5m:1m] @ 10)", true),
            ("max_over_time((m @ 10)[5m:1m])", false),
            ("topk(scalar(m), m @ 10)", true),
            ("timestamp((m @ 10))", true),
            ("timestamp(-m @ 10)", false),
            ("predict_linear(m[5m] @ 10, 60)", false),
            ("hour(m @ 10)", false),
            ("pi() + 1", true),
            ("time()", false),
        ] {
            assert_eq!(parse(query).is_ok_and(|expr| is_invariant(&expr)), invariant, "{query}");
        }
    }
}
