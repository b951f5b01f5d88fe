//! `prefold run`, everything in one process, and its roles apart: `prefold gateway`, `prefold worker`, `prefold query`.
//!
//! All four are one path: options over the configuration, the parts of the role, then serving until told to stop.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::could_not_run;
use crate::node::assembly::{Node, listen_address};
use crate::node::config::{Config, Overrides, read_config, sources};
use crate::node::http::Control;
use crate::node::jobs;
use crate::node::listener::serve;
use crate::node::role::Role;
use crate::node::roles::{self, WorkerOptions};

/// What every role can be told.
#[derive(Clone, Debug, clap::Args)]
struct CommonArgs {
    /// Configuration in YAML; README lists its keys
    #[arg(long, env = "PREFOLD_CONFIG")]
    config: Option<PathBuf>,
    /// Where to listen for HTTP [default: 127.0.0.1:9480]
    #[arg(long, env = "PREFOLD_LISTEN")]
    listen: Option<String>,
    /// Where log and store live, of the roles that have one; a gateway and a worker keep nothing [default: ./prefold-data]
    #[arg(long, env = "PREFOLD_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Brokers of the Kafka that holds the log and joins the roles, as HOST:PORT[,...]; `run` alone can do without
    #[arg(long, env = "PREFOLD_KAFKA")]
    kafka: Option<String>,
}

/// What those that fold can be told.
#[derive(Clone, Debug, clap::Args)]
struct FoldArgs {
    /// The directory of job files; a worker proposes them to its cluster [default: ./jobs]
    #[arg(long, env = "PREFOLD_JOBS")]
    jobs: Option<PathBuf>,
    /// Threads that fold samples; results do not depend on it [default: the number of cores]
    #[arg(long, env = "PREFOLD_THREADS")]
    threads: Option<usize>,
}

/// What those that answer queries can be told.
#[derive(Clone, Debug, clap::Args)]
struct QueryingArgs {
    /// The Prometheus-compatible database that answers what views do not
    #[arg(long, env = "PREFOLD_UPSTREAM")]
    upstream: Option<String>,
}

/// Runs everything in one process.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    fold: FoldArgs,
    #[command(flatten)]
    querying: QueryingArgs,
}

/// Takes samples and appends them to the log in Kafka.
#[derive(Clone, Debug, clap::Args)]
pub struct GatewayArgs {
    #[command(flatten)]
    common: CommonArgs,
}

/// Folds the log in Kafka together with other workers.
#[derive(Clone, Debug, clap::Args)]
pub struct WorkerArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    fold: FoldArgs,
    /// Propose the jobs even when they drop more than a fifth of the views in force
    #[arg(long)]
    force: bool,
}

/// Holds the results that workers write to Kafka, and answers queries from them.
#[derive(Clone, Debug, clap::Args)]
pub struct QueryArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    querying: QueryingArgs,
}

/// A role and what it was told.
struct Told {
    role: Role,
    common: CommonArgs,
    fold: Option<FoldArgs>,
    querying: Option<QueryingArgs>,
    force: bool,
}

/// Exit 0 after a clean stop, 2 for wrong usage, 3 when it could not start.
pub fn run(RunArgs { common, fold, querying }: RunArgs) -> ExitCode {
    start(Told { role: Role::Run, common, fold: Some(fold), querying: Some(querying), force: false })
}

/// As [`run`].
pub fn gateway(GatewayArgs { common }: GatewayArgs) -> ExitCode {
    start(Told { role: Role::Gateway, common, fold: None, querying: None, force: false })
}

/// As [`run`].
pub fn worker(WorkerArgs { common, fold, force }: WorkerArgs) -> ExitCode {
    start(Told { role: Role::Worker, common, fold: Some(fold), querying: None, force })
}

/// As [`run`].
pub fn query(QueryArgs { common, querying }: QueryArgs) -> ExitCode {
    start(Told { role: Role::Query, common, fold: None, querying: Some(querying), force: false })
}

fn start(told: Told) -> ExitCode {
    let (role, file) = (told.role, told.common.config.clone());
    let threads = told.fold.as_ref().and_then(|fold| fold.threads);
    let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let options = WorkerOptions { threads, force: told.force };
    let config = match configuration(told) {
        Ok(config) => config,
        Err(message) => {
            eprintln!("prefold {}: {message}", role.name());
            return ExitCode::from(2);
        }
    };
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return could_not_run(role.name(), &format!("cannot start the runtime: {error}")),
    };
    match runtime.block_on(serve_until_told(role, config, file, options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => could_not_run(role.name(), &message),
    }
}

