//! The store compared with a naive model: maps of points, sets of milliseconds, no files.
//!
//! It sees wrong values, coverage, groups and positions after any order of commits, repetitions, flushes, retention,
//! reopenings and crashes between them. Crashes within a step are crash.rs's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::crash_disk::{Chance, CrashDisk};
use super::script::{FIELDS, NO_LIMITS, RETENTION_MS, STEPS_MS, bits, describe, group, small_options, view_id};
use super::{Durability, GroupSeries, Store};
use crate::model::{
    Commit, GroupLabels, Labels, MatchOp, Matcher, Offset, PartitionId, Position, ResultPoint, SenderSeen, SpanReason,
    Timestamp, Uncover, ViewId,
};

#[derive(Clone, Debug, Default)]
struct ModelView {
    covered_from: Option<Timestamp>,
    final_to: Option<Timestamp>,
    kept_from: Option<Timestamp>,
    points: BTreeMap<(GroupLabels, Timestamp), [f64; 2]>,
    open: BTreeSet<(SpanReason, Timestamp)>,
    /// Every uncovered millisecond.
    closed: BTreeMap<SpanReason, BTreeSet<i64>>,
}

#[derive(Clone, Debug, Default)]
struct Model {
    views: BTreeMap<ViewId, ModelView>,
    log: Option<u128>,
    positions: BTreeMap<u16, Position>,
    /// By sender and partition.
    senders: BTreeMap<(String, u16), SenderSeen>,
}

impl Model {
    fn apply(&mut self, commit: &Commit) {
        let before: BTreeMap<_, _> = self.views.iter().map(|(id, view)| (*id, view.final_to)).collect();
        if self.log != Some(commit.log_incarnation) {
            self.positions.clear();
            self.senders.clear();
        }
        self.log = Some(commit.log_incarnation);
        for position in &commit.positions {
            let known = self.positions.entry(position.partition.0).or_insert(*position);
            if known.next < position.next {
                *known = *position;
            }
        }
        for seen in &commit.senders {
            self.senders.entry((seen.sender.to_string(), seen.partition.0)).or_insert(seen.clone());
        }
        for (id, t) in &commit.covered_from {
            self.views.entry(*id).or_default().covered_from.get_or_insert(*t);
        }
        for (id, t) in &commit.final_to {
            let view = self.views.entry(*id).or_default();
            view.final_to = view.final_to.max(Some(*t));
        }
        for result in commit.results.iter().filter(|result| before.get(&result.view).copied().flatten() < Some(result.t)) {
            let points = &mut self.views.entry(result.view).or_default().points;
            points.entry((result.group.clone(), result.t)).or_insert(result.fields);
        }
        for span in &commit.spans {
            let view = self.views.entry(span.view).or_default();
            if span.to == Timestamp::MAX {
                view.open.insert((span.reason, span.from));
            } else {
                view.open.remove(&(span.reason, span.from));
                view.closed.entry(span.reason).or_default().extend(span.from.0..span.to.0);
            }
        }
    }

    fn enforce(&mut self, now: Timestamp) {
        for view in self.views.values_mut() {
            let kept_from = view.kept_from.max(Some(now - RETENTION_MS));
            view.kept_from = kept_from;
            view.points.retain(|(_, t), _| Some(*t) >= kept_from);
            let gone: Vec<_> = view.intervals().into_iter().filter(|(_, _, to)| Some(*to) <= kept_from).collect();
            for (at, (reason, from, to)) in gone.iter().enumerate() {
                let is_newest = gone.get(at + 1).is_none_or(|(next, ..)| next != reason);
                if !is_newest {
                    view.closed.entry(*reason).or_default().retain(|ms| !(from.0..to.0).contains(ms));
                }
            }
        }
    }

