//! The view: what compiling creates and rewriting looks up.
//!
//! A [`Shape`] is what an expression asks, in normal form: aggregation by labels of function over selector[window]. A
//! [`View`] is a shape kept for a tenant at the instants of a grid. Its identity is the hash of its normal form: a changed
//! job is a new view and needs no migration.

use std::fmt;

use smol_str::SmolStr;
use xxhash_rust::xxh3::xxh3_128;

use crate::function::{Aggregation, RangeFunction};
use crate::model::window::Grid;
use crate::model::{Labels, METRIC_NAME, Selector, Tenant, ViewId};
use crate::promql::{Aggregate, Expr, ExprKind, Grouping, Origin, SourceRange, TimeShift, VectorSelector};

/// How far an instant selector looks back for a sample: Prometheus' default.
pub const LOOKBACK_MS: i64 = 300_000;

/// The normal form of an aggregation over a selector or a range function of one.
#[derive(Clone)]
pub struct Shape {
    pub aggregation: &'static Aggregation,
    pub grouping: Grouping,
    /// `None` for a bare instant selector.
    pub function: Option<&'static RangeFunction>,
    /// Matchers that accept everything are gone; single literals are equalities.
    pub selector: Selector,
    /// The range of the function; the lookback of a bare selector.
    pub window_ms: i64,
}

impl Shape {
    /// The labels of the group a series belongs to.
    pub fn group_of(&self, labels: &Labels) -> Labels {
        let labels = match self.keeps_metric_name() {
            true => labels.clone(),
            false => labels.without_metric(),
        };
        match &self.grouping {
            Grouping::By(names) => labels.keep(names),
            Grouping::Without(names) => labels.without_metric().drop(names),
        }
    }

    /// Whether the metric's name reaches the aggregation.
    pub fn keeps_metric_name(&self) -> bool {
        self.function.is_none_or(|function| function.keeps_metric_name)
    }

    /// What is aggregated, one value per series, as PromQL.
    pub fn values(&self) -> String {
        self.argument().to_string()
    }

    fn argument(&self) -> Expr {
        let made = |kind| Expr::new(kind, SourceRange::default());
        let selector =
            VectorSelector { selector: self.selector.clone(), shift: TimeShift::default(), origin: Origin::Samples };
        match self.function {
            None => made(ExprKind::Vector(selector)),
            Some(function) => {
                let range = made(ExprKind::Matrix { selector, range_ms: self.window_ms });
                made(ExprKind::Call { function: SmolStr::new_static(function.name), args: vec![range] })
            }
        }
    }

    /// The name of what is under the aggregation: the function's, or empty for a bare selector.
    pub fn function_name(&self) -> &'static str {
        self.function.map_or("", |function| function.name)
    }
}

/// As PromQL that reads back as the same shape, whatever its labels are called.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (op, grouping) = (SmolStr::new_static(self.aggregation.name), self.grouping.clone());
        Aggregate { op, grouping, param: None, expr: self.argument() }.fmt(f)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How far into the future of its record a sample may lie and still count; also the allowance a resume adds.
pub const FUTURE_MS: i64 = 600_000;

/// Whose rules a view's values follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Semantics {
    /// Prometheus 3: left-open windows, extrapolation.
    #[default]
    Prometheus,
}

impl Semantics {
    pub fn name(self) -> &'static str {
        match self {
            Semantics::Prometheus => "prometheus",
        }
    }
}

/// A shape kept for a tenant on a grid.
#[derive(Clone, Debug)]
pub struct View {
    pub id: ViewId,
    pub tenant: Tenant,
    pub shape: Shape,
    pub step_ms: i64,
    /// How late a sample may come and still count, and how long after a grid point its value is final.
    pub max_delay_ms: i64,
    pub semantics: Semantics,
}

impl View {
    pub fn new(tenant: Tenant, shape: Shape, step_ms: i64, max_delay_ms: i64) -> View {
        let mut view = View { id: ViewId(0), tenant, shape, step_ms, max_delay_ms, semantics: Semantics::Prometheus };
        view.id = ViewId(xxh3_128(view.normal_form().as_bytes()));
        view
    }

    /// The text that is hashed: everything a stored value depends on, and nothing else.
    pub fn normal_form(&self) -> String {
        let (word, names) = match &self.shape.grouping {
            Grouping::By(names) => ("by", names),
            Grouping::Without(names) => ("without", names),
        };
        let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
        let matchers: Vec<String> =
            self.shape.selector.matchers().iter().map(|m| format!("{:?}{}{:?}", m.name, m.op.symbol(), m.value)).collect();
        format!(
            "view 1\ntenant {:?}\naggregation {} {}\ngrouping {word} {}\nfunction {} {}\nselector {}\nwindow_ms {}\nstep_ms {}\n\
             semantics {}\nmax_delay_ms {}\n",
            self.tenant,
            self.shape.aggregation.name,
            self.shape.aggregation.version,
            names.join(","),
            self.shape.function_name(),
            self.shape.function.map_or(0, |function| function.version),
            matchers.join(","),
            self.shape.window_ms,
            self.step_ms,
            self.semantics.name(),
            self.max_delay_ms,
        )
    }

