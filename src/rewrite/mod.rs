//! Which view answers which subtree of a query: exactly, or refused by name (semantics.md S4, S5).
//!
//! A query goes in with the time it is asked for, and comes out with every subtree that a view answers replaced by a read
//! of that view. What is replaced gives the same labels and values at every step; what cannot be replaced exactly is left
//! as it was, and the reason has a name. Nothing here reads a clock, a file or a store: whether a grid point may be served
//! is asked later, of whoever knows the coverage, with the [`ViewRead`]s of the outcome.

mod candidate;
pub mod condition;
mod draft;
mod explain;
mod moments;
mod outcome;
mod record;
mod refusal;
mod tree;
mod walk;

pub use explain::{ExplainedRefusal, ExplainedView, Explanation, explain};
pub use moments::{Enclosing, OffGrid, QueryTime};
pub use outcome::{Outcome, Refused, ViewRead};
pub use refusal::{REFUSALS, Refusal, RefusalEntry, ViewName};

use crate::plan::Catalog;
use crate::promql::Expr;

/// What is asked: an expression, by whom, for when.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// As parsed. Its nesting is bounded by the parser.
    pub expr: &'a Expr,
    pub tenant: &'a str,
    pub time: QueryTime,
    /// The step of a subquery that names none, in milliseconds: upstream's evaluation interval, when it is configured.
    pub evaluation_interval_ms: Option<i64>,
}

/// How much of a read would have to be got elsewhere: 0 when the view may be served wherever the query reads it.
pub type Shortfall<'a> = &'a dyn Fn(&ViewRead) -> u64;

/// Replaces every subtree that a view of the catalog answers, each by the cheapest view that does.
pub fn rewrite(question: &Question<'_>, catalog: &Catalog) -> Outcome {
    rewrite_preferring(question, catalog, &|_| 0)
}

/// As [`rewrite`]; of several views that answer a subtree, one of the least shortfall, and of those the cheapest.
///
/// All of them give the same values, so what the shortfall says decides only how much of the query they can answer.
pub fn rewrite_preferring(question: &Question<'_>, catalog: &Catalog, shortfall: Shortfall<'_>) -> Outcome {
    walk::Walk::new(question, catalog, shortfall).run(question.expr)
}
