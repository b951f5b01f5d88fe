//! Window: points are kept until their windows are final, then every series gives its value at the grid point.
//!
//! In: [`Partitioned`], in log order; out: [`Windowed`], at once: when a record's log time passes T + max_delay, T is
//! evaluated on what came before that record. Keeps: per series the points of open windows and its rhythm; per view its
//! series, ordered by id. Bounded by live series x (window + max_delay) / scrape interval.

use std::collections::HashSet;
use std::sync::Arc;

use smol_str::SmolStr;

use super::message::{
    Assigned, Evaluated, Feeds, Folded, GroupIndex, Partitioned, Point, SenderIndex, SeriesIndex, Status, Stretch, ViewSet,
    Windowed,
};
use super::series::{Inserted, Series};
use crate::compile::{FUTURE_MS, PlannedView, ViewSlot};
use crate::model::window::Window;
use crate::model::{LogTime, Sample, SeriesId, SpanReason, Tenant, Timestamp};

/// The state of one partition.
#[derive(Default)]
pub struct Windows {
    /// By series number.
    series: Vec<Series>,
    /// By slot.
    views: Vec<Option<ViewWindow>>,
    /// By sender number; named when first seen.
    senders: Vec<(Tenant, SmolStr)>,
    log_time: LogTime,
    /// Samples another value was kept for, since the start.
    pub conflicts: u64,
    scratch: Vec<Sample>,
}

/// A view's share of a partition.
struct ViewWindow {
    planned: Arc<PlannedView>,
    /// The next grid point to evaluate.
    next: Timestamp,
    last: Timestamp,
    /// In the order of their numbers' assignment, which is that of the series in memory.
    members: Vec<Member>,
    /// Whether the members' ranks are right.
    ranked: bool,
    senders: HashSet<SenderIndex>,
    late: Option<(Timestamp, Timestamp)>,
    two_senders: Option<(Timestamp, Timestamp)>,
    not_counted: u64,
}

#[derive(Clone, Copy)]
struct Member {
    id: SeriesId,
    series: SeriesIndex,
    group: GroupIndex,
    /// Its place in the order of ids.
    rank: u32,
    overdue: bool,
}

/// A member without a value at a grid point.
const NO_VALUE: (GroupIndex, f64) = (GroupIndex(u32::MAX), 0.0);

impl Windows {
    pub fn record(&mut self, input: Partitioned) -> Windowed {
        let (partition, log_time, uncovers) = (input.partition, input.log_time, input.uncovers);
        let mut out = Windowed { partition, log_time, uncovers, ..Windowed::default() };
        if let Some(set) = &input.views {
            self.take_views(set);
        }
        self.log_time = self.log_time.max(input.log_time);
        self.evaluate_final(&mut out.evaluated);
        if let Some((tenant, name)) = input.sender_named {
            self.name_sender(input.sender, tenant, name);
        }
        input.assigned.iter().for_each(|assigned| self.assign(assigned));
        for point in &input.points {
            self.point(point, input.sender, &mut out);
        }
        self.evict(&input.evicted);
        self.flush_stretches(&mut out.uncovers);
        out.groups = input.groups;
        out.sender_seen = input.sender_seen;
        out.views = input.views;
        if input.read.samples > 0 {
            let (tenant, sender) = self.senders.get(input.sender.0 as usize).cloned().unwrap_or_default();
            out.folded = Some(Folded { tenant, sender, read: input.read });
        }
        out
    }

    fn take_views(&mut self, set: &Arc<ViewSet>) {
        self.views.resize_with(set.plan.views.len(), || None);
        for (slot, place) in self.views.iter_mut().enumerate() {
            match (set.plan.view(ViewSlot(slot as u32)), place.as_mut()) {
                (Some(planned), Some(view)) => view.planned = Arc::clone(planned),
                (None, _) => *place = None,
                (Some(_), None) => {}
            }
        }
        for start in &set.starts {
            if let Some(planned) = set.plan.view(start.slot) {
                // One grid point earlier: which series were overdue there tells which of them are gone at the first.
                let before = start.first - planned.view().step_ms;
                self.views[start.slot.0 as usize] = Some(ViewWindow::new(Arc::clone(planned), before, start.last));
            }
        }
        for (slot, last) in &set.ends {
            if let Some(view) = self.views[slot.0 as usize].as_mut() {
                view.last = *last;
            }
        }
        let views = &self.views;
        for series in &mut self.series {
            series.targets.retain(|(slot, _)| views[slot.0 as usize].is_some());
        }
    }

