//! Senders that stall and die: whatever happens, every step that is answered is what upstream says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::compare::{Edge, compare, points};
use super::exporter::{Exporter, shards};
use super::http::{Api, Method, Steps};
use super::prefold::{MAX_DELAY, Prefold, STEP};
use super::processes::{PATIENCE, free_port, now_ms};
use super::prometheus::Prometheus;
use super::relay::{Mode, Relay};

const RULES: [&str; 5] = [
    "sum by (shard, zone) (rate(e2e_work_total[15s]))",
    "max by (shard) (last_over_time(e2e_level[15s]))",
    "avg by (zone) (last_over_time(e2e_level[15s]))",
    "sum by (le) (rate(e2e_latency_bucket[15s]))",
    "count by (zone) (last_over_time(e2e_level[15s]))",
];

const QUERIES: [&str; 6] = [
    "sum by (shard) (rate(e2e_work_total[15s]))",
    "max by (shard) (last_over_time(e2e_level[15s]))",
    "avg by (zone) (last_over_time(e2e_level[15s]))",
    "histogram_quantile(0.9, sum by (le) (rate(e2e_latency_bucket[15s])))",
    "count(last_over_time(e2e_level[15s]))",
    "sum by (zone) (rate(e2e_work_total{shard!=\"a\"}[15s])) / count by (zone) (last_over_time(e2e_level[15s]))",
];

/// How long a sender is stuck.
const STUCK: Duration = Duration::from_secs(25);

/// How long after its sender's death Prefold is watched.
const AFTER_DEATH: Duration = Duration::from_secs(60);

/// Past the lookback, after which a series without samples is taken for gone.
const PAST_THE_LOOKBACK: Duration = Duration::from_secs(390);

/// How far before now answers may lack steps: max_delay, a step, and some time for a busy machine.
const EDGE: i64 = MAX_DELAY + STEP + 10_000;

/// Upstream itself needs a moment for a scrape that has just begun.
const SCRAPE_TAKES: i64 = 3_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_fault_sender_stuck() {
    if super::is_short_run() {
        return;
    }
    let Some(mut world) = World::start().await else { return };
    world.relay.set(Mode::Stuck);
    world.watch(STUCK).await;
    world.assert_answered("while the sender is stuck", "stitched");
    world.relay.set(Mode::Pass);
    let back = Instant::now();
    while !world.newest_are_rewritten().await {
        world.watch(Duration::from_secs(1)).await;
        assert!(back.elapsed() < PATIENCE, "not answered from views again: {}", world.status().await);
    }
    world.answers.clear();
    world.watch(Duration::from_secs(10)).await;
    world.assert_answered("after the sender is back", "rewritten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_fault_sender_dead() {
    if super::is_short_run() {
        return;
    }
    let Some(mut world) = World::start().await else { return };
    world.relay.set(Mode::Dead);
    world.watch(AFTER_DEATH).await;
    world.assert_answered("after the sender's death", "stitched");
    assert!(!world.newest_are_rewritten().await, "upstream's series went on: {}", world.status().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_fault_sender_dead_past_the_lookback() {
    if super::is_short_run() {
        return;
    }
    let Some(mut world) = World::start().await else { return };
    world.relay.set(Mode::Dead);
    world.watch(PAST_THE_LOOKBACK).await;
    assert!(!world.newest_are_rewritten().await, "upstream's series went on: {}", world.status().await);
}

/// Exporter, Prometheus, relay, Prefold, and Prometheus again as upstream.
struct World {
    relay: Relay,
    prefold: Prefold,
    prometheus: Prometheus,
    _exporter: Exporter,
    /// The first grid point asked for.
    from: i64,
    answers: BTreeMap<String, usize>,
}

impl World {
    /// Everything runs, and all views are served.
    async fn start() -> Option<World> {
        let (exporter, port) = (Exporter::start(shards), free_port());
        let relay = Relay::start(port);
        let from = (now_ms() / STEP + 1) * STEP;
        let prometheus = Prometheus::start(&[("shards", exporter.port)], false, relay.port).await?;
        let prefold = Prefold::start(port, &prometheus.api.url, &RULES, "").await;
        let mut world = World { relay, prefold, prometheus, _exporter: exporter, from, answers: BTreeMap::new() };
        world.prefold.served_by_all(3, PATIENCE).await;
        while !world.newest_are_rewritten().await {
            world.watch(Duration::from_secs(1)).await;
        }
        world.answers.clear();
        world.watch(Duration::from_secs(3)).await;
        world.assert_answered("before any fault", "rewritten");
        world.answers.clear();
        Some(world)
    }

    /// Compares all queries over all time so far, and over the last steps alone, again and again.
    async fn watch(&mut self, duration: Duration) {
        let began = Instant::now();
        while began.elapsed() < duration {
            self.prefold.program.check_alive();
            for query in QUERIES {
                for from in [self.from, newest_final() - STEP] {
                    self.compare(query, from).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn compare(&mut self, query: &str, from: i64) {
        let now = now_ms();
        let steps = Steps { from, to: now / STEP * STEP, step: STEP };
        let ours = self.prefold.api.range(Method::Form, query, steps, &[]).await.unwrap();
        let theirs = self.prometheus.api.range(Method::Form, query, steps, &[]).await.unwrap();
        let edge = Edge { complete_to: now - EDGE, settled_to: now - SCRAPE_TAKES };
        let (our_points, their_points) = (points(&ours.data().unwrap()), points(&theirs.data().unwrap()));
        if let Err(difference) = compare(&our_points, &their_points, edge) {
            let status = self.status().await;
            panic!("{query} at {now}, answered as {:?} {:?}: {difference}\n{status}", ours.answer, ours.reason);
        }
        *self.answers.entry(ours.answer).or_default() += 1;
    }

    /// Whether the newest steps that must be final are answered from views, for all queries.
    async fn newest_are_rewritten(&self) -> bool {
        let to = newest_final();
        let steps = Steps { from: to - STEP, to, step: STEP };
        let mut rewritten = true;
        for query in QUERIES {
            let reply = self.prefold.api.range(Method::Get, query, steps, &[]).await.unwrap();
            rewritten &= reply.answer == "rewritten";
        }
        rewritten
    }

    async fn status(&self) -> String {
        let api: &Api = &self.prefold.api;
        api.ask(Method::Get, "/prefold/api/v1/views", &[]).await.map_or_else(|error| error, |reply| reply.body)
    }

    fn assert_answered(&self, when: &str, wanted: &str) {
        eprintln!("compared {when}: {:?}", self.answers);
        assert!(self.answers.contains_key(wanted), "never {wanted} {when}: {:?}", self.answers);
    }
}

/// The newest grid point that must be final.
fn newest_final() -> i64 {
    (now_ms() - EDGE) / STEP * STEP
}