    fn check(&self, store: &Store, matchers: &[Matcher], from: Timestamp, to: Timestamp) {
        assert_eq!(store.positions(), self.log.map(|log| (log, self.positions.values().copied().collect())));
        assert_eq!(store.senders(), self.senders.values().cloned().collect::<Vec<_>>());
        for n in 0..STEPS_MS.len() {
            let id = view_id(n);
            let model = self.views.get(&id).cloned().unwrap_or_default();
            let state = store.view(id).unwrap();
            let first_kept =
                model.kept_from.map(|t| Timestamp((t.0 + STEPS_MS[n] - 1).div_euclid(STEPS_MS[n]) * STEPS_MS[n]));
            assert_eq!(state.covered_from, model.covered_from.map(|t| t.max(first_kept.unwrap_or(t))), "covered_from");
            assert_eq!(state.final_to, model.final_to, "final_to");
            assert_eq!(state.spans, model.spans(id), "spans");
            let series = store.read(id, matchers, from, to, NO_LIMITS).unwrap();
            assert_eq!(bits(series), bits(model.series(usize::from(FIELDS[n]), matchers, from, to)), "series of {n}");
            let groups: BTreeSet<_> = model.points.keys().map(|(group, _)| group.clone()).collect();
            assert_eq!(store.groups(id, &[]).unwrap(), groups.into_iter().collect::<Vec<_>>());
        }
    }
}

impl ModelView {
    fn intervals(&self) -> Vec<(SpanReason, Timestamp, Timestamp)> {
        let mut intervals: Vec<(SpanReason, Timestamp, Timestamp)> = Vec::new();
        for (reason, ms) in self.closed.iter().flat_map(|(reason, all)| all.iter().map(move |ms| (*reason, *ms))) {
            match intervals.last_mut() {
                Some((same, _, to)) if *same == reason && to.0 == ms => to.0 += 1,
                _ => intervals.push((reason, Timestamp(ms), Timestamp(ms + 1))),
            }
        }
        intervals
    }

    fn spans(&self, view: ViewId) -> Vec<Uncover> {
        let mut spans = self.intervals();
        spans.retain(|(reason, from, _)| !self.open.iter().any(|(other, open)| other == reason && open <= from));
        spans.extend(self.open.iter().map(|(reason, from)| (*reason, *from, Timestamp::MAX)));
        spans.sort();
        spans.into_iter().map(|(reason, from, to)| Uncover { view, reason, from, to }).collect()
    }

    fn series(&self, fields: usize, matchers: &[Matcher], from: Timestamp, to: Timestamp) -> Vec<GroupSeries> {
        let mut series: Vec<GroupSeries> = Vec::new();
        let wanted = |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(&m.name)));
        for ((labels, t), values) in self.points.iter().filter(|((l, t), _)| wanted(l) && from <= *t && *t <= to) {
            if series.last().is_none_or(|last| last.labels != *labels) {
                series.push(GroupSeries { labels: labels.clone(), times: vec![], fields: [vec![], vec![]] });
            }
            let last = series.last_mut().unwrap();
            last.times.push(*t);
            (0..fields).for_each(|field| last.fields[field].push(values[field]));
        }
        series
    }
}

#[derive(Clone, Debug)]
enum Action {
    /// Per view: how many grid points further, which of them and which groups have values (by seed).
    Commit {
        steps: [i64; 3],
        seed: u64,
        log: bool,
    },
    Again(usize),
    Flush,
    Reopen,
    Crash(u64),
    Retention(i64),
}

fn action() -> impl Strategy<Value = Action> {
    let steps = prop_oneof![6 => 0i64..6, 1 => 200i64..700];
    prop_oneof![
        8 => (steps.clone(), steps, 0i64..3, any::<u64>(), prop::bool::weighted(0.05))
            .prop_map(|(a, b, c, seed, log)| Action::Commit { steps: [a, b, c], seed: seed | 1, log }),
        2 => (0usize..20).prop_map(Action::Again),
        1 => Just(Action::Flush),
        1 => Just(Action::Reopen),
        1 => (1u64..1 << 40).prop_map(Action::Crash),
        1 => (0i64..RETENTION_MS).prop_map(Action::Retention),
    ]
}

const ODD: [f64; 5] = [f64::NAN, crate::model::STALE_NAN, f64::NEG_INFINITY, -0.0, 1e300];

