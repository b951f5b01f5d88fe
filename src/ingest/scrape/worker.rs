//! The loop of one target: wait for its turn, scrape, deliver, until it is told to end.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use smol_str::SmolStr;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout_at};
use tracing::{debug, warn};

use super::config::ScrapeConfig;
use super::failure::{FailureReason, ScrapeFailure};
use super::fetch::{Fetched, fetch};
use super::report;
use super::series::SeriesCache;
use super::sink::{SampleBatch, SampleSink, ScrapeObserver, ScrapeOutcome};
use super::target::Target;
use crate::ingest::exposition::{Limits, parse};
use crate::ingest::limits::SeriesLimits;
use crate::model::{Clock, Labels, Sample, Tenant, Timestamp, is_stale};

/// How often a batch is delivered before it is given up.
const DELIVERIES_MAX: u32 = 4;

/// The pause after the first delivery that failed; each further one is four times as long.
const DELIVERY_PAUSE: Duration = Duration::from_millis(250);

/// How long a delivery may take however long the scrape took, unless the interval is shorter.
const DELIVERY_MIN: Duration = Duration::from_secs(2);

/// How long a target that ends may wait for its last delivery.
const LAST_DELIVERY: Duration = Duration::from_secs(5);

/// What the tasks of all targets share.
pub struct Shared {
    pub sink: Arc<dyn SampleSink>,
    pub clock: Arc<dyn Clock>,
    pub client: reqwest::Client,
    pub observer: Arc<dyn ScrapeObserver>,
    /// What a series may look like, in this node.
    pub limits: SeriesLimits,
}

/// How a target ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Not yet.
    Running,
    /// Its series end with it.
    WithMarkers,
    /// Another task carries on with its series.
    HandedOver,
}

/// Whether a target answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    Up,
    Down,
}

impl Health {
    /// The word of Prometheus' targets API.
    pub fn name(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

/// What the targets API says of a target.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetStatus {
    pub job: SmolStr,
    pub url: String,
    pub labels: Labels,
    pub interval_ms: i64,
    pub timeout_ms: i64,
    pub health: Health,
    /// Why the last scrape failed; empty when it did not.
    pub last_error: String,
    pub last_scrape: Option<Timestamp>,
    pub last_outcome: ScrapeOutcome,
}

impl TargetStatus {
    pub fn new(target: &Target) -> TargetStatus {
        TargetStatus {
            job: target.config.job_name.clone(),
            url: target.url.to_string(),
            labels: target.labels.clone(),
            interval_ms: target.config.interval_ms,
            timeout_ms: target.config.timeout_ms,
            health: Health::Unknown,
            last_error: String::new(),
            last_scrape: None,
            last_outcome: ScrapeOutcome::default(),
        }
    }
}

/// One target's task.
pub struct Worker {
    pub target: Arc<Target>,
    pub shared: Arc<Shared>,
    /// Written after each scrape, read by the status page; held for a copy.
    pub status: Arc<Mutex<TargetStatus>>,
    pub end: watch::Receiver<End>,
    pub cache: SeriesCache,
}

type Series = Vec<(Labels, Sample)>;

impl Worker {
    /// Runs until it is told to end, or its handle is dropped. Returns the memory of its series.
    pub async fn run(mut self) -> SeriesCache {
        let interval = Duration::from_millis(self.target.config.interval_ms.unsigned_abs());
        let delay = Duration::from_millis(self.target.delay_ms(self.shared.clock.now()).unsigned_abs());
        let mut turns = interval_at(Instant::now() + delay, interval);
        turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut end = self.end.clone();
        while *end.borrow() == End::Running {
            let turn = tokio::select! {
                changed = end.changed() => {
                    if changed.is_err() { break }
                    continue;
                }
                turn = turns.tick() => turn,
            };
            let started = Instant::now();
            let at = self.cache.begin(self.shared.clock.now());
            let fetched = tokio::select! {
                _ = end.changed() => break,
                fetched = fetch(&self.shared.client, &self.target) => fetched,
            };
            let series = self.read(fetched, at, started);
            let deadline = (turn + interval).max(Instant::now() + DELIVERY_MIN.min(interval));
            self.deliver(series, deadline).await;
        }
        if *end.borrow() == End::WithMarkers {
            let at = self.cache.begin(self.shared.clock.now());
            let mut series = self.cache.fail(at);
            series.extend(report::markers(&self.target.labels, at));
            self.deliver(series, Instant::now() + LAST_DELIVERY).await;
        }
        self.cache
    }

    /// Everything that a scrape writes: samples, markers, report.
    fn read(&mut self, fetched: Result<Fetched, ScrapeFailure>, at: Timestamp, started: Instant) -> Series {
        let mut outcome = ScrapeOutcome::default();
        let read = fetched.and_then(|fetched| {
            outcome.body_bytes = fetched.body.len() as u64;
            let limits = parser_limits(&self.target.config, &self.shared.limits, fetched.body_is_whole);
            aside(|| read_samples(&mut self.cache, &limits, &fetched, at, &mut outcome))
        });
        let (mut series, error) = match read {
            Ok(mut series) => {
                series.extend(self.cache.succeed(at));
                (series, String::new())
            }
            Err(failure) => {
                (outcome.samples, outcome.failure) = (0, Some(failure.reason));
                (self.cache.fail(at), failure.text)
            }
        };
        let counts = self.cache.counts();
        outcome.duplicates = counts.duplicates;
        outcome.duration_seconds = started.elapsed().as_secs_f64();
        series.extend(report::report(&self.target.labels, &outcome, counts.added, at));
        self.record(outcome, error, at);
        series
    }

