//! Which metrics look like counters by their name, and what is said about those under rate() and increase() that do not.

use super::annotations::Annotations;
use crate::function::range_function;
use crate::promql::{Expr, ExprKind};

/// The endings that Prometheus takes for a counter's.
const SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

pub(super) fn looks_like_counter(metric: &str) -> bool {
    metric.is_empty() || SUFFIXES.iter().any(|suffix| metric.ends_with(suffix))
}

/// The infos that evaluating rate() and increase() over samples would have given, for an expression whose values come from
/// elsewhere: one for every metric named in it that does not look like a counter.
pub fn counter_infos(expr: &Expr, query: &str) -> Vec<String> {
    let mut notes = Annotations::default();
    expr.visit(&mut |node| {
        let ExprKind::Call { function, args } = &node.kind else { return };
        // Prometheus notes this for rate and increase, not for irate.
        if !range_function(function).is_some_and(|entry| entry.counter && entry.scaled_from.is_some()) {
            return;
        }
        for arg in args {
            if let ExprKind::Matrix { selector, .. } = &arg.peel().kind
                && let Some(metric) = selector.selector.metric().filter(|metric| !looks_like_counter(metric))
            {
                notes.possible_non_counter(metric, arg.source);
            }
        }
    });
    notes.render(query).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse;

    #[test]
    fn metrics_that_do_not_look_like_counters_are_named_with_their_place() {
        let infos = |query: &str| counter_infos(&parse(query).unwrap(), query);
        assert_eq!(infos("sum(rate(x_total[5m])) + sum(irate(y[5m])) + sum(delta(z[5m]))"), Vec::<String>::new());
        let expected =
            "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"y\" (1:15)";
        assert_eq!(infos("sum (increase(y[5m]))"), [expected]);
    }
}
