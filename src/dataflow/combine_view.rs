//! One view in combine: the partials of its grid points until they are final, and what is said when they are.
//!
//! Knows nothing of partitions and how they are told final: whoever holds it says when. Keeps: the partials of grid points
//! not yet emitted, what its coverage depends on, and the senders that feed it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::coverage::ViewCoverage;
use super::message::{Emitted, EpochOutput, Finished, PartialOf, Stretch, ViewStart};
use super::newcomers::{Newcomers, Senders};
use super::status::Status;
use crate::compile::PlannedView;
use crate::function::Partial;
use crate::model::commit::ResultPoint;
use crate::model::{SpanReason, Timestamp, Uncover};

/// One view.
pub(super) struct CombinedView {
    pub planned: Arc<PlannedView>,
    pub start: ViewStart,
    /// The next grid point to emit.
    pub next: Timestamp,
    pub pending: BTreeMap<Timestamp, Pending>,
    pub coverage: ViewCoverage,
    pub newcomers: Newcomers,
    pub begun: bool,
    pub ended: bool,
}

/// What came of one grid point.
#[derive(Default)]
pub(super) struct Pending {
    pub partials: Vec<PartialOf>,
    pub status: Status,
}

impl CombinedView {
    pub fn new(planned: Arc<PlannedView>, start: ViewStart) -> CombinedView {
        CombinedView {
            planned,
            start,
            next: start.first,
            pending: BTreeMap::new(),
            coverage: start.coverage,
            newcomers: Newcomers::default(),
            begun: false,
            ended: start.first > start.last,
        }
    }

    /// A stretch as the commit holds it.
    pub fn span(&self, stretch: Stretch) -> Option<Uncover> {
        (stretch.from < stretch.to).then(|| self.uncover(stretch.reason, stretch.from, stretch.to))
    }

    pub fn uncover(&self, reason: SpanReason, from: Timestamp, to: Timestamp) -> Uncover {
        Uncover { view: self.planned.view().id, reason, from, to }
    }

    /// Emits the next grid point, which is final in all partitions.
    pub fn emit(&mut self, senders: &Senders, out: &mut EpochOutput) {
        let (t, id) = (self.next, self.planned.view().id);
        let Pending { partials, status } = self.pending.remove(&t).unwrap_or_default();
        let results = self.finish(partials);
        if !self.begun {
            self.begin(out);
        }
        let limits = self.planned.entry.limits;
        if status.live > limits.input_series || results.len() as u64 > limits.output_series {
            out.spans.push(Uncover { view: id, reason: SpanReason::OverLimit, from: t, to: Timestamp::MAX });
            self.end(out);
            return;
        }
        if self.newcomers.uncover(t, senders, self.planned.view()) {
            out.spans.push(self.uncover(SpanReason::SenderNew, t, t + self.planned.view().step_ms));
        }
        let spans = self.coverage.judge((&*self.planned).into(), t, &status);
        out.spans.extend(spans.into_iter().map(|(reason, from, to)| Uncover { view: id, reason, from, to }));
        out.emitted.push(Emitted {
            view: id,
            t,
            input_series: status.live,
            valued_series: status.valued,
            output_series: results.len() as u64,
            overdue: status.overdue,
            not_counted: status.not_counted,
            conflicting: status.conflicting,
            state_bytes: status.state_bytes,
            window_samples: status.window_samples,
        });
        out.results.extend(results.into_iter().map(|(group, fields)| ResultPoint { view: id, group, t, fields }));
        match out.final_to.last_mut() {
            Some((view, final_to)) if *view == id => *final_to = t,
            _ => out.final_to.push((id, t)),
        }
        self.next = t + self.planned.view().step_ms;
        if self.next > self.start.last {
            let spans = self.coverage.hand_over((&*self.planned).into(), self.next);
            out.spans.extend(spans.into_iter().map(|(reason, from, to)| Uncover { view: id, reason, from, to }));
            self.end(out);
        }
    }

    fn begin(&mut self, out: &mut EpochOutput) {
        self.begun = true;
        let id = self.planned.view().id;
        out.covered_from.push((id, self.start.first));
        if self.start.first < self.start.whole_from {
            let (from, to) = (self.start.first, self.start.whole_from);
            out.spans.push(Uncover { view: id, reason: SpanReason::NewView, from, to });
        }
    }

    pub fn end(&mut self, out: &mut EpochOutput) {
        self.ended = true;
        self.pending.clear();
        out.ended.push(self.planned.slot);
    }

    /// Merges the partials of each group, partitions in their order.
    fn finish(&self, mut partials: Vec<PartialOf>) -> Vec<Finished> {
        let aggregation = self.planned.view().shape.aggregation;
        let order = |p: &PartialOf| (Arc::clone(&p.group), p.partition);
        partials.sort_by(|a, b| a.group.cmp(&b.group).then_with(|| a.partition.cmp(&b.partition)));
        debug_assert!(partials.windows(2).all(|two| order(&two[0]) < order(&two[1])), "one partial per group and partition");
        let mut finished: Vec<Finished> = Vec::new();
        let mut at = 0;
        while let Some(first) = partials.get(at) {
            let mut merged = Partial { slots: first.slots };
            let of_group = partials[at..].iter().take_while(|partial| partial.group == first.group);
            let count = of_group.clone().count();
            of_group.skip(1).for_each(|partial| (aggregation.partial.merge)(&mut merged, &Partial { slots: partial.slots }));
            finished.push((Arc::clone(&first.group), (aggregation.store)(&merged)));
            at += count;
        }
        finished
    }
}
