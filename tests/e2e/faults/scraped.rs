//! A Prometheus scrapes, remote-writes through a relay, and is its own upstream: a sender that is cut off, stuck, dead.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::compare::{Edge, compare, points};
use super::super::exporter::{Exporter, shards};
use super::super::http::{Api, Method, Steps};
use super::super::prefold::{MAX_DELAY, Prefold, STEP};
use super::super::processes::{PATIENCE, free_port, now_ms};
use super::super::prometheus::Prometheus;
use super::super::relay::{Mode, Relay};
use super::is_long;

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

/// README: a step that is not final is left out for max_delay, a step and half a minute at most.
const LEFT_OUT_MAX: i64 = MAX_DELAY + STEP + 30_000;

/// How long views may take to answer again: series that were taken for gone ask for a comparison first.
const BACK_WITHIN: Duration = Duration::from_secs(300);

/// Upstream itself needs a moment for a scrape that has just begun.
const SCRAPE_TAKES: i64 = 3_000;

/// Connections are refused for a while: what was sampled meanwhile comes too late.
pub async fn sender_cut_off() {
    back_after(Mode::Dead, seconds(600, 45)).await;
}

/// Connections are accepted and bytes are kept for a while.
pub async fn sender_stuck() {
    back_after(Mode::Stuck, seconds(75, 25)).await;
}

/// Its series go on in upstream, past the lookback too, after which one without samples is taken for gone.
pub async fn sender_dead() {
    let Some(mut world) = World::start().await else { return };
    world.relay.set(Mode::Dead);
    world.watch(seconds(390, 60)).await;
    world.assert_answered("after the sender's death", "stitched");
    assert!(!world.newest_are_rewritten().await, "upstream's series went on: {}", world.status().await);
}

async fn back_after(mode: Mode, duration: Duration) {
    let Some(mut world) = World::start().await else { return };
    world.relay.set(mode);
    world.watch(duration).await;
    world.assert_answered(&format!("while the sender is {mode:?}"), "stitched");
    assert!(!world.newest_are_rewritten().await, "upstream's series went on: {}", world.status().await);
    world.relay.set(Mode::Pass);
    let back = Instant::now();
    while !world.newest_are_rewritten().await {
        world.watch(Duration::from_secs(1)).await;
        assert!(back.elapsed() < BACK_WITHIN, "not answered from views again: {}", world.status().await);
    }
    world.answers.clear();
    world.watch(Duration::from_secs(10)).await;
    world.assert_answered("after the sender is back", "rewritten");
}

fn seconds(long: u64, short: u64) -> Duration {
    Duration::from_secs(if is_long() { long } else { short })
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
        let prometheus = Prometheus::start(&[("shards", exporter.port)], false, &[relay.port]).await?;
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
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn compare(&mut self, query: &str, from: i64) {
        let now = now_ms();
        let steps = Steps { from, to: now / STEP * STEP, step: STEP };
        let ours = self.prefold.api.range(Method::Form, query, steps, &[]).await.unwrap();
        let theirs = self.prometheus.api.range(Method::Form, query, steps, &[]).await.unwrap();
        let edge = Edge { complete_to: now - LEFT_OUT_MAX, settled_to: now - SCRAPE_TAKES };
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
    (now_ms() - MAX_DELAY - STEP - 3_000) / STEP * STEP
}
