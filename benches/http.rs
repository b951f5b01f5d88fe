//! HTTP: remote write 1.0 in, results in the store: the whole path, in CPU seconds of the process.
//!
//! Baseline: a receiver that takes the same requests and only decodes them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use prefold::cli::workload::Workload;
use prefold::model::{Labels, Sample};
use prefold::wire::{remote_write_v1, snappy};

use crate::process::{Process, START, Stopped, post, request, settle};
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
    let process = Process::start();
    let rate = send_all(scale, &process.address, process.pid());
    let samples = scale.series * scale.scrapes;
    report("http, whole path", samples, samples as f64 / rate, ("decoding alone", baseline));
}

/// Sends the workload; gives samples per CPU second of the process that took them.
fn send_all(scale: Scale, address: &str, pid: u32) -> f64 {
    let workload = Workload { series: scale.series, start: START };
    let labels: Vec<Labels> = (0..scale.series).map(|n| workload.labels(n)).collect();
    let samples: Vec<Vec<Sample>> = (0..scale.series).map(|n| workload.samples(n, scale.scrapes)).collect();
    let mut stream = TcpStream::connect(address).expect("it listens");
    let mut scrape = |scrape: usize| {
        for first in (0..scale.series).step_by(SERIES_PER_REQUEST) {
            let numbers = first..(first + SERIES_PER_REQUEST).min(scale.series);
            post(&mut stream, &request(numbers.map(|n| (labels[n].clone(), samples[n][scrape]))));
        }
    };
    // The first scrape makes the series known; the rest is the steady state that is measured.
    scrape(0);
    let began = cpu::seconds(pid);
    (1..scale.scrapes).for_each(scrape);
    settle();
    (scale.series * (scale.scrapes - 1)) as f64 / (cpu::seconds(pid) - began).max(0.01)
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
