//! A whole cluster as processes: gateways, workers and query replicas over brokers of their own, beside one process that does
//! it all alone on the same log and is never touched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prefold::model::{Labels, Matcher, Sample, Selector};

use super::cluster::Cluster;
use super::host::Host;
use crate::oracle::{LOOKBACK_MS, Record, Rule};
use crate::process::processes::{Home, PATIENCE, Results, Running, answered, body_v1, labels, now_ms, prefold, sample};

/// A job whose windows close soon, and whose samples may come late: a fault must not make them.
pub const JOB: &str = r#"{"name":"fleet","defaults":{"max_delay":"20s","step":"2s"},"rules":[
  {"expr":"sum by (g) (count_over_time(c_total[10s]))"},
  {"expr":"sum by (g) (rate(c_total[10s]))"},
  {"expr":"avg by (g) (c_total)"}]}"#;

const JOBS: &[(&str, &str)] = &[("fleet.json", JOB)];

pub const QUERIES: [&str; 3] =
    ["sum by (g) (count_over_time(c_total[10s]))", "sum by (g) (rate(c_total[10s]))", "avg by (g) (c_total)"];

/// What they say, to the oracle.
pub fn rules() -> [Rule; 3] {
    let rule = |aggregation, function, window_ms| Rule {
        aggregation,
        function,
        selector: Selector::new(vec![Matcher::equal("__name__", "c_total")]),
        step_ms: 2_000,
        ..Rule::count(window_ms, 20_000)
    };
    [rule("sum", "count_over_time", 10_000), rule("sum", "rate", 10_000), rule("avg", "", LOOKBACK_MS)]
}

/// One that is added and taken away.
pub const FURTHER_JOB: &str = r#"{"name":"further","rules":[
  {"expr":"max by (g) (max_over_time(c_total[4s]))","step":"2s","max_delay":"20s"}]}"#;

pub const FURTHER_QUERY: &str = "max by (g) (max_over_time(c_total[4s]))";

/// A role that runs in a folder, so that it can be started again.
pub struct Process {
    role: &'static str,
    host: Host,
    home: Home,
    /// `None` while it is down.
    pub running: Option<Running>,
}

impl Process {
    /// With jobs by file name, which only some roles read, and a configuration.
    pub async fn start(role: &'static str, host: Host, jobs: &[(&str, &str)], config: &str) -> Process {
        let jobs = if matches!(role, "worker" | "run") { jobs } else { &[] };
        let mut process = Process { role, host, home: Home::new(jobs, config), running: None };
        process.restart().await;
        process
    }

    /// SIGKILL, and a new process in the same folder with another configuration.
    pub async fn kill_and_restart(&mut self, config: &str) {
        self.kill();
        self.home.configure(config);
        self.restart().await;
    }

    pub async fn restart(&mut self) {
        let config = self.home.path().join("config.yaml");
        let began = Instant::now();
        // As who keeps services going would: one that finds no broker in time ends, and is started again.
        let running = loop {
            let mut command = prefold(&[self.role, "--listen", &format!("{}:0", self.host.outer), "--config"]);
            command.arg(&config).current_dir(self.home.path());
            if matches!(self.role, "worker" | "run") {
                command.args(["--threads", "2"]);
            }
            let mut running = self.home.spawn_as(self.host.command(command));
            match running.listening().await {
                Ok(_) => break running,
                Err(ended) => assert!(ended.contains("status: 3") && began.elapsed() < PATIENCE, "{ended}"),
            }
        };
        self.running = Some(running);
    }

    pub fn kill(&mut self) {
        self.running.iter_mut().for_each(Running::kill);
        self.running = None;
    }

    /// All that it has kept is gone; while it is down.
    pub fn forget(&self) {
        std::fs::remove_dir_all(self.home.path().join("prefold-data")).unwrap();
    }

    pub fn signal(&self, name: &str) {
        self.running.iter().for_each(|running| running.signal(name));
    }

    pub fn put_job(&self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.home.put_job(name, text),
            None => drop(std::fs::remove_file(self.home.jobs().join(name))),
        }
    }

    pub fn up(&self) -> &Running {
        self.running.as_ref().unwrap()
    }
}

/// All of it.
pub struct Fleet {
    pub cluster: Cluster,
    config: String,
    pub gateways: Vec<Process>,
    pub workers: Vec<Process>,
    pub replicas: Vec<Process>,
    pub unbroken: Process,
}

impl Fleet {
    /// So many brokers, and so many processes of each role.
    pub async fn start(brokers: usize, gateways: usize, workers: usize, replicas: usize) -> Option<Fleet> {
        Fleet::start_on(&|_| Host::here(), "", [brokers, gateways, workers, replicas]).await
    }

