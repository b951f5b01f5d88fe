//! Chaos: one continuous run under load in which everything is killed and paused, in random order and overlapping, and one
//! verification at the end. Every acknowledged sample is counted once, and the replicas agree with a process that was never
//! touched.
//!
//! A seed fixes the order of faults (PREFOLD_CHAOS_SEED), PREFOLD_CHAOS_ROUNDS how many there are. It sees lost, doubled and
//! half-filled windows, views that never go on, coverage that a fault forgets, processes that do not come back. It cannot see
//! what a lost disk does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::fleet::{FURTHER_JOB, FURTHER_QUERY, Fleet, Process, QUERIES, answers};
use super::workers::{verify, whole_windows};
use crate::laws::random::Random;
use crate::process::processes::until;

/// How often a fault begins.
const EVERY: Duration = Duration::from_millis(1_400);

/// How long a broker that was down takes to be a whole one again, on a busy machine.
const BROKER_RECOVERS: Duration = Duration::from_secs(12);

/// What can be hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Gateway(usize),
    Worker(usize),
    Replica(usize),
    Broker(usize),
}

/// What has begun and has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Down {
    Killed,
    Paused,
}

struct Chaos {
    fleet: Fleet,
    random: Random,
    /// Where gateways listen that are not paused: who sends learns of it as a load balancer would.
    gateways: Arc<Mutex<Vec<String>>>,
    down: BTreeMap<Target, (Down, Instant)>,
    /// No broker is hit before this: the one that was down comes back, and has copied what it missed.
    brokers_whole: Instant,
    /// Workers that were told to go for good.
    removed: BTreeSet<usize>,
    further: bool,
    told: Vec<String>,
}

impl Chaos {
    fn process(&mut self, target: Target) -> Option<&mut Process> {
        match target {
            Target::Gateway(index) => self.fleet.gateways.get_mut(index),
            Target::Worker(index) => self.fleet.workers.get_mut(index),
            Target::Replica(index) => self.fleet.replicas.get_mut(index),
            Target::Broker(_) => None,
        }
    }

    fn up_workers(&self) -> usize {
        let up = |index: &usize| !self.removed.contains(index) && !self.down.contains_key(&Target::Worker(*index));
        (0..self.fleet.workers.len()).filter(up).count()
    }

    /// What may be hit now: a gateway and two brokers of three stay up, all workers may be down.
    fn target(&mut self) -> Option<Target> {
        let target = match self.random.below(10) {
            0 | 1 => Target::Gateway(self.random.below(self.fleet.gateways.len() as i64) as usize),
            2 | 3 => Target::Replica(self.random.below(self.fleet.replicas.len() as i64) as usize),
            4 | 5 => Target::Broker(self.random.below(3) as usize),
            _ => Target::Worker(self.random.below(self.fleet.workers.len() as i64) as usize),
        };
        let is_of_kind = |other: &&Target| std::mem::discriminant(*other) == std::mem::discriminant(&target);
        let alone = matches!(target, Target::Gateway(_) | Target::Broker(_));
        let is_taken =
            if alone { self.down.keys().any(|other| is_of_kind(&other)) } else { self.down.contains_key(&target) };
        if matches!(target, Target::Broker(_)) && self.brokers_whole > Instant::now() {
            return None;
        }
        let is_removed = matches!(target, Target::Worker(index) if self.removed.contains(&index));
        (!is_taken && !is_removed).then_some(target)
    }

    /// One fault begins; false when what was drawn cannot be hit now.
    async fn fault(&mut self) -> bool {
        let what = match self.random.below(12) {
            0 => {
                self.fleet.add_worker().await;
                self.put_jobs();
                "a worker is added".to_owned()
            }
            1 if self.up_workers() > 2 => {
                let up = |index: &usize| !self.removed.contains(index) && !self.down.contains_key(&Target::Worker(*index));
                let Some(index) = (0..self.fleet.workers.len()).find(up) else { return false };
                self.fleet.workers[index].signal("TERM");
                self.removed.insert(index);
                format!("worker {index} is told to go")
            }
            2 => {
                self.further = !self.further;
                self.put_jobs();
                format!("jobs change, further: {}", self.further)
            }
            drawn => {
                let Some(target) = self.target() else { return false };
                let down = if drawn % 2 == 0 { Down::Killed } else { Down::Paused };
                self.begin(target, down);
                format!("{target:?} {down:?}")
            }
        };
        self.told.push(what);
        true
    }

