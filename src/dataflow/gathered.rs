//! A view whose partials come from many folds: how far each partition has given it, and what that makes final.
//!
//! A view that is new begins where all partitions can give it. One that stands somewhere goes on there; where a partition
//! says that it can never give what comes next, because the log has lost it, the view goes on behind that, and what lies
//! between is a gap.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cluster_combine::Standing;
use super::combine_view::CombinedView;
use super::message::{EpochOutput, PartialOf, ViewStart};
use super::newcomers::{Sender, Senders};
use super::status::Status;
use crate::compile::PlannedView;
use crate::model::{LogTime, Offset, PartitionId, SpanReason, Timestamp};
use crate::wire::cluster::{GridPartials, ScopeEntry, SpanOf};

pub(super) struct GatheredView {
    pub combined: CombinedView,
    /// By partition.
    partitions: Vec<Given>,
    /// Grid points that some partition can never give: from the first to before the second.
    lost: Vec<(Timestamp, Timestamp)>,
    /// Of grid points not yet emitted, what each partition knows.
    statuses: BTreeMap<Timestamp, Vec<(PartitionId, Status)>>,
    /// Of grid points not yet emitted, the least offset of what was said of them.
    offsets: BTreeMap<Timestamp, Offset>,
    /// Whether the first grid point is known.
    settled: bool,
    /// It does not begin before this.
    not_before: Timestamp,
    /// Suspended before: from when on.
    over_limit_since: Option<Timestamp>,
    suspended: Option<(Timestamp, u64)>,
    /// The newest grid point of which something was said while nobody listened; `Timestamp::MIN` when there is none.
    missed: Timestamp,
    set: u64,
    /// Of a grid point, how many partials there were when copies were last looked for.
    tidied: BTreeMap<Timestamp, usize>,
}

/// Copies of partials are looked for when so many have come since.
const COPIES_MIN: usize = 4096;

/// What a partition has given of the view.
#[derive(Clone, Copy)]
struct Given {
    /// The scope that gives it from the earliest on; `None` until one does.
    first: Option<ScopeEntry>,
    /// Everything before this has been given.
    next: Timestamp,
}

impl GatheredView {
    /// Where a view stands, it goes on. `readable_from`: what was said of grid points before this may have been deleted.
    pub fn new(
        planned: Arc<PlannedView>,
        partitions: u16,
        standing: Option<Standing>,
        set: u64,
        readable_from: Option<LogTime>,
    ) -> GatheredView {
        let missed = standing.map_or(Timestamp::MIN, |standing| standing.missed);
        // Suspended under an earlier set: it begins anew.
        let over_limit_since = standing.and_then(|standing| standing.suspended).filter(|(_, in_set)| *in_set != set);
        let suspended = standing.and_then(|standing| standing.suspended).filter(|(_, in_set)| *in_set == set);
        let standing = standing.filter(|standing| over_limit_since.is_none() && standing.begun());
        let first = standing.map_or(Timestamp::MIN, |standing| standing.next);
        let start = ViewStart {
            slot: planned.slot,
            first,
            whole_from: first,
            last: Timestamp::MAX,
            coverage: standing.map(|standing| standing.coverage).unwrap_or_default(),
        };
        let mut combined = CombinedView::new(planned, start);
        let view = combined.planned.view();
        // What was deleted may also have told of spans that reach on from there.
        let reach_ms = view.shape.window_ms + view.max_delay_ms;
        let readable = readable_from.map_or(Timestamp::MIN, |from| view.grid().ceil(from - view.max_delay_ms + reach_ms));
        let heard_from = if missed == Timestamp::MIN { missed } else { view.grid().after(missed) };
        let whole_from = readable.max(heard_from);
        let lost = standing.map(|standing| (standing.next, whole_from)).filter(|(next, whole)| next < whole);
        let not_before = over_limit_since.map_or(whole_from, |(since, _)| whole_from.max(since));
        combined.begun = standing.is_some();
        combined.ended = suspended.is_some();
        GatheredView {
            combined,
            partitions: vec![Given { first: None, next: first }; usize::from(partitions)],
            lost: lost.into_iter().collect(),
            statuses: BTreeMap::new(),
            offsets: BTreeMap::new(),
            settled: standing.is_some(),
            not_before,
            over_limit_since: over_limit_since.map(|(since, _)| since),
            suspended,
            missed,
            set,
            tidied: BTreeMap::new(),
        }
    }

