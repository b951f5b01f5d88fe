//! The commands. Each is a file: its arguments, and what it does with them.
//!
//! Results go to stdout, logs and problems to stderr. Exit 0 done, 1 the answer is no, 2 wrong usage, 3 could not run.

pub mod check;
pub mod demo;
pub mod eval;
pub mod explain;
pub mod run;
pub mod test;
pub mod tester;
pub mod workload;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Prefold keeps PromQL aggregates up to date while the samples stream in, and answers dashboards from them: exactly, and
/// without changing a dashboard.
///
/// Try `prefold demo` first, then `prefold run`: with no arguments it listens on 127.0.0.1:9480, keeps its data in
/// ./prefold-data, reads ./jobs and scrapes itself.
#[derive(Parser)]
#[command(name = "prefold", version, max_term_width = 120)]
struct Cli {
    /// How logs are written to stderr
    #[arg(long, global = true, value_enum, default_value = "text", env = "PREFOLD_LOG_FORMAT")]
    log_format: LogFormat,
    /// Which logs are written: error, warn, info, debug, or per module as in prefold::log=debug
    #[arg(long, global = true, default_value = "info", env = "PREFOLD_LOG")]
    log_level: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything in one process: ingest, log, streaming, store and query proxy
    ///
    /// Samples come by remote write or scraping, and pass through the log into the views that jobs ask for; queries are
    /// answered from these, or by --upstream. Without arguments it scrapes itself, so that there is something to look at:
    /// http://127.0.0.1:9480/prefold/
    Run(run::RunArgs),
    /// Take samples and append them to the log in Kafka: one role of `run` apart
    ///
    /// Point senders at any gateway: POST /api/v1/write takes remote write 1.0 and 2.0, and answers 2xx once Kafka has all of
    /// it. A gateway also scrapes what scrape_configs of its configuration name. It keeps nothing, so any number may run, and
    /// stopping one loses nothing.
    ///
    /// Example: prefold gateway --kafka kafka-1:9092,kafka-2:9092 --listen 0.0.0.0:9480
    Gateway(run::GatewayArgs),
    /// Fold the log in Kafka together with other workers: one role of `run` apart
    ///
    /// Kafka shares the partitions out among the workers that run: start more, or stop some, at any time. The jobs of --jobs
    /// are proposed to the cluster, and come into force for all workers and query replicas together.
    ///
    /// Example: prefold worker --kafka kafka-1:9092,kafka-2:9092 --jobs /etc/prefold/jobs
    Worker(run::WorkerArgs),
    /// Hold the results in Kafka and answer queries from them: one role of `run` apart
    ///
    /// Point Grafana at it, or at a load balancer before several. Each replica keeps all results in a store of its own and
    /// answers alone; what views do not answer it asks of --upstream. The jobs are the cluster's.
    ///
    /// Example: prefold query --kafka kafka-1:9092,kafka-2:9092 --upstream http://prometheus:9090 --listen 0.0.0.0:9480
    Query(run::QueryArgs),
    /// Check job files and configuration; exit 1 and file:line:column, field, remedy when something is wrong
    Check(check::CheckArgs),
    /// Run the .test beside each job; its evals are answered by the job's views
    Test(test::TestArgs),
    /// Say which view answers a query, or why none does
    Explain(explain::ExplainArgs),
    /// Evaluate a query over a file of series, with nothing else running
    Eval(eval::EvalArgs),
    /// Show raw and pre-aggregated answers of one dashboard query side by side, on a workload made here
    Demo(demo::DemoArgs),
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(message) = start_logging(cli.log_format, &cli.log_level) {
        eprintln!("prefold: --log-level {:?}: {message}", cli.log_level);
        return ExitCode::from(2);
    }
    match cli.command {
        Command::Run(args) => run::run(args),
        Command::Gateway(args) => run::gateway(args),
        Command::Worker(args) => run::worker(args),
        Command::Query(args) => run::query(args),
        Command::Check(args) => check::run(&args),
        Command::Test(args) => test::run(&args, &tester::ViewTester),
        Command::Explain(args) => explain::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Demo(args) => demo::run(&args),
    }
}

fn start_logging(format: LogFormat, level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|error| error.to_string())?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.with_target(false).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}

/// The threads of a command that serves. Their stacks hold the deepest query that is read, with room to spare.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().thread_stack_size(STACK_BYTES).enable_all().build()
}

/// Four times what the deepest query was measured to take.
const STACK_BYTES: usize = 8 << 20;

/// A command that could not do its work: the reason to stderr, exit 3.
fn could_not_run(command: &str, reason: &str) -> ExitCode {
    eprintln!("prefold {command}: {reason}");
    ExitCode::from(3)
}
