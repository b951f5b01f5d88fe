//! When a view's overdue series uncover it, and when they stop doing so (semantics.md S3).
//!
//! Judged once per grid point, from the statuses of all partitions, so that every replay judges the same. A span opens at
//! the least newest time of the overdue series; it closes one window after the first grid point at which no more than the
//! tolerated share is overdue. Series that ended while overdue leave a `gone` span of one millisecond: an event that asks
//! the query side for a comparison, because nobody here can tell whether upstream still has them.
//!
//! A comparison may override an open overdue span: upstream has lost the series, too. That can only be seen where windows
//! hold none of their samples any more. Until then, and where a series comes back and leaves a hole in windows, a
//! `draining` span says that no comparison vouches for anything; behind it a new one must be made.

use crate::compile::PlannedView;
use crate::model::{SpanReason, Timestamp, Uncover};

use super::status::Status;

/// A span's reason, beginning and end.
pub type Judged = (SpanReason, Timestamp, Timestamp);

/// What of a view it depends on.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub window_ms: i64,
    pub max_delay_ms: i64,
    /// The share of live series that may be overdue.
    pub overdue_tolerance: f64,
}

impl From<&PlannedView> for Terms {
    fn from(planned: &PlannedView) -> Terms {
        let view = planned.view();
        let overdue_tolerance = planned.entry.overdue_tolerance;
        Terms { window_ms: view.shape.window_ms, max_delay_ms: view.max_delay_ms, overdue_tolerance }
    }
}

/// The coverage state of one view: whoever goes on with the view goes on with all of it, or says other spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct ViewCoverage {
    /// Where the overdue span began that is open.
    pub overdue_since: Option<Timestamp>,
    /// How far draining was said; `Timestamp::MIN` when it was not.
    pub drained_to: Timestamp,
}

impl Default for ViewCoverage {
    fn default() -> ViewCoverage {
        ViewCoverage { overdue_since: None, drained_to: Timestamp::MIN }
    }
}

impl ViewCoverage {
    /// As a store has it by the spans of the view.
    pub fn of(spans: &[Uncover]) -> ViewCoverage {
        let of = |reason| spans.iter().filter(move |span| span.reason == reason);
        let overdue_since = of(SpanReason::Overdue).find(|span| span.to == Timestamp::MAX).map(|span| span.from);
        let drained_to = of(SpanReason::Draining).map(|span| span.to).max().unwrap_or(Timestamp::MIN);
        ViewCoverage { overdue_since, drained_to }
    }

    /// Judges a grid point; gives the spans that it opens, moves or closes.
    pub fn judge(&mut self, terms: Terms, t: Timestamp, status: &Status) -> Vec<Judged> {
        let mut spans = Vec::new();
        if status.gone > 0 {
            spans.push((SpanReason::Gone, t, t + 1));
        }
        let tolerated = terms.overdue_tolerance * status.live as f64;
        let exceeds = status.overdue > 0 && status.overdue as f64 > tolerated;
        let since = self.overdue_since.into_iter().chain(exceeds.then_some(status.overdue_since)).min();
        spans.extend(since.and_then(|since| self.drain(terms, t, since, status)));
        match (self.overdue_since, exceeds) {
            (None, true) => spans.push(self.open(status.overdue_since)),
            (Some(since), true) if status.overdue_since < since => {
                spans.push((SpanReason::Overdue, since, since));
                spans.push(self.open(status.overdue_since));
            }
            (Some(since), false) => {
                self.overdue_since = None;
                spans.push((SpanReason::Overdue, since, t + terms.max_delay_ms + terms.window_ms));
            }
            (Some(_), true) | (None, false) => {}
        }
        spans
    }

    /// Until when windows hold samples of series that are overdue, or a hole of series that were: within the overdue span.
    fn drain(&mut self, terms: Terms, t: Timestamp, since: Timestamp, status: &Status) -> Option<Judged> {
        let hold = (status.overdue > 0).then(|| status.overdue_newest + terms.window_ms);
        // As far as a closed span reaches, see ARCHITECTURE.md.
        let hole = (status.back > 0).then(|| t + terms.max_delay_ms + terms.window_ms);
        let to = hold.into_iter().chain(hole).max()?;
        let from = t.min(status.overdue_new_since).max(since);
        if to <= from.max(self.drained_to) {
            return None;
        }
        self.drained_to = to;
        Some((SpanReason::Draining, from, to))
    }

    /// What a lane that has caught up leaves: whoever goes on at this grid point does not know that the span was open, and
    /// opens another if it has to.
    pub fn hand_over(&mut self, terms: Terms, next: Timestamp) -> Vec<Judged> {
        let end = next + terms.max_delay_ms + terms.window_ms;
        let since = self.overdue_since.take();
        since
            .map(|since| [(SpanReason::Overdue, since, end), (SpanReason::Draining, next, end)])
            .into_iter()
            .flatten()
            .collect()
    }

