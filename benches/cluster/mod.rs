//! Cluster: gateways and workers over a real Kafka on loopback, in CPU seconds of their processes and bytes in Kafka.
//!
//! Baseline: `prefold run` with its embedded log under the same load, which does all of it in one process. Nothing counts
//! unless every sample sent was folded once and every grid point is what a plain loop says.

mod load;
mod recovery;
mod roles;
mod topics;

// As for the tests: Apache Kafka's own broker.
#[allow(dead_code, clippy::unwrap_used)]
#[path = "../../tests/kafka/cluster.rs"]
mod broker;
#[allow(dead_code)]
#[path = "../../tests/kafka/host.rs"]
mod host;
#[allow(clippy::unwrap_used)]
#[path = "../../tests/kafka/jars.rs"]
mod jars;

use std::path::Path;

use prefold::cli::workload::BUCKETS;

pub use recovery::{run as recover, run_at_real_pace as recover_at_real_pace};

use crate::{Scale, report};
use broker::Cluster;
use load::{FAST, GROUPS, Load, Pace};
use roles::{PARTITIONS, Role, until};

/// The first scrapes make the series known; the rest is the steady state that is measured.
const SCRAPES_BEFORE: usize = 10;

/// What is measured: processes of each role, how many times the series they share, and the compression of the topics.
const RUNS: [Run; 6] = [
    Run { processes: 1, times: 1, compression: "zstd" },
    Run { processes: 2, times: 1, compression: "zstd" },
    Run { processes: 3, times: 1, compression: "zstd" },
    Run { processes: 2, times: 2, compression: "zstd" },
    Run { processes: 3, times: 3, compression: "zstd" },
    Run { processes: 1, times: 1, compression: "lz4" },
];

#[derive(Clone, Copy)]
struct Run {
    processes: usize,
    times: usize,
    compression: &'static str,
}

/// A broker, and where its data is.
struct Kafka {
    cluster: Cluster,
    data: tempfile::TempDir,
}

impl Kafka {
    /// `None` where there can be none.
    fn start() -> Option<Kafka> {
        let data = tempfile::tempdir().expect("a folder for the broker");
        let further = format!("log.dirs={}\ngroup.initial.rebalance.delay.ms=500\n", data.path().join("kafka").display());
        let cluster = Cluster::start_with(1, |_| further.clone())?;
        Some(Kafka { cluster, data })
    }

    fn data(&self) -> std::path::PathBuf {
        Path::new(self.data.path()).join("kafka")
    }

    fn config(&self, prefix: &str, compression: &str) -> String {
        format!(
            "log: {{ kafka: {{ brokers: [\"{}\"], topic_prefix: {prefix}, partitions: {PARTITIONS}, \
             partials_partitions: {PARTITIONS}, compression: {compression}, replica: bench }} }}",
            self.cluster.brokers()
        )
    }
}

/// Processes that are one cluster.
struct Processes {
    gateways: Vec<Role>,
    workers: Vec<Role>,
    replica: Role,
}

impl Processes {
    /// Starts them, and waits until every partition is somebody's and none moves any more.
    fn start(config: &str, pace: Pace, gateways: usize, workers: usize) -> Processes {
        let start = |role: &'static str| move |_| Role::start(role, config, pace);
        let gateways = (0..gateways).map(start("gateway")).collect();
        let workers: Vec<Role> = (0..workers).map(start("worker")).collect();
        let replica = Role::start("query", config, pace);
        let arrivals = || workers.iter().map(Role::arrivals).sum::<usize>();
        let mut before = 0;
        until("the workers to have shared out the partitions", || {
            std::thread::park_timeout(std::time::Duration::from_secs(3));
            let now = arrivals();
            now >= PARTITIONS && std::mem::replace(&mut before, now) == now
        });
        Processes { gateways, workers, replica }
    }

    fn load(&self, pace: Pace, scale: Scale, scrapes: usize) -> Load {
        let addresses: Vec<&str> = self.gateways.iter().map(|gateway| gateway.address.as_str()).collect();
        Load::new(pace, scale.series, scrapes, &addresses)
    }
}

pub fn run(scale: Scale) {
    let baseline = embedded(scale);
    println!("cluster, one process, embedded log {:>8.2} M samples per CPU second: the baseline", baseline / 1e6);
    let Some(kafka) = Kafka::start() else { return };
    for (index, run) in RUNS.into_iter().enumerate() {
        measure(&kafka, &format!("bench{index}"), run, scale, baseline);
    }
}

