//! A cluster gives what one process gives: workers that come, go, die and wake up change no result and no span.
//!
//! Random logs run through several folds and combines that share partitions, over topics in memory. Partitions move at random;
//! the one before is told at once, late, or never (it is dropped where it stands), so that two write at a time. It sees lost,
//! doubled and half-filled windows, views that never go on, and spans that a restart forgets; it does not see Kafka.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prefold::log::topics::Topic;
use prefold::model::{Labels, Matcher, PartitionBy, PartitionId, Selector, Timestamp, ViewId};
use prefold::node::replica::Replica;
use prefold::node::stream::StreamStatus;
use prefold::node::worker::{
    CombineWorker, CombineWorkerOptions, FoldWorker, FoldWorkerOptions, InForce, Topics, ViewsInForce,
};
use prefold::plan::Catalog;
use prefold::store::{Store, StoreOptions};
use proptest::prelude::*;

use super::memory_log::MemoryLog;
use super::memory_topics::{Brokers, Member, MemoryTable, MemoryTopic};
use super::random::Random;
use super::resume::{Held, held, run};
use super::streaming::{Case, case, catalog, log, raw, rule};
use crate::oracle::{Record, Rule};

pub(super) const HOMES: u16 = 2;

pub(super) struct World {
    pub samples: MemoryTopic,
    pub partials: MemoryTopic,
    pub results: MemoryTopic,
    positions: MemoryTable,
    senders: MemoryTable,
    jobs: MemoryTable,
    folders: Arc<Mutex<Brokers>>,
    combiners: Arc<Mutex<Brokers>>,
    in_force: InForce,
    /// How much of the log is there.
    pushed: usize,
    next_worker: u64,
    /// How far a partition may be ahead of others.
    unfinished_bytes_max: usize,
}

/// One process.
pub(super) struct Worker {
    pub fold: FoldWorker,
    pub combine: CombineWorker,
    pub folders: Arc<Member>,
    pub combiners: Arc<Member>,
    /// Rounds until it hears what it lost; it goes on meanwhile.
    deaf: usize,
}

impl World {
    pub fn new(case: &Case, views: ViewsInForce) -> World {
        World {
            samples: MemoryTopic::new(case.partitions, 7).partitioned_by(case.partition_by.clone()),
            partials: MemoryTopic::new(HOMES, 8),
            results: MemoryTopic::new(HOMES, 9),
            positions: MemoryTable::new(),
            senders: MemoryTable::new(),
            jobs: MemoryTable::new(),
            folders: Arc::default(),
            combiners: Arc::default(),
            in_force: Arc::new(ArcSwap::from_pointee(views)),
            pushed: 0,
            next_worker: 0,
            unfinished_bytes_max: if case.seed.is_multiple_of(2) { usize::MAX } else { 3_000 },
        }
    }

    pub fn worker(&mut self) -> Worker {
        self.next_worker += 1;
        let folders = Member::new(self.next_worker, &self.folders);
        let combiners = Member::new(self.next_worker, &self.combiners);
        let topics = Topics {
            samples: Arc::new(self.samples.clone()),
            partials: Arc::new(self.partials.clone()),
            results: Arc::new(self.results.clone()),
            positions: Arc::new(self.positions.clone()),
            senders: Arc::new(self.senders.clone()),
            jobs: Arc::new(self.jobs.clone()),
            folders: Arc::clone(&folders) as _,
            combiners: Arc::clone(&combiners) as _,
        };
        let unfinished_bytes_max = self.unfinished_bytes_max;
        let options =
            FoldWorkerOptions { threads: 2, flush_every: Duration::ZERO, gather: Duration::ZERO, unfinished_bytes_max };
        let fold = FoldWorker::start(topics.clone(), Arc::clone(&self.in_force), options).unwrap();
        let options = CombineWorkerOptions {
            new_senders_uncover: true,
            checkpoint_every: Duration::from_millis(2),
            gather: Duration::ZERO,
        };
        let combine = CombineWorker::start(topics, Arc::clone(&self.in_force), options).unwrap();
        Worker { fold, combine, folders, combiners, deaf: 0 }
    }

    pub fn push(&mut self, records: &[Record], count: usize) {
        for record in records.iter().skip(self.pushed).take(count) {
            let raw = raw(record);
            self.samples.push(raw.partition, raw.log_time, raw.payload);
        }
        self.pushed = (self.pushed + count).min(records.len());
    }
}

impl Worker {
    pub fn step(&mut self) {
        if self.deaf > 0 {
            self.deaf -= 1;
            if self.deaf == 0 {
                self.folders.hear();
                self.combiners.hear();
            }
        }
        self.fold.step().unwrap();
        self.combine.step().unwrap();
    }
}

