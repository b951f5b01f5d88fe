//! `prefold demo`: one dashboard query, raw and pre-aggregated, side by side.
//!
//! A real node in a temporary directory gets the workload through its real remote-write endpoint; the query is asked of its
//! real endpoint. The raw answer comes from the same PromQL engine over the raw samples, kept only for that.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::could_not_run;
use super::workload::{SCRAPE_MS, Workload};
use crate::model::window::Grid;
use crate::model::{Clock, Labels, Sample, Timestamp};
use crate::node::assembly::{Node, StreamPart};
use crate::node::clock::SystemClock;
use crate::node::config::{Config, LogTimeSource, NewSenders};
use crate::node::http::Control;
use crate::node::jobs::load_set;
use crate::node::listener::serve;
use crate::node::queries::Queries;
use crate::node::roles;
use crate::promql::parse;
use crate::proxy::trust::close;
use crate::proxy::upstream::Upstream;
use crate::query::{self, EvalOptions, MatrixSeries, MemorySource, QueryLimits, Value};
use crate::wire::{remote_write_v1, snappy};

/// The dashboard's query.
const QUERY: &str = "histogram_quantile(0.99, sum by (le, method, code) \
                     (rate(grpc_server_requests_duration_ms_bucket{app=\"A\", env=\"prod\"}[2m])))";

/// The job that answers it.
const JOB: &str = include_str!("../../jobs/account-grpc-latency.json");

const STEP_MS: i64 = 30_000;

/// Results are final this long after their time.
const MAX_DELAY_MS: i64 = 30_000;

/// Series per remote-write request.
const SERIES_PER_REQUEST: usize = 5_000;

/// Shows raw and pre-aggregated answers of one query side by side.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// How many series: instances x 20 methods x 5 buckets
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=2_000_000))]
    series: u32,
    /// How many minutes the query spans
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=240))]
    minutes: u32,
    /// The outcome as one line of JSON
    #[arg(long)]
    json: bool,
}

/// What one way of answering took.
#[derive(Debug, serde::Serialize)]
struct Cost {
    series: usize,
    samples: usize,
    seconds: f64,
}

#[derive(Debug, serde::Serialize)]
struct Outcome {
    equal: bool,
    points: usize,
    raw: Cost,
    preaggregated: Cost,
    speedup: f64,
    #[serde(skip)]
    answer: Vec<MatrixSeries>,
}

/// 0 when every value is equal, 1 when not, 3 when it could not run.
pub fn run(args: &DemoArgs) -> ExitCode {
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return could_not_run("demo", &error.to_string()),
    };
    match runtime.block_on(demo(args)) {
        Err(message) => could_not_run("demo", &message),
        Ok(outcome) => {
            match args.json {
                true => println!("{}", serde_json::to_string(&outcome).unwrap_or_default()),
                false => show(args, &outcome),
            }
            ExitCode::from(u8::from(!outcome.equal))
        }
    }
}

/// The instants of the demo.
struct Times {
    workload: Workload,
    scrapes: usize,
    start: Timestamp,
    end: Timestamp,
}

fn times(args: &DemoArgs) -> Times {
    let span_ms = i64::from(args.minutes) * 60_000;
    let newest = Grid::new(STEP_MS).floor(SystemClock.now());
    // The last step is final once samples have come this much later.
    let end = newest - (MAX_DELAY_MS + 2 * STEP_MS);
    let start = end - span_ms;
    // A window, the two scrapes that its extrapolation looks at, and a beginning that is not its edge.
    let first = start - (120_000 + 4 * SCRAPE_MS);
    let scrapes = ((newest - first) / SCRAPE_MS) as usize;
    Times { workload: Workload { series: args.series as usize, start: first }, scrapes, start, end }
}

async fn demo(args: &DemoArgs) -> Result<Outcome, String> {
    let folder = tempfile::tempdir().map_err(|error| format!("cannot make a folder for the demo: {error}"))?;
    let config = config(folder.path().to_owned());
    let loaded = load_set(&[("account-grpc-latency.json".to_owned(), JOB.to_owned())])?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let node = roles::run(config, loaded, threads)?;
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| format!("cannot listen: {error}"))?;
    let url = format!("http://{}", listener.local_addr().map_err(|error| error.to_string())?);
    let (reload, _reload) = mpsc::channel(1);
    let (quit, _quit) = mpsc::channel(1);
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(serve(Arc::clone(&node), listener, Control { reload, quit }, stopped));
    let times = times(args);
    let outcome = compare(&node, &url, &times).await;
    let _ = stop.send(true);
    let _ = server.await;
    tokio::task::spawn_blocking(move || node.stop()).await.map_err(|error| error.to_string())?;
    outcome
}