fn configuration(Told { role, common, fold, querying, .. }: Told) -> Result<Config, String> {
    let config = match &common.config {
        None => Config::default(),
        Some(file) => {
            let text = sources::read(file).map_err(|error| error.to_string())?;
            let lines = |problems: Vec<crate::plan::spec::Problem>| {
                problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
            };
            read_config(file, &text).map_err(lines)?
        }
    };
    let CommonArgs { listen, data_dir, kafka, .. } = common;
    let jobs = fold.and_then(|fold| fold.jobs);
    let upstream = querying.and_then(|querying| querying.upstream);
    let config = Overrides { listen, data_dir, jobs, upstream, kafka }.apply(config)?;
    match role.needs_kafka() && !config.log.is_in_kafka() {
        false => Ok(config),
        true => {
            Err("its log is in Kafka, and no broker is named: give --kafka HOST:PORT[,...], set PREFOLD_KAFKA, or write \
                     log.kafka.brokers in the file of --config; without Kafka everything is in one process, prefold run"
                .to_owned())
        }
    }
}

/// The parts of the role, opened and started.
fn node(role: Role, config: Config, options: WorkerOptions) -> Result<Arc<Node>, String> {
    let load = |config: &Config| jobs::load(&config.jobs);
    match role {
        Role::Run => load(&config).and_then(|loaded| roles::run(config, loaded, options.threads)),
        Role::Gateway => roles::gateway(config),
        Role::Worker => load(&config).and_then(|proposed| roles::worker(config, &proposed, options)),
        Role::Query => roles::query(config),
    }
}

async fn serve_until_told(role: Role, config: Config, file: Option<PathBuf>, options: WorkerOptions) -> Result<(), String> {
    let address = listen_address(&config.listen)?;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!("cannot listen on {address}: {error}; stop what listens there, or choose another address with --listen")
    })?;
    // From before the jobs are read, so that no change goes unnoticed.
    let watch = role.reads_jobs().then(|| jobs::Watch::new(&config.jobs));
    let node = node(role, config, options)?;
    if let Some(file) = file {
        let _ = node.config_file.set(file);
    }
    let local = listener.local_addr().map_err(|error| error.to_string())?;

    node.start_scraping(local).await?;
    node.start_sinks(local)?;
    let signals = Signals::new()?;
    say_what_runs(&node, local);
    let (reload, told) = mpsc::channel(1);
    watch.into_iter().for_each(|watch| node.keep(tokio::spawn(watch.run(reload.clone()))));
    node.keep(tokio::spawn(Arc::clone(&node).reload_when_told(told)));
    let (quit, quit_told) = mpsc::channel(1);
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(serve(Arc::clone(&node), listener, Control { reload: reload.clone(), quit }, stopped));
    wait(signals, quit_told, reload).await;
    tracing::info!("stopping");
    let _ = stop.send(true);
    let _ = server.await;

    tokio::task::spawn_blocking(move || node.stop()).await.map_err(|error| error.to_string())?;
    tracing::info!("stopped");
    Ok(())
}

/// What the process is told by signals, once it has said that it runs. Before that they end it by force: a start may wait
/// for others, and leaves nothing that the next one could not begin from.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn new() -> Result<Signals, String> {
        let on = |kind| signal(kind).map_err(|error| format!("cannot wait for signals: {error}"));
        Ok(Signals { term: on(SignalKind::terminate())?, int: on(SignalKind::interrupt())?, hup: on(SignalKind::hangup())? })
    }
}

fn say_what_runs(node: &Node, local: std::net::SocketAddr) {
    let role = if node.role == Role::Run { String::new() } else { format!(" as {}", node.role.title()) };
    let views = node.streaming.as_ref().map(|streaming| streaming.jobs.loaded().catalog.len());
    let data = node.role.has_data().then(|| tracing::field::display(node.config.data_dir.display()));
    tracing::info!(%local, views, data, "prefold runs{role}; the status is at /prefold/");
}

/// Until SIGTERM, SIGINT or /-/quit; SIGHUP reads files again meanwhile.
async fn wait(mut signals: Signals, mut quit: mpsc::Receiver<()>, reload: mpsc::Sender<()>) {
    loop {
        tokio::select! {
            _ = signals.term.recv() => return,
            _ = signals.int.recv() => return,
            Some(()) = quit.recv() => return,
            _ = signals.hup.recv() => {
                let _ = reload.try_send(());
            }
        }
    }
}