    /// Goes on under another set of jobs; its limits may be others.
    pub fn carry_on(&mut self, planned: Arc<PlannedView>, set: u64) {
        self.combined.planned = planned;
        self.set = set;
    }

    /// Whether it was suspended under an earlier set than this.
    pub fn is_suspended_before(&self, set: u64) -> bool {
        self.suspended.is_some_and(|(_, in_set)| in_set != set)
    }

    /// Where it stands; `None` until it has emitted something: from where its windows are whole is told with that.
    pub fn standing(&self) -> Option<Standing> {
        let suspended = self.suspended.or(self.over_limit_since.map(|since| (since, 0)));
        let begun = self.combined.begun;
        let is_known = begun || suspended.is_some() || self.missed != Timestamp::MIN;
        let coverage = self.combined.coverage;
        let next = if begun { self.combined.next } else { Timestamp::MIN };
        is_known.then_some(Standing { next, coverage, suspended, missed: self.missed })
    }

    /// Where it stood, for when it comes again: what waits here is not kept.
    pub fn leave(mut self) -> Option<Standing> {
        let newest = self.combined.pending.keys().chain(self.statuses.keys()).max();
        self.missed = newest.map_or(self.missed, |newest| self.missed.max(*newest));
        self.standing()
    }

    pub fn least_offset(&self) -> Option<Offset> {
        self.offsets.values().min().copied()
    }

    pub fn open_spans(&self) -> Vec<SpanOf> {
        let overdue = self.combined.coverage.overdue_since.map(|since| (SpanReason::Overdue, since));
        let limit = self.suspended.map(|(since, _)| (SpanReason::OverLimit, since));
        overdue.into_iter().chain(limit).map(|(reason, since)| (reason, since, Timestamp::MAX)).collect()
    }

    pub fn feed(&mut self, sender: &Sender, senders: &Senders, out: &mut EpochOutput) {
        let view = self.combined.planned.view();
        let intervals = self.combined.newcomers.feed(sender.clone(), senders, view, self.combined.next);
        let spans = intervals.into_iter().map(|(from, to)| self.combined.uncover(SpanReason::SenderNew, from, to));
        out.spans.extend(spans);
    }

    /// Takes what a partition says of a grid point; what is emitted already, or was said before, changes nothing.
    pub fn take(&mut self, offset: Offset, partition: PartitionId, point: &GridPartials) {
        if self.combined.ended {
            self.missed = self.missed.max(point.t);
        }
        if self.combined.ended || point.t < self.combined.next || !self.combined.planned.view().grid().contains(point.t) {
            return;
        }
        let slot = self.combined.planned.slot;
        let least = self.offsets.entry(point.t).or_insert(offset);
        *least = offset.min(*least);
        let pending = self.combined.pending.entry(point.t).or_default();
        pending.partials.extend(point.groups.iter().map(|group| PartialOf {
            slot,
            t: point.t,
            partition,
            group: Arc::clone(&group.labels),
            slots: group.values,
        }));
        let tidied = self.tidied.entry(point.t).or_default();
        if pending.partials.len() > 2 * *tidied + COPIES_MIN {
            one_of_each(&mut pending.partials);
            *tidied = pending.partials.len();
        }
        if let Some(numbers) = &point.status {
            let statuses = self.statuses.entry(point.t).or_default();
            statuses.retain(|(of, _)| *of != partition);
            statuses.push((partition, Status::from_numbers(slot, point.t, numbers)));
        }
    }

    /// A scope gives the view in a partition, from a grid point on.
    pub fn enter(&mut self, partition: PartitionId, entry: ScopeEntry) {
        let (settled, grid) = (self.settled, self.combined.planned.view().grid());
        let given = &mut self.partitions[usize::from(partition.0)];
        let is_ahead = entry.first > given.next;
        match given.first {
            // There is nothing before it, unless the view stands before it: then it is another log.
            _ if entry.complete => {
                if settled && is_ahead {
                    self.lost.push((given.next, grid.ceil(entry.whole_from)));
                }
                given.first = Some(entry);
                given.next = given.next.max(entry.first);
            }
            // What nobody will give any more is not waited for.
            Some(_) if entry.begins && is_ahead => {
                self.lost.push((given.next, entry.first));
                given.next = entry.first;
            }
            None if settled && entry.begins && is_ahead => {
                self.lost.push((given.next, entry.first));
                *given = Given { first: Some(entry), next: entry.first };
            }
            None => *given = Given { first: Some(entry), next: if settled { given.next } else { entry.first } },
            Some(known) if !settled && entry.first < known.first => {
                given.next = if given.next <= known.first { entry.first } else { given.next };
                given.first = Some(entry);
            }
            Some(_) => {}
        }
        self.settle();
    }