fn config(data_dir: std::path::PathBuf) -> Config {
    let mut config = Config { data_dir, ..Config::default() };
    config.log.log_time = LogTimeSource::Samples;
    config.ingest.new_senders = NewSenders::Whole;
    config
}

async fn compare(node: &Arc<Node>, url: &str, times: &Times) -> Result<Outcome, String> {
    let raw = send(url, times).await?;
    wait(node, times.end).await?;
    let (theirs, raw_cost) = raw_answer(raw, times).await?;
    let (ours, seconds) = ask(url, times).await?;
    let preaggregated = Cost { seconds, ..read_cost(node, times)? };
    let (equal, points) = judge(&ours, &theirs);
    let speedup = raw_cost.seconds / preaggregated.seconds;
    Ok(Outcome { equal, points, raw: raw_cost, preaggregated, speedup, answer: ours })
}

/// Writes all scrapes in time order, as a sender would, and keeps the samples for the raw answer.
async fn send(url: &str, times: &Times) -> Result<MemorySource, String> {
    let (workload, scrapes) = (times.workload, times.scrapes);
    let labels: Vec<Labels> = (0..workload.series).map(|number| workload.labels(number)).collect();
    let samples: Vec<Vec<Sample>> = (0..workload.series).map(|number| workload.samples(number, scrapes)).collect();
    let bar = progress("sending", (workload.series * scrapes) as u64);
    let client = reqwest::Client::builder().no_proxy().build().map_err(|error| error.to_string())?;
    let part = |first: usize, scrape: usize| -> Vec<(Labels, Vec<Sample>)> {
        let numbers = first..(first + SERIES_PER_REQUEST).min(workload.series);
        numbers.map(|number| (labels[number].clone(), vec![samples[number][scrape]])).collect()
    };
    for scrape in 0..scrapes {
        for first in (0..workload.series).step_by(SERIES_PER_REQUEST) {
            let series = part(first, scrape);
            write(&client, url, &series).await?;
            bar.inc(series.len() as u64);
        }
    }
    bar.finish_and_clear();
    let mut source = MemorySource::new();
    labels.into_iter().zip(samples).for_each(|(labels, samples)| source.add(labels, samples));
    Ok(source)
}

async fn write(client: &reqwest::Client, url: &str, series: &[(Labels, Vec<Sample>)]) -> Result<(), String> {
    let body = snappy::compress(&remote_write_v1::encode(series));
    let request = client
        .post(format!("{url}/api/v1/write"))
        .header("Content-Type", "application/x-protobuf")
        .header("Content-Encoding", "snappy")
        .header("X-Prometheus-Remote-Write-Version", "0.1.0")
        .body(body);
    let answer = request.send().await.map_err(|error| format!("cannot write: {error}"))?;
    match answer.status().is_success() {
        true => Ok(()),
        false => Err(format!("the write was refused: {} {}", answer.status(), answer.text().await.unwrap_or_default())),
    }
}

async fn wait(node: &Arc<Node>, end: Timestamp) -> Result<(), String> {
    let bar = progress("folding", 0);
    let (queries, streaming) = parts(node)?;
    let done = || {
        queries.proxy.catalog.load().entries().all(|entry| {
            queries.store.view(entry.view.id).and_then(|state| state.final_to).is_some_and(|final_to| final_to >= end)
        })
    };
    while !done() || !node.caught_up() {
        if let Some(why) = streaming.failed() {
            return Err(why);
        }
        bar.tick();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bar.finish_and_clear();
    Ok(())
}

/// A node with every role has both.
fn parts(node: &Node) -> Result<(&Queries, &StreamPart), String> {
    node.queries.as_ref().zip(node.streaming.as_ref()).ok_or_else(|| "the node has not every part".to_owned())
}

async fn raw_answer(source: MemorySource, times: &Times) -> Result<(Vec<MatrixSeries>, Cost), String> {
    let (start, end) = (times.start, times.end);
    let evaluate = move || {
        let expr = parse(QUERY).map_err(|error| error.to_string())?;
        let limits = QueryLimits { samples_max: usize::MAX, ..QueryLimits::default() };
        let options = EvalOptions { query: QUERY.to_owned(), limits, ..EvalOptions::default() };
        let began = Instant::now();
        let evaluated = query::range(&expr, start, end, STEP_MS, &source, &options).map_err(|error| error.to_string())?;
        let seconds = began.elapsed().as_secs_f64();
        let stats = evaluated.stats;
        match evaluated.value {
            Value::Matrix(series) => Ok((series, Cost { series: stats.series_read, samples: stats.samples_read, seconds })),
            other => Err(format!("a range query gave {other:?}")),
        }
    };
    tokio::task::spawn_blocking(evaluate).await.map_err(|error| error.to_string())?
}

/// The best of three: what a dashboard's viewer waits once the connection stands.
async fn ask(url: &str, times: &Times) -> Result<(Vec<MatrixSeries>, f64), String> {
    let client = Upstream::new(url, Duration::from_secs(120), &[])?;
    let mut best = f64::INFINITY;
    let mut answer = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        let headers = axum::http::HeaderMap::new();
        let range = (times.start, times.end, STEP_MS);
        answer = client.range(&headers, "/api/v1/query_range", QUERY, range).await?.series;
        best = best.min(began.elapsed().as_secs_f64());
    }
    Ok((answer, best))
}

