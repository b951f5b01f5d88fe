//! From an expression to its normal form, so that every later comparison is `==`.
//!
//! Property: two expressions that differ only in parentheses, order of matchers or labels, matchers that accept everything,
//! or regular expressions that are plain literals have the same [`Shape`].

use smol_str::SmolStr;

use super::view::{LOOKBACK_MS, Shape};
use crate::function::{AGGREGATIONS, RANGE_FUNCTIONS, aggregation, range_function};
use crate::model::{METRIC_NAME, MatchOp, Matcher, Selector};
use crate::promql::{Aggregate, Expr, ExprKind, Grouping, Origin, TimeShift, VectorSelector};

/// Why an expression is not one a view could keep.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    #[error("only an aggregation can be kept")]
    NotAnAggregation,
    #[error("{0} is not an aggregation that can be kept")]
    Aggregation(SmolStr),
    #[error("{0}() is not a function that can be kept under an aggregation")]
    Function(SmolStr),
    #[error("an aggregation is kept over a selector or over one range function of a selector, and this is neither")]
    Argument,
}

impl NotKept {
    /// What to do.
    pub fn remedy(&self) -> String {
        match self {
            NotKept::NotAnAggregation => "wrap it in one, such as sum by (...) (...)".to_owned(),
            NotKept::Aggregation(_) => {
                let names: Vec<&str> = AGGREGATIONS.iter().map(|entry| entry.name).collect();
                format!("use one of {}, and put this one around it in the query", names.join(", "))
            }
            NotKept::Function(_) => {
                let names: Vec<&str> = RANGE_FUNCTIONS.iter().map(|entry| entry.name).collect();
                format!(
                    "use one of {}, or no function; what stands around the aggregation stays in the query",
                    names.join(", ")
                )
            }
            NotKept::Argument => {
                "aggregate a selector such as x{a=\"b\"} or rate(x[5m]), a rule for each, and combine them in the query"
                    .to_owned()
            }
        }
    }
}

/// An aggregation in normal form, with the time shift of its selector.
///
/// # Errors
/// When the expression is anything else.
pub fn normalize(expr: &Expr) -> Result<(Shape, TimeShift), NotKept> {
    let ExprKind::Aggregate(aggregate) = &expr.peel().kind else { return Err(NotKept::NotAnAggregation) };
    let entry = aggregation(&aggregate.op).ok_or_else(|| NotKept::Aggregation(aggregate.op.clone()))?;
    let (function, selector, window_ms) = argument(aggregate)?;
    let shape = Shape {
        aggregation: entry,
        grouping: aggregate.grouping.clone(),
        function,
        selector: normal_selector(&selector.selector),
        window_ms,
    };
    let grouping = normal_grouping(&shape);
    Ok((Shape { grouping, ..shape }, selector.shift))
}

type Argument<'a> = (Option<&'static crate::function::RangeFunction>, &'a VectorSelector, i64);

fn argument(aggregate: &Aggregate) -> Result<Argument<'_>, NotKept> {
    match &aggregate.expr.peel().kind {
        ExprKind::Vector(selector) if selector.origin == Origin::Samples => Ok((None, selector, LOOKBACK_MS)),
        ExprKind::Call { function, args } => {
            let entry = range_function(function).ok_or_else(|| NotKept::Function(function.clone()))?;
            match args.as_slice() {
                [arg] => match &arg.peel().kind {
                    ExprKind::Matrix { selector, range_ms } if selector.origin == Origin::Samples => {
                        Ok((Some(entry), selector, *range_ms))
                    }
                    _ => Err(NotKept::Argument),
                },
                _ => Err(NotKept::Argument),
            }
        }
        _ => Err(NotKept::Argument),
    }
}

/// Drops matchers that accept everything and turns single literals into equalities.
pub fn normal_selector(selector: &Selector) -> Selector {
    let matchers = selector.matchers().iter().filter(|m| !m.matches_everything());
    Selector::new(matchers.map(normal_matcher).collect())
}

fn normal_matcher(matcher: &Matcher) -> Matcher {
    let single = |values: Option<&std::collections::BTreeSet<SmolStr>>| match values {
        Some(values) if values.len() == 1 => values.first().cloned(),
        _ => None,
    };
    if let Some(value) = single(matcher.accepted()) {
        return Matcher::equal(matcher.name.clone(), value);
    }
    match single(matcher.refused()) {
        Some(value) => Matcher::new(matcher.name.clone(), MatchOp::NotEqual, value).unwrap_or_else(|_| matcher.clone()),
        None => matcher.clone(),
    }
}

/// The metric's name is in no group that could not have it, and `without` always drops it.
fn normal_grouping(shape: &Shape) -> Grouping {
    match &shape.grouping {
        Grouping::By(names) if shape.keeps_metric_name() => Grouping::by(names.iter().cloned()),
        Grouping::By(names) => Grouping::by(names.iter().filter(|name| *name != METRIC_NAME).cloned()),
        Grouping::Without(names) => Grouping::without(names.iter().filter(|name| *name != METRIC_NAME).cloned()),
    }
}
