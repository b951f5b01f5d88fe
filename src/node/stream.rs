//! Streaming as the rest of the node sees it: started, reloaded, stopped, and what is known of it meanwhile.
//!
//! In a process with every role all of it is one thread, which commands reach through a channel.

mod catch_up;
mod streaming;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use dashmap::DashMap;

use super::cluster_progress::ClusterProgress;
use super::fold_progress::FoldProgress;
use super::in_force::JobsInForce;
use super::jobs::LoadedJobs;
use crate::dataflow::Emitted;
use crate::log::Log;
use crate::model::ViewId;
use crate::plan::{Catalog, CatalogEntry, View};
use crate::store::{Store, ViewDescription};
use streaming::Streaming;
pub(super) use streaming::resume_ms;

/// How long a reload waits for the stream.
const RELOAD_WAIT: Duration = Duration::from_secs(10);

/// What streaming is made with.
#[derive(Clone, Copy, Debug)]
pub struct StreamOptions {
    pub threads: usize,
    pub new_senders_uncover: bool,
}

/// What is known of the running stream, for status pages, metrics and readiness.
#[derive(Default)]
pub struct StreamStatus {
    /// Whether the replay at the start is done.
    pub caught_up: AtomicBool,
    pub records_ahead: AtomicU64,
    pub log_time: AtomicI64,
    pub views: DashMap<ViewId, ViewProgress>,
    pub folded: FoldProgress,
    /// Of a worker or a query replica; all zero elsewhere.
    pub cluster: ClusterProgress,
    /// Whether it is told to stop: nothing is tried again any more.
    pub stopping: AtomicBool,
    /// Why streaming has stopped, if it has.
    pub failed: parking_lot::Mutex<Option<String>>,
}

impl StreamStatus {
    /// Something has failed, and is tried again.
    pub fn fails(&self, what: &str, error: &str) {
        *self.failed.lock() = Some(format!("{what}: {error}"));
    }

    /// It works again.
    pub fn recovered(&self, what: &str) {
        let mut failed = self.failed.lock();
        if failed.as_ref().is_some_and(|failed| failed.starts_with(&format!("{what}: "))) {
            *failed = None;
        }
    }

    /// Takes note of what is told of a grid point.
    pub fn note_emitted(&self, emitted: &Emitted) {
        let begun = ViewProgress { newest: *emitted, not_counted: 0, conflicting: 0 };
        let mut progress = self.views.entry(emitted.view).or_insert(begun);
        progress.newest = *emitted;
        progress.not_counted += emitted.not_counted;
        progress.conflicting += emitted.conflicting;
    }
}

/// The newest grid point of a view, and sums over all of them.
#[derive(Clone, Copy, Debug)]
pub struct ViewProgress {
    pub newest: Emitted,
    pub not_counted: u64,
    pub conflicting: u64,
}

/// What streams, as the rest of the node sees it; what is known of it is in its [`StreamStatus`]. Dropping it stops it and
/// waits until it has.
pub trait StreamHandle: Send {
    /// Takes on jobs that were read from files again: in force, or proposed to others.
    ///
    /// # Errors
    /// When they are not in force for now: why, and when they will be.
    fn reload(&self, loaded: LoadedJobs) -> Result<(), String>;
}

/// The running stream of a process with every role. Dropping it stops it.
pub struct Stream {
    commands: Option<Sender<Command>>,
    thread: Option<std::thread::JoinHandle<()>>,
    pub status: Arc<StreamStatus>,
}

enum Command {
    Reload(Arc<Catalog>, Sender<()>),
}

impl Stream {
    /// # Errors
    /// When the log cannot be read from where the store stands, or the workers cannot be started.
    pub fn start(
        log: Arc<dyn Log>,
        store: Arc<Store>,
        catalog: Arc<Catalog>,
        options: StreamOptions,
    ) -> Result<Stream, String> {
        let (commands, takes) = bounded(4);
        let status = Arc::new(StreamStatus::default());
        let mut streaming = Streaming::start(log, store, catalog, options, Arc::clone(&status))?;
        let told = Arc::clone(&status);
        let run = move || {
            if let Err(error) = streaming.run(&takes)
                && !told.stopping.load(Ordering::Relaxed)
            {
                tracing::error!(%error, "streaming has stopped; results stay as they are until the process is restarted");
                *told.failed.lock() = Some(error);
            }
        };
        let thread = std::thread::Builder::new().name("stream".to_owned()).spawn(run).map_err(|error| error.to_string())?;
        Ok(Stream { commands: Some(commands), thread: Some(thread), status })
    }

    /// Puts another catalog in force. Views in both are not touched; new ones catch up first.
    ///
    /// # Errors
    /// When the stream does not get to it for a while; it will when it goes on.
    pub fn reload(&self, catalog: Arc<Catalog>) -> Result<(), String> {
        let (done, wait) = bounded(1);
        let Some(commands) = &self.commands else { return Ok(()) };
        let until = Instant::now() + RELOAD_WAIT;
        let told = commands.send_deadline(Command::Reload(catalog, done), until).is_ok();
        match told.then(|| wait.recv_deadline(until)) {
            // Streaming that has stopped says so itself.
            Some(Ok(()) | Err(RecvTimeoutError::Disconnected)) => Ok(()),
            Some(Err(RecvTimeoutError::Timeout)) => {
                Err("the jobs come into force when results can be committed again; see the errors before this".to_owned())
            }
            None => {
                Err("the jobs were not taken: earlier ones still wait for results to be committed; read them again later"
                    .to_owned())
            }
        }
    }
}

/// A stream whose jobs come from a directory: they are in force at once.
pub struct DirectoryStream {
    pub stream: Stream,
    pub jobs: Arc<JobsInForce>,
}

impl StreamHandle for DirectoryStream {
    fn reload(&self, loaded: LoadedJobs) -> Result<(), String> {
        let taken = self.stream.reload(Arc::clone(&loaded.catalog));
        self.jobs.put(loaded);
        taken
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.status.stopping.store(true, Ordering::Relaxed);
        drop(self.commands.take());
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Tells the store what each view is, so that its results stay readable when its job is gone.
pub fn describe(store: &Store, catalog: &Catalog) -> Result<(), String> {
    for entry in catalog.entries() {
        let id = entry.view.id;
        store.describe(id, description(entry)).map_err(|error| format!("cannot store what view {id} is: {error}"))?;
    }
    Ok(())
}

/// What a store must know of a view.
pub fn description(entry: &CatalogEntry) -> ViewDescription {
    let view = &entry.view;
    let text = serde_json::json!({
        "job": entry.job, "rule": entry.rule, "expr": entry.expr, "view": view.shape.to_string(), "tenant": view.tenant,
        "max_delay_ms": view.max_delay_ms, "records": entry.records,
    });
    ViewDescription {
        step_ms: view.step_ms,
        fields: view.shape.aggregation.fields.len() as u8,
        retention_ms: entry.retention_ms,
        text: text.to_string(),
    }
}

/// How long after a grid point a span that began before it may still cover it.
pub fn settles_ms(view: &View) -> i64 {
    view.shape.window_ms + 2 * view.max_delay_ms
}

/// A stream that does nothing, for tests of what shows its status.
#[cfg(test)]
pub(super) struct Still;

#[cfg(test)]
impl StreamHandle for Still {
    fn reload(&self, _: LoadedJobs) -> Result<(), String> {
        Ok(())
    }
}
