//! What Prefold serves from its views equals what Prometheus answers, and what it does not serve is Prometheus' answer.

use super::compare::{Edge, compare, points};
use super::exporter::{Exporter, shards};
use super::http::{Api, Method, Reply, Steps};
use super::prefold::{Prefold, STEP};
use super::processes::{PATIENCE, Program, free_port};
use super::prometheus::{Prometheus, node_exporter};

const RULES: [&str; 14] = [
    "sum by (instance, mode, job) (rate(node_cpu_seconds_total[15s]))",
    "avg by (instance, mode) (rate(node_cpu_seconds_total[30s]))",
    "sum without (cpu) (rate(node_cpu_seconds_total[30s]))",
    "sum by (instance) (last_over_time(node_memory_MemAvailable_bytes[15s]))",
    "sum by (instance) (last_over_time(node_memory_MemTotal_bytes[15s]))",
    "max by (instance, job) (max_over_time(go_goroutines[15s]))",
    "min by (instance, job) (min_over_time(go_goroutines[15s]))",
    "count by (mode, instance) (last_over_time(node_cpu_seconds_total[15s]))",
    "sum by (le, handler) (rate(prometheus_http_request_duration_seconds_bucket[30s]))",
    "sum by (shard, zone) (rate(e2e_work_total[15s]))",
    "max by (shard, zone) (last_over_time(e2e_level[15s]))",
    "sum by (le, zone) (increase(e2e_latency_bucket[15s]))",
    "avg without (shard) (avg_over_time(e2e_level[15s]))",
    "sum by (zone) (irate(e2e_work_total[15s]))",
];

/// Answered from the views above, whole.
const REWRITTEN: [&str; 26] = [
    "sum by (instance, mode) (rate(node_cpu_seconds_total[15s]))",
    "sum by (instance) (rate(node_cpu_seconds_total{mode!=\"idle\"}[15s]))",
    "sum by (mode) (rate(node_cpu_seconds_total{mode=~\"idle|user|system\", job=\"node\"}[15s]))",
    "sum(rate(node_cpu_seconds_total[15s]))",
    "avg by (mode) (rate(node_cpu_seconds_total[30s]))",
    "avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[30s]))",
    "sum without (cpu) (rate(node_cpu_seconds_total[30s]))",
    "sum without (cpu, mode) (rate(node_cpu_seconds_total[30s]))",
    "100 * (1 - sum by (instance) (last_over_time(node_memory_MemAvailable_bytes[15s])) \
     / sum by (instance) (last_over_time(node_memory_MemTotal_bytes[15s])))",
    "max(max_over_time(go_goroutines[15s]))",
    "max by (job) (max_over_time(go_goroutines{job=~\"node|prometheus\"}[15s]))",
    "min by (job) (min_over_time(go_goroutines[15s]))",
    "count by (mode) (last_over_time(node_cpu_seconds_total[15s]))",
    "histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[30s])))",
    "histogram_quantile(0.5, \
     sum by (le, handler) (rate(prometheus_http_request_duration_seconds_bucket{handler=~\"/api.*\"}[30s])))",
    "histogram_quantile(0.99, sum by (zone, le) (increase(e2e_latency_bucket[15s])))",
    "histogram_quantile(0.75, sum by (le) (rate(e2e_latency_bucket[15s])))",
    "topk(2, max by (shard) (last_over_time(e2e_level[15s])))",
    "bottomk(1, sum by (shard, zone) (rate(e2e_work_total[15s])))",
    "sum by (zone) (increase(e2e_work_total{shard!~\"a|d\"}[15s]))",
    "sum by (zone) (rate(e2e_work_total[15s])) / ignoring () sum by (zone) (irate(e2e_work_total[15s]))",
    "sum by (shard) (rate(e2e_work_total[15s])) / on () group_left () sum(rate(e2e_work_total[15s])) > 0.1",
    "label_replace(sum by (shard) (rate(e2e_work_total[15s])), \"first\", \"$1\", \"shard\", \"(.).*\")",
    "max(last_over_time(e2e_level[15s] offset 10s))",
    "max_over_time(sum by (zone) (rate(e2e_work_total[15s]))[12s:5s])",
    "clamp_max(sum(rate(e2e_work_total[15s])), 12) or max(last_over_time(e2e_level[15s]))",
];

/// Views over instant selectors are served only when they have seen a whole lookback of five minutes.
const INSTANT_RULES: [&str; 5] = [
    "sum by (instance) (node_memory_MemAvailable_bytes)",
    "sum by (instance) (node_memory_MemTotal_bytes)",
    "max by (shard, zone) (e2e_level)",
    "avg without (shard) (e2e_level)",
    "count by (mode, instance) (node_cpu_seconds_total)",
];

const INSTANT_REWRITTEN: [&str; 6] = [
    "100 * (1 - sum by (instance) (node_memory_MemAvailable_bytes) / sum by (instance) (node_memory_MemTotal_bytes))",
    "topk(2, max by (shard) (e2e_level))",
    "max(e2e_level offset 10s)",
    "avg without (shard) (e2e_level)",
    "avg by (zone) (e2e_level)",
    "count by (mode) (node_cpu_seconds_total)",
];

