//! `prefold run`: everything in one process.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::could_not_run;
use crate::node::assembly::{Node, listen_address};
use crate::node::config::{Config, Overrides, read_config};
use crate::node::http::Control;
use crate::node::jobs;
use crate::node::listener::serve;

/// Runs everything in one process.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// Configuration in YAML; README lists its keys
    #[arg(long, env = "PREFOLD_CONFIG")]
    config: Option<PathBuf>,
    /// The directory of job files [default: ./jobs]
    #[arg(long, env = "PREFOLD_JOBS")]
    jobs: Option<PathBuf>,
    /// Where the log and the store live [default: ./prefold-data]
    #[arg(long, env = "PREFOLD_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen for HTTP [default: 127.0.0.1:9480]
    #[arg(long, env = "PREFOLD_LISTEN")]
    listen: Option<String>,
    /// The Prometheus-compatible database that answers what views do not
    #[arg(long, env = "PREFOLD_UPSTREAM")]
    upstream: Option<String>,
    /// The log in Kafka in place of the one in the data directory: brokers, as HOST:PORT[,...]
    #[arg(long, env = "PREFOLD_KAFKA")]
    kafka: Option<String>,
    /// Threads that fold samples; results do not depend on it [default: the number of cores]
    #[arg(long, env = "PREFOLD_THREADS")]
    threads: Option<usize>,
}

/// Exit 0 after a clean stop, 2 for wrong usage, 3 when it could not start.
pub fn run(args: RunArgs) -> ExitCode {
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let file = args.config.clone();
    let config = match configuration(args) {
        Ok(config) => config,
        Err(message) => {
            eprintln!("prefold run: {message}");
            return ExitCode::from(2);
        }
    };
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return could_not_run("run", &format!("cannot start the runtime: {error}")),
    };
    match runtime.block_on(serve_until_told(config, file, threads)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => could_not_run("run", &message),
    }
}

fn configuration(args: RunArgs) -> Result<Config, String> {
    let config = match &args.config {
        None => Config::default(),
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            let lines = |problems: Vec<crate::plan::spec::Problem>| {
                problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
            };
            read_config(file, &text).map_err(lines)?
        }
    };
    let RunArgs { jobs, data_dir, listen, upstream, kafka, .. } = args;
    Overrides { listen, data_dir, jobs, upstream, kafka }.apply(config)
}

async fn serve_until_told(config: Config, file: Option<PathBuf>, threads: usize) -> Result<(), String> {
    let address = listen_address(&config.listen)?;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!("cannot listen on {address}: {error}; stop what listens there, or choose another address with --listen")
    })?;
    let watch = jobs::Watch::new(&config.jobs);
    let loaded = jobs::load(&config.jobs)?;
    let views = loaded.catalog.len();
    let node = Node::start(config, loaded, threads)?;
    if let Some(file) = file {
        let _ = node.config_file.set(file);
    }
    let local = listener.local_addr().map_err(|error| error.to_string())?;

    node.start_scraping(local).await?;
    node.start_sinks(local)?;
    tracing::info!(%local, views, data = %node.config.data_dir.display(), "prefold runs; the status is at /prefold/");
    let (reload, told) = mpsc::channel(1);
    node.keep(tokio::spawn(watch.run(reload.clone())));
    node.keep(tokio::spawn(Arc::clone(&node).reload_when_told(told)));
    let (quit, quit_told) = mpsc::channel(1);
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(serve(Arc::clone(&node), listener, Control { reload: reload.clone(), quit }, stopped));
    wait(quit_told, reload).await?;
    tracing::info!("stopping");
    let _ = stop.send(true);
    let _ = server.await;

    tokio::task::spawn_blocking(move || node.stop()).await.map_err(|error| error.to_string())?;
    tracing::info!("stopped");
    Ok(())
}

/// Until SIGTERM, SIGINT or /-/quit; SIGHUP reads the jobs again meanwhile.
async fn wait(mut quit: mpsc::Receiver<()>, reload: mpsc::Sender<()>) -> Result<(), String> {
    let on = |kind| signal(kind).map_err(|error| format!("cannot wait for signals: {error}"));
    let (mut term, mut int, mut hup) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?);
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
            Some(()) = quit.recv() => return Ok(()),
            _ = hup.recv() => {
                let _ = reload.try_send(());
            }
        }
    }
}
