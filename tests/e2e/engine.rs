//! The engine against Prometheus' own: the expressions of published dashboards and rules over the same real samples.
//!
//! Prometheus scrapes a node exporter, itself and an exporter of the test, and remote-writes to a receiver in the test that
//! keeps the raw samples; both are then asked the same at the same times. Debian's 2.42 closes windows on the left, so
//! times are chosen that no sample and no step of a subquery stands on a window's edge. What still differs must be
//! explained by a row of [`DIFFERENCES`], whose condition is checked; anything else fails.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use prefold::model::{Timestamp, is_stale};
use prefold::promql::{Expr, parse};
use prefold::query::{EvalOptions, MemorySource, QueryError, instant, range};

use super::differences::{Answer, Case, DIFFERENCES};
use super::exporter::{Exporter, shards};
use super::expressions::{MINUTES, SECONDS, adapt, corpus};
use super::generated;
use super::http::{Api, Method, Reply, Steps};
use super::processes::{PATIENCE, Program, free_port, installed, now_ms, wait_for};
use super::prometheus::Prometheus;
use super::receiver::Receiver;

/// How long samples are collected: longer than any window and what is around it. PREFOLD_E2E_LONG has windows of minutes.
const COLLECT: Duration = Duration::from_secs(50);
const COLLECT_LONG: Duration = Duration::from_secs(780);

/// Steps of range queries.
const STEPS: i64 = 6;
const STEP_MS: i64 = 2_000;

/// What dashboards ask rarely or never: more functions, over counters that are reset and series that come and go.
const MORE: [&str; 44] = [
    "rate(e2e_work_total[10s])",
    "irate(e2e_work_total[10s])",
    "increase(e2e_work_total{shard=\"c\"}[15s])",
    "delta(e2e_level[10s])",
    "idelta(e2e_level[10s])",
    "deriv(e2e_level[10s])",
    "predict_linear(e2e_level[10s], 60)",
    "resets(e2e_work_total[15s])",
    "changes(e2e_level[15s])",
    "avg_over_time(e2e_level[9s])",
    "min_over_time(e2e_level[9s])",
    "max_over_time(e2e_level[9s])",
    "sum_over_time(e2e_level[9s])",
    "count_over_time(e2e_level[9s])",
    "last_over_time(e2e_level[9s])",
    "present_over_time(e2e_level[9s])",
    "absent_over_time(e2e_level{shard=\"d\"}[3s])",
    "quantile_over_time(0.3, e2e_level[9s])",
    "stddev_over_time(e2e_level[9s])",
    "stdvar_over_time(e2e_level[9s])",
    "stddev by (zone) (e2e_level)",
    "stdvar(e2e_level)",
    "quantile by (zone) (0.7, e2e_level)",
    "topk(2, e2e_level)",
    "bottomk by (zone) (1, e2e_level)",
    "count_values(\"level\", e2e_level)",
    "group by (zone) (e2e_level)",
    "absent(e2e_level{shard=\"d\"})",
    "histogram_quantile(0.9, rate(e2e_latency_bucket[10s]))",
    "histogram_quantile(0.5, sum by (le, zone) (increase(e2e_latency_bucket[15s])))",
    "label_join(e2e_level, \"both\", \"-\", \"zone\", \"shard\")",
    "label_replace(e2e_level, \"z\", \"$1\", \"zone\", \"(.).*\")",
    "e2e_level > bool 5000 or e2e_level unless e2e_level{zone=\"east\"}",
    "e2e_level / on (zone) group_left () sum by (zone) (e2e_level)",
    "e2e_level * on () e2e_level",
    "e2e_level % 7 ^ 2 atan2 3",
    "clamp(e2e_level, 2000, 8000) - clamp_min(e2e_level, 4000)",
    "sgn(e2e_level - 5000) * sqrt(e2e_level) + ln(e2e_level) - exp(e2e_level / 5000)",
    "max_over_time(sum by (zone) (rate(e2e_work_total[7s]))[13s:3s])",
    "e2e_level offset 3s - e2e_level offset -2s",
    "sum(e2e_level @ end()) - sum(e2e_level @ start())",
    "timestamp(e2e_level) - time()",
    "day_of_week() + hour(e2e_level * 1e5) + days_in_month(vector(time()))",
    "scalar(sum(e2e_level)) + vector(pi())",
];

