//! Engine: range queries over raw samples, in CPU seconds and peak memory of a process that does nothing else.
//!
//! Baseline: Debian's Prometheus over the same samples, read from blocks. Both answer the same questions in the same run,
//! and the answers must be equal. Samples stand in memory on our side, because Prefold keeps no raw samples; decoding
//! Prometheus' chunks is part of its seconds. Not run where `prometheus` is not installed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use prefold::cli::workload::{SCRAPE_MS, Workload};
use prefold::model::Timestamp;
use prefold::promql::parse;
use prefold::query::{EvalOptions, MemorySource, Value, range};

use crate::prometheus::Prometheus;
use crate::{Scale, cpu};

/// The first sample; a multiple of the scrape interval.
pub const START_MS: i64 = 1_700_000_010_000;
/// Half an hour of scrapes.
pub const SCRAPES: usize = 120;
/// How often each question is asked after it was asked once unmeasured.
const ROUNDS: usize = 5;

const METRIC: &str = "grpc_server_requests_duration_ms_bucket";

/// Questions with their steps in seconds, METRIC written as M. The first three are those of the goal: rates, summed.
const QUERIES: [(&str, i64); 6] = [
    ("sum(rate(M[5m]))", 15),
    ("sum by (le, method) (rate(M[2m]))", 15),
    ("sum by (instance) (rate(M[5m]))", 30),
    ("histogram_quantile(0.99, sum by (le) (rate(M{env=\"prod\"}[5m])))", 30),
    ("max by (zone, caller) (M)", 15),
    ("avg by (cluster) (max_over_time(M[5m]))", 30),
];

pub fn run(scale: Scale) {
    for series in [scale.series / 10, scale.series] {
        let Some(prometheus) = Prometheus::with_blocks(series) else {
            return println!("engine: not run, there is no prometheus; bash tests/run --install-only installs it");
        };
        let mut ours = Ours::start(series);
        for (query, step_s) in QUERIES {
            let query = query.replace('M', METRIC);
            // Windows begin after the first samples, so that no counter begins in one.
            let (start, end) = (START_MS + 8 * 60_000, START_MS + (SCRAPES as i64 - 2) * SCRAPE_MS);
            let times = Times { start: start / 60_000 * 60_000, end: end / 60_000 * 60_000, step_ms: step_s * 1000 };
            let (own_answer, own) = measured(ours.child.id(), || ours.ask(&query, times));
            let (their_answer, theirs) = measured(prometheus.pid(), || prometheus.range(&query, times));
            same(&query, &own_answer, &their_answer);
            println!("engine, {series} series {:>7.2} x prometheus ({own:.3} s, {theirs:.3} s)  {query}", theirs / own);
        }
        let (own, theirs) = (cpu::peak_bytes(ours.child.id()), cpu::peak_bytes(prometheus.pid()));
        println!(
            "engine, {series} series {:>7.2} of prometheus' memory ({} MB, {} MB)",
            own / theirs,
            own / 1e6,
            theirs / 1e6
        );
    }
}

/// A range query's instants in ms.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub start: i64,
    pub end: i64,
    pub step_ms: i64,
}

/// Values by labels, as JSON, and step.
pub type Answer = BTreeMap<(String, i64), f64>;

/// The answer, and how many CPU seconds of a process it took. The kernel counts hundredths: several rounds are one measurement.
fn measured(pid: u32, mut ask: impl FnMut() -> Answer) -> (Answer, f64) {
    let answer = ask();
    let before = cpu::seconds(pid);
    (0..ROUNDS).for_each(|_| drop(std::hint::black_box(ask())));
    (answer, ((cpu::seconds(pid) - before) / ROUNDS as f64).max(0.001))
}

fn same(query: &str, ours: &Answer, theirs: &Answer) {
    assert!(!ours.is_empty(), "{query}: nothing was answered");
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{query}");
    for (at, ours) in ours {
        let theirs = theirs[at];
        let equal = *ours == theirs || (ours - theirs).abs() <= 1e-9 * theirs.abs();
        assert!(equal, "{query}: {at:?} is {ours}, Prometheus says {theirs}");
    }
}

/// The engine in a process of its own.
struct Ours {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Ours {
    fn start(series: usize) -> Ours {
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.args(["--engine", &series.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let (questions, answers) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut ours = Ours { child, questions, answers: BufReader::new(answers) };
        assert_eq!(ours.line(), "ready");
        ours
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        line.trim().to_owned()
    }

    fn ask(&mut self, query: &str, times: Times) -> Answer {
        let Times { start, end, step_ms } = times;
        writeln!(self.questions, "{start} {end} {step_ms} {query}").expect("it reads");
        let points: Vec<(String, i64, f64)> = serde_json::from_str(&self.line()).expect("it answers in JSON");
        points.into_iter().map(|(labels, t, v)| ((labels, t), v)).collect()
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes the samples, then answers a question a line.
pub fn answer_questions(series: usize) {
    let workload = Workload { series, start: Timestamp(START_MS) };
    let source: MemorySource = (0..series).map(|n| (workload.labels(n), workload.samples(n, SCRAPES))).collect();
    println!("ready");
    for question in std::io::stdin().lines() {
        let question = question.expect("it can be read");
        let mut words = question.splitn(4, ' ');
        let mut number = || words.next().and_then(|word| word.parse::<i64>().ok()).expect("a number");
        let (start, end, step_ms) = (Timestamp(number()), Timestamp(number()), number());
        let query = words.next().expect("a query");
        let expr = parse(query).expect("it is PromQL");
        let answer = range(&expr, start, end, step_ms, &source, &EvalOptions::default()).expect("it can be evaluated");
        let Value::Matrix(matrix) = answer.value else { panic!("a range query gives a matrix") };
        let mut points: Vec<(String, i64, f64)> = Vec::new();
        for series in matrix {
            let labels: BTreeMap<&str, &str> = series.labels.iter().map(|l| (l.name.as_str(), l.value.as_str())).collect();
            let labels = serde_json::to_string(&labels).expect("labels are text");
            points.extend(series.points.iter().map(|point| (labels.clone(), point.t.0, point.v)));
        }
        println!("{}", serde_json::to_string(&points).expect("points are numbers"));
    }
}
