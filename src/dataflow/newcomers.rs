//! What new senders uncover: the windows that reach back before they first wrote (semantics.md S3, `sender-new`).
//!
//! What a sender saw before it first wrote, upstream may have and the log has not. Of what its first record holds, samples
//! that are too old to count say nothing of when it began: it is uncovered from the first that may count, until one window
//! after that record was logged. Partitions are read side by side, and the least of their first records counts; so a grid
//! point T is judged by those that were logged by T + max_delay, when T is final: no later one can hold a sample that counts
//! at T. That makes coverage a function of the log, whatever was read first. Keeps: per sender one first record a partition,
//! per view the senders that feed it.

use std::collections::{HashMap, HashSet};

use smol_str::SmolStr;

use crate::model::{LogTime, SenderSeen, Tenant, Timestamp};
use crate::plan::View;

/// A sender of a tenant.
pub type Sender = (Tenant, SmolStr);

/// `[from, to)` of a view.
pub type Interval = (Timestamp, Timestamp);

/// The first records of one sender, at most one a partition, by log time: its log time and least sample time.
#[derive(Clone, Debug, Default)]
pub struct FirstTimes(Vec<(LogTime, Timestamp)>);

impl FirstTimes {
    fn add(&mut self, log_time: LogTime, first: Timestamp) {
        let place = self.0.partition_point(|(other, _)| *other <= log_time);
        self.0.insert(place, (log_time, first));
    }

    /// The stretches before `end` whose windows reach back before the sender began, as it was known at each instant.
    fn uncovered(&self, view: &View, end: Timestamp) -> Vec<Interval> {
        let max_delay_ms = view.max_delay_ms;
        let mut stretches = Vec::new();
        for (at, (log_time, _)) in self.0.iter().enumerate() {
            let known_from = *log_time - max_delay_ms;
            let known_to = self.0.get(at + 1).map_or(Timestamp::MAX, |(next, _)| *next - max_delay_ms);
            let Some((from, to)) = begun(view, &self.0[..=at]) else { continue };
            let (from, to) = (from.max(known_from), to.min(known_to).min(end));
            if from < to {
                stretches.push((from, to));
            }
        }
        stretches
    }

    /// What is uncovered as far as is known at a log time.
    fn known_at(&self, view: &View, log_time: LogTime) -> Option<Interval> {
        let known = self.0.partition_point(|(other, _)| *other <= log_time);
        begun(view, &self.0[..known])
    }
}

/// What a sender with these first records uncovers of a view.
fn begun(view: &View, first_records: &[(LogTime, Timestamp)]) -> Option<Interval> {
    let from = first_records.iter().map(|(log_time, first)| (*first).max(*log_time - view.max_delay_ms)).min()?;
    let whole_from = first_records.iter().map(|(log_time, first)| (*first).max(*log_time)).min()?;
    Some((from, whole_from + view.shape.window_ms))
}

/// The first times of all senders known, by sender.
#[derive(Debug, Default)]
pub struct Senders(HashMap<Sender, FirstTimes>);

impl Senders {
    /// `known` are the senders of the commit that is resumed.
    pub fn new(known: &[SenderSeen]) -> Senders {
        let mut senders = Senders::default();
        known.iter().for_each(|seen| drop(senders.add(seen)));
        senders
    }

    /// Takes a first record; gives whose it is.
    pub fn add(&mut self, seen: &SenderSeen) -> Sender {
        let sender = (seen.tenant.clone(), seen.sender.clone());
        self.0.entry(sender.clone()).or_default().add(seen.log_time, seen.first);
        sender
    }
}

/// The senders that feed one view.
#[derive(Debug, Default)]
pub struct Newcomers {
    fed: HashSet<Sender>,
    /// Those whose first window may not be over; as many as are new at a time.
    fresh: HashSet<Sender>,
}

impl Newcomers {
    /// A sender feeds the view: gives what that uncovers of the grid points before `next`, which are emitted already.
    pub fn feed(&mut self, sender: Sender, senders: &Senders, view: &View, next: Timestamp) -> Vec<Interval> {
        let Some(first_times) = senders.0.get(&sender).filter(|_| !self.fed.contains(&sender)) else { return Vec::new() };
        self.fresh.insert(sender.clone());
        self.fed.insert(sender);
        first_times.uncovered(view, next)
    }