    /// The same on hosts by name: brokers, unbroken, gateway-0 and so on; with further keys of `log.kafka`.
    pub async fn start_on(host: &dyn Fn(&str) -> Host, further: &str, numbers: [usize; 4]) -> Option<Fleet> {
        let [brokers, gateways, workers, replicas] = numbers;
        let cluster = Cluster::start_on(&host("brokers"), brokers, |_| {
            "group.min.session.timeout.ms=1000\ngroup.initial.rebalance.delay.ms=200\n".to_owned()
        })?;
        let kafka = format!(
            "brokers: [{}], topic_prefix: fleet, partitions: 6, partials_partitions: 4, session_timeout: 4s{further}",
            cluster.brokers().split(',').map(|broker| format!("\"{broker}\"")).collect::<Vec<_>>().join(", ")
        );
        let config = |more: &str| {
            format!(
                "web: {{ enable_lifecycle: true }}\ningest: {{ new_senders: whole }}\nlog: {{ kafka: {{ {kafka}{more} }} }}"
            )
        };
        let alone = config(", cluster_prefix: unbroken");
        let unbroken = Process::start("run", host("unbroken"), JOBS, &alone).await;
        let config = config("");
        let mut fleet = Fleet { cluster, gateways: Vec::new(), workers: Vec::new(), replicas: Vec::new(), unbroken, config };
        for number in 0..gateways {
            let gateway = Process::start("gateway", host(&format!("gateway-{number}")), JOBS, &fleet.config).await;
            fleet.gateways.push(gateway);
        }
        for number in 0..workers {
            let worker = Process::start("worker", host(&format!("worker-{number}")), JOBS, &fleet.config).await;
            fleet.workers.push(worker);
        }
        for number in 0..replicas {
            let named = fleet.config.replace("session_timeout: 4s", &format!("session_timeout: 4s, replica: q{number}"));
            fleet.replicas.push(Process::start("query", host(&format!("query-{number}")), JOBS, &named).await);
        }
        Some(fleet)
    }

    pub async fn add_worker(&mut self) {
        self.workers.push(Process::start("worker", Host::here(), JOBS, &self.config).await);
    }

    /// Another group of workers on the same samples, with a replica of its own.
    pub async fn add_group(&mut self, prefix: &str, workers: usize) {
        let named = format!("session_timeout: 4s, cluster_prefix: {prefix}, replica: {prefix}");
        let config = self.config.replace("session_timeout: 4s", &named);
        for _ in 0..workers {
            self.workers.push(Process::start("worker", Host::here(), JOBS, &config).await);
        }
        self.replicas.push(Process::start("query", Host::here(), JOBS, &config).await);
    }

    /// Begins to send, to any gateway, until told to stop; what was acknowledged is kept.
    pub fn load(&self, gateways: Arc<Mutex<Vec<String>>>) -> Load {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (told, kept) = (Arc::clone(&stop), Arc::clone(&sent));
        let task = tokio::spawn(async move {
            let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
            let mut turn = 0;
            while !told.load(Ordering::Relaxed) {
                let t = now_ms();
                let series = body(t, turn);
                let body = body_v1(&series);
                let began = Instant::now();
                loop {
                    let bases = gateways.lock().clone();
                    let base = &bases[turn % bases.len().max(1)];
                    turn += 1;
                    let answer = answered(client.post(format!("{base}/api/v1/write")).body(body.clone())).await;
                    if answer.is_ok_and(|answer| answer.status == 204) {
                        break;
                    }
                    assert!(began.elapsed() < PATIENCE, "a body is taken by no gateway");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                // Whatever was refused before it was taken: its samples count from when they are.
                kept.lock().push(Record { partition: 0, log_time: t, sender: String::new(), series });
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        });
        Load { stop, sent, task }
    }

    /// Where gateways that are up listen.
    pub fn bases(&self) -> Vec<String> {
        self.gateways.iter().filter_map(|gateway| Some(gateway.running.as_ref()?.base().to_owned())).collect()
    }
}

/// What is being sent.
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<Mutex<Vec<Record>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    /// Stops; gives all that was acknowledged, each body as a record of the time of its samples.
    pub async fn stop(self) -> Vec<Record> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.sent.lock().clone()
    }
}

/// The series of each body.
const SERIES: usize = 24;

fn body(t: i64, turn: usize) -> Vec<(Labels, Vec<Sample>)> {
    let series = |n: usize| {
        let labels = labels(&[("__name__", "c_total"), ("g", &format!("g{}", n % 3)), ("n", &n.to_string())]);
        (labels, vec![sample(t, (turn * (n + 1) % 97) as f64 * 0.1)])
    };
    (0..SERIES).map(series).collect()
}

/// What uncovers a view.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    reason: String,
    from: i64,
    to: Option<i64>,
}

impl Span {
    pub fn covers(&self, t: i64) -> bool {
        self.from <= t && self.to.is_none_or(|to| t < to)
    }

    pub fn is_gap(&self) -> bool {
        self.reason == "gap"
    }

    /// Whether it is there because nobody knows what was before.
    pub fn is_begin(&self) -> bool {
        matches!(self.reason.as_str(), "new-view" | "sender-new")
    }
}

/// What a process shows of its views: by expression, the spans that uncover them, as far as they are within bounds, of which both
/// are grid points that count.
pub async fn spans(running: &Running, from: i64, to: i64) -> BTreeMap<String, Vec<Span>> {
    let mut found = BTreeMap::new();
    for view in running.views().await {
        let spans = view["spans"].as_array().unwrap().iter().map(|span| Span {
            reason: span["reason"].as_str().unwrap().to_owned(),
            from: span["from_ms"].as_i64().unwrap().max(from),
            to: span["to_ms"].as_i64().map(|end| end.min(to + 1)),
        });
        let mut spans: Vec<Span> = spans.filter(|span| span.from <= to && span.to.is_none_or(|end| end > from)).collect();
        spans.sort();
        found.insert(view["expr"].as_str().unwrap().to_owned(), spans);
    }
    found
}

/// What a process answers, whether it is covered or not: there is no upstream.
pub async fn answers(running: &Running, query: &str, from: i64, to: i64) -> Results {
    running.results(query, from, to, 2_000).await
}
