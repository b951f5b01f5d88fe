//! The scraper: the tasks of all targets, started, changed and stopped as one.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::error;

use super::config::ScrapeConfig;
use super::series::SeriesCache;
use super::sink::{SampleSink, ScrapeObserver};
use super::target::Target;
use super::worker::{End, Shared, TargetStatus, Worker};
use crate::ingest::limits::SeriesLimits;
use crate::model::Clock;

/// A handle on all targets' tasks. Dropped without [`Scraper::stop`], it ends them as a crash would: without markers.
pub struct Scraper {
    shared: Arc<Shared>,
    /// At most [`TARGETS_MAX`](super::target::TARGETS_MAX). Held only to look or to move entries, never while waiting.
    running: Mutex<Vec<Running>>,
    /// One change at a time; held while targets end.
    changing: tokio::sync::Mutex<()>,
}

struct Running {
    target: Arc<Target>,
    status: Arc<Mutex<TargetStatus>>,
    end: watch::Sender<End>,
    task: JoinHandle<SeriesCache>,
}

/// What a reload did, in targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Left alone.
    pub kept: usize,
    /// The same labels with other settings: the series carry on.
    pub changed: usize,
    pub started: usize,
    pub stopped: usize,
}

impl Scraper {
    /// Starts scraping. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// Configs that cannot stand together; nothing was started.
    pub fn start(
        configs: &[ScrapeConfig],
        sink: Arc<dyn SampleSink>,
        clock: Arc<dyn Clock>,
        client: reqwest::Client,
        observer: Arc<dyn ScrapeObserver>,
        limits: SeriesLimits,
    ) -> Result<Scraper, String> {
        let targets = Target::of_configs(configs)?;
        let shared = Arc::new(Shared { sink, clock, client, observer, limits });
        let running = targets.into_iter().map(|target| spawn(&shared, target, None)).collect();
        Ok(Scraper { shared, running: Mutex::new(running), changing: tokio::sync::Mutex::new(()) })
    }

    /// Takes on other configs. Targets that are the same keep running; those with the same labels and other settings carry
    /// their series on; the others' series end with markers. Returns when those that ended have.
    ///
    /// # Errors
    /// Configs that cannot stand together; nothing was changed.
    pub async fn reload(&self, configs: &[ScrapeConfig]) -> Result<Reloaded, String> {
        let mut wanted = Target::of_configs(configs)?;
        let _changing = self.changing.lock().await;
        let mut ending = Vec::new();
        let mut reloaded = Reloaded::default();
        {
            let mut running = self.running.lock();
            for entry in std::mem::take(&mut *running) {
                match wanted.iter().position(|target| *target == *entry.target) {
                    Some(at) => {
                        wanted.swap_remove(at);
                        running.push(entry);
                    }
                    None => ending.push(entry),
                }
            }
            reloaded.kept = running.len();
        }
        let mut started = Vec::new();
        let mut stopped = Vec::new();
        for entry in ending {
            match wanted.iter().position(|target| target.labels == entry.target.labels) {
                Some(at) => {
                    let target = wanted.swap_remove(at);
                    entry.end.send_replace(End::HandedOver);
                    started.push(spawn(&self.shared, target, entry.finished().await));
                    reloaded.changed += 1;
                }
                None => stopped.push(entry),
            }
        }
        reloaded.started = wanted.len();
        reloaded.stopped = stopped.len();
        started.extend(wanted.into_iter().map(|target| spawn(&self.shared, target, None)));
        self.running.lock().extend(started);
        end_all(stopped).await;
        Ok(reloaded)
    }

    /// Ends all targets, with markers for all their series. Takes at most a few seconds.
    pub async fn stop(&self) {
        let _changing = self.changing.lock().await;
        let running = std::mem::take(&mut *self.running.lock());
        end_all(running).await;
    }

    /// How all targets are, by job and address.
    pub fn targets(&self) -> Vec<TargetStatus> {
        let mut statuses: Vec<TargetStatus> = self.running.lock().iter().map(|entry| entry.status.lock().clone()).collect();
        statuses.sort_by(|a, b| (&a.job, &a.url, &a.labels).cmp(&(&b.job, &b.url, &b.labels)));
        statuses
    }
}

impl Running {
    /// Waits for the task's end.
    async fn finished(self) -> Option<SeriesCache> {
        match self.task.await {
            Ok(cache) => Some(cache),
            Err(reason) => {
                error!(url = self.target.url.as_str(), %reason, "the task of a scrape target died");
                None
            }
        }
    }
}

/// Ends targets whose series end with them: all are told before one is waited for.
async fn end_all(entries: Vec<Running>) {
    for entry in &entries {
        entry.end.send_replace(End::WithMarkers);
    }
    for entry in entries {
        entry.finished().await;
    }
}

fn spawn(shared: &Arc<Shared>, target: Target, before: Option<SeriesCache>) -> Running {
    let mut cache = before.unwrap_or_else(|| SeriesCache::new(&target.labels, &target.config));
    cache.retarget(&target.labels, &target.config);
    let (end, told) = watch::channel(End::Running);
    let status = Arc::new(Mutex::new(TargetStatus::new(&target)));
    let target = Arc::new(target);
    let worker =
        Worker { target: Arc::clone(&target), shared: Arc::clone(shared), status: Arc::clone(&status), end: told, cache };
    Running { target, status, end, task: tokio::spawn(worker.run()) }
}

#[cfg(test)]
mod tests;
