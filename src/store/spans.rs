//! The uncovered spans of one view.
//!
//! An open span stays addressable by its reason and beginning until an event of the same key closes it. Closed ones of one
//! reason are kept as a union: what was once uncovered stays so, an event that is said again changes nothing, and many
//! small ones take no more room than the stretches they make up.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{SpanReason, Timestamp, Uncover, ViewId};

/// The most spans of one view that may be open at once. One beyond it cannot be closed any more: fails closed.
const OPEN_MAX: usize = 256;

/// See the file's header.
#[derive(Clone, Debug, Default)]
pub struct SpanSet {
    /// At most [`OPEN_MAX`]; each goes when it is closed.
    open: BTreeSet<(SpanReason, Timestamp)>,
    /// Per reason, from beginning to end: disjoint, not touching. At most the bound given to [`SpanSet::say`] per reason;
    /// of those before the retention all but the newest go.
    closed: BTreeMap<SpanReason, BTreeMap<Timestamp, Timestamp>>,
}

impl SpanSet {
    /// Takes an event; gives how many spans had to be joined to stay within the bound.
    pub fn say(&mut self, reason: SpanReason, from: Timestamp, to: Timestamp, spans_max: usize) -> usize {
        if to == Timestamp::MAX && (self.open.len() < OPEN_MAX || self.open.contains(&(reason, from))) {
            self.open.insert((reason, from));
            return 0;
        }
        self.open.remove(&(reason, from));
        if from < to {
            unite(self.closed.entry(reason).or_default(), from, to);
        }
        self.join_oldest(reason, spans_max.max(2))
    }

    /// Whether an event would change nothing.
    pub fn knows(&self, reason: SpanReason, from: Timestamp, to: Timestamp) -> bool {
        let open = self.open.contains(&(reason, from));
        if to == Timestamp::MAX {
            return open;
        }
        let before = self.closed.get(&reason).and_then(|closed| closed.range(..=from).next_back());
        !open && (from >= to || before.is_some_and(|(_, end)| *end >= to))
    }

    /// The spans as they are to be read: a closed one that an open one of its reason holds is not repeated.
    pub fn list(&self, view: ViewId) -> Vec<Uncover> {
        let mut spans = self.stored(view);
        spans.retain(|span| {
            let open = self.open.range((span.reason, Timestamp::MIN)..=(span.reason, span.from)).next();
            span.to == Timestamp::MAX || open.is_none()
        });
        spans
    }

    /// All that must be kept, by reason and beginning.
    pub fn stored(&self, view: ViewId) -> Vec<Uncover> {
        let closed = self.closed.iter().flat_map(|(reason, spans)| spans.iter().map(|(from, to)| (*reason, *from, *to)));
        let open = self.open.iter().map(|(reason, from)| (*reason, *from, Timestamp::MAX));
        let all = closed.chain(open);
        let mut spans: Vec<Uncover> = all.map(|(reason, from, to)| Uncover { view, reason, from, to }).collect();
        spans.sort();
        spans
    }

    /// Drops closed spans that end at or before an instant, but for the newest of each reason: what happened last, and
    /// whether anything has vouched for the view since, matters for as long as nothing of its kind happens again.
    pub fn expire(&mut self, cutoff: Timestamp) {
        for spans in self.closed.values_mut() {
            let newest = spans.iter().rev().find(|(_, to)| **to <= cutoff).map(|(from, _)| *from);
            spans.retain(|from, to| *to > cutoff || Some(*from) == newest);
        }
    }

    /// Beyond the bound, each two neighbours of the older half become one with what lies between: more is uncovered than
    /// need be, never less. `gone` spans are events, each of which asks for a comparison: joined they are a gap, which is
    /// not served and asks at its end.
    fn join_oldest(&mut self, reason: SpanReason, spans_max: usize) -> usize {
        let Some(spans) = self.closed.get_mut(&reason).filter(|spans| spans.len() > spans_max) else { return 0 };
        let oldest: Vec<_> = spans.iter().take(spans.len() / 4 * 2).map(|(from, to)| (*from, *to)).collect();
        spans.retain(|from, _| oldest.last().is_none_or(|(last, _)| from > last));
        let joined_reason = if reason == SpanReason::Gone { SpanReason::Gap } else { reason };
        let joined = self.closed.entry(joined_reason).or_default();
        for pair in oldest.chunks_exact(2) {
            unite(joined, pair[0].0, pair[1].1);
        }
        let more = if joined_reason == reason { 0 } else { self.join_oldest(joined_reason, spans_max) };
        oldest.len() / 2 + more
    }
}

