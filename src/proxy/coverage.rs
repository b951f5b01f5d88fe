//! Which grid points of a view may be served (semantics.md S3, S5).
//!
//! Fails closed: a point is served when it was emitted, no span uncovers it, and, with an upstream, an equal comparison
//! vouches for it. A comparison vouches from its grid point on, up to the next event that asks for another one; it also
//! overrides an overdue span that began before it: then upstream has lost those series too. It cannot where windows still
//! held samples of them, which is what draining spans say.

use crate::model::window::Grid;
use crate::model::{SpanReason, Timestamp, Uncover};
use crate::store::ViewState;

/// What may be served of one view at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    grid: Grid,
    /// Inclusive stretches of grid points, in order, apart from each other.
    served: Vec<(Timestamp, Timestamp)>,
    final_to: Option<Timestamp>,
    spans: Vec<Uncover>,
}

/// Whether one grid point is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PointState {
    Served,
    /// Its time has not come yet.
    NotEmitted,
    Uncovered,
}

impl PointState {
    /// Of a step that needs two views: one that is uncovered has upstream asked, whatever the other is.
    pub fn and(self, other: PointState) -> PointState {
        match (self, other) {
            (PointState::Uncovered, _) | (_, PointState::Uncovered) => PointState::Uncovered,
            (PointState::NotEmitted, _) | (_, PointState::NotEmitted) => PointState::NotEmitted,
            (PointState::Served, PointState::Served) => PointState::Served,
        }
    }
}

/// Whether comparisons are asked for, and which were equal.
#[derive(Clone, Copy, Debug)]
pub enum Vouching<'a> {
    /// No upstream, or `trust: always`.
    NotAsked,
    Compared(&'a Compared),
}

/// What comparisons with upstream said of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Grid points of equal comparisons that still vouch for something, in order.
    pub equal: Vec<Timestamp>,
    /// Instants from which on an earlier equal comparison no longer vouches, because a later one was unequal; in order.
    pub doubted: Vec<Timestamp>,
}

impl Coverage {
    /// With an upstream, spans keep points from being served.
    pub fn strict(state: &ViewState, vouching: Vouching<'_>) -> Coverage {
        let doubted = match vouching {
            Vouching::NotAsked => &[][..],
            Vouching::Compared(compared) => &compared.doubted,
        };
        Coverage::of(state, doubted, |t| {
            let overdue = state.spans.iter().filter(|span| span.reason == SpanReason::Overdue && holds(span, t));
            let others = state.spans.iter().filter(|span| !matches!(span.reason, SpanReason::Overdue | SpanReason::Gone));
            if others.clone().any(|span| holds(span, t)) {
                return false;
            }
            match vouching {
                Vouching::NotAsked => overdue.count() == 0,
                Vouching::Compared(compared) => {
                    let since = overdue.map(|span| span.from).max();
                    let drained = since.and_then(|_| last_drained(state, t));
                    let doubted = compared.doubted.iter().copied().filter(|doubted| *doubted <= t).max();
                    let events = [since, drained, doubted, last_event(state, t)];
                    let needed = events.into_iter().flatten().max().unwrap_or(t);
                    compared.equal.iter().any(|at| *at >= needed && *at <= t)
                }
            }
        })
    }

    /// Without an upstream every emitted point is served: there is nothing to differ from.
    pub fn alone(state: &ViewState) -> Coverage {
        Coverage::of(state, &[], |_| true)
    }

    /// What is served is constant between the instants at which anything changes.
    fn of(state: &ViewState, doubted: &[Timestamp], served: impl Fn(Timestamp) -> bool) -> Coverage {
        let grid = Grid::new(state.step_ms.max(1));
        let mut coverage = Coverage { grid, served: Vec::new(), final_to: state.final_to, spans: state.spans.clone() };
        let (Some(first), Some(last)) = (state.covered_from, state.final_to) else { return coverage };
        let mut t = grid.ceil(first);
        let mut changes: Vec<Timestamp> =
            state.spans.iter().flat_map(|span| [span.from, span.to]).chain(doubted.iter().copied()).collect();
        changes.sort_unstable();
        // Comparisons lie on the grid and are few: every grid point after one is looked at through the next change.
        while t <= last {
            let next = changes.partition_point(|change| *change <= t);
            let end = changes.get(next).map_or(last, |change| grid.before(*change).min(last)).max(t);
            coverage.add_stretch(t, end, &served);
            t = end + grid.step_ms();
        }
        coverage
    }

