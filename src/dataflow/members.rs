//! The series of one view in one partition, and what they give at its grid points.
//!
//! Members are read in the order of their series in memory; values are given out group by group, and in a group in the order
//! of series ids: the bits of sums must not depend on how series are numbered.

use std::collections::HashSet;
use std::sync::Arc;

use super::message::{Evaluated, GroupIndex, GroupRun, NO_VALUE, SenderIndex, SeriesIndex, Stretch};
use super::series::Series;
use super::status::Status;
use crate::compile::{PlannedView, ViewSlot};
use crate::function::Moment;
use crate::model::window::Window;
use crate::model::{Sample, SeriesId, SpanReason, Timestamp};

/// A view's share of a partition.
pub struct ViewWindow {
    pub planned: Arc<PlannedView>,
    /// The next grid point to evaluate.
    pub next: Timestamp,
    pub last: Timestamp,
    /// In the order of their assignment, which mostly is that of the series in memory.
    members: Vec<Member>,
    /// Which values are whose; `None` when members came or went since they were put in order.
    groups: Option<Arc<[GroupRun]>>,
    /// Senders whose samples reach the view.
    pub senders: HashSet<SenderIndex>,
    pub late: OpenStretch,
    pub two_senders: OpenStretch,
    /// Samples that did not count since the grid point before.
    pub not_counted: u64,
    /// Samples that came after one of the same series and time with another value, since the grid point before.
    pub conflicting: u64,
}

#[derive(Clone, Copy)]
struct Member {
    series: SeriesIndex,
    group: GroupIndex,
    /// The place of its value among all.
    place: u32,
    /// At the grid point before.
    overdue: bool,
}

impl ViewWindow {
    pub fn new(planned: Arc<PlannedView>, first: Timestamp, last: Timestamp) -> ViewWindow {
        ViewWindow {
            next: first,
            last,
            members: Vec::new(),
            groups: None,
            senders: HashSet::new(),
            late: OpenStretch::new(planned.slot, SpanReason::Late),
            two_senders: OpenStretch::new(planned.slot, SpanReason::TwoSenders),
            not_counted: 0,
            conflicting: 0,
            planned,
        }
    }

    pub fn join(&mut self, series: SeriesIndex, group: GroupIndex) {
        self.members.push(Member { series, group, place: 0, overdue: false });
        self.groups = None;
    }

    /// Keeps the members of which this is true.
    pub fn retain(&mut self, stays: impl Fn(SeriesIndex) -> bool) {
        let before = self.members.len();
        self.members.retain(|member| stays(member.series));
        if self.members.len() < before {
            self.groups = None;
        }
    }

    /// Gives every member's value its place.
    fn order(&mut self, ids: &[SeriesId]) -> Arc<[GroupRun]> {
        if let Some(groups) = &self.groups {
            return Arc::clone(groups);
        }
        let key = |(member, at): (&Member, u32)| (member.group, ids[member.series.0 as usize], at);
        let mut ordered: Vec<(GroupIndex, SeriesId, u32)> = self.members.iter().zip(0..).map(key).collect();
        ordered.sort_unstable();
        let mut runs: Vec<GroupRun> = Vec::new();
        for ((group, _, at), place) in ordered.into_iter().zip(0..) {
            self.members[at as usize].place = place;
            match runs.last_mut() {
                Some(run) if run.group == group => run.end = place + 1,
                _ => runs.push(GroupRun { group, end: place + 1 }),
            }
        }
        Arc::clone(self.groups.insert(runs.into()))
    }

    /// The next grid point: its values, and what is known of its series. `ids` are those of all series of the partition.
    pub fn evaluate(&mut self, series: &[Series], ids: &[SeriesId], scratch: &mut Vec<Sample>) -> Evaluated {
        let groups = self.order(ids);
        let (t, view) = (self.next, self.planned.view());
        let (reach_ms, max_delay_ms) = (view.reach_ms(), view.max_delay_ms);
        let window = Window::new(t, view.shape.window_ms);
        let mut status = Status { slot: self.planned.slot, t, ..Status::default() };
        let mut values = vec![NO_VALUE; self.members.len()];
        for member in &mut self.members {
            let one = &series[member.series.0 as usize];
            judge(one, member, t, reach_ms, max_delay_ms, &mut status);
            let value = match view.shape.function {
                Some(function) => match one.window(window, max_delay_ms, scratch) {
                    [] => None,
                    samples => {
                        status.window_samples += samples.len() as u64;
                        (function.eval)(samples, &Moment::end_of(window))
                    }
                },
                None => one.newest_in(window, max_delay_ms).inspect(|_| status.window_samples += 1),
            };
            if let Some(value) = value {
                values[member.place as usize] = value;
                status.valued += 1;
            }
            status.state_bytes += one.bytes() as u64;
        }
        status.not_counted = std::mem::take(&mut self.not_counted);
        status.conflicting = std::mem::take(&mut self.conflicting);
        self.next = self.next + view.step_ms;
        Evaluated { status, values, groups }
    }
}

/// Is the series alive, and has its next sample stayed away too long?
#[inline]
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

/// A stretch being collected: a backlog makes one span, not thousands.
pub struct OpenStretch {
    slot: ViewSlot,
    reason: SpanReason,
    open: Option<(Timestamp, Timestamp)>,
}

impl OpenStretch {
    fn new(slot: ViewSlot, reason: SpanReason) -> OpenStretch {
        OpenStretch { slot, reason, open: None }
    }

    /// Grows the stretch, or gives it out and begins another.
    pub fn add(&mut self, from: Timestamp, to: Timestamp, out: &mut Vec<Stretch>) {
        match &mut self.open {
            Some((had_from, had_to)) if from <= *had_to && to >= *had_from => {
                *had_from = from.min(*had_from);
                *had_to = to.max(*had_to);
            }
            _ => {
                self.flush(out);
                self.open = Some((from, to));
            }
        }
    }

    pub fn flush(&mut self, out: &mut Vec<Stretch>) {
        let OpenStretch { slot, reason, .. } = *self;
        out.extend(self.open.take().map(|(from, to)| Stretch { slot, reason, from, to }));
    }
}
