//! Where reading begins, and from where each view's windows are whole.

use crate::compile::{FUTURE_MS, PlannedView};
use crate::dataflow::ViewStart;
use crate::dataflow::coverage::ViewCoverage;
use crate::log::{Log, ReadFrom};
use crate::model::{LogTime, PartitionId, SpanReason, Timestamp, Uncover};
use crate::plan::View;
use crate::store::ViewState;

use super::lane::Lane;

/// The first log time a lane sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    pub log_time: LogTime,
    /// Whether nothing was ever appended before it.
    pub complete: bool,
}

impl Begin {
    /// Of a lane that reads from a place; `None` while the log is empty.
    ///
    /// # Errors
    /// When the log is closed.
    pub fn of(log: &dyn Log, from: &ReadFrom, lane: &mut Lane) -> Result<Option<Begin>, String> {
        let Some(first) = lane.first_log_time()? else { return Ok(None) };
        let extents: Vec<_> = (0..log.partitions()).map(|partition| log.extent(PartitionId(partition))).collect();
        let oldest = extents.iter().map(|extent| extent.first_log_time).max().unwrap_or(first);
        let truncated = extents.iter().any(|extent| extent.truncated);
        Ok(Some(match from {
            ReadFrom::Beginning => Begin::judge(None, first, oldest, truncated),
            ReadFrom::LogTime(log_time) => Begin::judge(Some(*log_time), first, oldest, truncated),
            ReadFrom::Positions(_) => Begin { log_time: first.max(oldest), complete: false },
        }))
    }

    /// Of who reads from a log time on, or from the beginning, and finds `first` to be the first record's; `oldest` is that of
    /// the oldest record kept.
    pub fn judge(wanted: Option<LogTime>, first: LogTime, oldest: LogTime, truncated: bool) -> Begin {
        let complete = !truncated && wanted.is_none_or(|log_time| log_time <= oldest);
        let log_time = match wanted {
            _ if complete => first,
            Some(log_time) => log_time.max(oldest),
            None => first.max(oldest),
        };
        Begin { log_time, complete }
    }

    /// The first grid point whose value is known from what is read.
    pub fn first(&self, view: &View) -> Timestamp {
        match self.complete {
            true => view.grid().ceil(self.log_time),
            // A sample may lie this far ahead of its record: older records than the first may hold samples of the window.
            false => view.grid().ceil(self.log_time + (FUTURE_MS + view.reach_ms())),
        }
    }

    /// From where windows reach back no further than the log does.
    pub fn whole_from(&self, view: &View) -> Timestamp {
        match self.complete {
            true => self.log_time + view.shape.window_ms,
            false => self.first(view),
        }
    }
}

/// Where a view begins: after what the store has of it, or where its windows are whole. What lies between is a gap.
pub fn view_start(planned: &PlannedView, state: Option<&ViewState>, begin: &Begin, spans: &mut Vec<Uncover>) -> ViewStart {
    let (view, possible) = (planned.view(), begin.first(planned.view()));
    let next = state.and_then(|state| state.final_to).map(|final_to| final_to + view.step_ms);
    let first = next.map_or(possible, |next| next.max(possible));
    if let Some(next) = next.filter(|next| *next < first) {
        spans.push(Uncover { view: view.id, reason: SpanReason::Gap, from: next, to: first });
    }
    let open = |reason| state.and_then(|state| open_since(&state.spans, reason));
    if let Some(from) = open(SpanReason::OverLimit) {
        spans.push(Uncover { view: view.id, reason: SpanReason::OverLimit, from, to: first });
    }
    let coverage = state.map(|state| ViewCoverage::of(&state.spans)).unwrap_or_default();
    ViewStart { slot: planned.slot, first, whole_from: begin.whole_from(view), last: Timestamp::MAX, coverage }
}

/// Spans that are open and belong to a reason.
fn open_since(spans: &[Uncover], reason: SpanReason) -> Option<Timestamp> {
    spans.iter().find(|span| span.reason == reason && span.to == Timestamp::MAX).map(|span| span.from)
}
