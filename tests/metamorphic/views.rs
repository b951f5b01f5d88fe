//! The views that a query would be answered from, derived from the query itself.

use std::sync::Arc;

use prefold::model::{METRIC_NAME, Selector, Tenant};
use prefold::plan::{CatalogEntry, RuleLimits, Shape, View, normalize};
use prefold::promql::{At, Expr, ExprKind, Grouping, TimeShift};
use prefold::rewrite::QueryTime;

/// Which view is kept for an aggregation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The aggregation itself.
    AsAsked,
    /// All labels, and all series of the metric: the answer is a filtered roll-up.
    Finest,
}

/// Bounds of what a rule may ask for: coarser steps have a divisor below.
const STEP_MAX_MS: i64 = 86_400_000;

/// A view is emitted until its window has passed the last sample; more grid points than this are too many to wait for.
const STEPS_PER_WINDOW_MAX: i64 = 4_000;

/// One view for every aggregation that can be kept, on a grid that has every instant at which it is read.
pub fn derive(expr: &Expr, time: QueryTime, evaluation_interval_ms: i64, kept: Kept) -> Vec<Arc<CatalogEntry>> {
    let mut found = Vec::new();
    collect(expr, &Moments { time, evaluation_interval_ms, subquery_step_ms: None }, &mut found);
    let usable = found.into_iter().filter(|(shape, step_ms)| shape.window_ms / step_ms <= STEPS_PER_WINDOW_MAX);
    usable.map(|(shape, step_ms)| Arc::new(entry(shape, step_ms, kept))).collect()
}

/// At which instants a node is evaluated.
#[derive(Clone, Copy)]
struct Moments {
    time: QueryTime,
    evaluation_interval_ms: i64,
    /// Of the innermost subquery around the node.
    subquery_step_ms: Option<i64>,
}

impl Moments {
    /// The widest grid from the epoch that has every instant at which a selector of this shift is read.
    fn step_ms(&self, shift: TimeShift) -> i64 {
        let (start, end, step_ms) = match self.time {
            QueryTime::Instant(t) => (t, t, 0),
            QueryTime::Range { start, end, step_ms } => (start, end, step_ms),
        };
        let fixed = shift.at.map(|at| match at {
            At::Time(t) => t,
            At::Start => start,
            At::End => end,
        });
        let instants = match (fixed, self.subquery_step_ms) {
            (Some(at), _) => [(at - shift.offset_ms).0, 0],
            (None, Some(step_ms)) => [step_ms, shift.offset_ms],
            (None, None) => [(start - shift.offset_ms).0, step_ms],
        };
        let instants = instants.map(i64::saturating_abs);
        greatest_common_divisor(greatest_common_divisor(instants[0], instants[1]), STEP_MAX_MS)
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

fn collect(expr: &Expr, moments: &Moments, found: &mut Vec<(Shape, i64)>) {
    if let Ok((shape, shift)) = normalize(expr) {
        found.push((shape, moments.step_ms(shift)));
        return;
    }
    let mut inside = *moments;
    if let ExprKind::Subquery { step_ms, .. } = &expr.kind {
        inside.subquery_step_ms = Some(step_ms.unwrap_or(moments.evaluation_interval_ms));
    }
    expr.children().into_iter().for_each(|child| collect(child, &inside, found));
}

fn entry(shape: Shape, step_ms: i64, kept: Kept) -> CatalogEntry {
    let shape = match kept {
        Kept::AsAsked => shape,
        Kept::Finest => Shape {
            grouping: Grouping::Without(Vec::new()),
            selector: Selector::new(shape.selector.on(METRIC_NAME).cloned().collect()),
            ..shape
        },
    };
    let expr = shape.to_string();
    CatalogEntry {
        view: View::new(Tenant::new(""), shape, step_ms, 30_000),
        job: "metamorphic".into(),
        rule: "0".into(),
        sharing: Vec::new(),
        expr,
        records: Vec::new(),
        overdue_tolerance: 0.0,
        retention_ms: i64::MAX,
        limits: RuleLimits::default(),
        retired: false,
    }
}
