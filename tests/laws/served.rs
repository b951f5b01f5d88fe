//! What is served, in front of an upstream that has every sample at once, equals what upstream says.
//!
//! Senders stall, lose what they have, die, join late; series end, are born, come back; in upstream some of those that are
//! silent go on and some end, too. After every second of the log the view is compared as the proxy compares it, once a
//! minute, and each grid point that would be served then is judged against all samples. It sees a view that is served wrongly
//! because of coverage or of what a comparison is taken for; it does not see wrong values of what did arrive.
//!
//! The view is a sum of counts, the strictest there is, or a maximum, to which most series add nothing; over windows of at
//! least two spacings: a comparison sees a series only where windows hold a sample of it.

use std::collections::{BTreeMap, BTreeSet};

use prefold::compile::{OperatorsPlan, compile};
use prefold::dataflow::coverage::ViewCoverage;
use prefold::dataflow::{Dataflow, DataflowOptions, EpochBatch, FoldInput, ViewSet, ViewStart};
use prefold::model::{Commit, Labels, Matcher, PartitionBy, Partitioner, Sample, Selector, Timestamp};
use prefold::proxy::coverage::{Compared, Coverage, PointState, Vouching, comparison_due, confirm};
use prefold::store::{Durability, Store, StoreOptions, ViewDescription};
use std::sync::Arc;

use super::random::Random;
use super::streaming::{catalog, raw};
use crate::oracle::{Record, Rule};

const MAX_DELAY_MS: i64 = 30_000;

const BEGIN_MS: i64 = 1_700_000_000_000;

const END_MS: i64 = BEGIN_MS + 2_400_000;

const PARTITIONS: u16 = 2;

/// A sample: when it is, whose, and when it reaches the log if it does.
struct Sampled {
    t: i64,
    v: f64,
    series: usize,
    delivered: Option<i64>,
}

/// What happens to one series' samples on their way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// They wait for an end.
    Stall(i64, i64),
    /// They are lost for a while; for good when it ends late enough.
    Loss(i64, i64),
}

struct Trial {
    series: Vec<(Labels, String)>,
    /// Ordered by time.
    samples: Vec<Sampled>,
    window_ms: i64,
    step_ms: i64,
    is_maximum: bool,
}

impl Trial {
    fn new(random: &mut Random) -> Trial {
        let window_ms = *random.pick(&[30_000, 60_000, 120_000, 300_000]);
        let step_ms = *random.pick(&[5_000, 15_000, 30_000]);
        let mut trial = Trial { series: Vec::new(), samples: Vec::new(), window_ms, step_ms, is_maximum: random.chance(40) };
        for sender in 0..1 + random.below(4) {
            trial.sender(random, sender);
        }
        trial.samples.sort_by_key(|sample| sample.t);
        trial
    }

    /// One sender, whose series share a spacing and, in part, a fault.
    fn sender(&mut self, random: &mut Random, sender: i64) {
        let spacings: Vec<i64> = [5_000, 15_000, 30_000, 60_000].into_iter().filter(|g| g * 2 <= self.window_ms).collect();
        let spacing = *random.pick(&spacings);
        let from = BEGIN_MS + 500_000 + random.below(900_000);
        let fault = match random.below(6) {
            0 => Fault::None,
            1 | 2 => Fault::Stall(from, from + *random.pick(&[20_000, 40_000, 70_000, 130_000, 400_000, 700_000])),
            // Shorter losses than this are not missed by anybody.
            3 => Fault::Loss(from, from + MAX_DELAY_MS + 3 * spacing + self.step_ms + random.below(500_000)),
            _ => Fault::Loss(from, END_MS),
        };
        let joins = if random.chance(15) { BEGIN_MS + 300_000 + random.below(600_000) } else { 0 };
        let (whole, ends) = (random.chance(50), random.chance(40));
        for _ in 0..1 + random.below(5) {
            let fault = if whole || random.chance(40) { fault } else { Fault::None };
            // A series whose first sample comes too late is not missed until it comes: README.
            let begins = if joins == 0 && random.chance(20) { random.below(400_000) } else { 0 };
            // Without markers, and in upstream, too.
            let end = match fault {
                Fault::Loss(from, END_MS) if ends => from,
                _ if random.chance(15) => BEGIN_MS + 700_000 + random.below(1_000_000),
                _ => END_MS,
            };
            self.one_series(random, sender, spacing, fault, (BEGIN_MS + begins, end), joins);
        }
    }

    fn one_series(
        &mut self,
        random: &mut Random,
        sender: i64,
        spacing: i64,
        fault: Fault,
        (begins, ends): (i64, i64),
        joins: i64,
    ) {
        let number = self.series.len();
        let group = if random.chance(50) { "u" } else { "v" };
        let labels = Labels::from_pairs([("__name__", "x"), ("g", group), ("n", number.to_string().as_str())]);
        self.series.push((labels, format!("s{sender}")));
        let mut t = begins + random.below(spacing);
        while t < ends {
            let arrives = t + 200 + random.below(7_000);
            let delivered = match fault {
                Fault::Stall(from, to) if arrives >= from && arrives < to => Some(to + random.below(3_000)),
                Fault::Loss(from, to) if arrives >= from && arrives < to => None,
                _ => Some(arrives),
            };
            let v = random.below(100 + 100 * number as i64) as f64;
            self.samples.push(Sampled { t, v, series: number, delivered: delivered.filter(|_| t >= joins) });
            t += spacing + random.below(100) - 50;
        }
    }