    /// Every grid point whose max_delay the log time has passed.
    fn evaluate_final(&mut self, out: &mut Vec<Evaluated>) {
        let (log_time, series, scratch) = (self.log_time, &mut self.series, &mut self.scratch);
        for view in self.views.iter_mut().flatten() {
            while view.next <= view.last && log_time > view.next + view.planned.view().max_delay_ms {
                out.push(view.evaluate(series, scratch));
            }
        }
    }

    fn name_sender(&mut self, sender: SenderIndex, tenant: Tenant, name: SmolStr) {
        let place = sender.0 as usize;
        if self.senders.len() <= place {
            self.senders.resize(place + 1, Default::default());
        }
        self.senders[place] = (tenant, name);
    }

    fn assign(&mut self, assigned: &Assigned) {
        let place = assigned.series.0 as usize;
        while self.series.len() <= place {
            self.series.push(Series::new(SeriesId::default()));
        }
        let series = &mut self.series[place];
        if series.id != assigned.id {
            *series = Series::new(assigned.id);
        }
        for (slot, group) in &assigned.targets {
            let known = series.targets.iter().any(|(had, _)| had == slot);
            if let (false, Some(view)) = (known, self.views[slot.0 as usize].as_mut()) {
                series.targets.push((*slot, *group));
                view.members.push(Member {
                    id: assigned.id,
                    series: assigned.series,
                    group: *group,
                    rank: 0,
                    overdue: false,
                });
                view.ranked = false;
            }
        }
        let views: Vec<&PlannedView> =
            series.targets.iter().filter_map(|(slot, _)| Some(&*self.views[slot.0 as usize].as_ref()?.planned)).collect();
        let window_ms_max = views.iter().map(|planned| planned.view().shape.window_ms).max().unwrap_or(0);
        series.serve(views.iter().map(|planned| planned.view().max_delay_ms), window_ms_max);
    }

    #[inline]
    fn point(&mut self, point: &Point, sender: SenderIndex, out: &mut Windowed) {
        let series = &mut self.series[point.series.0 as usize];
        let delay_ms = self.log_time - point.t;
        let sample = Sample { t: point.t, v: point.v };
        if series.is_only_sender(sender) && delay_ms <= series.max_delay_ms_least && delay_ms >= -FUTURE_MS {
            series.seen(point.t, point.v);
            self.conflicts += u64::from(series.insert(sample, delay_ms, sender) == Inserted::Conflict);
            series.trim(self.log_time - (series.max_delay_ms_most + series.window_ms_max));
        } else {
            self.unusual_point(point.series, sample, delay_ms, sender, out);
        }
    }

