//! Which metrics look like counters by their name, and what is said about those under rate() and increase() that do not.
//!
//! Prometheus says it of a metric whose series gave a value. What gave the values of a view cannot be seen in it any more, so
//! whoever puts a view into a query's place says which metrics stood there ([`NonCounter`]), and reading a value of the view
//! notes them.

use super::evaluate::Evaluator;
use crate::function::{RangeFunction, range_function};
use crate::promql::{Expr, ExprKind, SourceRange};

/// The endings that Prometheus takes for a counter's.
const SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

pub(super) fn looks_like_counter(metric: &str) -> bool {
    metric.is_empty() || SUFFIXES.iter().any(|suffix| metric.ends_with(suffix))
}

/// Prometheus notes this for rate and increase, not for irate.
pub(super) fn wants_counter(entry: &RangeFunction) -> bool {
    entry.counter && entry.scaled_from.is_some()
}

/// A metric under rate() or increase() whose name is no counter's, and where in the query it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonCounter {
    metric: String,
    source: SourceRange,
}

/// All of them in a query.
pub fn non_counters(expr: &Expr) -> Vec<NonCounter> {
    let mut found = Vec::new();
    expr.visit(&mut |node| {
        let ExprKind::Call { function, args } = &node.kind else { return };
        if !range_function(function).is_some_and(wants_counter) {
            return;
        }
        for arg in args {
            if let ExprKind::Matrix { selector, .. } = &arg.peel().kind
                && let Some(metric) = selector.selector.metric().filter(|metric| !looks_like_counter(metric))
            {
                found.push(NonCounter { metric: metric.to_owned(), source: arg.source });
            }
        }
    });
    found
}

impl Evaluator<'_> {
    /// Notes what stood where a view is read that gave values.
    pub fn note_non_counters(&mut self, read: SourceRange) {
        let inside = |source: SourceRange| read.start <= source.start && source.end <= read.end;
        for NonCounter { metric, source } in self.options.non_counters.iter().filter(|one| inside(one.source)) {
            self.notes.possible_non_counter(metric, *source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse;

    #[test]
    fn metrics_that_do_not_look_like_counters_are_named_with_their_place() {
        let named = |query: &str| -> Vec<(String, u32)> {
            let found = non_counters(&parse(query).unwrap());
            found.into_iter().map(|one| (one.metric, one.source.start)).collect()
        };
        assert_eq!(named("sum(rate(x_total[5m])) + sum(irate(y[5m])) + sum(delta(z[5m]))"), []);
        assert_eq!(
            named("sum (increase(y[5m])) / rate({a=\"b\"}[1m]) + rate(z[1m])"),
            [("y".to_owned(), 14), ("z".to_owned(), 49)]
        );
    }
}