/// Adds an interval to a set of disjoint ones, swallowing those it overlaps or touches.
fn unite(spans: &mut BTreeMap<Timestamp, Timestamp>, mut from: Timestamp, mut to: Timestamp) {
    if let Some((before, end)) = spans.range(..=from).next_back().filter(|(_, end)| **end >= from) {
        (from, to) = (*before, to.max(*end));
    }
    while let Some((next, end)) = spans.range(from..).next().map(|(next, end)| (*next, *end)).filter(|(next, _)| *next <= to)
    {
        to = to.max(end);
        spans.remove(&next);
    }
    spans.insert(from, to);
}

#[cfg(test)]
mod tests {
    use super::*;
    use SpanReason::{Gap, Gone, Late, Overdue};

    const OPEN: i64 = i64::MAX;

    fn set(events: &[(SpanReason, i64, i64)], spans_max: usize) -> SpanSet {
        let mut set = SpanSet::default();
        for (reason, from, to) in events {
            set.say(*reason, Timestamp(*from), Timestamp(*to), spans_max);
            assert!(set.knows(*reason, Timestamp(*from), Timestamp(*to)) || spans_max < 10);
        }
        set
    }

    #[track_caller]
    fn check(events: &[(SpanReason, i64, i64)], expected: &[(SpanReason, i64, i64)]) {
        let listed = |set: SpanSet| -> Vec<_> {
            set.list(ViewId(1)).iter().map(|span| (span.reason, span.from.0, span.to.0)).collect()
        };
        assert_eq!(listed(set(events, 100)), expected);
        let twice: Vec<_> = events.iter().flat_map(|event| [*event, *event]).collect();
        assert_eq!(listed(set(&twice, 100)), expected, "said twice");
    }

    #[test]
    fn events_of_one_key_replace_and_neighbours_are_merged() {
        check(&[(Late, 0, 10), (Late, 5, 15), (Late, 15, 20), (Late, 30, 40)], &[(Late, 0, 20), (Late, 30, 40)]);
        check(&[(Overdue, 5, OPEN)], &[(Overdue, 5, OPEN)]);
        check(&[(Overdue, 5, OPEN), (Overdue, 5, 25)], &[(Overdue, 5, 25)]);
        check(&[(Overdue, 5, OPEN), (Overdue, 5, 5), (Overdue, 3, OPEN)], &[(Overdue, 3, OPEN)]);
        check(&[(Overdue, 5, 25), (Overdue, 5, OPEN)], &[(Overdue, 5, OPEN)]);
        check(&[(Overdue, 5, 25), (Overdue, 5, OPEN), (Overdue, 5, 30)], &[(Overdue, 5, 30)]);
        check(&[(Overdue, 10, OPEN), (Overdue, 20, OPEN), (Overdue, 10, 15)], &[(Overdue, 10, 15), (Overdue, 20, OPEN)]);
        check(&[(Late, 0, 10), (Gap, 5, 7), (Late, 8, 8)], &[(Late, 0, 10), (Gap, 5, 7)]);
        // A neighbour that was merged into a span is not lost when that span's key is opened and closed again.
        check(&[(Overdue, 0, 10), (Overdue, 10, 20), (Overdue, 0, OPEN), (Overdue, 0, 10)], &[(Overdue, 0, 20)]);
    }

    #[test]
    fn beyond_the_bound_more_is_uncovered_never_less() {
        let events: Vec<_> = (0..50).map(|i| (Late, i * 10, i * 10 + 1)).collect();
        let joined = set(&events, 8).list(ViewId(1));
        assert!(joined.len() <= 8, "{joined:?}");
        assert!(events.iter().all(|(_, from, to)| joined.iter().any(|span| span.from.0 <= *from && span.to.0 >= *to)));
        assert_eq!(joined.last().map(|span| (span.from.0, span.to.0)), Some((490, 491)), "the newest stay exact");
        let gone: Vec<_> = (0..50).map(|i| (Gone, i * 10, i * 10 + 1)).collect();
        let joined = set(&gone, 8).list(ViewId(1));
        assert!(joined.len() <= 16 && joined.iter().any(|span| span.reason == Gap), "{joined:?}");
        let open: Vec<_> = (0..300).map(|i| (Overdue, i * 10, OPEN)).collect();
        assert!(set(&open, 8).stored(ViewId(1)).len() <= 257);
    }

    #[test]
    fn closed_spans_expire() {
        let mut set = set(&[(Late, 0, 5), (Late, 7, 10), (Late, 20, 30), (Gone, 3, 4), (Overdue, 1, OPEN)], 100);
        let mut left = |cutoff| {
            set.expire(Timestamp(cutoff));
            set.list(ViewId(1)).iter().map(|span| (span.reason, span.from.0)).collect::<Vec<_>>()
        };
        assert_eq!(left(10), [(Late, 7), (Late, 20), (Overdue, 1), (Gone, 3)], "the newest of each reason stays");
        assert_eq!(left(30), [(Late, 20), (Overdue, 1), (Gone, 3)]);
    }
}