/// Samples per CPU second of `prefold run` with the embedded log.
fn embedded(scale: Scale) -> f64 {
    let process = Role::start("run", "", FAST);
    let mut load = Load::new(FAST, scale.series, scale.scrapes, &[&process.address]);
    (0..SCRAPES_BEFORE).for_each(|_| load.scrape());
    let before = process.cpu();
    (SCRAPES_BEFORE..scale.scrapes).for_each(|_| load.scrape());
    assert_results(&process, &load, FAST);
    let seconds = process.cpu() - before;
    assert_eq!(process.metric("prefold_fold_samples_total") as usize, scale.series * scale.scrapes, "samples folded");
    (scale.series * (scale.scrapes - SCRAPES_BEFORE)) as f64 / seconds.max(0.01)
}

/// Sends the load through so many gateways and workers, and says what it took.
fn measure(kafka: &Kafka, prefix: &str, run: Run, scale: Scale, baseline: f64) {
    let Run { processes: count, times, compression } = run;
    let scale = Scale { series: scale.series * times, ..scale };
    let processes = Processes::start(&kafka.config(prefix, compression), FAST, count, count);
    let Processes { gateways, workers, replica } = &processes;
    let mut load = processes.load(FAST, scale, scale.scrapes);
    let cpu = |of: &[Role]| of.iter().map(Role::cpu).sum::<f64>();
    (0..SCRAPES_BEFORE).for_each(|_| load.scrape());
    let before = (cpu(gateways), cpu(workers));
    (SCRAPES_BEFORE..scale.scrapes).for_each(|_| load.scrape());
    assert_results(replica, &load, FAST);
    let seconds = (cpu(gateways) - before.0, cpu(workers) - before.1);
    let sent = scale.series * scale.scrapes;
    let total = |of: &[Role], metric: &str| of.iter().map(|role| role.metric(metric)).sum::<f64>() as usize;
    assert_eq!(total(gateways, "prefold_ingest_samples_total"), sent, "samples taken by gateways");
    assert_eq!(total(workers, "prefold_fold_samples_total"), sent, "samples folded by workers");
    let measured = scale.series * (scale.scrapes - SCRAPES_BEFORE);
    for (role, seconds) in [("gateway", seconds.0), ("worker", seconds.1)] {
        let stage = format!("cluster, {count} x {role}, {} series, {compression}", scale.series);
        report(&stage, measured, seconds.max(0.01), ("one process, embedded log", baseline));
    }
    bytes(kafka, prefix, sent, &load, replica);
}

/// What the topics hold of it.
fn bytes(kafka: &Kafka, prefix: &str, sent: usize, load: &Load, replica: &Role) {
    let (samples, partials) = (format!("{prefix}.samples"), format!("{prefix}.partials"));
    let points = (replica.final_to().expect("it was final") - load.began().0) / FAST.step_ms;
    let partial = (GROUPS * points as usize * PARTITIONS) as f64;
    let disk = topics::disk_bytes(&kafka.data(), &partials) as f64;
    let (records, payload) = topics::payloads(&kafka.cluster.brokers(), &partials, PARTITIONS);
    let of_samples = topics::payloads(&kafka.cluster.brokers(), &samples, PARTITIONS).1 as f64 / sent as f64;
    let samples = topics::disk_bytes(&kafka.data(), &samples) as f64 / sent as f64;
    println!("  samples in Kafka           {samples:>8.2} B a sample ({of_samples:.2} before compression)");
    println!(
        "  partials in Kafka          {:>8.2} B a partial ({:.2} before compression), {points} grid points of {GROUPS} groups in \
         {PARTITIONS} partitions, {records} records",
        disk / partial,
        payload as f64 / partial
    );
}

/// Every grid point with a whole window is in the results and is what the plain loop says.
fn assert_results(answering: &Role, load: &Load, pace: Pace) {
    let (from, to) = (load.sums.keys().next(), load.sums.keys().next_back());
    let (from, to) = (*from.expect("enough was sent"), *to.expect("enough was sent"));
    until("all results to be final", || answering.final_to().is_some_and(|reached| reached >= to));
    let answer = answering.answer(pace, from, to);
    let first = &load.sums[&from];
    let missing: Vec<i64> = load.sums.keys().copied().filter(|t| answer.iter().all(|(at, ..)| at != t)).collect();
    assert!(missing.is_empty(), "not answered at {missing:?}, of {from} to {to}: {}", answering.view());
    assert_eq!(answer.len(), load.sums.len() * first.len(), "values of {} groups", first.len());
    for (t, (le, method), value) in answer {
        let bucket = BUCKETS.iter().position(|bucket| **bucket == *le).expect("a bucket");
        let method: usize = method[method.len() - 2..].parse().expect("a method");
        let expected = load.sums[&t][method * BUCKETS.len() + bucket];
        assert!(
            (value - expected).abs() <= 1e-9 * expected.abs(),
            "{le} of method {method} at {t}: {value}, not {expected}"
        );
    }
}
