//! Processes of a role: started, asked, and what they took of the processor.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::load::Pace;
use crate::cpu;
use crate::process::{Stopped, get};

/// What takes longer will never come.
const PATIENCE: Duration = Duration::from_secs(180);

pub const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Of each topic.
pub const PARTITIONS: usize = 8;

/// A running process with a folder of its own.
pub struct Role {
    child: Stopped,
    pub address: String,
    folder: tempfile::TempDir,
}

impl Role {
    /// Starts it, on one thread where it folds, and waits until it listens.
    pub fn start(role: &str, log: &str, pace: Pace) -> Role {
        let folder = tempfile::tempdir().expect("a folder for the process");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("jobs")).expect("it is new");
        fs::write(path("jobs/bench.json"), pace.job()).expect("it is new");
        let config = format!("ingest: {{ new_senders: whole }}\nscrape_configs: []\n{log}\n");
        fs::write(path("config.yaml"), config).expect("it is new");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_prefold"));
        command.args([role, "--listen", &address, "--config", "config.yaml"]).current_dir(folder.path());
        if matches!(role, "worker" | "run") {
            command.args(["--threads", "1"]);
        }
        let log = File::create(path("log")).expect("it is new");
        let child = Stopped(command.stdout(Stdio::null()).stderr(log).spawn().expect("the binary was built with the bench"));
        let mut started = Role { child, address, folder };
        let began = Instant::now();
        while TcpStream::connect(&started.address).is_err() {
            let ended = started.child.0.try_wait().expect("it is ours");
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "prefold {role}: {}", started.log());
            std::thread::park_timeout(LOOK_EVERY);
        }
        started
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// How often it was given a partition of samples.
    pub fn arrivals(&self) -> usize {
        self.log().matches("a partition of samples is ours").count()
    }

    /// CPU seconds so far.
    pub fn cpu(&self) -> f64 {
        cpu::seconds(self.child.0.id())
    }

    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        self.child.0.kill().expect("it is ours");
        self.child.0.wait().expect("it is ours");
    }

    /// A counter or gauge without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = get(&self.address, "/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("{name} is missing: {text}"))
    }

    /// The newest grid point that is final of the only view.
    pub fn final_to(&self) -> Option<i64> {
        self.view()["final_to_ms"].as_i64()
    }

    /// What it says of the only view.
    pub fn view(&self) -> serde_json::Value {
        let views: serde_json::Value =
            serde_json::from_str(&get(&self.address, "/prefold/api/v1/views")).unwrap_or_default();
        views["data"][0].clone()
    }

    /// The values of a range query that the view must answer: by time and group, a bucket of a method.
    pub fn answer(&self, pace: Pace, from: i64, to: i64) -> Vec<(i64, (String, String), f64)> {
        let escape = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let (start, end, step) = (from as f64 / 1e3, to as f64 / 1e3, pace.step_ms as f64 / 1e3);
        let path = format!("/api/v1/query_range?query={}&start={start}&end={end}&step={step}", escape(&pace.query()));
        let text = get(&self.address, &path);
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let mut values = Vec::new();
        for series in answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{text}")) {
            let label = |name: &str| series["metric"][name].as_str().unwrap_or_default().to_owned();
            for point in series["values"].as_array().into_iter().flatten() {
                let t = (point[0].as_f64().unwrap_or_default() * 1e3).round() as i64;
                let value = point[1].as_str().and_then(|value| value.parse().ok()).unwrap_or(f64::NAN);
                values.push((t, (label("le"), label("method")), value));
            }
        }
        values
    }
}

/// Waits until something holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited for {what}");
        std::thread::park_timeout(LOOK_EVERY);
    }
}
