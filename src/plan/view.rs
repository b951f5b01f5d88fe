//! The view: what compiling creates and rewriting looks up.
//!
//! A [`Shape`] is what an expression asks, in normal form: aggregation by labels of function over selector[window]. A
//! [`View`] is a shape kept for a tenant at the instants of a grid. Its identity is the hash of its normal form: a changed
//! job is a new view and needs no migration.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

use crate::function::{Aggregation, RangeFunction};
use crate::model::time::format_duration;
use crate::model::window::Grid;
use crate::model::{Labels, METRIC_NAME, Selector, Tenant, ViewId};
use crate::promql::Grouping;

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
        match self.function {
            Some(function) => format!("{}({}[{}])", function.name, self.selector, format_duration(self.window_ms)),
            None => self.selector.to_string(),
        }
    }

    /// The name of what is under the aggregation: the function's, or empty for a bare selector.
    pub fn function_name(&self) -> &'static str {
        self.function.map_or("", |function| function.name)
    }
}

/// As PromQL.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, names) = match &self.grouping {
            Grouping::By(names) => ("by", names),
            Grouping::Without(names) => ("without", names),
        };
        write!(f, "{} {word} ({}) (", self.aggregation.name, names.join(", "))?;
        write!(f, "{})", self.values())
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
    use crate::model::Matcher;

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
