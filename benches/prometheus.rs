//! Debian's Prometheus with the workload in its blocks.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use prefold::cli::workload::Workload;
use prefold::model::{Labels, Sample, Timestamp};
use prefold::wire::{remote_write_v1, snappy};

use crate::engine::{Answer, SCRAPES, START_MS, Times};

const SERIES_PER_REQUEST: usize = 2_000;

/// Killed when dropped.
pub struct Prometheus {
    child: Child,
    port: u16,
    _data: tempfile::TempDir,
}

impl Prometheus {
    /// One that has read nothing but blocks: the samples are written to another, which makes a snapshot of itself. `None`
    /// where it is not installed.
    pub fn with_blocks(series: usize) -> Option<Prometheus> {
        let written = Prometheus::start(tempfile::tempdir().ok()?, "")?;
        let workload = Workload { series, start: Timestamp(START_MS) };
        for first in (0..series).step_by(SERIES_PER_REQUEST) {
            let numbers = first..(first + SERIES_PER_REQUEST).min(series);
            let batch: Vec<(Labels, Vec<Sample>)> =
                numbers.map(|n| (workload.labels(n), workload.samples(n, SCRAPES))).collect();
            let body = snappy::compress(&remote_write_v1::encode(&batch));
            let headers = "Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n";
            written.request("POST", "/api/v1/write", headers, &body);
        }
        let answer = written.request("POST", "/api/v1/admin/tsdb/snapshot", "", b"");
        let answer: serde_json::Value = serde_json::from_slice(&answer).expect("it answers in JSON");
        let snapshot = Path::new("snapshots").join(answer["data"]["name"].as_str().expect("it is named"));
        let blocks = tempfile::tempdir().ok()?;
        std::fs::rename(written._data.path().join(snapshot), blocks.path().join("data")).expect("on the same disk");
        Prometheus::start(blocks, "data")
    }

    fn start(data: tempfile::TempDir, blocks: &str) -> Option<Prometheus> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let config = data.path().join("prometheus.yml");
        std::fs::write(&config, "global: {}\n").expect("written");
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", data.path().join(blocks).display()));
        command.args(["--storage.tsdb.retention.time=100y", "--web.enable-remote-write-receiver", "--web.enable-admin-api"]);
        command.args(["--log.level=error", &format!("--web.listen-address=127.0.0.1:{port}")]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let prometheus = Prometheus { child, port, _data: data };
        while !prometheus.try_request("GET", "/-/ready", "", b"").is_ok_and(|answer| answer.starts_with(b"HTTP/1.0 200")) {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Some(prometheus)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn range(&self, query: &str, times: Times) -> Answer {
        let percent = |byte: u8| match byte.is_ascii_alphanumeric() {
            true => (byte as char).to_string(),
            false => format!("%{byte:02X}"),
        };
        let query: String = query.bytes().map(percent).collect();
        let (start, end, step) = (times.start / 1000, times.end / 1000, times.step_ms / 1000);
        let path = format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}");
        let answer: serde_json::Value =
            serde_json::from_slice(&self.request("GET", &path, "", b"")).expect("it answers in JSON");
        let mut points = Answer::new();
        for series in answer["data"]["result"].as_array().expect("a matrix") {
            let labels = series["metric"].to_string();
            for point in series["values"].as_array().expect("values") {
                let t = (point[0].as_f64().expect("a time") * 1000.0).round() as i64;
                let v = point[1].as_str().and_then(|text| text.parse().ok()).expect("a value");
                points.insert((labels.clone(), t), v);
            }
        }
        points
    }

    /// The body of a successful answer.
    fn request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let answer = self.try_request(method, path, headers, body).expect("it listens");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        assert!(answer.starts_with(b"HTTP/1.0 2"), "{method} {path}: {}", String::from_utf8_lossy(&answer));
        answer[end..].to_vec()
    }

    fn try_request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        // 1.0 has no chunks: the answer ends where the connection does.
        write!(stream, "{method} {path} HTTP/1.0\r\n{headers}Content-Length: {}\r\n\r\n", body.len())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