    /// A sender wrote into another partition for the first time. Grid points emitted already do not depend on it.
    pub fn seen(&mut self, sender: &Sender) {
        if self.fed.contains(sender) {
            self.fresh.insert(sender.clone());
        }
    }

    /// Whether new senders uncover a grid point, which is final now. Grid points are judged in order.
    pub fn uncover(&mut self, t: Timestamp, senders: &Senders, view: &View) -> bool {
        let mut uncovered = false;
        self.fresh.retain(|sender| {
            let known = senders.0.get(sender).and_then(|times| times.known_at(view, t + view.max_delay_ms));
            uncovered |= known.is_some_and(|(from, to)| from <= t && t < to);
            known.is_none_or(|(_, to)| t < to)
        });
        uncovered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PartitionId;
    use crate::plan::spec::{ReadOptions, read_job};

    fn view(window: &str) -> View {
        let rule = format!(r#"{{ "expr": "sum(rate(x_total[{window}]))", "step": "10s", "max_delay": "30s" }}"#);
        let text = format!(r#"{{ "name": "one", "rules": [{rule}] }}"#);
        let job = read_job("one.json".as_ref(), &text, &ReadOptions::default()).unwrap();
        job.rules[0].view.clone()
    }

    fn seen(partition: u16, log_time_s: i64, first_s: i64) -> SenderSeen {
        SenderSeen {
            tenant: Tenant::default(),
            sender: "s".into(),
            partition: PartitionId(partition),
            first: Timestamp(first_s * 1000),
            log_time: Timestamp(log_time_s * 1000),
        }
    }

    /// Which of the grid points 0, 10 .. 190 seconds are uncovered, when all is known from the start and when it comes bit by bit.
    #[track_caller]
    fn check(window: &str, first_records: &[SenderSeen], expected_s: &[i64]) {
        let (view, key) = (view(window), (Tenant::default(), SmolStr::from("s")));
        let grid = (0..20).map(|step| Timestamp(step * 10_000));
        let all = Senders::new(first_records);
        let at_once = Newcomers::default().feed(key.clone(), &all, &view, Timestamp(200_000));
        let inside = |t: &Timestamp| at_once.iter().any(|(from, to)| from <= t && t < to);
        let seconds = |points: Vec<Timestamp>| points.into_iter().map(|t| t.0 / 1000).collect::<Vec<_>>();
        assert_eq!(seconds(grid.clone().filter(inside).collect()), expected_s, "told afterwards");

        let (mut senders, mut newcomers, mut told) = (Senders::default(), Newcomers::default(), 0);
        let mut uncovered = Vec::new();
        for t in grid {
            while told < first_records.len() && first_records[told].log_time <= t + view.max_delay_ms {
                newcomers.seen(&senders.add(&first_records[told]));
                newcomers.feed(key.clone(), &senders, &view, t);
                told += 1;
            }
            if newcomers.uncover(t, &senders, &view) {
                uncovered.push(t);
            }
        }
        assert_eq!(seconds(uncovered), expected_s, "told as records come");
    }

    #[test]
    fn a_window_after_the_first_record_that_was_known_in_time() {
        check("30s", &[seen(0, 45, 40)], &[40, 50, 60, 70]);
        check("30s", &[seen(0, 45, 40), seen(1, 46, 30)], &[30, 40, 50, 60, 70]);
        check("30s", &[seen(0, 45, 40), seen(1, 46, 50)], &[40, 50, 60, 70]);
        // It was logged too late to count before 170.
        check("30s", &[seen(0, 45, 40), seen(1, 200, 30)], &[40, 50, 60, 70]);
        check("30s", &[seen(0, 45, 40), seen(1, 200, 170)], &[40, 50, 60, 70]);
        // Known in time for 30 and later.
        check("30s", &[seen(0, 70, 60), seen(1, 75, 35)], &[50, 60, 70, 80, 90]);
    }

    #[test]
    fn samples_too_old_or_ahead_of_their_record_do_not_say_when_it_began() {
        check("30s", &[seen(0, 45, -3600)], &[20, 30, 40, 50, 60, 70]);
        check("30s", &[seen(0, 45, 100)], &[100, 110, 120]);
        check("30s", &[seen(0, 45, 100), seen(1, 60, 50)], &[50, 60, 70, 80]);
    }
}
