//! The instants at which an expression is evaluated.

use crate::model::Timestamp;
use crate::promql::{At, TimeShift};

/// `start, start + step, ...`: `count` instants, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    pub start: Timestamp,
    /// Positive.
    pub step_ms: i64,
    pub count: usize,
}

impl Steps {
    pub fn instant(at: Timestamp) -> Steps {
        Steps { start: at, step_ms: 1, count: 1 }
    }

    /// All instants from `start` to `end`; `end` must not be earlier.
    pub fn range(start: Timestamp, end: Timestamp, step_ms: i64) -> Steps {
        let count = ((end - start) / step_ms.max(1)).saturating_add(1);
        Steps { start, step_ms: step_ms.max(1), count: usize::try_from(count).unwrap_or(1) }
    }

    pub fn at(&self, step: usize) -> Timestamp {
        self.start + self.step_ms.saturating_mul(i64::try_from(step).unwrap_or(i64::MAX))
    }

    pub fn end(&self) -> Timestamp {
        self.at(self.count - 1)
    }

    pub fn times(&self) -> impl Iterator<Item = Timestamp> {
        let steps = *self;
        (0..steps.count).map(move |step| steps.at(step))
    }

    pub fn is_instant(&self) -> bool {
        self.count == 1
    }
}

/// Where a selector or subquery looks at each step: the step itself shifted back, or one fixed instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    fixed: Option<Timestamp>,
    offset_ms: i64,
}

impl Reference {
    /// `query` is the interval of the whole query, which `@ start()` and `@ end()` name even inside subqueries.
    pub fn new(shift: TimeShift, query: (Timestamp, Timestamp)) -> Reference {
        let at = shift.at.map(|at| match at {
            At::Time(t) => t,
            At::Start => query.0,
            At::End => query.1,
        });
        Reference { fixed: at.map(|at| at - shift.offset_ms), offset_ms: shift.offset_ms }
    }

    /// The same instant at every step.
    pub fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    pub fn of(&self, step_time: Timestamp) -> Timestamp {
        self.fixed.unwrap_or(step_time - self.offset_ms)
    }
}
