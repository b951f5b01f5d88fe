//! Combine: the partitions' partials become a group's result, once its grid point is final in all of them.
//!
//! In: partials, statuses, marks and spans of all partitions, by view; out: one [`EpochOutput`] per closed epoch. A view
//! lives on one worker, whole: its limits and its coverage need all of its groups. Keeps: the partials of grid points not
//! yet final in all partitions, bounded by how far these are apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::combine_view::{CombinedView, Pending};
use super::message::{EpochOutput, Feeds, ToCombine, ViewSet};
use super::newcomers::Senders;
use crate::compile::ViewSlot;
use crate::model::{LogTime, SenderSeen, SpanReason, Timestamp};

/// The state of one worker.
pub struct Combine {
    worker: usize,
    workers: usize,
    /// By partition; `Timestamp::MIN` until its first mark.
    marks: Vec<LogTime>,
    views: BTreeMap<ViewSlot, CombinedView>,
    /// The first times of every sender known.
    senders: Senders,
    /// Whether what a new sender did not see uncovers the views it feeds.
    new_senders_uncover: bool,
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
                self.views.insert(start.slot, CombinedView::new(Arc::clone(planned), *start));
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
