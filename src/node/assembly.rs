//! The node assembled: the parts that its role has, and the tasks that keep them going.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::config::Config;
use super::in_force::JobsInForce;
use super::ingest::Ingest;
use super::queries::Queries;
use super::reload::LastReload;
use super::role::Role;
use super::stream::{StreamHandle, StreamStatus};
use crate::model::time::format_duration;
use crate::model::{Clock, PartitionId};

/// How often it is looked at what the log has forgotten.
const LOOK_AT_REACH_EVERY: Duration = Duration::from_secs(600);

/// One process: what it is made of depends on its role, and what it has not was never opened.
pub struct Node {
    pub role: Role,
    pub config: Config,
    pub clock: Arc<dyn Clock>,
    pub ingest: Option<Ingest>,
    pub queries: Option<Queries>,
    pub streaming: Option<StreamPart>,
    /// Read again for what is scraped; none when all is default.
    pub config_file: OnceLock<PathBuf>,
    pub last_reload: Mutex<LastReload>,
    tasks: Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

/// What folds, or follows what others have folded.
pub struct StreamPart {
    pub status: Arc<StreamStatus>,
    pub jobs: Arc<JobsInForce>,
    /// Taken when the node stops.
    handle: Mutex<Option<Box<dyn StreamHandle>>>,
}

impl StreamPart {
    pub fn new(status: Arc<StreamStatus>, jobs: Arc<JobsInForce>, handle: Box<dyn StreamHandle>) -> StreamPart {
        StreamPart { status, jobs, handle: Mutex::new(Some(handle)) }
    }

    /// Whether the replay at the start is done.
    pub fn caught_up(&self) -> bool {
        self.status.caught_up.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Why it has stopped, if it has.
    pub fn failed(&self) -> Option<String> {
        self.status.failed.lock().clone()
    }

    /// Gives jobs that were read again to whoever streams, unless it was told to stop.
    ///
    /// # Errors
    /// Why they are not in force, or not proposed.
    pub(super) fn reload(&self, loaded: super::jobs::LoadedJobs) -> Result<(), String> {
        self.handle.lock().as_ref().map_or(Ok(()), |handle| handle.reload(loaded))
    }

    fn stop(&self) {
        drop(self.handle.lock().take());
    }
}

impl Node {
    /// Puts the parts of a role together and starts what runs beside them. Needs a tokio runtime.
    pub fn assemble(
        (role, config, clock): (Role, Config, Arc<dyn Clock>),
        ingest: Option<Ingest>,
        queries: Option<Queries>,
        streaming: Option<StreamPart>,
    ) -> Arc<Node> {
        let succeeded = clock.now();
        let node = Arc::new(Node {
            role,
            config,
            clock,
            ingest,
            queries,
            streaming,
            config_file: OnceLock::new(),
            last_reload: Mutex::new(LastReload { succeeded, problems: None }),
            tasks: Mutex::default(),
        });
        node.queries.iter().for_each(|queries| node.tasks.lock().extend(queries.tasks()));
        if node.ingest.is_some() && node.streaming.is_some() {
            node.keep(tokio::spawn(Arc::clone(&node).look_at_the_logs_reach()));
        }
        node
    }

    /// Whether what others wait for at the start is done: nothing, where nothing streams.
    pub fn caught_up(&self) -> bool {
        self.streaming.as_ref().is_none_or(StreamPart::caught_up)
    }

    /// Keeps a task to be stopped with the node.
    pub fn keep(&self, task: tokio::task::JoinHandle<()>) {
        self.tasks.lock().push(task);
    }

    async fn look_at_the_logs_reach(self: Arc<Self>) {
        let mut every = tokio::time::interval(LOOK_AT_REACH_EVERY);
        loop {
            every.tick().await;
            self.warn_of_the_logs_reach();
        }
    }

    /// Says which views a restart now could not resume, because the log has forgotten what they need.
    fn warn_of_the_logs_reach(&self) {
        let (Some(Ingest { log, .. }), Some(streaming)) = (&self.ingest, &self.streaming) else { return };
        let extents: Vec<_> = (0..log.partitions()).map(|p| log.extent(PartitionId(p))).collect();
        let truncated = extents.iter().filter(|extent| extent.truncated);
        let Some(held_ms) = truncated.map(|extent| extent.newest_log_time - extent.first_log_time).min() else { return };
        for entry in streaming.jobs.loaded().catalog.in_force().filter(|entry| entry.view.resume_ms() > held_ms) {
            tracing::warn!(
                job = %entry.job, rule = %entry.rule,
                "the log holds {}, and a restart needs {} for this view: it would leave a gap; let \
                 the log keep more: log.embedded.retention_bytes and log.embedded.retention, or retention.ms of the topic",
                format_duration(held_ms), format_duration(entry.view.resume_ms())
            );
        }
    }

    /// Stops everything in order: tasks, imports, the stream, the sinks, then store and log. Blocks, on a thread of a tokio
    /// runtime.
    pub fn stop(&self) {
        self.tasks.lock().drain(..).for_each(|task| task.abort());
        self.ingest.iter().for_each(|ingest| ingest.imports.stop());
        self.streaming.iter().for_each(StreamPart::stop);
        self.queries.iter().for_each(Queries::stop_sinks);
        if let Some(Err(error)) = self.queries.as_ref().map(|queries| queries.store.sync()) {
            tracing::error!(%error, "cannot sync the store; what is missing is computed again at the next start");
        }
        self.ingest.iter().for_each(|ingest| ingest.log.close());
    }
}

/// An address to listen on.
///
/// # Errors
/// When it is not one, or its name has no address.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    use std::net::ToSocketAddrs;
    let found = text.to_socket_addrs().map_err(|error| format!("listen {text:?}: {error}"))?.next();
    found.ok_or_else(|| format!("listen {text:?}: this name has no address"))
}
