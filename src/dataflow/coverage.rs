//! When a view's overdue series uncover it, and when they stop doing so (semantics.md S3).
//!
//! Judged once per grid point, from the statuses of all partitions, so that every replay judges the same. A span opens at
//! the least newest time of the overdue series; it closes one window after the first grid point at which no more than the
//! tolerated share is overdue. Series that ended while overdue leave a `gone` span of one millisecond: an event that asks
//! the query side for a comparison, because nobody here can tell whether upstream still has them.

use crate::compile::PlannedView;
use crate::model::{SpanReason, Timestamp};

use super::message::Status;

/// A span's reason, beginning and end.
pub type Judged = (SpanReason, Timestamp, Timestamp);

/// The coverage state of one view.
#[derive(Debug)]
pub struct ViewCoverage {
    /// Where the open overdue span began.
    overdue_since: Option<Timestamp>,
}

impl ViewCoverage {
    pub fn new(overdue_since: Option<Timestamp>) -> ViewCoverage {
        ViewCoverage { overdue_since }
    }

    /// Judges a grid point; gives the spans that it opens, moves or closes.
    pub fn judge(&mut self, planned: &PlannedView, t: Timestamp, status: &Status) -> Vec<Judged> {
        let mut spans = Vec::new();
        if status.gone > 0 {
            spans.push((SpanReason::Gone, t, t + 1));
        }
        let tolerated = planned.entry.overdue_tolerance * status.live as f64;
        let exceeds = status.overdue > 0 && status.overdue as f64 > tolerated;
        match (self.overdue_since, exceeds) {
            (None, true) => spans.push(self.open(status.overdue_since)),
            (Some(since), true) if status.overdue_since < since => {
                spans.push((SpanReason::Overdue, since, since));
                spans.push(self.open(status.overdue_since));
            }
            (Some(since), false) => {
                let view = planned.view();
                self.overdue_since = None;
                spans.push((SpanReason::Overdue, since, t + view.max_delay_ms + view.shape.window_ms));
            }
            (Some(_), true) | (None, false) => {}
        }
        spans
    }

    fn open(&mut self, since: Timestamp) -> Judged {
        self.overdue_since = Some(since);
        (SpanReason::Overdue, since, Timestamp::MAX)
    }
}
