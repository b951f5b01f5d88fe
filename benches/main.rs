//! Benchmarks, one module a stage; numbers and how they were made stand in README.md beside this file.
//!
//! `cargo bench` runs them all; `cargo bench -- decode window` those named. `--quick` takes a tenth of the work. Each prints
//! a ratio against a named baseline measured in the same run: the machines are noisy, ratios less so.

mod baseline;
mod cluster;
mod cpu;
mod decode;
mod engine;
mod http;
mod process;
mod prometheus;
mod query;
mod requests;
mod store;
mod window;

// As for the tests.
#[allow(clippy::unwrap_used)]
#[path = "../tests/ports.rs"]
mod ports;

/// As in the process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much work a run does.
#[derive(Clone, Copy)]
pub struct Scale {
    pub series: usize,
    pub scrapes: usize,
}

type Stage = (&'static str, fn(Scale));

const STAGES: [Stage; 9] = [
    ("decode", decode::run),
    ("window", window::run),
    ("http", http::run),
    ("requests", requests::run),
    ("query", query::run),
    ("store", store::run),
    ("engine", engine::run),
    ("cluster", cluster::run),
    ("recovery", cluster::recover),
];

/// Run when they are named: they take a quarter of an hour.
const LONG_STAGES: [Stage; 1] = [("recovery-real-pace", cluster::recover_at_real_pace)];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--decode-only-receiver") {
        return http::decode_only_receiver();
    }
    if let [role, series] = args.as_slice()
        && role == "--engine"
    {
        return engine::answer_questions(series.parse().expect("a number of series"));
    }
    let quick = args.iter().any(|arg| arg == "--quick");
    let scale = if quick { Scale { series: 10_000, scrapes: 40 } } else { Scale { series: 100_000, scrapes: 60 } };
    let named: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let is_named = |name: &str| named.iter().any(|wanted| *wanted == name);
    let often = STAGES.into_iter().filter(|(name, _)| named.is_empty() || is_named(name));
    for (_, run) in often.chain(LONG_STAGES.into_iter().filter(|(name, _)| is_named(name))) {
        run(scale);
    }
}

/// `stage  1.23 M samples per CPU second, 0.87 of baseline (1.41 M)`
pub fn report(stage: &str, samples: usize, seconds: f64, baseline: (&str, f64)) -> f64 {
    let rate = samples as f64 / seconds;
    println!(
        "{stage:<28} {:>8.2} M samples per CPU second, {:.2} of {} ({:.2} M)",
        rate / 1e6,
        rate / baseline.1,
        baseline.0,
        baseline.1 / 1e6
    );
    rate
}