    fn open(&mut self, since: Timestamp) -> Judged {
        self.overdue_since = Some(since);
        (SpanReason::Overdue, since, Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: i64 = i64::MAX;

    const TERMS: Terms = Terms { window_ms: 100, max_delay_ms: 20, overdue_tolerance: 0.0 };

    /// At a grid point, the newest times of series that are overdue for the first time or again, and how many are back.
    fn judged(
        coverage: &mut ViewCoverage,
        t: i64,
        overdue: &[i64],
        known: &[i64],
        back: u64,
    ) -> Vec<(SpanReason, i64, i64)> {
        let least = |times: &mut dyn Iterator<Item = &i64>| times.min().map_or(Timestamp::MAX, |t| Timestamp(*t));
        let status = Status {
            live: 10,
            overdue: (overdue.len() + known.len()) as u64,
            overdue_since: least(&mut overdue.iter().chain(known)),
            overdue_newest: overdue.iter().chain(known).max().map_or(Timestamp::MIN, |t| Timestamp(*t)),
            overdue_new_since: least(&mut overdue.iter()),
            back,
            ..Status::default()
        };
        let spans = coverage.judge(TERMS, Timestamp(t), &status);
        spans.into_iter().map(|(reason, from, to)| (reason, from.0, to.0)).collect()
    }

    #[test]
    fn windows_drain_of_each_series_that_becomes_overdue_and_of_holes() {
        use SpanReason::{Draining, Overdue};
        let mut coverage = ViewCoverage::default();
        assert_eq!(judged(&mut coverage, 1000, &[], &[], 0), []);
        assert_eq!(judged(&mut coverage, 1010, &[990, 1005], &[], 0), [(Draining, 990, 1105), (Overdue, 990, OPEN)]);
        assert_eq!(judged(&mut coverage, 1020, &[], &[990, 1005], 0), []);
        // A second sender, long after windows are rid of the first one's.
        assert_eq!(judged(&mut coverage, 1300, &[1280], &[990, 1005], 0), [(Draining, 1280, 1380)]);
        // It comes in single samples, each of them late in its rhythm.
        assert_eq!(judged(&mut coverage, 1310, &[], &[990, 1005, 1290], 0), [(Draining, 1310, 1390)]);
        // One is back, others are not.
        assert_eq!(judged(&mut coverage, 1320, &[], &[990, 1005], 1), [(Draining, 1320, 1440)]);
        assert_eq!(judged(&mut coverage, 1330, &[], &[], 2), [(Draining, 1330, 1450), (Overdue, 990, 1450)]);
        assert_eq!(judged(&mut coverage, 1340, &[], &[], 0), []);
    }

    #[test]
    fn nothing_drains_before_the_span_begins() {
        use SpanReason::{Draining, Overdue};
        let mut coverage = ViewCoverage::default();
        assert_eq!(judged(&mut coverage, 1000, &[1008], &[], 0), [(Draining, 1008, 1108), (Overdue, 1008, OPEN)]);
        let mut coverage = ViewCoverage { overdue_since: Some(Timestamp(1008)), ..ViewCoverage::default() };
        assert_eq!(judged(&mut coverage, 1000, &[], &[1009], 0), [(Draining, 1008, 1109)]);
    }

    #[test]
    fn a_resume_says_again_what_still_drains() {
        use SpanReason::{Draining, Overdue};
        let mut coverage = ViewCoverage { overdue_since: Some(Timestamp(990)), ..ViewCoverage::default() };
        assert_eq!(judged(&mut coverage, 1030, &[], &[990, 1005], 0), [(Draining, 1030, 1105)]);
        let mut coverage = ViewCoverage { overdue_since: Some(Timestamp(990)), ..ViewCoverage::default() };
        assert_eq!(judged(&mut coverage, 1130, &[], &[990, 1005], 0), []);
        assert_eq!(judged(&mut coverage, 1140, &[], &[], 0), [(Overdue, 990, 1260)]);
    }

    #[test]
    fn a_lane_that_ends_leaves_no_span_open() {
        use SpanReason::{Draining, Overdue};
        let mut coverage = ViewCoverage::default();
        assert_eq!(coverage.hand_over(TERMS, Timestamp(1020)), []);
        judged(&mut coverage, 1010, &[990], &[], 0);
        let left = coverage.hand_over(TERMS, Timestamp(1020));
        let left: Vec<_> = left.into_iter().map(|(reason, from, to)| (reason, from.0, to.0)).collect();
        assert_eq!(left, [(Overdue, 990, 1140), (Draining, 1020, 1140)]);
    }
}
