//! How much of a view's time is uncovered, as a counter.
//!
//! The store knows the spans as they stand, and retention takes old ones away; a counter only ever grows. So what is added
//! is what the spans have grown by since they were looked at last. Spans that were there at the start are not counted: a
//! restart would otherwise count them again.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::model::{SpanReason, Timestamp, ViewId};
use crate::store::{Store, ViewState};

/// Seconds uncovered since the start, by view and reason.
#[derive(Default)]
pub struct UncoveredSeconds {
    /// Locked for each view at a scrape; as many as views were ever in force and reasons there are.
    known: Mutex<HashMap<(ViewId, SpanReason), Counted>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    /// What the spans came to when they were looked at last, in milliseconds.
    last_ms: i64,
    grown_ms: i64,
}

impl UncoveredSeconds {
    /// Takes what the store holds as the beginning.
    pub fn new(store: &Store) -> UncoveredSeconds {
        let uncovered = UncoveredSeconds::default();
        let mut known = uncovered.known.lock();
        for (view, state) in store.views() {
            for reason in SpanReason::ALL {
                known.insert((view, reason), Counted { last_ms: uncovered_ms(&state, reason), grown_ms: 0 });
            }
        }
        drop(known);
        uncovered
    }

    /// Looks at a view's spans; gives the seconds of every reason that has any.
    pub fn seconds(&self, view: ViewId, state: Option<&ViewState>) -> Vec<(SpanReason, f64)> {
        let mut known = self.known.lock();
        let mut seconds = Vec::new();
        for reason in SpanReason::ALL {
            let counted = known.entry((view, reason)).or_default();
            let ms = state.map_or(0, |state| uncovered_ms(state, reason));
            counted.grown_ms += (ms - counted.last_ms).max(0);
            counted.last_ms = ms;
            if counted.grown_ms > 0 {
                seconds.push((reason, counted.grown_ms as f64 / 1000.0));
            }
        }
        seconds
    }
}

/// What the spans of a reason cover of the time that is final. `gone` is an event without length.
fn uncovered_ms(state: &ViewState, reason: SpanReason) -> i64 {
    let Some(final_to) = state.final_to.filter(|_| reason != SpanReason::Gone) else { return 0 };
    let end = |to: Timestamp| to.min(final_to + state.step_ms);
    state.spans.iter().filter(|span| span.reason == reason).map(|span| (end(span.to) - span.from).max(0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Uncover;

    fn state(final_to: i64, spans: &[(SpanReason, i64, i64)]) -> ViewState {
        let spans = spans.iter().map(|(reason, from, to)| {
            let to = if *to < 0 { Timestamp::MAX } else { Timestamp(*to) };
            Uncover { view: ViewId(1), reason: *reason, from: Timestamp(*from), to }
        });
        ViewState {
            begun: Some(Timestamp(0)),
            covered_from: Some(Timestamp(0)),
            final_to: Some(Timestamp(final_to)),
            step_ms: 1000,
            fields: 1,
            retention_ms: 0,
            spans: spans.collect(),
            description: String::new(),
            points: 0,
            groups: 0,
        }
    }

    #[test]
    fn it_grows_with_the_spans_and_never_shrinks() {
        let uncovered = UncoveredSeconds::default();
        let check = |state: &ViewState, expected: &[(SpanReason, f64)]| {
            assert_eq!(uncovered.seconds(ViewId(1), Some(state)), expected);
        };
        check(&state(10_000, &[]), &[]);
        let open = (SpanReason::Overdue, 9_000, -1);
        check(&state(10_000, &[open]), &[(SpanReason::Overdue, 2.0)]);
        check(&state(15_000, &[open]), &[(SpanReason::Overdue, 7.0)]);
        let (late, gone) = ((SpanReason::Late, 3_000, 5_000), (SpanReason::Gone, 4_000, 4_001));
        check(&state(15_000, &[open, late, gone]), &[(SpanReason::Late, 2.0), (SpanReason::Overdue, 7.0)]);
        // Retention takes the first spans; what was counted stays.
        check(&state(16_000, &[]), &[(SpanReason::Late, 2.0), (SpanReason::Overdue, 7.0)]);
        check(&state(20_000, &[(SpanReason::Overdue, 19_000, -1)]), &[(SpanReason::Late, 2.0), (SpanReason::Overdue, 9.0)]);
    }
}