/// Partitions go to whom the brokers choose; who had them hears of it now or later.
fn rebalance(world: &World, workers: &mut [Worker], random: &mut Random) {
    for partition in (0..world.samples.partitions()).map(PartitionId) {
        random.pick(workers).folders.assign(partition);
    }
    for home in (0..HOMES).map(PartitionId) {
        random.pick(workers).combiners.assign(home);
    }
    for worker in workers.iter_mut() {
        worker.deaf = if random.chance(40) { 1 + random.below(30) as usize } else { 1 };
    }
}

/// Runs the cluster over the log while workers come, go and die; gives what a replica holds at the end.
fn cluster(
    case: &Case,
    records: &[Record],
    catalogs: &[Arc<Catalog>],
    expected: &Held,
    random: &mut Random,
) -> (Held, usize) {
    let all = catalogs.last().unwrap();
    let mut world = World::new(case, ViewsInForce { set: 1, catalog: Arc::clone(&catalogs[0]) });
    let mut workers = vec![world.worker(), world.worker()];
    rebalance(&world, &mut workers, random);
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), StoreOptions::default()).unwrap());
    let results: Arc<dyn Topic> = Arc::new(world.results.clone());
    let status = Arc::new(StreamStatus::default());
    let mut replica = Replica::start(Arc::clone(&results), Arc::clone(&store), Arc::clone(&status)).unwrap();
    let mut set = 1;
    while world.pushed < records.len() {
        world.push(records, 1 + random.below(400) as usize);
        if set < catalogs.len() && world.pushed > records.len() * set / (catalogs.len() + 1) {
            let catalog = Arc::clone(&catalogs[set]);
            set += 1;
            world.in_force.store(Arc::new(ViewsInForce { set: set as u64, catalog }));
        }
        match random.below(20) {
            0 => workers.push(world.worker()),
            1 if workers.len() > 1 => drop(workers.remove(random.below(workers.len() as i64) as usize)),
            2 => {}
            3 => replica = Replica::start(Arc::clone(&results), Arc::clone(&store), Arc::clone(&status)).unwrap(),
            _ => {
                workers.iter_mut().for_each(Worker::step);
                replica.step().unwrap();
                continue;
            }
        }
        rebalance(&world, &mut workers, random);
    }
    let mut rounds = 0;
    let is_done = |found: &Held| match catalogs.len() {
        // What came again begins later.
        3 => found.final_to == expected.final_to,
        _ => found == expected,
    };
    while !is_done(&held(&store, all)) && rounds < 3_000 {
        workers.iter_mut().for_each(Worker::step);
        replica.step().unwrap();
        rounds += 1;
    }
    (held(&store, all), world.partials.bytes())
}

/// What one process gives, and what a cluster does that goes through these sets of the rules' views.
fn both(case: &Case, sets: usize) -> (Held, Held) {
    let mut random = Random(case.seed | 1);
    let records = log(case, &mut random);
    let mut rules: Vec<_> = (0..case.rules + sets - 1).map(|_| rule(&mut random)).collect();
    // Of long steps, the window of a view that joins may reach back beyond where it begins to be folded.
    if let Some(last) = rules.last_mut().filter(|rule| sets == 2 && !rule.function.is_empty() && case.seed.is_multiple_of(3))
    {
        (last.step_ms, last.window_ms) = (900_000, 960_000);
    }
    let memory = MemoryLog::new(records.iter().map(raw), case.partitions).partitioned_by(case.partition_by.clone());
    let memory = Arc::new(memory);
    memory.readable.store(memory.len(), std::sync::atomic::Ordering::Release);
    let all = Arc::new(catalog(&rules));
    let unbroken = tempfile::tempdir().unwrap();
    let expected = run(&memory, &all, unbroken.path(), 1, None);
    let first = Arc::new(catalog(&rules[..1]));
    let catalogs = match sets {
        1 => vec![Arc::clone(&all)],
        2 => vec![first, Arc::clone(&all)],
        _ => vec![Arc::clone(&all), first, Arc::clone(&all)],
    };
    let (found, _) = cluster(case, &records, &catalogs, &expected, &mut random);
    (expected, found)
}

