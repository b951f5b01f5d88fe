//! A prefold process with a folder of its own, ended when it goes out of scope.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use super::corpora::corpus;
use prefold::model::{Labels, Sample, Timestamp};
use prefold::wire::{remote_write_v1, remote_write_v2, snappy};

/// How long anything may take on a busy machine before it counts as never.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// A view over `c_total`, ready to query a few seconds after a sample.
pub const COUNT_JOB: &str = r#"{"name":"count","rules":[
  {"expr":"sum by (g) (count_over_time(c_total[10s]))","step":"1s","max_delay":"2s"}]}"#;

pub const COUNT_QUERY: &str = "sum by (g) (count_over_time(c_total[10s]))";

/// The wall clock in milliseconds: what a real process stamps records with.
#[allow(clippy::disallowed_methods)]
pub fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// The binary under test, with nothing from the environment.
pub fn prefold(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prefold"));
    for name in ["CONFIG", "JOBS", "DATA_DIR", "LISTEN", "UPSTREAM", "THREADS", "LOG", "LOG_FORMAT", "KAFKA"] {
        command.env_remove(format!("PREFOLD_{name}"));
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command to its end: exit status, stdout, stderr.
pub fn finished(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// Waits for a condition.
pub async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The folder of a process: config.yaml, jobs, data, and what it logged.
pub struct Home {
    dir: tempfile::TempDir,
    starts: AtomicU32,
}

impl Home {
    /// With jobs by file name and a configuration. It does not scrape itself, so that the log holds what a test sends.
    pub fn new(jobs: &[(&str, &str)], config: &str) -> Home {
        let home = Home { dir: tempfile::tempdir().unwrap(), starts: AtomicU32::new(0) };
        fs::create_dir(home.jobs()).unwrap();
        jobs.iter().for_each(|(name, text)| home.put_job(name, text));
        home.configure(config);
        home
    }

    /// For the next start.
    pub fn configure(&self, config: &str) {
        let scrapes = if config.contains("scrape_configs") { "" } else { "scrape_configs: []\n" };
        fs::write(self.path().join("config.yaml"), format!("{scrapes}{config}\n")).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn jobs(&self) -> PathBuf {
        self.path().join("jobs")
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// As an editor that writes beside and renames would.
    pub fn put_job(&self, name: &str, text: &str) {
        let written = self.path().join("written");
        fs::write(&written, text).unwrap();
        fs::rename(written, self.jobs().join(name)).unwrap();
    }

    /// `prefold run` here, at any free port.
    pub fn command(&self) -> Command {
        let mut command = prefold(&["run", "--listen", "127.0.0.1:0", "--threads", "2", "--config"]);
        command.arg(self.path().join("config.yaml")).arg("--jobs").arg(self.jobs());
        command.arg("--data-dir").arg(self.data());
        command
    }

    /// Starts it without waiting for anything.
    pub fn spawn(&self) -> Running {
        self.spawn_as(self.command())
    }

    /// Starts another command likewise.
    pub fn spawn_as(&self, mut command: Command) -> Running {
        let logged = self.path().join(format!("stderr-{}", self.starts.fetch_add(1, Ordering::Relaxed)));
        let child = command.stderr(File::create(&logged).unwrap()).stdout(Stdio::null()).spawn().unwrap();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        Running { child, logged, client, base: String::new() }
    }

    /// Starts it and waits until it answers queries.
    pub async fn start(&self) -> Running {
        let mut running = self.spawn();
        running.listening().await.unwrap();
        until("queries to be answered", async || (running.get("/api/v1/query?query=1").await.status == 200).then_some(()))
            .await;
        running
    }
}

/// What a failed test leaves behind can be looked at.
impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("its folder stays at {}", self.path().display());
        }
    }
}

/// A running process. Killed when dropped.
pub struct Running {
    child: Child,
    logged: PathBuf,
    client: reqwest::Client,
    base: String,
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A query's result: by labels, by time in milliseconds, the value as it was written.
pub type Results = BTreeMap<String, BTreeMap<i64, String>>;

impl Running {
    /// Waits until it has said where it listens. An error when it ended before.
    pub async fn listening(&mut self) -> Result<SocketAddr, String> {
        let began = Instant::now();
        loop {
            if let Some(address) =
                self.logs().split("local=").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            {
                self.base = format!("http://{address}");
                return Ok(address);
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                return Err(format!("ended with {status}: {}", self.logs()));
            }
            assert!(began.elapsed() < PATIENCE, "never listened: {}", self.logs());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// What it wrote to stderr.
    pub fn logs(&self) -> String {
        fs::read_to_string(&self.logged).unwrap_or_default()
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status().unwrap();
        assert!(sent.success());
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until("the process to end", async || child.try_wait().unwrap()).await
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    pub async fn get(&self, path: &str) -> Answer {
        let request = self.client.get(format!("{}{path}", self.base));
        answered(request).await.unwrap_or_else(|error| panic!("{path}: {error}; {}", self.logs()))
    }

    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.base)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answered(request).await.unwrap_or_else(|error| panic!("{path}: {error}; {}", self.logs()))
    }

    /// A form by POST.
    pub async fn form(&self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        self.request("POST", path, &headers, form(pairs).into_bytes()).await
    }

    /// Remote write 1.0 of these series.
    pub async fn write(&self, series: &[(Labels, Vec<Sample>)]) -> Answer {
        self.request("POST", "/api/v1/write", &[], body_v1(series)).await
    }

    /// The views, as the status page lists them.
    pub async fn views(&self) -> Vec<serde_json::Value> {
        self.get("/prefold/api/v1/views").await.json()["data"].as_array().unwrap().clone()
    }

    /// Waits until every view is final up to a time, and there are as many as expected.
    pub async fn final_to(&self, views: usize, t: i64) {
        let began = Instant::now();
        loop {
            let listed = self.views().await;
            let final_to: Vec<_> = listed.iter().map(|view| view["final_to_ms"].as_i64()).collect();
            if final_to.len() == views && final_to.iter().all(|to| to.is_some_and(|to| to >= t)) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "waited for {views} views to be final to {t}: {final_to:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub async fn range(&self, query: &str, start: i64, end: i64, step: i64) -> Answer {
        let seconds = |ms: i64| (ms as f64 / 1000.0).to_string();
        let (start, end, step) = (seconds(start), seconds(end), seconds(step));
        self.form("/api/v1/query_range", &[("query", query), ("start", &start), ("end", &end), ("step", &step)]).await
    }

    /// A range query that views must answer.
    pub async fn results(&self, query: &str, start: i64, end: i64, step: i64) -> Results {
        let answer = self.range(query, start, end, step).await;
        assert_eq!((answer.status, answer.header("x-prefold-answer")), (200, "rewritten"), "{query}: {answer:?}");
        results(&answer.json())
    }

    /// A counter or gauge of /metrics; 0 while it is not there.
    pub async fn metric(&self, name_and_labels: &str) -> f64 {
        let text = self.get("/metrics").await.text;
        let value = text.lines().find_map(|line| {
            let rest = line.strip_prefix(name_and_labels)?;
            rest.strip_prefix("{}").unwrap_or(rest).strip_prefix(' ')
        });
        value.map_or(0.0, |value| value.parse().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("it logged:\n{}", self.logs());
        }
    }
}

/// Sends a request; an error when there is no whole answer.
pub async fn answered(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, text: response.text().await? })
}

/// Points of a matrix by labels.
pub fn results(answer: &serde_json::Value) -> Results {
    let series = answer["data"]["result"].as_array().unwrap().iter();
    let points = |one: &serde_json::Value| -> BTreeMap<i64, String> {
        let values = one["values"].as_array().unwrap().iter();
        values.map(|at| ((at[0].as_f64().unwrap() * 1000.0).round() as i64, at[1].as_str().unwrap().to_owned())).collect()
    };
    series.map(|one| (one["metric"].to_string(), points(one))).collect()
}

pub fn form(pairs: &[(&str, &str)]) -> String {
    let escape = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    pairs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect::<Vec<_>>().join("&")
}

pub fn body_v1(series: &[(Labels, Vec<Sample>)]) -> Vec<u8> {
    snappy::compress(&remote_write_v1::encode(series))
}

pub fn body_v2(series: &[(Labels, Vec<Sample>)]) -> Vec<u8> {
    snappy::compress(&remote_write_v2::encode(series))
}

pub fn sample(t: i64, v: f64) -> Sample {
    Sample { t: Timestamp(t), v }
}

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied())
}

/// One sample of `c_total{g=..}` now.
pub fn counted(group: &str) -> Vec<(Labels, Vec<Sample>)> {
    vec![(labels(&[("__name__", "c_total"), ("g", group)]), vec![sample(now_ms(), 1.0)])]
}