    pub fn grid(&self) -> Grid {
        Grid::new(self.step_ms)
    }

    /// How far back a sample may lie and still matter to a grid point: the window or the lookback, whichever is longer.
    pub fn reach_ms(&self) -> i64 {
        self.shape.window_ms.max(LOOKBACK_MS)
    }

    /// How much log time before a position a resume at it reads to fill the view's windows.
    pub fn resume_ms(&self) -> i64 {
        self.reach_ms() + self.max_delay_ms + self.step_ms + FUTURE_MS
    }

    pub fn selects_metric(&self) -> Option<&str> {
        self.shape.selector.on(METRIC_NAME).find_map(|m| (m.op == crate::model::MatchOp::Equal).then_some(m.value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::{aggregation, range_function};
    use crate::model::{MatchOp, Matcher};
    use crate::plan::normalize;
    use crate::promql::parse;

    fn view() -> View {
        let shape = Shape {
            aggregation: aggregation("sum").unwrap(),
            grouping: Grouping::by(["le", "code"]),
            function: range_function("rate"),
            selector: Selector::new(vec![Matcher::equal("__name__", "x_bucket"), Matcher::equal("app", "A")]),
            window_ms: 120_000,
        };
        View::new(Tenant::default(), shape, 30_000, 30_000)
    }

    /// Golden: stored results are keyed by this hash, so a change orphans them.
    #[test]
    fn view_id_is_fixed_for_ever() {
        assert_eq!(view().id.to_string(), "b33a8ade1496ec5cdc553d1cfe5d297b");
    }

    #[test]
    fn a_view_reads_as_promql() {
        assert_eq!(view().shape.to_string(), r#"sum by (code, le) (rate(x_bucket{app="A"}[2m]))"#);
        assert_eq!(view().shape.values(), r#"rate(x_bucket{app="A"}[2m])"#);
    }

    /// Upstream is asked with this text, and a view whose job is gone is known by it.
    #[test]
    fn a_view_reads_back_as_itself() {
        let words = ["x", "by", "without", "sum", "bool", "on", "inf", "start", "offset", "host.name", "ö", "a b", "1"];
        let odd =
            ["\"", "\\", "\n", "\u{7f}", "\0", "'", "`", "\u{200b}", "\u{1f600}", "\u{e000}", "\u{85}", "}", "{\"a\"}"];
        for text in words.into_iter().chain(odd) {
            for op in [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex] {
                let pattern = format!("{}|y", regex_syntax::escape(text));
                let value = if matches!(op, MatchOp::Equal | MatchOp::NotEqual) { text } else { &pattern };
                let matchers = vec![Matcher::equal("__name__", text), Matcher::new(text, op, value).unwrap()];
                let selector = Selector::new(matchers);
                for grouping in [Grouping::by([text, "z"]), Grouping::by([""; 0]), Grouping::without([text])] {
                    for function in [None, range_function("rate")] {
                        let window_ms = if function.is_some() { 90_500 } else { LOOKBACK_MS };
                        let (grouping, selector) = (grouping.clone(), selector.clone());
                        let shape = Shape { grouping, function, selector, window_ms, ..view().shape };
                        let read = parse(&shape.to_string()).unwrap_or_else(|error| panic!("{shape}: {error}"));
                        let read = normalize(&read).unwrap().0;
                        let id = |shape| View::new(Tenant::default(), shape, 30_000, 30_000).id;
                        assert_eq!(id(read), id(shape.clone()), "{shape}");
                        assert!(parse(&shape.values()).is_ok(), "{shape}");
                    }
                }
            }
        }
    }

    #[test]
    fn groups_keep_what_the_grouping_says() {
        let labels = Labels::from_pairs([("__name__", "x_bucket"), ("le", "1"), ("code", ""), ("pod", "p")]);
        let mut shape = view().shape;
        assert_eq!(shape.group_of(&labels).to_string(), r#"{le="1"}"#);
        shape.grouping = Grouping::without(["pod"]);
        assert_eq!(shape.group_of(&labels).to_string(), r#"{le="1"}"#);
        shape.grouping = Grouping::by(["__name__"]);
        assert_eq!(shape.group_of(&labels).to_string(), "{}");
        shape.function = None;
        assert_eq!(shape.group_of(&labels).to_string(), "x_bucket");
    }
}