/// What the pre-aggregated answer reads of the store.
fn read_cost(node: &Node, times: &Times) -> Result<Cost, String> {
    let expr = parse(QUERY).map_err(|error| error.to_string())?;
    let (Queries { store, proxy, .. }, _) = parts(node)?;
    let catalog = proxy.catalog.load();
    let time = crate::rewrite::QueryTime::Range { start: times.start, end: times.end, step_ms: STEP_MS };
    let question = crate::rewrite::Question { expr: &expr, tenant: "", time, evaluation_interval_ms: None };
    let outcome = crate::rewrite::rewrite(&question, &catalog);
    let source = crate::proxy::source::StoreSource { store: Arc::clone(store) };
    let options = EvalOptions::default();
    let evaluated = query::range(&outcome.expr, times.start, times.end, STEP_MS, &source, &options);
    let stats = evaluated.map_err(|error| error.to_string())?.stats;
    Ok(Cost { series: stats.series_read, samples: stats.samples_read, seconds: 0.0 })
}

/// Whether both answers have the same series and steps, with equal values; and how many points there are.
fn judge(ours: &[MatrixSeries], theirs: &[MatrixSeries]) -> (bool, usize) {
    let points = |series: &[MatrixSeries]| -> BTreeMap<(Labels, Timestamp), f64> {
        let each = |one: &MatrixSeries| {
            let labels = (*one.labels).clone();
            one.points.iter().map(move |point| ((labels.clone(), point.t), point.v)).collect::<Vec<_>>()
        };
        series.iter().flat_map(each).collect()
    };
    let (ours, theirs) = (points(ours), points(theirs));
    let same_keys = ours.len() == theirs.len() && ours.keys().eq(theirs.keys());
    (!ours.is_empty() && same_keys && ours.iter().all(|(key, value)| close(*value, theirs[key])), ours.len())
}

fn progress(what: &'static str, length: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = if length > 0 { ProgressBar::new(length) } else { ProgressBar::new_spinner() };
    let template = "{prefix} {wide_bar} {human_pos}/{human_len} samples, {per_sec}, {eta} left";
    if let (true, Ok(style)) = (length > 0, ProgressStyle::with_template(template)) {
        bar.set_style(style);
    }
    bar.with_prefix(what)
}

fn show(args: &DemoArgs, outcome: &Outcome) {
    println!("{QUERY}");
    println!("over {} minutes, every 30s, of {} series\n", args.minutes, args.series);
    println!("{:<16}{:>14}{:>16}{:>14}", "", "series read", "samples read", "seconds");
    for (name, cost) in [("raw", &outcome.raw), ("pre-aggregated", &outcome.preaggregated)] {
        println!("{name:<16}{:>14}{:>16}{:>14.4}", cost.series, cost.samples, cost.seconds);
    }
    let equal = if outcome.equal { "every value is equal" } else { "THE VALUES DIFFER" };
    println!("\n{:.0}x faster, {} points, {equal}", outcome.speedup, outcome.points);
    println!("(raw: once, in this process; pre-aggregated: the best of three, over HTTP)\n");
    for series in outcome.answer.iter().take(5) {
        println!("{}  {}", chart(&series.points), series.labels);
    }
}

/// A line of blocks, the least value lowest.
fn chart(points: &[Sample]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values = || points.iter().map(|point| point.v).filter(|v| v.is_finite());
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let block = |v: f64| match v.is_finite() {
        true if most > least => BLOCKS[((v - least) / (most - least) * 7.0).round() as usize % 8],
        true => BLOCKS[3],
        false => ' ',
    };
    points.iter().map(|point| block(point.v)).collect()
}
