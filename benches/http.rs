//! HTTP: remote write 1.0 in, results in the store: the whole path, in CPU seconds of the process.
//!
//! Baseline: a receiver that takes the same requests and only decodes them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use prefold::cli::workload::{SCRAPE_MS, Workload};
use prefold::model::{Labels, Sample, Timestamp};
use prefold::wire::{remote_write_v1, snappy};

use crate::{Scale, cpu, report};

const SERIES_PER_REQUEST: usize = 5_000;

pub fn run(scale: Scale) {
    let baseline = {
        let mut receiver = Command::new(std::env::current_exe().expect("this program has a path"));
        let mut child = Stopped(receiver.arg("--decode-only-receiver").stdout(Stdio::piped()).spawn().expect("starts"));
        let mut address = String::new();
        let stdout = child.0.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut address).expect("it says where it listens");
        send_all(scale, address.trim(), child.0.id())
    };
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
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    let rate = send_all(scale, &address, child.0.id());
    report(
        "http, whole path",
        scale.series * scale.scrapes,
        (scale.series * scale.scrapes) as f64 / rate,
        ("decoding alone", baseline),
    );
}

/// Killed when dropped.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends the workload; gives samples per CPU second of the process that took them.
fn send_all(scale: Scale, address: &str, pid: u32) -> f64 {
    let start = Timestamp(1_700_000_010_000);
    let workload = Workload { series: scale.series, start };
    let labels: Vec<Labels> = (0..scale.series).map(|n| workload.labels(n)).collect();
    let samples: Vec<Vec<Sample>> = (0..scale.series).map(|n| workload.samples(n, scale.scrapes)).collect();
    let mut stream = TcpStream::connect(address).expect("it listens");
    // The first scrape makes the series known; the rest is the steady state that is measured.
    scrape(&mut stream, scale, &labels, &samples, 0);
    let began = cpu::seconds(pid);
    (1..scale.scrapes).for_each(|one| scrape(&mut stream, scale, &labels, &samples, one));
    // What was acknowledged is folded within moments; its CPU time belongs to the whole path.
    std::thread::park_timeout(std::time::Duration::from_millis(SCRAPE_MS as u64 / 5));
    (scale.series * (scale.scrapes - 1)) as f64 / (cpu::seconds(pid) - began).max(0.01)
}

fn scrape(stream: &mut TcpStream, scale: Scale, labels: &[Labels], samples: &[Vec<Sample>], scrape: usize) {
    for first in (0..scale.series).step_by(SERIES_PER_REQUEST) {
        let numbers = first..(first + SERIES_PER_REQUEST).min(scale.series);
        let series: Vec<(Labels, Vec<Sample>)> = numbers.map(|n| (labels[n].clone(), vec![samples[n][scrape]])).collect();
        let body = snappy::compress(&remote_write_v1::encode(&series));
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
}

/// A receiver that decodes and forgets.
pub fn decode_only_receiver() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("{}", listener.local_addr().expect("it is bound"));
    while let Ok((stream, _)) = listener.accept() {
        let mut writer = stream.try_clone().expect("a socket can be cloned");
        let mut reader = BufReader::new(stream);
        let mut body = Vec::new();
        while let Some(length) = content_length(&mut reader) {
            body.resize(length, 0);
            reader.read_exact(&mut body).expect("the body follows");
            let decoded = snappy::decompress(&body, 1 << 26).expect("made by the bench");
            let mut request = remote_write_v1::Request::new(&decoded);
            while let Some(series) = request.next_series().expect("made by the bench") {
                std::hint::black_box((series.labels, series.samples));
            }
            writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").expect("the bench reads");
        }
    }
}

/// Reads a request's head; `None` when the connection has ended.
fn content_length(reader: &mut impl BufRead) -> Option<usize> {
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).ok()? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    if line.is_empty() { None } else { Some(length) }
}
