//! A whole cluster with real programs: Prometheus writes to two gateways behind a load balancer, three workers fold over a real
//! Kafka, two query replicas answer, and the same Prometheus is their upstream. The same samples go to one process that does
//! it all alone.
//!
//! Sees: a point that differs between the replicas, from the process alone (in any bit: partitions are as many, and sums are
//! made in their order), or from Prometheus (within 1e-9: it adds in another order); a view that nobody covers; a worker or a
//! gateway that does nothing. Cannot see what faults do: `kafka/workers.rs`, `kafka/chaos.rs` and `kafka/links.rs` see those.

use serde_json::{Value, json};

use super::balancer::Balancer;
use super::exporter::{Exporter, shards};
use super::http::{Api, Method, Steps};
use super::processes::{PATIENCE, Program, free_port, now_ms, wait_for};
use super::prometheus::{Prometheus, node_exporter};
use super::results::{equal, same_bytes};
use crate::kafka::cluster::shared;
use crate::kafka::fleet::Process;
use crate::kafka::host::Host;
use crate::kafka::topics::prefix;
use crate::process::processes::{Results, results};

/// The grid of the job, in ms.
const STEP: i64 = 2_000;

/// The job's longest window, and its max_delay, in ms. A busy machine must not make samples late.
const WINDOW: i64 = 15_000;
const MAX_DELAY: i64 = 10_000;

/// Of samples, and of partials. The process alone has as many of samples.
const PARTITIONS: u64 = 6;
const PARTIALS: u64 = 4;

/// How many grid points must be served by everybody before they are compared.
const POINTS: i64 = 12;

/// Of each of a view's windows, grouping and functions some.
const VIEWS: [&str; 21] = [
    "sum by (shard, zone) (rate(e2e_work_total[10s]))",
    "sum by (zone) (increase(e2e_work_total[15s]))",
    "max by (shard) (irate(e2e_work_total[10s]))",
    "sum by (le, zone) (rate(e2e_latency_bucket[15s]))",
    "sum without (shard) (increase(e2e_latency_bucket[10s]))",
    "avg without (shard) (avg_over_time(e2e_level[15s]))",
    "min by (zone) (min_over_time(e2e_level[10s]))",
    "max by (zone, shard) (max_over_time(e2e_level[10s]))",
    "count by (zone) (last_over_time(e2e_level[4s]))",
    "sum by (shard) (count_over_time(e2e_level[10s]))",
    "sum by (zone) (sum_over_time(e2e_level[10s]))",
    "avg by (shard) (delta(e2e_level[10s]))",
    "group by (shard) (present_over_time(e2e_level[4s]))",
    "sum by (guest) (last_over_time(e2e_guest[10s]))",
    "count by (guest) (last_over_time(e2e_guest[4s]))",
    "sum by (mode) (rate(node_cpu_seconds_total[15s]))",
    "avg by (mode, job) (rate(node_cpu_seconds_total[10s]))",
    "count by (mode) (last_over_time(node_cpu_seconds_total[10s]))",
    "sum by (instance) (last_over_time(node_memory_MemAvailable_bytes[10s]))",
    "sum by (instance) (last_over_time(node_memory_MemTotal_bytes[10s]))",
    "min by (job) (min_over_time(up[10s]))",
];

/// Views that look back five minutes: nobody serves them in front of an upstream before they have.
const INSTANT_VIEWS: [&str; 5] = [
    "max by (shard, zone) (e2e_level)",
    "avg without (shard) (e2e_level)",
    "count by (zone) (e2e_level)",
    "sum by (guest) (e2e_guest)",
    "sum by (zone) (e2e_work_total)",
];