fn random_commit(model: &Model, steps: [i64; 3], seed: u64, log: u128) -> Commit {
    let mut chance = Chance(seed);
    let next = Offset(chance.below(1000) as u64);
    let positions =
        vec![Position { partition: PartitionId(chance.below(3) as u16), next, log_time: Timestamp(next.0 as i64) }];
    let mut commit = Commit { log_incarnation: log, positions, ..Commit::default() };
    for n in 0..STEPS_MS.len() {
        let (view, step_ms) = (view_id(n), STEPS_MS[n]);
        let last = model.views.get(&view).and_then(|view| view.final_to).map_or(0, |t| t.0 / step_ms);
        let end = last + steps[n].max(i64::from(last == 0));
        // Some results are old ones again, with values that must be ignored.
        for (index, g) in (last - 2..=end).flat_map(|index| (0..6).map(move |g| (index, g))) {
            if index <= 0 || chance.below(4) == 0 {
                continue;
            }
            let value = if chance.below(9) == 0 { ODD[chance.below(ODD.len())] } else { chance.below(50) as f64 / 8.0 };
            let fields = [value, if FIELDS[n] == 2 { index as f64 } else { 0.0 }];
            commit.results.push(ResultPoint { view, group: group(g), t: Timestamp(index * step_ms), fields });
        }
        commit.final_to.push((view, Timestamp(end * step_ms)));
        commit.covered_from.push((view, Timestamp((last + 1) * step_ms)));
        let reason = SpanReason::ALL[chance.below(3)];
        let from = Timestamp((last * step_ms + chance.below(40) as i64) / 10 * 10);
        let to = if chance.below(3) == 0 { Timestamp::MAX } else { from + chance.below(50) as i64 };
        commit.spans.push(Uncover { view, reason, from, to });
    }
    let sender = format!("s{}", chance.below(5));
    let (partition, first) = (PartitionId(chance.below(2) as u16), Timestamp(chance.below(9) as i64));
    commit.senders.push(SenderSeen { tenant: "t".into(), sender: sender.into(), partition, first, log_time: first + 1 });
    commit
}

fn run(actions: Vec<Action>) {
    let mut disk = CrashDisk::default();
    let open = |disk: &CrashDisk| Store::on_disk(Arc::new(disk.clone()), small_options()).unwrap();
    let mut store = open(&disk);
    (0..STEPS_MS.len()).for_each(|n| describe(&store, n).unwrap());
    let (mut model, mut commits, mut log) = (Model::default(), Vec::new(), 1);
    for action in actions {
        match action {
            Action::Commit { steps, seed, log: another } => {
                log += u128::from(another);
                let commit = random_commit(&model, steps, seed, log);
                store.apply(&commit, Durability::Now).unwrap();
                model.apply(&commit);
                commits.push(commit);
            }
            Action::Again(back) => {
                let Some(commit) = commits.iter().rev().nth(back).filter(|commit| commit.log_incarnation == log) else {
                    continue;
                };
                store.apply(commit, Durability::Now).unwrap();
                model.apply(commit);
            }
            Action::Flush => store.flush().unwrap(),
            Action::Reopen => {
                drop(store);
                store = open(&disk);
            }
            Action::Crash(seed) => {
                drop(store);
                disk = disk.after_crash(&mut Chance(seed));
                store = open(&disk);
            }
            Action::Retention(after) => {
                // No view may go whole: what is remembered of it then is not in the model.
                let Some(least) = model.views.values().filter_map(|view| view.final_to).min() else { continue };
                store.enforce_retention(least + after).unwrap();
                let newest = model.views.values().filter_map(|view| view.kept_from).max();
                if newest.is_none_or(|kept_from| least + after > kept_from + RETENTION_MS) {
                    model.enforce(least + after);
                }
                store.sync().unwrap();
            }
        }
        let wanted = Matcher::new("code", MatchOp::NotEqual, "").unwrap();
        model.check(&store, &[], Timestamp::MIN, Timestamp::MAX);
        let middle = model.views.values().filter_map(|view| view.final_to).min().unwrap_or(Timestamp(0));
        model.check(&store, std::slice::from_ref(&wanted), middle - 1005, middle - 15);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_store_is_what_a_naive_model_is(actions in prop::collection::vec(action(), 1..40)) {
        run(actions);
    }
}