    fn begin(&mut self, target: Target, down: Down) {
        match (target, down) {
            (Target::Broker(index), Down::Killed) => self.fleet.cluster.kill_node(index),
            (Target::Broker(index), Down::Paused) => self.fleet.cluster.signal_node(index, "STOP"),
            (_, Down::Killed) => self.process(target).into_iter().for_each(Process::kill),
            (_, Down::Paused) => self.process(target).into_iter().for_each(|process| process.signal("STOP")),
        }
        // Beyond the session of four seconds, or not.
        let until = Instant::now() + Duration::from_millis(1_500 + self.random.below(7_000) as u64);
        self.down.insert(target, (down, until));
        self.tell_gateways();
    }

    /// Faults that are over end.
    async fn end(&mut self, all: bool) {
        let now = Instant::now();
        let over = self.down.iter().filter(|(_, (_, until))| all || *until <= now);
        let over: Vec<(Target, Down)> = over.map(|(target, (down, _))| (*target, *down)).collect();
        for (target, down) in over {
            self.down.remove(&target);
            if matches!(target, Target::Broker(_)) {
                self.brokers_whole = Instant::now() + BROKER_RECOVERS;
            }
            match (target, down) {
                (Target::Broker(index), Down::Killed) => self.fleet.cluster.start_node(index),
                (Target::Broker(index), Down::Paused) => self.fleet.cluster.signal_node(index, "CONT"),
                (_, Down::Paused) => self.process(target).into_iter().for_each(|process| process.signal("CONT")),
                (_, Down::Killed) => {
                    if let Some(process) = self.process(target) {
                        process.restart().await;
                    }
                }
            }
        }
        self.tell_gateways();
    }

    fn tell_gateways(&self) {
        let up = |index: &usize| !self.down.contains_key(&Target::Gateway(*index));
        let gateways = (0..self.fleet.gateways.len()).filter(up).map(|index| &self.fleet.gateways[index]);
        *self.gateways.lock() = gateways.filter_map(|gateway| Some(gateway.running.as_ref()?.base().to_owned())).collect();
    }

    /// The same files everywhere, as a deployment would have them.
    fn put_jobs(&self) {
        let text = self.further.then_some(FURTHER_JOB);
        let all = self.fleet.workers.iter().chain([&self.fleet.unbroken]);
        all.for_each(|process| process.put_job("further.json", text));
    }
}

fn told(name: &str, or: u64) -> u64 {
    std::env::var(name).ok().and_then(|told| told.parse().ok()).unwrap_or(or)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_whatever_dies_every_acknowledged_sample_is_counted_once() {
    let (seed, rounds) = (told("PREFOLD_CHAOS_SEED", 20_261_129), told("PREFOLD_CHAOS_ROUNDS", 30));
    let Some(fleet) = Fleet::start(3, 2, 3, 2).await else { return };
    let gateways = Arc::new(Mutex::new(fleet.bases()));
    let load = fleet.load(Arc::clone(&gateways));
    let (random, down) = (Random(seed | 1), BTreeMap::new());
    let (brokers_whole, removed, told) = (Instant::now(), BTreeSet::new(), Vec::new());
    let mut chaos = Chaos { fleet, random, gateways, down, brokers_whole, removed, further: false, told };
    // Some results first.
    tokio::time::sleep(Duration::from_secs(5)).await;
    while (chaos.told.len() as u64) < rounds {
        chaos.end(false).await;
        if chaos.fault().await {
            println!("{}: {}", chaos.told.len(), chaos.told.last().unwrap());
            tokio::time::sleep(EVERY).await;
        }
    }
    chaos.end(true).await;
    chaos.further = true;
    chaos.put_jobs();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let sent = load.stop().await;
    let Chaos { fleet, .. } = chaos;
    verify(&fleet, &sent).await;
    further_view(&fleet, whole_windows(&sent).1).await;
}

/// A view that came and went: where the cluster and the process that was never touched both have it, they have the same.
async fn further_view(fleet: &Fleet, to: i64) {
    for process in fleet.replicas.iter().chain([&fleet.unbroken]) {
        process.up().final_to(QUERIES.len() + 1, to).await;
    }
    let theirs = answers(fleet.unbroken.up(), FURTHER_QUERY, to - 20_000, to).await;
    for replica in &fleet.replicas {
        let ours = until("the view that was added to be there", async || {
            Some(answers(replica.up(), FURTHER_QUERY, to - 20_000, to).await).filter(|found| !found.is_empty())
        })
        .await;
        assert_eq!(ours, theirs);
    }
}