/// Nothing keeps these, or not exactly.
const FORWARDED: [&str; 6] = [
    "sum by (cpu) (rate(node_cpu_seconds_total[15s]))",
    "sum by (instance, mode) (rate(node_cpu_seconds_total[20s]))",
    "e2e_level",
    "stddev by (zone) (e2e_level)",
    "sum(max by (shard) (e2e_work_total))",
    "sum(rate(e2e_work_total[15s])",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_results_equal_prometheus() {
    let Some(mut world) = World::start(&RULES).await else { return };
    let (from, to) = world.prefold.served_by_all(7, PATIENCE).await;
    let mut problems = world.all_rewritten(&REWRITTEN, from, to).await;
    for query in FORWARDED {
        problems.extend(world.forwarded(query, Steps { from, to, step: STEP }).await.err());
    }
    let off_grid = Steps { from: from + 1_000, to, step: STEP };
    problems.extend(world.forwarded(REWRITTEN[0], off_grid).await.err());
    problems.extend(world.forwarded(REWRITTEN[0], Steps { from, to, step: 3_000 }).await.err());
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// Takes as long as the lookback is, so it runs beside the faults.
pub async fn instant_selectors() {
    let Some(mut world) = World::start(&INSTANT_RULES).await else { return };
    let (from, to) = world.prefold.served_by_all(7, 5 * PATIENCE).await;
    let problems = world.all_rewritten(&INSTANT_REWRITTEN, from, to).await;
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// Makes Prometheus' own counters exist and be high before windows that are compared begin.
pub async fn warm_up(api: &Api) {
    for path in ["query?query=1", "query_range?query=1&start=1&end=1&step=1", "labels", "status/buildinfo"] {
        for method in [Method::Get, Method::Form] {
            for _ in 0..25 {
                let (path, query) = path.split_once('?').unwrap_or((path, ""));
                let params: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
                api.ask(method, &format!("/api/v1/{path}"), &params).await.unwrap();
            }
        }
    }
}

/// Exporters, Prometheus, Prefold, and the same Prometheus as upstream.
struct World {
    prefold: Prefold,
    prometheus: Prometheus,
    _exporters: (Exporter, Program, tempfile::TempDir),
}

impl World {
    /// `None` where the programs are not installed.
    async fn start(rules: &[&str]) -> Option<World> {
        let (dir, exporter, port) = (tempfile::tempdir().unwrap(), Exporter::start(shards), free_port());
        let (node_exporter, node_port) = node_exporter(dir.path())?;
        let targets = [("node", node_port), ("shards", exporter.port)];
        let prometheus = Prometheus::start(&targets, true, &[port]).await?;
        warm_up(&prometheus.api).await;
        let prefold = Prefold::start(port, &prometheus.api.url, rules, "").await;
        Some(World { prefold, prometheus, _exporters: (exporter, node_exporter, dir) })
    }

    /// What is wrong with queries that views answer, on two grids and by both methods.
    async fn all_rewritten(&self, queries: &[&str], from: i64, to: i64) -> Vec<String> {
        let mut problems = Vec::new();
        // Ten seconds into what is served, subqueries and offsets read what is served, too.
        let from = from + 2 * STEP;
        for steps in [Steps { from, to, step: STEP }, Steps { from, to, step: 2 * STEP }] {
            for method in [Method::Get, Method::Form] {
                for query in queries {
                    problems.extend(self.rewritten(method, query, steps).await.err());
                }
            }
        }
        problems
    }

    /// A range query, its last step as an instant, and the range untouched: all equal to upstream's.
    async fn rewritten(&self, method: Method, query: &str, steps: Steps) -> Result<(), String> {
        let said = |what: &str, error: String| format!("{query} {method:?} every {} ms: {what}: {error}", steps.step);
        let theirs = self.prometheus.api.range(method, query, steps, &[]).await?;
        let ours = self.prefold.api.range(method, query, steps, &[]).await?;
        equal(&ours, "rewritten", &theirs).map_err(|error| said("range", error))?;
        let off = [("prefold_rewrite", "off")];
        let untouched = self.prefold.api.range(method, query, steps, &off).await?;
        same_bytes(&untouched, &theirs).map_err(|error| said("rewriting off", error))?;
        let at = steps.from + (steps.to - steps.from) / steps.step * steps.step;
        let theirs = self.prometheus.api.instant(method, query, at, &[]).await?;
        let ours = self.prefold.api.instant(method, query, at, &[]).await?;
        equal(&ours, "rewritten", &theirs).map_err(|error| said("instant", error)).map(drop)
    }

    /// Upstream's answer, byte for byte.
    async fn forwarded(&self, query: &str, steps: Steps) -> Result<(), String> {
        for method in [Method::Get, Method::Form] {
            let theirs = self.prometheus.api.range(method, query, steps, &[]).await?;
            let ours = self.prefold.api.range(method, query, steps, &[]).await?;
            same_bytes(&ours, &theirs).map_err(|error| format!("{query} {method:?} {steps:?}: {error}"))?;
            if ours.reason.is_empty() {
                return Err(format!("{query} {method:?} {steps:?}: forwarded without a reason"));
            }
        }
        Ok(())
    }
}

/// How many points of an answer of this kind are equal to upstream's.
pub fn equal(ours: &Reply, answer: &str, theirs: &Reply) -> Result<usize, String> {
    if ours.answer != answer {
        return Err(format!("answered as {:?} because of {:?}", ours.answer, ours.reason));
    }
    let (ours, theirs) = (ours.data()?, theirs.data()?);
    if ours["resultType"] != theirs["resultType"] {
        return Err(format!("a {} instead of a {}", ours["resultType"], theirs["resultType"]));
    }
    match compare(&points(&ours), &points(&theirs), Edge::NONE)? {
        0 => Err("nothing was compared".to_owned()),
        points => Ok(points),
    }
}

/// Whether upstream's answer was handed on as it is.
pub fn same_bytes(ours: &Reply, theirs: &Reply) -> Result<(), String> {
    if ours.answer != "forwarded" {
        return Err(format!("answered as {:?}", ours.answer));
    }
    match ours.status == theirs.status && ours.body == theirs.body {
        true => Ok(()),
        false => Err(format!("{} {}\ninstead of {} {}", ours.status, ours.body, theirs.status, theirs.body)),
    }
}