fn check(case: &Case, sets: usize) -> Result<(), TestCaseError> {
    let (expected, found) = both(case, sets);
    prop_assert_eq!(&found.final_to, &expected.final_to);
    let other = |(key, bits): &(&(ViewId, Timestamp, Labels), &[u64; 2]), held: &Held| held.results.get(key) != Some(*bits);
    let lacking: Vec<_> = expected.results.iter().filter(|one| other(one, &found)).take(4).collect();
    let beyond: Vec<_> = found.results.iter().filter(|one| other(one, &expected)).take(4).collect();
    let spans = |held: &Held| lacking.first().map(|((view, t, _), _)| held.uncovered.get(&(*view, *t)).cloned());
    let told = (spans(&found), spans(&expected));
    prop_assert!(lacking.is_empty() && beyond.is_empty(), "lacking {:?}, beyond {:?}: {:?}", lacking, beyond, told);
    let differ: BTreeSet<_> =
        expected.uncovered.keys().filter(|key| expected.uncovered.get(key) != found.uncovered.get(key)).collect();
    let told: Vec<_> =
        differ.iter().take(5).map(|key| (key, expected.uncovered.get(key), found.uncovered.get(key))).collect();
    prop_assert!(differ.is_empty(), "{} grid points are covered otherwise: {:?}", differ.len(), told);
    Ok(())
}

/// Views that go and come again: where they are covered, they are what they would have been.
fn check_again(case: &Case) -> Result<(), TestCaseError> {
    let (expected, found) = both(case, 3);
    prop_assert_eq!(&found.final_to, &expected.final_to);
    for ((view, t), reasons) in &found.uncovered {
        if reasons.is_empty() {
            let of = |held: &Held| -> Vec<_> {
                let at = held.results.iter().filter(|((of, at, _), _)| of == view && at == t);
                at.map(|((_, _, group), bits)| (group.clone(), *bits)).collect()
            };
            prop_assert_eq!(of(&found), of(&expected), "{} at {:?}", view, t);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn s7_a_cluster_gives_what_one_process_gives(mut case in case()) {
        case.minutes += 22;
        check(&case, 1)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases() / 2, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn s7_views_added_to_a_cluster_catch_up_to_what_they_would_have_been(mut case in case()) {
        case.minutes += 50;
        check(&case, 2)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases() / 2, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn s7_views_that_go_and_come_again_are_right_where_they_are_covered(mut case in case()) {
        case.minutes += 50;
        check_again(&case)?;
    }
}

/// With a partition that nobody has, the others are not read on for ever, and what they gave stays bounded; once it has an owner
/// all is as one process has it.
#[test]
fn s7_partitions_wait_for_one_that_nobody_reads() {
    let by = PartitionBy::new(["n"]);
    let case = Case { seed: 3, series: 24, senders: 2, minutes: 120, partitions: 3, partition_by: by, rules: 1 };
    let records = log(&case, &mut Random(case.seed));
    let selector = Selector::new(vec![Matcher::equal("__name__", "x_total")]);
    let all = Arc::new(catalog(&[Rule { by: Some(vec!["n"]), selector, ..Rule::count(60_000, 20_000) }]));
    let memory = MemoryLog::new(records.iter().map(raw), case.partitions).partitioned_by(case.partition_by.clone());
    let memory = Arc::new(memory);
    memory.readable.store(memory.len(), std::sync::atomic::Ordering::Release);
    let unbroken = tempfile::tempdir().unwrap();
    let expected = run(&memory, &all, unbroken.path(), 1, None);

    let said = |bytes_max: usize, stays: bool| {
        let mut world = World::new(&case, ViewsInForce { set: 1, catalog: Arc::clone(&all) });
        world.unfinished_bytes_max = bytes_max;
        world.push(&records, usize::MAX);
        let mut worker = world.worker();
        (0..HOMES).for_each(|home| worker.combiners.assign(PartitionId(home)));
        [0, 1].into_iter().for_each(|partition| worker.folders.assign(PartitionId(partition)));
        (0..500).for_each(|_| worker.step());
        let (held_back, bytes) = (worker.fold.held_back(), world.partials.bytes());
        assert_eq!(worker.fold.ahead().iter().filter(|(_, ahead)| *ahead > 0).count(), held_back);
        if stays {
            return (held_back, bytes);
        }
        worker.folders.assign(PartitionId(2));
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), StoreOptions::default()).unwrap());
        let results: Arc<dyn Topic> = Arc::new(world.results.clone());
        let mut replica = Replica::start(results, Arc::clone(&store), Arc::default()).unwrap();
        for _ in 0..3_000 {
            worker.step();
            replica.step().unwrap();
        }
        assert_eq!(held(&store, &all), expected);
        assert_eq!(worker.fold.held_back(), 0);
        (held_back, bytes)
    };
    let (free, much) = said(usize::MAX, true);
    let (held_back, little) = said(3_000, false);
    assert_eq!((free, held_back), (0, 2));
    assert!(little * 4 < much, "{little} bytes, {much} without a bound");
}

/// PREFOLD_LAW_CASES for longer runs.
fn cases() -> u32 {
    std::env::var("PREFOLD_LAW_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(12)
}