    fn rule(&self) -> Rule {
        Rule {
            aggregation: if self.is_maximum { "max" } else { "sum" },
            by: Some(vec!["g"]),
            without: None,
            function: if self.is_maximum { "max_over_time" } else { "count_over_time" },
            selector: Selector::new(vec![Matcher::equal("__name__", "x")]),
            window_ms: self.window_ms,
            step_ms: self.step_ms,
            max_delay_ms: MAX_DELAY_MS,
            tolerance: 0.0,
        }
    }

    /// Each second's records, ticks first.
    fn records(&self) -> Vec<Vec<Record>> {
        let mut seconds: Vec<Vec<Record>> = (0..(END_MS - BEGIN_MS) / 1000)
            .map(|second| {
                let log_time = BEGIN_MS + second * 1000;
                let tick = |partition| Record { partition, log_time, sender: String::new(), series: Vec::new() };
                (0..PARTITIONS).map(tick).collect()
            })
            .collect();
        for sample in &self.samples {
            let Some(log_time) = sample.delivered else { continue };
            let Some(second) = seconds.get_mut(((log_time - BEGIN_MS) / 1000) as usize) else { continue };
            let (labels, sender) = &self.series[sample.series];
            let partition = labels.series_id("").partition(PARTITIONS);
            let series = vec![(labels.clone(), vec![Sample { t: Timestamp(sample.t), v: sample.v }])];
            second.push(Record { partition, log_time, sender: sender.clone(), series });
        }
        seconds.iter_mut().for_each(|records| records.sort_by_key(|record| record.log_time));
        seconds
    }

    /// What upstream says at an instant, and of how many series.
    fn truth(&self, t: i64) -> (BTreeMap<Labels, f64>, u64) {
        let (mut groups, mut series) = (BTreeMap::new(), BTreeSet::new());
        let place = |t: i64| self.samples.partition_point(|sample| sample.t <= t);
        for sample in &self.samples[place(t - self.window_ms)..place(t)] {
            let group = Labels::from_pairs([("g", self.series[sample.series].0.get("g"))]);
            let value = groups.entry(group).or_insert(0.0f64);
            *value = if self.is_maximum { value.max(sample.v) } else { *value + 1.0 };
            series.insert(sample.series);
        }
        (groups, series.len() as u64)
    }
}

/// Folds a trial's log, and judges it.
fn run(trial: &Trial) -> Judge {
    let catalog = catalog(&[trial.rule()]);
    let entry = catalog.entries().next().unwrap().clone();
    let (id, dir) = (entry.view.id, tempfile::tempdir().unwrap());
    let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    store
        .describe(id, ViewDescription { step_ms: trial.step_ms, fields: 1, retention_ms: i64::MAX, text: String::new() })
        .unwrap();
    let plan = Arc::new(compile(&catalog, &OperatorsPlan::default()));
    let (begin, grid) = (Timestamp(BEGIN_MS), entry.view.grid());
    let starts = plan.live().map(|planned| ViewStart {
        slot: planned.slot,
        first: grid.ceil(begin),
        whole_from: begin + trial.window_ms,
        last: Timestamp::MAX,
        coverage: ViewCoverage::default(),
    });
    let set = ViewSet { starts: starts.collect(), plan: Arc::clone(&plan), ends: Vec::new() };
    let partitioner = Partitioner::new(PartitionBy::default(), PARTITIONS);
    let options = DataflowOptions { threads: 1, partitioner, senders: Vec::new(), new_senders_uncover: true };
    let mut dataflow = Dataflow::start(options).unwrap();
    let mut inputs = vec![FoldInput::Views(Arc::new(set))];
    let (mut ours, mut judge) = (BTreeMap::<i64, (BTreeMap<Labels, f64>, u64)>::new(), Judge::default());
    for (second, records) in trial.records().iter().enumerate() {
        inputs.extend(records.iter().map(|record| FoldInput::Record(raw(record))));
        dataflow.feed(EpochBatch { inputs: std::mem::take(&mut inputs) }).unwrap();
        let output = dataflow.outputs().recv().unwrap();
        let emitted: Vec<i64> = output.emitted.iter().map(|emitted| emitted.t.0).collect();
        for emitted in &output.emitted {
            ours.insert(emitted.t.0, (BTreeMap::new(), emitted.valued_series));
        }
        for result in &output.results {
            ours.entry(result.t.0).or_default().0.insert((*result.group).clone(), result.fields[0]);
        }
        let commit = Commit {
            results: output.results,
            final_to: output.final_to,
            covered_from: output.covered_from,
            spans: output.spans,
            ..Commit::default()
        };
        store.apply(&commit, Durability::Later).unwrap();
        let Some(state) = store.view(id) else { continue };
        judge.second(trial, second, &state, &ours, &emitted);
    }
    judge
}

