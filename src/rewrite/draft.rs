//! A rewrite in progress: what the conditions found out, and the expression that follows from it.

use smol_str::SmolStr;

use super::condition::Wanted;
use crate::function::RollUp;
use crate::function::range::Scale;
use crate::model::{Matcher, Selector, ViewId};
use crate::promql::{
    Aggregate, Binary, BinaryOp, Expr, ExprKind, Matching, NumberLiteral, Origin, SourceRange, TimeShift, VectorSelector,
};

/// What is known of a rewrite after each condition.
#[derive(Clone, Default, Debug)]
pub struct Draft {
    /// What the query asks beyond what the view guarantees; speaks of the view's labels alone.
    pub residual: Vec<Matcher>,
    /// How the view's stored fields give the query's aggregation.
    pub roll_up: Option<RollUp>,
    /// By what the aggregation's value is multiplied, when the functions differ by a constant.
    pub scale: Option<Scale>,
}

impl Draft {
    /// The replacement, once all conditions have passed: `aggregation by (LQ) (view{residual})`, scaled where needed.
    pub fn expr(&self, wanted: &Wanted<'_>, view: ViewId, source: SourceRange) -> Expr {
        let over = |aggregation: &'static str, field: u8| {
            let read = read_of(view, field, self.residual.clone(), wanted.shift, source);
            let grouping = wanted.shape.grouping.clone();
            let op = SmolStr::new_static(aggregation);
            Expr::new(ExprKind::Aggregate(Box::new(Aggregate { op, grouping, param: None, expr: read })), source)
        };
        let value = match self.roll_up.expect("the condition on the aggregation sets it or refuses") {
            RollUp::Field { aggregation, field } => over(aggregation, field),
            RollUp::Ratio { numerator, denominator } => quotient(over("sum", numerator), over("sum", denominator)),
        };
        match self.scale {
            None => value,
            Some(scale) => scaled(value, scale, wanted.shape.window_ms),
        }
    }
}

/// A stored field of a view, read with matchers on the view's labels.
pub(super) fn read_of(view: ViewId, field: u8, matchers: Vec<Matcher>, shift: TimeShift, source: SourceRange) -> Expr {
    let selector = VectorSelector { selector: Selector::new(matchers), shift, origin: Origin::View { view, field } };
    Expr::new(ExprKind::Vector(selector), source)
}

/// `(lhs / rhs)`: both sides come from the same groups, so that each finds its partner by all labels.
pub(super) fn quotient(lhs: Expr, rhs: Expr) -> Expr {
    operation(BinaryOp::Div, lhs, rhs)
}

fn scaled(value: Expr, scale: Scale, window_ms: i64) -> Expr {
    let op = match scale {
        Scale::TimesWindow => BinaryOp::Mul,
        Scale::PerWindow => BinaryOp::Div,
    };
    let seconds = Expr::new(ExprKind::Number(NumberLiteral(window_ms as f64 / 1000.0)), value.source);
    operation(op, value, seconds)
}

/// In parentheses, so that it may stand where the aggregation stood.
fn operation(op: BinaryOp, lhs: Expr, rhs: Expr) -> Expr {
    let source = lhs.source;
    let binary = Binary { op, lhs, rhs, return_bool: false, matching: Matching::default() };
    let binary = Expr::new(ExprKind::Binary(Box::new(binary)), source);
    Expr::new(ExprKind::Paren(Box::new(binary)), source)
}
