//! Combine: the partitions' partials become a group's result, once its grid point is final in all of them.
//!
//! In: partials, statuses, marks and spans of all partitions, by view; out: one [`EpochOutput`] per closed epoch. A view
//! lives on one worker, whole: its limits and its coverage need all of its groups. Keeps: the partials of grid points not
//! yet final in all partitions, bounded by how far these are apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::coverage::ViewCoverage;
use super::message::{Emitted, EpochOutput, Feeds, Finished, PartialOf, Status, Stretch, ToCombine, ViewSet, ViewStart};
use super::newcomers::{Newcomers, Senders};
use crate::compile::{PlannedView, ViewSlot};
use crate::function::Partial;
use crate::model::commit::ResultPoint;
use crate::model::{LogTime, SenderSeen, SpanReason, Timestamp, Uncover};

/// The state of one worker.
pub struct Combine {
    worker: usize,
    workers: usize,
    /// By partition; `Timestamp::MIN` until its first mark.
    marks: Vec<LogTime>,
    views: BTreeMap<ViewSlot, ViewCombine>,
    /// The first times of every sender known.
    senders: Senders,
    /// Whether what a new sender did not see uncovers the views it feeds.
    new_senders_uncover: bool,
}

/// One view.
struct ViewCombine {
    planned: Arc<PlannedView>,
    start: ViewStart,
    /// The next grid point to emit.
    next: Timestamp,
    pending: BTreeMap<Timestamp, Pending>,
    coverage: ViewCoverage,
    newcomers: Newcomers,
    begun: bool,
    ended: bool,
}

/// What came of one grid point.
#[derive(Default)]
struct Pending {
    partials: Vec<PartialOf>,
    status: Status,
}

impl Combine {
    /// `known` are the senders of the commit that is resumed.
    pub fn new(
        (worker, workers): (usize, usize),
        partitions: u16,
        known: &[SenderSeen],
        new_senders_uncover: bool,
    ) -> Combine {
        let senders = Senders::new(known);
        let marks = vec![Timestamp::MIN; usize::from(partitions)];
        Combine { worker, workers, marks, views: BTreeMap::new(), senders, new_senders_uncover }
    }

    /// All messages of an epoch, in any order among partitions: values do not depend on it.
    pub fn close(&mut self, epoch: u64, messages: Vec<ToCombine>) -> EpochOutput {
        let mut out = EpochOutput { epoch, worker: self.worker, ..EpochOutput::default() };
        // Views first: what else came in the epoch may be of them. Senders next: feeds ask when they first wrote.
        for message in &messages {
            match message {
                ToCombine::Views(set) => self.take_views(set, &mut out),
                ToCombine::Seen(seen) => self.seen(seen, &mut out),
                _ => {}
            }
        }
        messages.into_iter().for_each(|message| self.message(message, &mut out));
        self.emit_final(&mut out);
        out
    }

    fn take_views(&mut self, set: &Arc<ViewSet>, out: &mut EpochOutput) {
        self.views.retain(|slot, _| set.plan.view(*slot).is_some());
        for view in self.views.values_mut() {
            if let Some(planned) = set.plan.view(view.planned.slot) {
                view.planned = Arc::clone(planned);
            }
        }
        let own = |slot: ViewSlot| slot.0 as usize % self.workers == self.worker;
        for start in set.starts.iter().filter(|start| own(start.slot)) {
            if let Some(planned) = set.plan.view(start.slot) {
                self.views.insert(start.slot, ViewCombine::new(Arc::clone(planned), *start));
            }
        }
        for (slot, last) in &set.ends {
            if let Some(view) = self.views.get_mut(slot).filter(|view| !view.ended) {
                view.start.last = *last;
                if view.next > *last {
                    view.end(out);
                }
            }
        }
    }

