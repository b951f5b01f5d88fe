//! The scraper's place in the node: its batches go through the gateway, and without configuration a process with every role
//! scrapes itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use smol_str::SmolStr;
use tokio::sync::oneshot;

use super::assembly::Node;
use super::ingest::Ingest;
use super::role::Role;
use crate::ingest::gateway::{Gateway, Origin};
use crate::ingest::scrape::config::ScrapeConfig;
use crate::ingest::scrape::{FailureReason, SampleBatch, SampleSink, ScrapeObserver, ScrapeOutcome, Scraper};
use crate::model::Clock;

/// How often the node scrapes itself when it is not told what to scrape.
const SELF_INTERVAL_MS: i64 = 5_000;

/// What scrapes came to.
#[derive(Debug, Default)]
pub struct ScrapeCounters {
    pub scrapes: AtomicU64,
    /// Those that failed, by job. Held for a count or a copy; as many jobs as are configured: a reload takes the others out.
    failed: Mutex<BTreeMap<SmolStr, Failures>>,
    pub samples: AtomicU64,
    pub exemplars: AtomicU64,
    pub duplicates: AtomicU64,
    pub batches_lost: AtomicU64,
}

/// How many scrapes failed, in the order of [`FailureReason::ALL`].
type Failures = [u64; FailureReason::ALL.len()];

impl ScrapeCounters {
    /// Scrapes that failed: job, reason and how many, zeros too, so that the first failure is seen to be one more.
    pub fn failures(&self) -> Vec<(SmolStr, FailureReason, u64)> {
        let failed = self.failed.lock();
        let of_job = |(job, counts): (&SmolStr, &Failures)| {
            let counts = FailureReason::ALL.iter().zip(*counts);
            counts.map(|(reason, count)| (job.clone(), *reason, count)).collect::<Vec<_>>()
        };
        failed.iter().flat_map(of_job).collect()
    }

    fn keep_jobs(&self, configs: &[ScrapeConfig]) {
        self.failed.lock().retain(|job, _| configs.iter().any(|config| config.job_name == *job));
    }
}

impl ScrapeObserver for ScrapeCounters {
    fn scraped(&self, job: &str, outcome: &ScrapeOutcome) {
        self.scrapes.fetch_add(1, Ordering::Relaxed);
        let mut failed = self.failed.lock();
        let counts = failed.entry(job.into()).or_default();
        for (reason, count) in FailureReason::ALL.iter().zip(counts) {
            *count += u64::from(outcome.failure == Some(*reason));
        }
        drop(failed);
        self.samples.fetch_add(outcome.samples, Ordering::Relaxed);
        self.exemplars.fetch_add(outcome.exemplars, Ordering::Relaxed);
        self.duplicates.fetch_add(outcome.duplicates, Ordering::Relaxed);
    }

    fn delivery_failed(&self, _job: &str, lost: bool) {
        self.batches_lost.fetch_add(u64::from(lost), Ordering::Relaxed);
    }
}

struct GatewaySink(Arc<Gateway>);

impl SampleSink for GatewaySink {
    fn deliver(&self, batch: SampleBatch) -> oneshot::Receiver<Result<(), String>> {
        let (answer, receiver) = oneshot::channel();
        let gateway = Arc::clone(&self.0);
        tokio::spawn(async move {
            let SampleBatch { tenant, sender, series } = batch;
            let origin = Origin { tenant, sender, named: true };
            let delivered = gateway.deliver(&origin, &series).await.map_err(|error| error.to_string());
            // A scraper that has stopped waiting needs no answer.
            let _ = answer.send(delivered);
        });
        receiver
    }
}

impl Node {
    /// Starts scraping what the configuration says. Without any a process with every role scrapes itself, at the address it
    /// listens on; a gateway scrapes nothing.
    ///
    /// # Errors
    /// When the scrape configurations cannot stand together.
    pub async fn start_scraping(&self, own: SocketAddr) -> Result<(), String> {
        let Some(ingest) = &self.ingest else { return Ok(()) };
        if self.role == Role::Run {
            let _ = ingest.own.set(own);
        }
        let scraper = start(ingest, &self.clock, &ingest.configs(self.config.scrape_configs.clone()))?;
        *ingest.scraper.lock().await = Some(scraper);
        Ok(())
    }

    /// Takes on other configurations. Targets that are in both go on; the series of those that are gone end with markers.
    ///
    /// # Errors
    /// When they cannot stand together; nothing has changed then.
    pub(super) async fn scrape_again(&self, ingest: &Ingest, configs: Option<Vec<ScrapeConfig>>) -> Result<(), String> {
        let Some(scraper) = &*ingest.scraper.lock().await else { return Ok(()) };
        let configs = ingest.configs(configs);
        let reloaded = scraper.reload(&configs).await?;
        ingest.scrape_counters.keep_jobs(&configs);
        if reloaded.changed + reloaded.started + reloaded.stopped > 0 {
            tracing::info!(
                kept = reloaded.kept,
                changed = reloaded.changed,
                started = reloaded.started,
                stopped = reloaded.stopped,
                "other targets are scraped"
            );
        }
        Ok(())
    }
}

impl Ingest {
    fn configs(&self, configs: Option<Vec<ScrapeConfig>>) -> Vec<ScrapeConfig> {
        configs.unwrap_or_else(|| self.own.get().map(|own| itself(*own)).into_iter().collect())
    }
}

fn start(ingest: &Ingest, clock: &Arc<dyn Clock>, configs: &[ScrapeConfig]) -> Result<Scraper, String> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .map_err(|error| format!("cannot make the scraper's client: {error}"))?;
    let sink = Arc::new(GatewaySink(Arc::clone(&ingest.gateway)));
    let observer: Arc<dyn ScrapeObserver> = Arc::clone(&ingest.scrape_counters) as Arc<dyn ScrapeObserver>;
    Scraper::start(configs, sink, Arc::clone(clock), client, observer, *ingest.gateway.limits())
}

fn itself(own: SocketAddr) -> ScrapeConfig {
    ScrapeConfig {
        interval_ms: SELF_INTERVAL_MS,
        timeout_ms: SELF_INTERVAL_MS,
        ..ScrapeConfig::of_targets("prefold", vec![own.to_string()])
    }
}
