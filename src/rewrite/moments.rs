//! At which instants a subtree is evaluated, and whether what it reads then lies on a view's grid.
//!
//! Outside of subqueries these are the steps of the query. Inside one they are the multiples of the subquery's step since
//! the epoch, wherever the query's own steps lie. `@` replaces either by one instant.

use std::fmt;

use crate::model::Timestamp;
use crate::model::time::format_duration;
use crate::model::window::Grid;
use crate::promql::{At, QuerySpan, TimeShift};

/// The instants a query is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueryTime {
    Instant(Timestamp),
    /// `start`, `start + step_ms`, ... up to `end`. The step is positive and the end not before the start.
    Range {
        start: Timestamp,
        end: Timestamp,
        step_ms: i64,
    },
}

impl QueryTime {
    /// The first step.
    pub fn start(self) -> Timestamp {
        match self {
            QueryTime::Instant(t) => t,
            QueryTime::Range { start, .. } => start,
        }
    }

    /// The end as asked for, which need not be a step.
    pub fn end(self) -> Timestamp {
        match self {
            QueryTime::Instant(t) => t,
            QueryTime::Range { end, .. } => end,
        }
    }

    /// The distance of its steps, when there are at least two.
    fn step_ms(self) -> Option<i64> {
        match self {
            QueryTime::Range { start, end, step_ms } if end - start >= step_ms => Some(step_ms),
            _ => None,
        }
    }

    /// What durations of the query are computed from.
    pub(super) fn span(self) -> QuerySpan {
        let step_ms = if let QueryTime::Range { step_ms, .. } = self { step_ms } else { 0 };
        QuerySpan { step_ms, range_ms: self.end() - self.start() }
    }

    /// The shift with `@ start()` and `@ end()` as instants.
    pub(super) fn resolve(self, shift: TimeShift) -> TimeShift {
        let at = shift.at.map(|at| match at {
            At::Time(t) => At::Time(t),
            At::Start => At::Time(self.start()),
            At::End => At::Time(self.end()),
        });
        TimeShift { at, ..shift }
    }
}

/// A subquery around a subtree: `[range:step]`, its own shift with `@` resolved.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Enclosing {
    pub range_ms: i64,
    pub step_ms: i64,
    pub shift: TimeShift,
}

/// When the subtree at hand is evaluated.
#[derive(Clone, Debug)]
pub struct Moments {
    pub time: QueryTime,
    /// The subqueries around it, the outermost first.
    pub within: Vec<Enclosing>,
    /// How many subqueries around it have a step nobody knows.
    pub unknown_steps: usize,
}

impl Moments {
    /// Whether everything that a selector of this shift reads lies on a grid.
    ///
    /// # Errors
    /// What lies off the grid.
    pub fn on_grid(&self, shift: TimeShift, grid: Grid) -> Result<(), OffGrid> {
        if self.unknown_steps > 0 {
            return Err(OffGrid::SubqueryWithoutStep);
        }
        let shift = self.time.resolve(shift);
        if let Some(At::Time(at)) = shift.at {
            return check(grid.contains(at - shift.offset_ms), OffGrid::Instant(at - shift.offset_ms));
        }
        let step_ms = match self.within.last() {
            Some(subquery) => {
                check(grid.contains(Timestamp(shift.offset_ms)), OffGrid::Offset(shift.offset_ms))?;
                Some(subquery.step_ms)
            }
            None => {
                let first = self.time.start() - shift.offset_ms;
                check(grid.contains(first), OffGrid::Instant(first))?;
                self.time.step_ms()
            }
        };
        step_ms.map_or(Ok(()), |step_ms| check(step_ms % grid.step_ms() == 0, OffGrid::Step(step_ms)))
    }
}

fn check(holds: bool, otherwise: OffGrid) -> Result<(), OffGrid> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// What of a read lies off a view's grid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffGrid {
    /// The instant of the query, its first step or its `@`, less the offset.
    Instant(Timestamp),
    /// A step of the query or of the subquery around, in milliseconds.
    Step(i64),
    /// An offset inside a subquery, in milliseconds.
    Offset(i64),
    /// A subquery that leaves its step to a setting of the upstream which is not configured.
    SubqueryWithoutStep,
}

impl fmt::Display for OffGrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OffGrid::Instant(t) => write!(f, "the query reads at {t}"),
            OffGrid::Step(step_ms) => write!(f, "the query reads every {}", format_duration(*step_ms)),
            OffGrid::Offset(offset_ms) => write!(f, "the query reads with offset {}", format_duration(*offset_ms)),
            OffGrid::SubqueryWithoutStep => f.write_str("the query has a subquery without a step"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: QueryTime = QueryTime::Range { start: Timestamp(60_000), end: Timestamp(119_999), step_ms: 45_000 };

    #[track_caller]
    fn check_grid(within: &[(i64, i64)], offset_ms: i64, at: Option<At>, expected: Result<(), OffGrid>) {
        let within = within.iter().map(|(range_ms, step_ms)| Enclosing {
            range_ms: *range_ms,
            step_ms: *step_ms,
            shift: TimeShift { offset_ms: 7, at: None },
        });
        let moments = Moments { time: RANGE, within: within.collect(), unknown_steps: 0 };
        assert_eq!(moments.on_grid(TimeShift { offset_ms, at }, Grid::new(30_000)), expected);
    }

    #[test]
    fn reads_are_on_the_grid_or_named() {
        check_grid(&[], 0, None, Err(OffGrid::Step(45_000)));
        check_grid(&[], 5, None, Err(OffGrid::Instant(Timestamp(59_995))));
        check_grid(&[], 0, Some(At::Start), Ok(()));
        check_grid(&[], 0, Some(At::End), Err(OffGrid::Instant(Timestamp(119_999))));
        check_grid(&[], -1, Some(At::End), Ok(()));
        check_grid(&[], 1, Some(At::Time(Timestamp(1))), Ok(()));
        // A subquery's steps are its own: neither the query's nor its own shift moves them off the grid.
        check_grid(&[(90_000, 60_000)], -30_000, None, Ok(()));
        check_grid(&[(90_000, 60_000)], 5, None, Err(OffGrid::Offset(5)));
        check_grid(&[(90_000, 60_000), (60_000, 20_000)], 0, None, Err(OffGrid::Step(20_000)));
        check_grid(&[(90_000, 20_000)], 5, Some(At::Time(Timestamp(30_005))), Ok(()));
    }

    #[test]
    fn one_step_asks_nothing_of_the_distance() {
        let time = QueryTime::Range { start: Timestamp(60_000), end: Timestamp(104_999), step_ms: 45_000 };
        let moments = Moments { time, within: Vec::new(), unknown_steps: 0 };
        assert_eq!(moments.on_grid(TimeShift::default(), Grid::new(30_000)), Ok(()));
    }
}