/// The query side: comparisons, and whether what is served is right.
#[derive(Default)]
struct Judge {
    confirmed: Compared,
    next_comparison: usize,
    /// Grid points, and whether each was served when it became final.
    emitted: BTreeMap<i64, bool>,
    wrong: Vec<String>,
}

impl Judge {
    fn second(
        &mut self,
        trial: &Trial,
        second: usize,
        state: &prefold::store::ViewState,
        ours: &BTreeMap<i64, (BTreeMap<Labels, f64>, u64)>,
        emitted: &[i64],
    ) {
        let newest = state.final_to.unwrap_or(Timestamp::MIN);
        if second >= self.next_comparison && comparison_due(state, &self.confirmed, newest) {
            let truth = trial.truth(newest.0);
            if truth.1 > 0 && ours.get(&newest.0) == Some(&truth) {
                confirm(state, &mut self.confirmed, newest);
            }
            self.next_comparison = second + 60;
        }
        // All of them once a minute: what is served later than at once must be right, too.
        let all = second.is_multiple_of(60);
        let coverage = Coverage::strict(state, Vouching::Compared(&self.confirmed));
        let judged: BTreeSet<i64> = if all { ours.keys().copied().collect() } else { emitted.iter().copied().collect() };
        for t in judged {
            let served = coverage.between(Timestamp(t), Timestamp(t)) == PointState::Served;
            if emitted.contains(&t) {
                self.emitted.insert(t, served);
            }
            let (ours, truth) = (&ours[&t].0, trial.truth(t).0);
            if served && *ours != truth {
                let spans: Vec<_> = state.spans.iter().map(|s| (s.reason.slug(), s.from.0, s.to.0)).collect();
                let said = format!("at {t}, in second {second}: {ours:?} but {truth:?}");
                self.wrong.push(format!("{said}; compared at {:?}; {spans:?}", self.confirmed.equal));
            }
        }
    }
}

#[test]
fn s3_what_is_served_equals_upstream() {
    let (mut served, mut unserved) = (0, 0);
    for seed in 1..=cases() {
        let trial = Trial::new(&mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
        let Judge { emitted, wrong, .. } = run(&trial);
        let more = emitted.values().filter(|served| **served).count();
        (served, unserved) = (served + more, unserved + emitted.len() - more);
        assert!(wrong.is_empty(), "trial {seed}: {} wrong, the first {}", wrong.len(), wrong[0]);
    }
    println!("{served} grid points served, {unserved} left to upstream");
    assert!(served > unserved / 2, "{served} served, {unserved} left to upstream");
}

/// Twice the lookback, so that its series are taken for gone while upstream still has them; then it is back, with what it
/// kept meanwhile or without it, alone or beside one that was there all the time. The newest grid points are served before,
/// none is served wrongly meanwhile, and all are served again a few minutes later.
#[test]
fn s3_a_sender_cut_off_for_longer_than_the_lookback_comes_back() {
    let (from, to) = (BEGIN_MS + 900_000, BEGIN_MS + 1_500_000);
    for (seed, (window_ms, is_maximum)) in [(60_000, false), (60_000, true), (300_000, false)].into_iter().enumerate() {
        for (fault, is_alone) in
            [Fault::Stall(from, to), Fault::Loss(from, to)].into_iter().flat_map(|f| [(f, true), (f, false)])
        {
            let mut trial = Trial { series: Vec::new(), samples: Vec::new(), window_ms, step_ms: 15_000, is_maximum };
            let mut random = Random(seed as u64 * 2 + 1);
            for (sender, fault) in [(0, fault), (1, Fault::None)].into_iter().take(if is_alone { 1 } else { 2 }) {
                (0..3).for_each(|_| trial.one_series(&mut random, sender, 15_000, fault, (BEGIN_MS, END_MS), 0));
            }
            trial.samples.sort_by_key(|sample| sample.t);
            let Judge { emitted, wrong, .. } = run(&trial);
            let case = format!("{fault:?}, alone {is_alone}, maximum {is_maximum}, window {window_ms}");
            assert!(wrong.is_empty(), "{case}: {} wrong, the first {}", wrong.len(), wrong[0]);
            let served = |from: i64, to: i64| -> Vec<bool> { emitted.range(from..to).map(|(_, served)| *served).collect() };
            let all = |served: &[bool]| served.len() > 5 && served.iter().all(|served| *served);
            assert!(all(&served(from - 120_000, from - 30_000)), "{case}: not served before");
            let meanwhile = served(from + 60_000, to);
            assert!(meanwhile.len() > 30 && !meanwhile.contains(&true), "{case}: served while it was cut off");
            assert!(all(&served(to + window_ms + 180_000, END_MS)), "{case}: not served again: {:?}", served(to, END_MS));
        }
    }
}

/// PREFOLD_LAW_CASES for longer runs.
fn cases() -> u64 {
    std::env::var("PREFOLD_LAW_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(60)
}
