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
use prefold::model::PartitionId;
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
use crate::oracle::Record;

const HOMES: u16 = 2;

struct World {
    samples: MemoryTopic,
    partials: MemoryTopic,
    results: MemoryTopic,
    positions: MemoryTable,
    senders: MemoryTable,
    folders: Arc<Mutex<Brokers>>,
    combiners: Arc<Mutex<Brokers>>,
    in_force: InForce,
    /// How much of the log is there.
    pushed: usize,
    next_worker: u64,
}

/// One process.
struct Worker {
    fold: FoldWorker,
    combine: CombineWorker,
    folders: Arc<Member>,
    combiners: Arc<Member>,
    /// Rounds until it hears what it lost; it goes on meanwhile.
    deaf: usize,
}

impl World {
    fn new(case: &Case, views: ViewsInForce) -> World {
        World {
            samples: MemoryTopic::new(case.partitions, 7).partitioned_by(case.partition_by.clone()),
            partials: MemoryTopic::new(HOMES, 8),
            results: MemoryTopic::new(HOMES, 9),
            positions: MemoryTable::new(),
            senders: MemoryTable::new(),
            folders: Arc::default(),
            combiners: Arc::default(),
            in_force: Arc::new(ArcSwap::from_pointee(views)),
            pushed: 0,
            next_worker: 0,
        }
    }

    fn worker(&mut self) -> Worker {
        self.next_worker += 1;
        let folders = Member::new(self.next_worker, &self.folders);
        let combiners = Member::new(self.next_worker, &self.combiners);
        let topics = Topics {
            samples: Arc::new(self.samples.clone()),
            partials: Arc::new(self.partials.clone()),
            results: Arc::new(self.results.clone()),
            positions: Arc::new(self.positions.clone()),
            senders: Arc::new(self.senders.clone()),
            folders: Arc::clone(&folders) as _,
            combiners: Arc::clone(&combiners) as _,
        };
        let options = FoldWorkerOptions { threads: 2, flush_every: Duration::ZERO };
        let fold = FoldWorker::start(topics.clone(), Arc::clone(&self.in_force), options).unwrap();
        let options = CombineWorkerOptions { new_senders_uncover: true, checkpoint_every: Duration::from_millis(2) };
        let combine = CombineWorker::start(topics, Arc::clone(&self.in_force), options).unwrap();
        Worker { fold, combine, folders, combiners, deaf: 0 }
    }

    fn push(&mut self, records: &[Record], count: usize) {
        for record in records.iter().skip(self.pushed).take(count) {
            let raw = raw(record);
            self.samples.push(raw.partition, raw.log_time, raw.payload);
        }
        self.pushed = (self.pushed + count).min(records.len());
    }
}

impl Worker {
    fn step(&mut self) {
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
        if set < catalogs.len() && world.pushed > records.len() / 3 {
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
    while held(&store, all) != *expected && rounds < 3_000 {
        workers.iter_mut().for_each(Worker::step);
        replica.step().unwrap();
        rounds += 1;
    }
    (held(&store, all), world.partials.bytes())
}

fn check(case: &Case, sets: usize) -> Result<(), TestCaseError> {
    let mut random = Random(case.seed | 1);
    let records = log(case, &mut random);
    let rules: Vec<_> = (0..case.rules + sets - 1).map(|_| rule(&mut random)).collect();
    let memory = MemoryLog::new(records.iter().map(raw), case.partitions).partitioned_by(case.partition_by.clone());
    let memory = Arc::new(memory);
    memory.readable.store(memory.len(), std::sync::atomic::Ordering::Release);
    let all = Arc::new(catalog(&rules));
    let unbroken = tempfile::tempdir().unwrap();
    let expected = run(&memory, &all, unbroken.path(), 1, None);
    let catalogs: Vec<_> = match sets {
        1 => vec![Arc::clone(&all)],
        _ => vec![Arc::new(catalog(&rules[..1])), Arc::clone(&all)],
    };
    let (found, _) = cluster(case, &records, &catalogs, &expected, &mut random);
    prop_assert_eq!(&found.final_to, &expected.final_to);
    prop_assert_eq!(&found.results, &expected.results);
    let differ: BTreeSet<_> =
        expected.uncovered.keys().filter(|key| expected.uncovered.get(key) != found.uncovered.get(key)).collect();
    let told: Vec<_> =
        differ.iter().take(5).map(|key| (key, expected.uncovered.get(key), found.uncovered.get(key))).collect();
    prop_assert!(differ.is_empty(), "{} grid points are covered otherwise: {:?}", differ.len(), told);
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

/// PREFOLD_LAW_CASES for longer runs.
fn cases() -> u32 {
    std::env::var("PREFOLD_LAW_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24)
}