/// Answered from the views above, whole.
const QUERIES: [&str; 15] = [
    "sum by (zone) (rate(e2e_work_total{shard!=\"a\"}[10s]))",
    "histogram_quantile(0.9, sum by (le) (rate(e2e_latency_bucket[15s])))",
    "histogram_quantile(0.5, sum by (le, zone) (increase(e2e_latency_bucket[10s])))",
    "topk(2, max by (shard) (max_over_time(e2e_level[10s])))",
    "bottomk(1, sum by (shard, zone) (rate(e2e_work_total[10s])))",
    "avg by (zone) (avg_over_time(e2e_level[15s]))",
    "sum by (zone) (rate(e2e_work_total[10s])) / on (zone) sum by (zone) (increase(e2e_work_total[15s]))",
    "sum by (shard) (rate(e2e_work_total[10s])) / on () group_left () sum(rate(e2e_work_total[10s])) > 0.1",
    "100 * (1 - sum by (instance) (last_over_time(node_memory_MemAvailable_bytes[10s])) \
     / sum by (instance) (last_over_time(node_memory_MemTotal_bytes[10s])))",
    "sum by (guest) (last_over_time(e2e_guest[10s])) unless count by (guest) (last_over_time(e2e_guest[4s]))",
    "sum by (zone) (sum_over_time(e2e_level[10s])) and on (zone) count by (zone) (last_over_time(e2e_level[4s])) > 1",
    "label_replace(sum by (shard) (rate(e2e_work_total[10s])), \"first\", \"$1\", \"shard\", \"(.).*\")",
    "max_over_time(sum by (zone) (rate(e2e_work_total[10s]))[9s:2s])",
    "sum(rate(e2e_work_total[10s] offset 4s))",
    "quantile(0.5, sum by (mode) (rate(node_cpu_seconds_total[15s])))",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_a_cluster_answers_as_one_process_does_and_as_prometheus() {
    let Some(mut world) = World::start().await else { return };
    let (from, to) = served(world.answering(), POINTS).await;
    let mut problems = Vec::new();
    // Subqueries and offsets read what is served, too.
    let steps = Steps { from: from + 5 * STEP, to, step: STEP };
    let (mut compared, apis) = (0, world.apis());
    for query in VIEWS.iter().chain(&QUERIES) {
        match world.everywhere_as_prometheus(&apis, query, steps).await {
            Ok(points) => compared += points,
            Err(problem) => problems.push(format!("{query}: {problem}")),
        }
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    world.all_took_part().await;
    let kept = world.what_was_kept_is_the_same(to).await;
    println!("{compared} points are those of Prometheus; {kept} that were kept are the same to the last bit");
}

/// Everything runs. In the order of its parts it ends.
struct World {
    prometheus: Prometheus,
    gateways: Vec<Process>,
    workers: Vec<Process>,
    replicas: Vec<Process>,
    alone: Process,
    /// Before the gateways.
    balancer: Balancer,
    /// The configurations of replicas and of the process alone, without an upstream.
    configs: [String; 3],
    /// When what Prometheus scrapes began to be written.
    began: i64,
    _exporters: (Exporter, Program, tempfile::TempDir),
}

impl World {
    /// `None` where the programs are not installed.
    async fn start() -> Option<World> {
        let kafka = shared()?;
        let (dir, exporter) = (tempfile::tempdir().unwrap(), Exporter::start(page));
        let (node_exporter, node_port) = node_exporter(dir.path())?;
        let prefix = prefix();
        let in_kafka = |more: &str| {
            format!(
                "log: {{ kafka: {{ brokers: [\"{}\"], topic_prefix: {prefix}, partitions: {PARTITIONS}, \
                 partials_partitions: {PARTIALS}{more} }} }}\n",
                kafka.brokers()
            )
        };
        let embedded = format!("log: {{ embedded: {{ partitions: {PARTITIONS} }} }}\n");
        let job = job();
        let jobs = [("cluster.json", job.as_str())];
        let start = async |role, config: &str| Process::start(role, Host::here(), &jobs, config).await;
        let config = in_kafka("");
        let gateways = vec![start("gateway", &config).await, start("gateway", &config).await];
        let workers = vec![start("worker", &config).await, start("worker", &config).await, start("worker", &config).await];
        all_have_partitions(&workers).await;

        let [upstream, writes, writes_alone] = [free_port(), free_port(), free_port()];
        let configs = [in_kafka(", replica: q0"), in_kafka(", replica: q1"), embedded];
        let with_upstream =
            |config: &str, trust: &str| format!("{config}upstream: {{ url: 'http://127.0.0.1:{upstream}'{trust} }}\n");
        let alone = start("run", &with_upstream(&configs[2], ", trust: always")).await;
        // It has what it scraped until somebody listens: so little that nothing is late.
        let targets = [("node", node_port), ("shards", exporter.port)];
        let prometheus = Prometheus::start_on(|| upstream, &targets, false, &[writes, writes_alone]).await?;
        let began = now_ms();
        let addresses = gateways.iter().map(|gateway| gateway.up().base().to_owned()).collect();
        let balancer = Balancer::start(writes, addresses).await;
        Balancer::start(writes_alone, vec![alone.up().base().to_owned()]).await;
        // Their first comparison is to find values: there is no second one for a minute.
        served([&alone], 1).await;
        let replicas = vec![
            start("query", &with_upstream(&configs[0], "")).await,
            start("query", &with_upstream(&configs[1], "")).await,
        ];
        let exporters = (exporter, node_exporter, dir);
        Some(World { prometheus, gateways, workers, replicas, alone, balancer, configs, began, _exporters: exporters })
    }

    /// The replicas, then the process alone.
    fn answering(&self) -> impl Iterator<Item = &Process> {
        self.replicas.iter().chain([&self.alone])
    }

    fn apis(&self) -> Vec<Api> {
        self.answering().map(|process| Api::at(process.up().base())).collect()
    }

    /// How many points of Prometheus' answer everybody gives from views; what is asked of upstream is its answer in any byte.
    async fn everywhere_as_prometheus(&self, apis: &[Api], query: &str, steps: Steps) -> Result<usize, String> {
        let theirs = self.prometheus.api.range(Method::Form, query, steps, &[]).await?;
        let (mut compared, mut answers) = (0, Vec::new());
        for api in apis {
            let ours = api.range(Method::Form, query, steps, &[]).await?;
            compared += equal(&ours, "rewritten", &theirs)?;
            answers.push(results(&ours.json()));
        }
        let untouched = apis[0].range(Method::Form, query, steps, &[("prefold_rewrite", "off")]).await?;
        same_bytes(&untouched, &theirs)?;
        let theirs = self.prometheus.api.instant(Method::Get, query, steps.to, &[]).await?;
        // A query may have nothing to say at one instant.
        if theirs.data()?["result"] != Value::Array(Vec::new()) {
            let ours = apis[1].instant(Method::Get, query, steps.to, &[]).await?;
            compared += equal(&ours, "rewritten", &theirs).map_err(|error| format!("at {}: {error}", steps.to))?;
        }
        same(&answers[0], &answers[1]).map_err(|error| format!("the replicas differ: {error}"))?;
        if VIEWS.contains(&query) {
            same(&answers[0], &answers[2]).map_err(|error| format!("the process alone differs: {error}"))?;
        }
        Ok(compared)
    }

    /// Every gateway took requests of the same shards, every worker folded, and all of it is one sender's.
    async fn all_took_part(&self) {
        let taken = self.balancer.taken();
        assert!(taken.values().any(|of_each| of_each.iter().all(|requests| *requests > 1)), "{taken:?}");
        for gateway in &self.gateways {
            assert!(gateway.up().metric("prefold_ingest_samples_total").await > 0.0);
        }
        for worker in &self.workers {
            assert!(worker.up().metric("prefold_fold_samples_total").await > 0.0);
        }
        all_have_partitions(&self.workers).await;
        for process in self.answering() {
            let senders = process.up().get("/prefold/api/v1/senders").await.json();
            assert_eq!(senders["data"].as_array().map(Vec::len), Some(1), "{senders}");
        }
    }

    /// Killed, and started again without an upstream, replicas and the process alone answer from what they have kept, whether
    /// it is covered or not: all that is final up to an instant is the same everywhere. How many points that are.
    async fn what_was_kept_is_the_same(&mut self, to: i64) -> usize {
        for process in self.answering() {
            process.up().final_to(VIEWS.len() + INSTANT_VIEWS.len(), to).await;
        }
        let processes = self.replicas.iter_mut().chain([&mut self.alone]);
        for (process, config) in processes.zip(&self.configs) {
            process.kill_and_restart(config).await;
        }
        let from = (self.began + WINDOW) / STEP * STEP + 2 * STEP;
        let (mut compared, apis) = (0, self.apis());
        for query in VIEWS.iter().chain(&INSTANT_VIEWS) {
            let kept = async |api: &Api| kept(api, query, Steps { from, to, step: STEP }).await;
            let (first, second, alone) = (kept(&apis[0]).await, kept(&apis[1]).await, kept(&apis[2]).await);
            same(&first, &second).and_then(|_| same(&first, &alone)).unwrap_or_else(|error| panic!("{query}: {error}"));
            let points: usize = first.values().map(|points| points.len()).sum();
            assert!(points > 0, "{query}: nothing was compared");
            compared += points;
        }
        compared
    }
}

/// Work and levels of shards, and guests that come and go, one at a time.
fn page(n: u64) -> String {
    format!("{}# TYPE e2e_guest gauge\ne2e_guest{{guest=\"g{}\"}} {}\n", shards(n), n / 5 % 3, n * n % 89)
}

fn job() -> String {
    let rules: Vec<Value> = VIEWS.iter().chain(&INSTANT_VIEWS).map(|expr| json!({ "expr": expr })).collect();
    let defaults = json!({"step": format!("{STEP}ms"), "max_delay": format!("{MAX_DELAY}ms")});
    json!({"name": "cluster", "defaults": defaults, "rules": rules}).to_string()
}

/// Waits until all of them serve the same stretch, of so many grid points, of every view that can be served by now; its bounds.
async fn served<'a>(by: impl IntoIterator<Item = &'a Process>, points: i64) -> (i64, i64) {
    let by: Vec<&Process> = by.into_iter().collect();
    wait_for("every view to be served", 3 * PATIENCE, async || {
        let (mut from, mut to) = (i64::MIN, i64::MAX);
        for process in &by {
            let views = process.up().views().await;
            for expr in VIEWS {
                let view = views.iter().find(|view| view["expr"] == expr).ok_or_else(|| format!("{expr} is not listed"))?;
                let newest = view["coverage"].as_array().and_then(|stretches| stretches.last());
                let newest = newest.ok_or_else(|| format!("not served: {view}"))?;
                (from, to) = (from.max(newest[0].as_i64().unwrap()), to.min(newest[1].as_i64().unwrap()));
            }
        }
        if to - from >= (points - 1) * STEP { Ok((from, to)) } else { Err(format!("from {from} to {to}")) }
    })
    .await
}

/// Waits until every worker has partitions of samples and of partials, and all together have each once.
async fn all_have_partitions(workers: &[Process]) {
    wait_for("every worker to have partitions", PATIENCE, async || {
        for (metric, all) in [("prefold_fold_partitions", PARTITIONS), ("prefold_combine_partitions", PARTIALS)] {
            let mut of_each = Vec::new();
            for worker in workers {
                of_each.push(worker.up().metric(metric).await as u64);
            }
            if of_each.contains(&0) || of_each.iter().sum::<u64>() != all {
                return Err(format!("{metric}: {of_each:?} of {all}"));
            }
        }
        Ok(())
    })
    .await;
}

/// Waits until a process answers from its views alone.
async fn kept(api: &Api, query: &str, steps: Steps) -> Results {
    wait_for("an answer from what was kept", PATIENCE, async || {
        let reply = api.range(Method::Form, query, steps, &[]).await?;
        if reply.answer == "rewritten" { Ok(results(&reply.json())) } else { Err(reply.body) }
    })
    .await
}

/// The first difference in words: a series, or the text of a value.
fn same(ours: &Results, theirs: &Results) -> Result<(), String> {
    for labels in ours.keys().chain(theirs.keys()) {
        let (ours, theirs) = (ours.get(labels), theirs.get(labels));
        let times = ours.iter().chain(&theirs).flat_map(|points| points.keys());
        for t in times {
            let at =
                |points: Option<&std::collections::BTreeMap<i64, String>>| points.and_then(|points| points.get(t)).cloned();
            if at(ours) != at(theirs) {
                return Err(format!("{labels} at {t} is {:?} and {:?}", at(ours), at(theirs)));
            }
        }
    }
    Ok(())
}

#[test]
fn a_difference_of_one_bit_is_found() {
    let of = |pairs: &[(&str, i64, &str)]| {
        let mut found = Results::new();
        for (labels, t, value) in pairs {
            found.entry((*labels).to_owned()).or_default().insert(*t, (*value).to_owned());
        }
        found
    };
    let all = of(&[("a", 1, "0.1"), ("a", 2, "0.2"), ("b", 1, "NaN")]);
    assert_eq!(same(&all, &all.clone()), Ok(()));
    for other in [
        of(&[("a", 1, "0.1"), ("a", 2, "0.20000000000000004"), ("b", 1, "NaN")]),
        of(&[("a", 1, "0.1"), ("a", 2, "0.2"), ("a", 3, "0.3"), ("b", 1, "NaN")]),
        of(&[("a", 1, "0.1"), ("a", 2, "0.2")]),
    ] {
        assert!(same(&all, &other).is_err() && same(&other, &all).is_err(), "{other:?}");
    }
}