    /// A view begins where all partitions can give it; of those that are there from their beginning on, the first counts.
    fn settle(&mut self) {
        let firsts: Option<Vec<ScopeEntry>> = self.partitions.iter().map(|given| given.first).collect();
        let Some(firsts) = firsts.filter(|_| !self.settled) else { return };
        let begun = |of: fn(&ScopeEntry) -> Timestamp| {
            let complete = firsts.iter().filter(|entry| entry.complete).map(of).min();
            let others = firsts.iter().filter(|entry| !entry.complete).map(of).max();
            complete.into_iter().chain(others).max().unwrap_or_default()
        };
        let first = begun(|entry| entry.first).max(self.combined.planned.view().grid().ceil(self.not_before));
        self.combined.start.first = first;
        self.combined.start.whole_from = begun(|entry| entry.whole_from).max(first);
        self.combined.next = first;
        self.settled = true;
        self.forget_before(first);
    }

    /// Of its views, a scope has said everything that is final by a log time.
    pub fn given(&mut self, partition: PartitionId, entry: ScopeEntry, mark: LogTime) {
        let view = self.combined.planned.view();
        let to = view.grid().before(mark - view.max_delay_ms).min(entry.last);
        let next = self.combined.next;
        let given = &mut self.partitions[usize::from(partition.0)];
        if given.first.is_some() && entry.first <= given.next.max(next) && to >= entry.first {
            given.next = given.next.max(to + view.step_ms);
        }
    }

    /// Emits the grid points that are final in all partitions; gives the first and the last of them.
    pub fn emit_final(&mut self, senders: &Senders, out: &mut EpochOutput) -> Option<(Timestamp, Timestamp)> {
        if !self.settled || self.combined.ended {
            return None;
        }
        let final_before = self.partitions.iter().map(|given| given.next).min()?;
        let (step_ms, first) = (self.combined.planned.view().step_ms, self.combined.next);
        while self.combined.next < final_before && !self.combined.ended {
            let t = self.combined.next;
            if let Some(to) = self.lost_at(t) {
                out.spans.push(self.combined.uncover(SpanReason::Gap, t, to));
                self.combined.next = to;
                self.forget_before(to);
                continue;
            }
            self.close_over_limit(t, out);
            self.gather(t);
            self.combined.emit(senders, out);
            if self.combined.ended {
                self.suspended = Some((t, self.set));
                let newest = self.statuses.keys().chain(self.offsets.keys()).max();
                self.missed = newest.map_or(t, |newest| t.max(*newest));
                self.statuses.clear();
                self.offsets.clear();
                self.tidied.clear();
            }
        }
        (self.combined.next > first).then(|| (first, self.combined.next - step_ms))
    }

    /// Where the view goes on when a grid point can never be given.
    fn lost_at(&mut self, t: Timestamp) -> Option<Timestamp> {
        self.lost.retain(|(_, to)| *to > t);
        self.lost.iter().filter(|(from, _)| *from <= t).map(|(_, to)| *to).max()
    }

    fn close_over_limit(&mut self, t: Timestamp, out: &mut EpochOutput) {
        if let Some(since) = self.over_limit_since.take() {
            out.spans.push(self.combined.uncover(SpanReason::OverLimit, since, t));
        }
    }

    /// Puts what the partitions said of a grid point together, each once.
    fn gather(&mut self, t: Timestamp) {
        self.offsets.remove(&t);
        self.tidied.remove(&t);
        let statuses = self.statuses.remove(&t).unwrap_or_default();
        let pending = self.combined.pending.entry(t).or_default();
        statuses.iter().for_each(|(_, status)| pending.status.add(status));
        one_of_each(&mut pending.partials);
    }

    fn forget_before(&mut self, t: Timestamp) {
        self.combined.pending = self.combined.pending.split_off(&t);
        self.statuses = self.statuses.split_off(&t);
        self.offsets = self.offsets.split_off(&t);
        self.tidied = self.tidied.split_off(&t);
    }
}

/// Of copies of a partial the first stays: they are equal.
fn one_of_each(partials: &mut Vec<PartialOf>) {
    partials.sort_by(|a, b| a.group.cmp(&b.group).then_with(|| a.partition.cmp(&b.partition)));
    partials.dedup_by(|b, a| a.partition == b.partition && a.group == b.group);
}
