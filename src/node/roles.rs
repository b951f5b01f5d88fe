//! The roles put together: which parts a process of each has, and how they are opened.

use std::sync::Arc;

use super::assembly::{Node, StreamPart};
use super::clock::SystemClock;
use super::cluster::check_retention;
use super::cluster_topics;
use super::config::{Config, NewSenders};
use super::in_force::JobsInForce;
use super::ingest::Ingest;
use super::jobs::LoadedJobs;
use super::queries::{Queries, open_store};
use super::role::Role;
use super::stream::{DirectoryStream, Stream, StreamOptions, StreamStatus};
use crate::model::Clock;

/// What a worker is told beside its configuration.
#[derive(Clone, Copy, Debug)]
pub struct WorkerOptions {
    /// Threads that fold.
    pub threads: usize,
    /// Whether jobs may be proposed that drop more than a fifth of the views in force.
    pub force: bool,
}

/// Everything in one process. Needs a tokio runtime.
///
/// # Errors
/// What could not be started, and what to do.
pub fn run(config: Config, loaded: LoadedJobs, threads: usize) -> Result<Arc<Node>, String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = open_store(&config)?;
    let ingest = Ingest::open(&config, &clock, Some(&store))?;
    let options = StreamOptions { threads, new_senders_uncover: config.ingest.new_senders == NewSenders::Uncover };
    let (log, catalog) = (Arc::clone(&ingest.log), Arc::clone(&loaded.catalog));
    let stream = Stream::start(log, Arc::clone(&store), catalog, options)?;
    let status = Arc::clone(&stream.status);
    let queries = Queries::new(&config, store, &loaded, &clock, &status)?;
    let jobs = Arc::new(JobsInForce::new(loaded, Some(Arc::clone(&queries.proxy))));
    let handle = DirectoryStream { stream, jobs: Arc::clone(&jobs) };
    let streaming = StreamPart::new(status, jobs, Box::new(handle));
    Ok(Node::assemble((Role::Run, config, clock), Some(ingest), Some(queries), Some(streaming)))
}

/// What takes samples and appends them to the log in Kafka. It keeps nothing: no directory is made. Needs a tokio runtime.
///
/// # Errors
/// What could not be started, and what to do.
pub fn gateway(config: Config) -> Result<Arc<Node>, String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ingest = Ingest::open(&config, &clock, None)?;
    Ok(Node::assemble((Role::Gateway, config, clock), Some(ingest), None, None))
}

/// What folds the log in Kafka together with other workers. Its jobs are proposed to the cluster. Needs a tokio runtime.
///
/// # Errors
/// What could not be started, and what to do.
pub fn worker(config: Config, proposed: &LoadedJobs, options: WorkerOptions) -> Result<Arc<Node>, String> {
    check_retention(&config, proposed)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let status = Arc::new(StreamStatus::default());
    let jobs = Arc::new(JobsInForce::new(LoadedJobs::default(), None));
    let handle = cluster_topics::worker(&config, proposed, options, &jobs, &status)?;
    let streaming = StreamPart::new(status, jobs, Box::new(handle));
    Ok(Node::assemble((Role::Worker, config, clock), None, None, Some(streaming)))
}

/// What holds the results and answers queries. Needs a tokio runtime.
///
/// # Errors
/// What could not be started, and what to do.
pub fn query(config: Config) -> Result<Arc<Node>, String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = open_store(&config)?;
    let status = Arc::new(StreamStatus::default());
    let loaded = LoadedJobs::default();
    let queries = Queries::new(&config, Arc::clone(&store), &loaded, &clock, &status)?;
    let jobs = Arc::new(JobsInForce::new(loaded, Some(Arc::clone(&queries.proxy))));
    let handle = cluster_topics::replica(&config, &store, &jobs, &status)?;
    let streaming = StreamPart::new(status, jobs, Box::new(handle));
    Ok(Node::assemble((Role::Query, config, clock), None, Some(queries), Some(streaming)))
}
