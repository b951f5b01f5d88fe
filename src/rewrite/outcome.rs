//! What a rewrite gives: the expression with views put in, what it reads of them, and what was refused.

use std::fmt;

use smol_str::SmolStr;

use super::moments::Enclosing;
use super::refusal::Refusal;
use crate::model::window::Grid;
use crate::model::{Timestamp, ViewId};
use crate::promql::{At, Expr, SourceRange, TimeShift};

/// A rewritten query.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Equal to the original, with the largest subtrees that views answer replaced by reads of those views.
    pub expr: Expr,
    /// What the expression reads of views, each read once.
    pub reads: Vec<ViewRead>,
    /// One for every subtree that could have been replaced and was not: the refusal of the view that got furthest.
    pub refusals: Vec<Refused>,
    /// No selector over samples is left, and at least one view is read.
    pub whole: bool,
    /// Selectors over samples that are left.
    pub selectors_left: usize,
    /// The recorded names that were replaced, each once: upstream may not know them.
    pub records: Vec<SmolStr>,
    /// A step's value depends on that step alone, not on where the query starts and ends: it may be answered in pieces.
    pub splittable: bool,
}

impl Outcome {
    /// The views read, each once, in the order of the expression.
    pub fn views(&self) -> Vec<ViewId> {
        let mut views: Vec<ViewId> = Vec::new();
        for read in &self.reads {
            if !views.contains(&read.view) {
                views.push(read.view);
            }
        }
        views
    }
}

/// A subtree that was not replaced, and why.
#[derive(Clone, PartialEq, Debug)]
pub struct Refused {
    /// Where it stands in the query.
    pub source: SourceRange,
    pub refusal: Refusal,
}

impl Refused {
    pub fn slug(&self) -> &'static str {
        self.refusal.slug()
    }

    pub fn remedy(&self) -> &'static str {
        self.refusal.remedy()
    }
}

/// The refusal's sentence.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.refusal, f)
    }
}

/// One way in which a query reads a view.
#[derive(Clone, PartialEq, Debug)]
pub struct ViewRead {
    pub view: ViewId,
    /// Of the selector itself; `@` is an instant here, also where the query says `@ start()`.
    pub shift: TimeShift,
    /// How far before the shifted step the subqueries around it reach, in milliseconds; 0 outside of subqueries.
    pub back_ms: i64,
    /// The subqueries around it, the outermost first.
    pub within: Vec<Enclosing>,
}

impl ViewRead {
    pub(super) fn new(view: ViewId, shift: TimeShift, within: &[Enclosing]) -> ViewRead {
        let fixed = within.iter().rposition(|subquery| subquery.shift.at.is_some()).unwrap_or(0);
        let ranges = within[fixed..].iter().map(|subquery| subquery.range_ms);
        let back_ms = match shift.at {
            Some(_) => 0,
            None => ranges.fold(0, i64::saturating_add),
        };
        ViewRead { view, shift, back_ms, within: within.to_vec() }
    }

    /// The first and last grid point that evaluating the query at a step reads; `None` when it reads none.
    ///
    /// Between nested subqueries there may be grid points that are not read; those are counted as read.
    pub fn grid_points(&self, step: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let (mut first, mut last) = (step, step);
        for subquery in &self.within {
            let grid = Grid::new(subquery.step_ms);
            (first, last) = shifted(subquery.shift, first, last);
            (first, last) = (grid.after(first - subquery.range_ms), grid.floor(last));
            if first > last {
                return None;
            }
        }
        Some(shifted(self.shift, first, last))
    }
}

fn shifted(shift: TimeShift, first: Timestamp, last: Timestamp) -> (Timestamp, Timestamp) {
    match shift.at {
        Some(At::Time(at)) => (at - shift.offset_ms, at - shift.offset_ms),
        _ => (first - shift.offset_ms, last - shift.offset_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shift(offset_ms: i64, at: Option<i64>) -> TimeShift {
        TimeShift { offset_ms, at: at.map(|t| At::Time(Timestamp(t))) }
    }

    #[track_caller]
    fn check(within: &[(i64, i64, TimeShift)], own: TimeShift, step: i64, expected: Option<(i64, i64)>, back_ms: i64) {
        let within: Vec<Enclosing> = within
            .iter()
            .map(|(range_ms, step_ms, shift)| Enclosing { range_ms: *range_ms, step_ms: *step_ms, shift: *shift })
            .collect();
        let read = ViewRead::new(ViewId(1), own, &within);
        assert_eq!(read.grid_points(Timestamp(step)).map(|(a, b)| (a.0, b.0)), expected);
        assert_eq!(read.back_ms, back_ms);
    }

    #[test]
    fn grid_points_read_by_a_step() {
        let none = TimeShift::default();
        check(&[], none, 100, Some((100, 100)), 0);
        check(&[], shift(30, None), 100, Some((70, 70)), 0);
        check(&[], shift(-30, Some(10)), 100, Some((40, 40)), 0);
        // (40, 100] holds the multiples 60, 80, 100 of 20: left-open.
        check(&[(60, 20, none)], none, 100, Some((60, 100)), 60);
        check(&[(60, 20, none)], shift(20, None), 107, Some((40, 80)), 60);
        check(&[(60, 20, shift(5, None))], none, 100, Some((40, 80)), 60);
        check(&[(60, 20, none)], shift(0, Some(10)), 100, Some((10, 10)), 0);
        check(&[(60, 20, shift(0, Some(40)))], none, 100, Some((0, 40)), 60);
        check(&[(100, 50, none), (60, 20, none)], none, 100, Some((0, 100)), 160);
        check(&[(100, 50, none), (60, 20, shift(0, Some(40)))], none, 100, Some((0, 40)), 60);
        // No multiple of 50 in (101, 111].
        check(&[(10, 50, none)], none, 111, None, 10);
    }
}