    fn seen(&mut self, seen: &SenderSeen, out: &mut EpochOutput) {
        let sender = self.senders.add(seen);
        self.views.values_mut().for_each(|view| view.newcomers.seen(&sender));
        if self.worker == 0 {
            out.senders.push(seen.clone());
        }
    }

    fn message(&mut self, message: ToCombine, out: &mut EpochOutput) {
        match message {
            ToCombine::Mark { partition, log_time } => {
                let mark = &mut self.marks[usize::from(partition.0)];
                *mark = log_time.max(*mark);
            }
            ToCombine::Partial(partial) => {
                if let Some(pending) = self.pending(partial.slot, partial.t) {
                    pending.partials.push(partial);
                }
            }
            ToCombine::Status { status, .. } => {
                if let Some(pending) = self.pending(status.slot, status.t) {
                    pending.status.add(&status);
                }
            }
            ToCombine::Uncover(stretch) => {
                if let Some(view) = self.views.get(&stretch.slot) {
                    out.spans.extend(view.span(stretch));
                }
            }
            ToCombine::Feeds(feeds) => self.feeds(feeds, out),
            ToCombine::Folded(folded) => out.folded.push(folded),
            ToCombine::Views(_) | ToCombine::Seen(_) => {}
        }
    }

    fn pending(&mut self, slot: ViewSlot, t: Timestamp) -> Option<&mut Pending> {
        let view = self.views.get_mut(&slot).filter(|view| !view.ended && t >= view.next)?;
        Some(view.pending.entry(t).or_default())
    }

    fn feeds(&mut self, feeds: Feeds, out: &mut EpochOutput) {
        let Some(view) = self.views.get_mut(&feeds.slot).filter(|_| self.new_senders_uncover) else { return };
        let sender = (feeds.tenant, feeds.sender);
        let intervals = view.newcomers.feed(sender, &self.senders, view.planned.view(), view.next);
        out.spans.extend(intervals.into_iter().map(|(from, to)| view.uncover(SpanReason::SenderNew, from, to)));
    }

    fn emit_final(&mut self, out: &mut EpochOutput) {
        let Some(mark) = self.marks.iter().min().copied() else { return };
        for view in self.views.values_mut() {
            let max_delay_ms = view.planned.view().max_delay_ms;
            while !view.ended && mark != Timestamp::MIN && mark > view.next + max_delay_ms {
                view.emit(&self.senders, out);
            }
        }
    }
}

impl Status {
    fn add(&mut self, other: &Status) {
        self.overdue_since = self.overdue_since.min(other.overdue_since);
        self.live += other.live;
        self.valued += other.valued;
        self.overdue += other.overdue;
        self.overdue_newest = self.overdue_newest.max(other.overdue_newest);
        self.overdue_new_since = self.overdue_new_since.min(other.overdue_new_since);
        self.back += other.back;
        self.gone += other.gone;
        self.not_counted += other.not_counted;
        self.state_bytes += other.state_bytes;
        self.window_samples += other.window_samples;
    }
}

impl ViewCombine {
    fn new(planned: Arc<PlannedView>, start: ViewStart) -> ViewCombine {
        ViewCombine {
            planned,
            start,
            next: start.first,
            pending: BTreeMap::new(),
            coverage: ViewCoverage::new(start.overdue_since),
            newcomers: Newcomers::default(),
            begun: false,
            ended: start.first > start.last,
        }
    }

    /// A stretch as the commit holds it.
    fn span(&self, stretch: Stretch) -> Option<Uncover> {
        (stretch.from < stretch.to).then(|| self.uncover(stretch.reason, stretch.from, stretch.to))
    }

    fn uncover(&self, reason: SpanReason, from: Timestamp, to: Timestamp) -> Uncover {
        Uncover { view: self.planned.view().id, reason, from, to }
    }

    /// Emits the next grid point, which is final in all partitions.
    fn emit(&mut self, senders: &Senders, out: &mut EpochOutput) {
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

    fn end(&mut self, out: &mut EpochOutput) {
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