    /// A sample that is late for some view, too far ahead, the first of its series or from another sender.
    fn unusual_point(&mut self, index: SeriesIndex, sample: Sample, delay_ms: i64, sender: SenderIndex, out: &mut Windowed) {
        let series = &mut self.series[index.0 as usize];
        let ahead = delay_ms < -FUTURE_MS;
        if !ahead {
            series.seen(sample.t, sample.v);
        }
        let (before, after) = series.neighbours_of_others(sample.t, sender);
        for (slot, _) in &series.targets {
            let Some(view) = self.views[slot.0 as usize].as_mut() else { continue };
            let (max_delay_ms, window_ms) = (view.planned.view().max_delay_ms, view.planned.view().shape.window_ms);
            if view.senders.insert(sender) {
                let (tenant, name) = self.senders.get(sender.0 as usize).cloned().unwrap_or_default();
                out.feeds.push(Feeds { slot: *slot, tenant, sender: name });
            }
            if ahead || delay_ms > max_delay_ms {
                view.not_counted += 1;
                let reason = SpanReason::Late;
                stretch(&mut view.late, *slot, reason, sample.t, sample.t + window_ms, &mut out.uncovers);
                continue;
            }
            // Windows that hold a sample of each: from the newer one until the older one has left.
            let older = before.map(|t| (sample.t, t + window_ms));
            let newer = after.map(|t| (t, sample.t + window_ms));
            for (from, to) in older.into_iter().chain(newer).filter(|(from, to)| from < to) {
                stretch(&mut view.two_senders, *slot, SpanReason::TwoSenders, from, to, &mut out.uncovers);
            }
        }
        if !ahead && delay_ms <= series.max_delay_ms_most {
            self.conflicts += u64::from(series.insert(sample, delay_ms, sender) == Inserted::Conflict);
            series.trim(self.log_time - (series.max_delay_ms_most + series.window_ms_max));
        }
    }

    fn evict(&mut self, evicted: &[SeriesIndex]) {
        for index in evicted {
            self.series[index.0 as usize] = Series::new(SeriesId::default());
        }
        if evicted.is_empty() {
            return;
        }
        let series = &self.series;
        for view in self.views.iter_mut().flatten() {
            let before = view.members.len();
            view.members.retain(|member| series[member.series.0 as usize].id == member.id);
            view.ranked &= view.members.len() == before;
        }
    }

    fn flush_stretches(&mut self, out: &mut Vec<Stretch>) {
        for view in self.views.iter_mut().flatten() {
            let slot = view.planned.slot;
            let late = view.late.take().map(|(from, to)| Stretch { slot, reason: SpanReason::Late, from, to });
            let two = view.two_senders.take().map(|(from, to)| Stretch { slot, reason: SpanReason::TwoSenders, from, to });
            out.extend(late.into_iter().chain(two));
        }
    }
}

/// Grows the stretch being collected, or gives it out and begins another: a backlog makes one span, not thousands.
fn stretch(
    open: &mut Option<(Timestamp, Timestamp)>,
    slot: ViewSlot,
    reason: SpanReason,
    from: Timestamp,
    to: Timestamp,
    out: &mut Vec<Stretch>,
) {
    match open {
        Some((had_from, had_to)) if from <= *had_to && to >= *had_from => {
            *had_from = from.min(*had_from);
            *had_to = to.max(*had_to);
        }
        _ => {
            let had = open.replace((from, to));
            out.extend(had.map(|(from, to)| Stretch { slot, reason, from, to }));
        }
    }
}

impl ViewWindow {
    fn new(planned: Arc<PlannedView>, first: Timestamp, last: Timestamp) -> ViewWindow {
        ViewWindow {
            planned,
            next: first,
            last,
            members: Vec::new(),
            ranked: true,
            senders: HashSet::new(),
            late: None,
            two_senders: None,
            not_counted: 0,
        }
    }

    fn rank(&mut self) {
        if self.ranked {
            return;
        }
        let mut by_id: Vec<u32> = (0..self.members.len() as u32).collect();
        by_id.sort_unstable_by_key(|place| self.members[*place as usize].id);
        for (rank, place) in by_id.into_iter().enumerate() {
            self.members[place as usize].rank = rank as u32;
        }
        self.ranked = true;
    }

