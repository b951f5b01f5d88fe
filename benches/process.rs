//! A Prefold process for the benches, and requests to it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::Duration;

use prefold::cli::workload::SCRAPE_MS;
use prefold::model::{Labels, Sample, Timestamp};
use prefold::wire::{remote_write_v1, snappy};

/// Killed when dropped.
pub struct Stopped(pub Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A whole process, with the shipped jobs and a folder of its own; log time is that of the samples.
pub struct Process {
    child: Stopped,
    pub address: String,
    _folder: tempfile::TempDir,
}

impl Process {
    pub fn start() -> Process {
        let folder = tempfile::tempdir().expect("a folder for the data");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let address = format!("127.0.0.1:{port}");
        let config = folder.path().join("config.yaml");
        std::fs::write(&config, "log: { log_time: samples }\ningest: { new_senders: whole }\nscrape_configs: []\n")
            .expect("written");
        let jobs = concat!(env!("CARGO_MANIFEST_DIR"), "/jobs");
        let child = Command::new(env!("CARGO_BIN_EXE_prefold"))
            .args(["--log-level", "error", "run", "--jobs", jobs, "--listen", &address, "--threads", "1", "--config"])
            .arg(&config)
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .spawn();
        let child = Stopped(child.expect("the binary was built with the bench"));
        while TcpStream::connect(&address).is_err() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Process { child, address, _folder: folder }
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Every sample sent has gone through the dataflow: a rate without the work would be none.
    pub fn assert_folded(&self, samples: usize) {
        let answer = get(&self.address, "/metrics");
        let folded = answer.lines().find_map(|line| line.strip_prefix("prefold_fold_samples_total ")?.parse::<f64>().ok());
        assert_eq!(folded, Some(samples as f64), "samples folded when the rate was taken");
    }

    /// A size of the process in bytes, as /proc names it: `VmRSS` now, `VmHWM` at most so far.
    pub fn bytes(&self, name: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) * 1024.0
    }
}

/// What a path answers, without its head. As HTTP 1.0, so that it comes in one piece.
pub fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())
}

/// When the workloads of the benches begin.
pub const START: Timestamp = Timestamp(1_700_000_010_000);

/// A request of these series, not compressed.
pub fn request(series: impl Iterator<Item = (Labels, Sample)>) -> Vec<u8> {
    let series: Vec<(Labels, Vec<Sample>)> = series.map(|(labels, sample)| (labels, vec![sample])).collect();
    remote_write_v1::encode(&series)
}

/// Sends one request and waits for the answer.
pub fn post(stream: &mut TcpStream, body: &[u8]) {
    let body = snappy::compress(body);
    let head = format!(
        "POST /api/v1/write HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-protobuf\r\n\
         Content-Encoding: snappy\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).expect("it reads");
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).expect("it answers");
    assert!(answer[..read].starts_with(b"HTTP/1.1 204"), "{}", String::from_utf8_lossy(&answer[..read]));
}

/// What was acknowledged is folded within moments; its CPU time belongs to the whole path.
pub fn settle() {
    std::thread::park_timeout(Duration::from_millis(SCRAPE_MS as u64 / 5));
}
