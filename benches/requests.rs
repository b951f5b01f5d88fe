//! Requests: the whole path with requests of other sizes than the `http` stage's, and what it takes in memory.
//!
//! Baselines: none; the `http` stage's rate is what to compare with.

use std::net::TcpStream;
use std::ops::Range;
use std::sync::Barrier;
use std::time::Instant;

use prefold::cli::workload::Workload;

use crate::process::{self, Process, START, post, settle};
use crate::{Scale, cpu};

/// Many small requests, as from many agents.
const CONNECTIONS: usize = 16;
const SERIES_PER_SMALL_REQUEST: usize = 100;

/// The largest request that is taken has this many bytes when decompressed.
const REQUEST_BYTES_MAX: usize = 32 << 20;

/// Enough that every series has a window of samples.
const SCRAPES: usize = 10;

pub fn run(scale: Scale) {
    small(scale);
    large(scale);
    memory(scale.series);
    memory(10 * scale.series);
}

/// A request of these series at one scrape.
fn request(workload: Workload, numbers: Range<usize>, scrape: usize) -> Vec<u8> {
    let sample = |n: usize| workload.samples(n, scrape + 1).pop().expect("as many as were asked for");
    process::request(numbers.map(|n| (workload.labels(n), sample(n))))
}

fn small(scale: Scale) {
    let process = Process::start();
    let in_step = Barrier::new(CONNECTIONS);
    let share = |connection: usize| connection * scale.series / CONNECTIONS..(connection + 1) * scale.series / CONNECTIONS;
    let began = std::thread::scope(|scope| {
        let (process, in_step) = (&process, &in_step);
        let send = |numbers: Range<usize>| scope.spawn(move || send_small(process, scale, numbers, in_step));
        let sending: Vec<_> = (0..CONNECTIONS).map(|connection| send(share(connection))).collect();
        sending.into_iter().map(|one| one.join().expect("it sends")).fold(f64::INFINITY, f64::min)
    });
    settle();
    let samples = scale.series * (SCRAPES - 1);
    let rate = samples as f64 / (cpu::seconds(process.pid()) - began).max(0.01);
    println!("requests of 100 series       {:>8.2} M samples per CPU second, {CONNECTIONS} connections", rate / 1e6);
}

/// Sends one connection's share; gives the CPU seconds of the process after the first scrape.
fn send_small(process: &Process, scale: Scale, numbers: Range<usize>, in_step: &Barrier) -> f64 {
    let workload = Workload { series: scale.series, start: START };
    let mut stream = TcpStream::connect(&process.address).expect("it listens");
    let mut began = 0.0;
    for scrape in 0..SCRAPES {
        // Nobody is a scrape ahead of the others: their samples would be late.
        in_step.wait();
        if scrape == 1 {
            began = cpu::seconds(process.pid());
        }
        for first in numbers.clone().step_by(SERIES_PER_SMALL_REQUEST) {
            let last = (first + SERIES_PER_SMALL_REQUEST).min(numbers.end);
            post(&mut stream, &request(workload, first..last, scrape));
        }
    }
    began
}

fn large(scale: Scale) {
    let process = Process::start();
    let workload = Workload { series: scale.series, start: START };
    let one = request(workload, 0..100, 0).len().div_ceil(100) + 1;
    let series = (REQUEST_BYTES_MAX / one).min(scale.series);
    let mut stream = TcpStream::connect(&process.address).expect("it listens");
    post(&mut stream, &request(workload, 0..series, 0));
    let began = cpu::seconds(process.pid());
    let mut longest = 0.0f64;
    for scrape in 1..SCRAPES {
        let body = request(workload, 0..series, scrape);
        let sent = Instant::now();
        post(&mut stream, &body);
        longest = sent.elapsed().as_secs_f64().max(longest);
    }
    settle();
    let rate = (series * (SCRAPES - 1)) as f64 / (cpu::seconds(process.pid()) - began).max(0.01);
    println!(
        "requests of {series} series     {:>8.2} M samples per CPU second, answered within {:.0} ms, {:.0} MiB at most",
        rate / 1e6,
        longest * 1e3,
        process.bytes("VmHWM") / f64::from(1 << 20)
    );
}

fn memory(series: usize) {
    let process = Process::start();
    let workload = Workload { series, start: START };
    let mut stream = TcpStream::connect(&process.address).expect("it listens");
    let before = process.bytes("VmRSS");
    for scrape in 0..SCRAPES {
        for first in (0..series).step_by(5_000) {
            post(&mut stream, &request(workload, first..(first + 5_000).min(series), scrape));
        }
    }
    settle();
    let per_series = |bytes: f64| (bytes - before).max(0.0) / series as f64;
    let (now, most) = (per_series(process.bytes("VmRSS")), per_series(process.bytes("VmHWM")));
    println!("memory of {series} series      {now:>8.0} bytes a series, {most:.0} at most");
}