    /// The next grid point: its values, and what is known of its series.
    fn evaluate(&mut self, series: &mut [Series], scratch: &mut Vec<Sample>) -> Evaluated {
        self.rank();
        let (t, view) = (self.next, self.planned.view());
        let (reach_ms, max_delay_ms) = (view.reach_ms(), view.max_delay_ms);
        let window = Window::new(t, view.shape.window_ms);
        let mut status = Status { slot: self.planned.slot, t, ..Status::default() };
        // Read in the order of memory, given out in the order of ids: the sums' bits must not depend on numbering.
        let mut values = vec![NO_VALUE; self.members.len()];
        for member in &mut self.members {
            let one = &mut series[member.series.0 as usize];
            judge(one, member, t, reach_ms, max_delay_ms, &mut status);
            let value = match view.shape.function {
                Some(function) => match one.window(window, max_delay_ms, scratch) {
                    [] => None,
                    samples => {
                        status.window_samples += samples.len() as u64;
                        (function.eval)(samples, window)
                    }
                },
                None => one.newest_in(window, max_delay_ms).inspect(|_| status.window_samples += 1),
            };
            if let Some(value) = value {
                values[member.rank as usize] = (member.group, value);
            }
            status.state_bytes += one.bytes() as u64;
        }
        values.retain(|(group, _)| *group != NO_VALUE.0);
        status.not_counted = std::mem::take(&mut self.not_counted);
        self.next = self.next + view.step_ms;
        Evaluated { status, values }
    }
}

/// Is the series alive, and has its next sample stayed away too long?
fn judge(series: &Series, member: &mut Member, t: Timestamp, reach_ms: i64, max_delay_ms: i64, status: &mut Status) {
    let live = series.is_live(t, reach_ms);
    let silent_ms = (t + max_delay_ms) - series.newest();
    let overdue = live && silent_ms > series.spacing_ms() + max_delay_ms / 2;
    status.live += u64::from(live);
    status.gone += u64::from(member.overdue && !live);
    status.back += u64::from(member.overdue && !overdue && series.newest() > t - reach_ms);
    if overdue {
        status.overdue += 1;
        status.overdue_since = status.overdue_since.min(series.newest());
        status.overdue_newest = status.overdue_newest.max(series.newest());
        if !member.overdue {
            status.overdue_new_since = status.overdue_new_since.min(series.newest());
        }
    }
    member.overdue = overdue;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{OperatorsPlan, compile};
    use crate::dataflow::message::ViewStart;
    use crate::plan::Catalog;
    use crate::plan::spec::{ReadOptions, read_job};

    const JOB: &str = r#"{ "name": "one", "description": "", "owner": "x",
        "rules": [{ "expr": "sum(rate(a_total[1m]))", "step": "1m", "max_delay": "10s", "record": "a:rate1m" }] }"#;

    fn view_set() -> Arc<ViewSet> {
        let job = read_job("one.json".as_ref(), JOB, &ReadOptions::default()).unwrap();
        let plan = Arc::new(compile(&Catalog::new(&[job]), &OperatorsPlan::default()));
        let (first, last) = (Timestamp(0), Timestamp::MAX);
        let starts =
            plan.live().map(|planned| ViewStart { slot: planned.slot, first, whole_from: first, last, overdue_since: None });
        Arc::new(ViewSet { starts: starts.collect(), plan: Arc::clone(&plan), ends: Vec::new() })
    }

    #[test]
    fn every_stretch_of_a_record_is_said() {
        let late = |from: i64| (SpanReason::Late, from, from + 60_000);
        let mut windows = Windows::default();
        let set = view_set();
        let slot = set.starts[0].slot;
        let series = SeriesIndex(0);
        let points = [1_000_000, 500_000, 550_000, 100_000].map(|t| Point { series, t: Timestamp(t), v: 1.0 });
        let said = windows.record(Partitioned {
            log_time: Timestamp(1_000_000),
            views: Some(set),
            assigned: vec![Assigned { series, id: SeriesId(1), targets: vec![(slot, GroupIndex(0))] }],
            points: points.to_vec(),
            uncovers: vec![Stretch { slot, reason: SpanReason::Gap, from: Timestamp(0), to: Timestamp(1) }],
            ..Partitioned::default()
        });
        let said: Vec<_> = said.uncovers.iter().map(|one| (one.reason, one.from.0, one.to.0)).collect();
        let expected = [(SpanReason::Gap, 0, 1), (SpanReason::Late, 500_000, 610_000), late(100_000)];
        assert_eq!(said, expected);
    }
}