    /// Tells the log, the metrics and the status page. The log hears of a failure when it begins or changes.
    fn record(&self, outcome: ScrapeOutcome, error: String, at: Timestamp) {
        let (job, url) = (&self.target.config.job_name, self.target.url.as_str());
        let mut status = self.status.lock();
        if !error.is_empty() && status.last_error != error {
            warn!(%job, url, %error, "scrape failed: the target is down");
        } else if error.is_empty() && status.health == Health::Down {
            warn!(%job, url, "scrape succeeded: the target is up again");
        }
        if outcome.duplicates > 0 {
            debug!(%job, url, duplicates = outcome.duplicates, "second samples of a series were dropped");
        }
        status.health = if outcome.failure.is_none() { Health::Up } else { Health::Down };
        status.last_error = error;
        status.last_scrape = Some(at);
        status.last_outcome = outcome;
        drop(status);
        self.shared.observer.scraped(job, &outcome);
    }

    /// Delivers a batch until `deadline`, again after a failure. Markers that are lost stay due.
    async fn deliver(&mut self, series: Series, deadline: Instant) {
        let job = &self.target.config.job_name;
        let batch = SampleBatch { tenant: Tenant::default(), sender: SmolStr::from(format!("scrape:{job}")), series };
        let mut end = self.end.clone();
        let stopping = async {
            while *end.borrow() == End::Running && end.changed().await.is_ok() {}
            sleep(LAST_DELIVERY).await;
        };
        let delivered = tokio::select! {
            delivered = self.attempt(&batch, deadline) => delivered,
            () = stopping => false,
        };
        if !delivered {
            self.shared.observer.delivery_failed(job, true);
            let lost = batch.series.len();
            warn!(%job, url = self.target.url.as_str(), lost, "a scrape could not be delivered: its samples are lost");
            for (labels, sample) in batch.series {
                if is_stale(sample.v) && !report::NAMES.contains(&labels.metric()) {
                    self.cache.owe(labels);
                }
            }
        }
    }

    /// Whether the sink took a batch.
    async fn attempt(&self, batch: &SampleBatch, deadline: Instant) -> bool {
        let (job, mut pause) = (&self.target.config.job_name, DELIVERY_PAUSE);
        for attempt in 1..=DELIVERIES_MAX {
            let error = match timeout_at(deadline, self.shared.sink.deliver(batch.clone())).await {
                Ok(Ok(Ok(()))) => return true,
                Ok(Ok(Err(error))) => error,
                Ok(Err(_)) => "the receiver gave no answer".to_owned(),
                Err(_) => "no answer before the next scrape".to_owned(),
            };
            warn!(%job, url = self.target.url.as_str(), %error, attempt, "a scrape was not taken");
            let next = Instant::now() + pause;
            if attempt == DELIVERIES_MAX || next >= deadline {
                return false;
            }
            self.shared.observer.delivery_failed(job, false);
            sleep_until(next).await;
            pause *= 4;
        }
        false
    }
}

/// Reads a body into series.
fn read_samples(
    cache: &mut SeriesCache,
    limits: &Limits,
    fetched: &Fetched,
    at: Timestamp,
    outcome: &mut ScrapeOutcome,
) -> Result<Series, ScrapeFailure> {
    let mut series = Vec::new();
    let mut refused = None;
    let summary = parse(&fetched.body, fetched.format, limits, &mut |sample| {
        if refused.is_none() {
            match cache.observe(&sample, at) {
                Ok(sample) => series.extend(sample),
                Err(reason) => refused = Some(reason),
            }
        }
    });
    let summary = summary?;
    outcome.samples = summary.samples;
    outcome.exemplars = summary.exemplars;
    refused.map_or(Ok(series), |text| Err(ScrapeFailure::new(FailureReason::BeyondLimits, text)))
}

/// The parser's limits: the node's, wider where a job's settings are.
fn parser_limits(config: &ScrapeConfig, node: &SeriesLimits, body_is_whole: bool) -> Limits {
    let default = Limits::default();
    Limits {
        samples_max: if config.sample_limit > 0 { config.sample_limit } else { default.samples_max },
        labels_per_sample_max: node.labels_per_series_max.max(config.label_limit),
        label_name_bytes_max: node.label_name_bytes_max.max(config.label_name_length_limit),
        label_value_bytes_max: node.label_value_bytes_max.max(config.label_value_length_limit),
        metadata_kept_max: 0,
        body_is_whole,
    }
}

/// Reading a large body takes a while: where the runtime has other threads, they take over this one's tasks.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}