/// Errors of the parser are the engine's, too.
fn parsed(text: &str) -> Result<Expr, QueryError> {
    parse(text).map_err(|error| QueryError::bad_data(error.to_string()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_engine_equals_prometheus() {
    let Some(expressions) = corpus() else { return };
    let Some(world) = World::start().await else { return };
    let long = std::env::var_os("PREFOLD_E2E_LONG").is_some();
    world.collect(if long { COLLECT_LONG } else { COLLECT }).await;
    let settled = (now_ms() / 1000 - 3) * 1000;
    let (source, phase) = world.same_samples(settled).await;
    // So that negative offsets, too, read what both have.
    let at = settled - if long { 31_000 } else { 5_000 } + phase;
    let steps = Steps { from: at - (STEPS - 1) * STEP_MS, to: at, step: STEP_MS };
    let mut asked: BTreeSet<String> =
        expressions.iter().filter_map(|text| adapt(text, &source, if long { MINUTES } else { SECONDS })).collect();
    asked.extend(MORE.iter().map(|text| (*text).to_owned()));
    let mut tally = Tally::default();
    for text in &asked {
        tally.ask(&world, text, steps, &source).await;
    }
    let mut of_generated = Tally::default();
    let generated = generated::expressions();
    for text in &generated {
        of_generated.ask(&world, text, steps, &source).await;
    }
    for (example, reason) in DIFFERENCES.iter().flat_map(|row| row.examples.iter().map(|example| (example, row.reason))) {
        let (ours, theirs) = world.instant(example, at, &source).await;
        let case = Case { text: example, ours: &ours, theirs: &theirs };
        assert!(case.compare().is_err(), "no longer differs: {reason}: {example}");
    }
    tally.report("published", asked.len());
    of_generated.report("generated", generated.len());
    assert!(asked.len() > 100 && tally.with_values > asked.len(), "too little was compared");
    assert!(of_generated.with_values * 2 > generated.len(), "too little of what was generated was compared");
}

#[derive(Default)]
struct Tally {
    equal: usize,
    with_values: usize,
    both_fail: usize,
    points: usize,
    explained: BTreeMap<&'static str, Vec<String>>,
    wrong: Vec<String>,
}

impl Tally {
    /// Asks for the last step as an instant, and for all steps.
    async fn ask(&mut self, world: &World, text: &str, steps: Steps, source: &MemorySource) {
        let (ours, theirs) = world.instant(text, steps.to, source).await;
        self.judge(&Case { text, ours: &ours, theirs: &theirs });
        let (ours, theirs) = world.range(text, steps, source).await;
        self.judge(&Case { text, ours: &ours, theirs: &theirs });
    }

    fn judge(&mut self, case: &Case<'_>) {
        match case.compare() {
            Ok(points) => {
                self.equal += 1;
                self.with_values += usize::from(points > 0);
                self.both_fail += usize::from(case.ours.is_err());
                self.points += points;
            }
            Err(why) => match DIFFERENCES.iter().find(|difference| (difference.explains)(case)) {
                Some(difference) => self.explained.entry(difference.reason).or_default().push(case.text.to_owned()),
                None => self.wrong.push(format!("{}: {why}", case.text)),
            },
        }
    }

    fn report(&self, kind: &str, expressions: usize) {
        println!(
            "{expressions} {kind} expressions, each as instant and as range: {} answers equal, {} of them with values ({} points), \
             {} errors on both sides",
            self.equal, self.with_values, self.points, self.both_fail
        );
        for (reason, texts) in &self.explained {
            println!("  {} differ: {reason}, such as {}", texts.len(), texts[0]);
        }
        assert!(self.wrong.is_empty(), "{} differ unexplained:\n{}", self.wrong.len(), self.wrong.join("\n"));
    }
}

/// Exporters, a Prometheus that scrapes them, and a receiver of what it scrapes.
struct World {
    prometheus: Prometheus,
    receiver: Receiver,
    _exporters: (Exporter, Program, tempfile::TempDir),
}

impl World {
    /// `None` where the programs are not installed.
    async fn start() -> Option<World> {
        let (dir, exporter, receiver) = (tempfile::tempdir().unwrap(), Exporter::start(shards), Receiver::start());
        let (binary, port) = (installed("prometheus-node-exporter")?, free_port());
        let mut command = Command::new(binary);
        command.args(["--no-collector.systemd", &format!("--web.listen-address=127.0.0.1:{port}")]);
        let node_exporter = Program::start("node-exporter", &mut command, dir.path());
        let targets = [("node", port), ("shards", exporter.port)];
        let prometheus = Prometheus::start(&targets, true, &[receiver.port]).await?;
        super::results::warm_up(&prometheus.api).await;
        Some(World { prometheus, receiver, _exporters: (exporter, node_exporter, dir) })
    }

    /// Lets time pass, and Prometheus' own metrics move.
    async fn collect(&self, how_long: Duration) {
        let (api, began) = (&self.prometheus.api, Instant::now());
        let mut n = 0;
        while began.elapsed() < how_long {
            for path in ["query", "query_range"] {
                let now = (now_ms() / 1000).to_string();
                let query = if n % 3 == 0 { "sum(" } else { "sum by (job) (rate(up[5s]))" };
                let params = [("query", query), ("start", &now), ("end", &now), ("step", "1")];
                api.ask(Method::Get, &format!("/api/v1/{path}"), &params).await.unwrap();
            }
            n += 1;
            tokio::time::sleep(Duration::from_millis(100 + n % 7 * 50)).await;
        }
    }

    async fn instant(&self, text: &str, at: i64, source: &MemorySource) -> (Answer, Reply) {
        let theirs = self.prometheus.api.instant(Method::Form, text, at, &[]).await.unwrap();
        let options = EvalOptions { query: text.to_owned(), ..EvalOptions::default() };
        let ours = parsed(text).and_then(|expr| instant(&expr, Timestamp(at), source, &options));
        (ours.map(|answer| answer.value), theirs)
    }

    async fn range(&self, text: &str, steps: Steps, source: &MemorySource) -> (Answer, Reply) {
        let theirs = self.prometheus.api.range(Method::Form, text, steps, &[]).await.unwrap();
        let options = EvalOptions { query: text.to_owned(), ..EvalOptions::default() };
        let (from, to) = (Timestamp(steps.from), Timestamp(steps.to));
        let ours = parsed(text).and_then(|expr| range(&expr, from, to, steps.step, source, &options));
        (ours.map(|answer| answer.value), theirs)
    }

    /// The samples up to an instant once the receiver has every one that Prometheus has, and the milliseconds of a second
    /// at which windows may begin and end: farthest from those of all samples and from 0, where subqueries step.
    async fn same_samples(&self, to: i64) -> (MemorySource, i64) {
        let path_end = format!("?prometheus={}", self.prometheus.api.url.rsplit(':').next().unwrap());
        let theirs = raw_samples(&self.prometheus.api, to).await;
        let source = wait_for("the receiver to have every sample", PATIENCE, async || {
            let source = self.receiver.source(&path_end, to);
            let ours: usize = source.iter().map(|(_, s)| s.iter().filter(|s| !is_stale(s.v)).count()).sum();
            if ours == theirs { Ok(source) } else { Err(format!("{ours} of {theirs} samples")) }
        });
        let source = source.await;
        let mut taken = [false; 1000];
        taken[0] = true;
        source.iter().flat_map(|(_, samples)| samples).for_each(|s| taken[s.t.0.rem_euclid(1000) as usize] = true);
        let distance = |phase: i64| {
            let near = |d: i64| taken[(phase + d).rem_euclid(1000) as usize] || taken[(phase - d).rem_euclid(1000) as usize];
            (0..500).find(|d| near(*d)).unwrap_or(500)
        };
        let phase = (1..1000).max_by_key(|phase| distance(*phase)).unwrap();
        assert!(distance(phase) > 0, "samples stand at every millisecond of the second");
        println!("{theirs} samples of {} series; windows end {} ms off any sample", source.len(), distance(phase));
        (source, phase)
    }
}

/// How many samples Prometheus has.
async fn raw_samples(api: &Api, to: i64) -> usize {
    let data = api.instant(Method::Form, "{__name__=~\".+\"}[1h]", to, &[]).await.unwrap().data().unwrap();
    let series = data["result"].as_array().unwrap();
    series.iter().map(|series| series["values"].as_array().unwrap().len()).sum()
}