    /// Between two changes a stretch can only turn from unserved to served, at a comparison: found by halving.
    fn add_stretch(&mut self, from: Timestamp, to: Timestamp, served: &impl Fn(Timestamp) -> bool) {
        if !served(to) {
            return;
        }
        let steps = (to - from) / self.grid.step_ms();
        let (mut low, mut high) = (0, steps);
        while low < high {
            let middle = (low + high) / 2;
            match served(from + middle * self.grid.step_ms()) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        let first = from + low * self.grid.step_ms();
        match self.served.last_mut() {
            Some((_, end)) if *end + self.grid.step_ms() >= first => *end = to,
            _ => self.served.push((first, to)),
        }
    }

    /// The stretches served, inclusive.
    pub fn served(&self) -> &[(Timestamp, Timestamp)] {
        &self.served
    }

    /// The state of all grid points from `from` to `to`, inclusive, taken together.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> PointState {
        let (from, to) = (self.grid.ceil(from), self.grid.floor(to));
        if from > to {
            return PointState::Served;
        }
        let at = self.served.partition_point(|(_, end)| *end < from);
        if self.served.get(at).is_some_and(|(first, end)| *first <= from && *end >= to) {
            return PointState::Served;
        }
        let emitted_to = self.final_to.unwrap_or(Timestamp::MIN);
        let not_emitted = to > emitted_to && !self.spans.iter().any(|span| holds(span, to));
        let rest = self.grid.floor(emitted_to.min(to));
        let served_before = from > emitted_to || self.between_emitted(from, rest);
        if not_emitted && served_before { PointState::NotEmitted } else { PointState::Uncovered }
    }

    fn between_emitted(&self, from: Timestamp, to: Timestamp) -> bool {
        let at = self.served.partition_point(|(_, end)| *end < from);
        self.served.get(at).is_some_and(|(first, end)| *first <= from && *end >= to)
    }

    /// The grid points of a stretch whose time has not come yet.
    pub fn not_emitted(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Timestamp> + use<> {
        let grid = self.grid;
        let first = self.final_to.map_or(grid.ceil(from), |final_to| grid.after(final_to).max(grid.ceil(from)));
        let count = if first > to { 0 } else { (to - first) / grid.step_ms() + 1 };
        (0..count).map(move |k| first + k * grid.step_ms())
    }

    /// The reasons of the spans that hold any of these grid points.
    pub fn reasons(&self, from: Timestamp, to: Timestamp) -> Vec<SpanReason> {
        let over = self.spans.iter().filter(|span| span.from <= to && span.to > from && span.reason != SpanReason::Gone);
        let mut reasons: Vec<SpanReason> = over.map(|span| span.reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons
    }
}

fn holds(span: &Uncover, t: Timestamp) -> bool {
    span.from <= t && t < span.to
}

/// The last event at or before a grid point that asks for a comparison.
fn last_event(state: &ViewState, t: Timestamp) -> Option<Timestamp> {
    let events = state.spans.iter().filter_map(|span| match span.reason {
        SpanReason::Gone => Some(span.from),
        // What came with a sender, labels among it, was not there when an earlier comparison was equal.
        SpanReason::Gap | SpanReason::SenderNew | SpanReason::TwoSenders => Some(span.to),
        _ => None,
    });
    // Where a view began is an event, where retention has come to is none.
    events.chain(state.begun).filter(|event| *event <= t).max()
}

/// Where windows last were rid of overdue series: what was equal before says nothing of those.
fn last_drained(state: &ViewState, t: Timestamp) -> Option<Timestamp> {
    let drained = state.spans.iter().filter(|span| span.reason == SpanReason::Draining).map(|span| span.to);
    drained.filter(|to| *to <= t).max()
}

/// Whether only the want of a comparison keeps a grid point from being served: then one is due there.
pub fn comparison_due(state: &ViewState, compared: &Compared, t: Timestamp) -> bool {
    let mut pretended = compared.clone();
    pretended.equal.push(t);
    let with = Coverage::strict(state, Vouching::Compared(&pretended)).between(t, t);
    let without = Coverage::strict(state, Vouching::Compared(compared)).between(t, t);
    with == PointState::Served && without != PointState::Served
}

/// Adds an equal comparison, keeping only what still says something: the first after each event. True when it was added.
pub fn confirm(state: &ViewState, compared: &mut Compared, t: Timestamp) -> bool {
    let due = comparison_due(state, compared, t);
    if due {
        compared.equal.push(t);
        compared.equal.sort_unstable();
    }
    due
}

/// Whether a span began or ended after one grid point and not after another.
pub fn changed_between(state: &ViewState, after: Timestamp, to: Timestamp) -> bool {
    state.spans.iter().flat_map(|span| [span.from, span.to]).any(|at| after < at && at <= to)
}

#[cfg(test)]
mod tests;
