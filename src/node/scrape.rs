//! The scraper's place in the node: its batches go through the gateway, and without configuration it scrapes the node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;

use super::assembly::Node;
use crate::ingest::gateway::{Gateway, Origin};
use crate::ingest::scrape::config::ScrapeConfig;
use crate::ingest::scrape::{SampleBatch, SampleSink, ScrapeObserver, ScrapeOutcome, Scraper};

/// How often the node scrapes itself when it is not told what to scrape.
const SELF_INTERVAL_MS: i64 = 5_000;

/// What scrapes came to.
#[derive(Debug, Default)]
pub struct ScrapeCounters {
    pub scrapes: AtomicU64,
    pub failed: AtomicU64,
    pub samples: AtomicU64,
    pub exemplars: AtomicU64,
    pub duplicates: AtomicU64,
    pub batches_lost: AtomicU64,
}

impl ScrapeObserver for ScrapeCounters {
    fn scraped(&self, _job: &str, outcome: &ScrapeOutcome) {
        self.scrapes.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(!outcome.up), Ordering::Relaxed);
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

/// Starts scraping what the configuration says, or the node itself at the address it listens on.
///
/// # Errors
/// When the scrape configurations cannot stand together.
pub fn start(node: &Node, own: SocketAddr) -> Result<Scraper, String> {
    let configs = match &node.config.scrape_configs {
        Some(configs) => configs.clone(),
        None => vec![itself(own)],
    };
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .map_err(|error| format!("cannot make the scraper's client: {error}"))?;
    let sink = Arc::new(GatewaySink(Arc::clone(&node.gateway)));
    let observer: Arc<dyn ScrapeObserver> = Arc::clone(&node.scrape_counters) as Arc<dyn ScrapeObserver>;
    Scraper::start(&configs, sink, Arc::clone(&node.clock), client, observer)
}

fn itself(own: SocketAddr) -> ScrapeConfig {
    ScrapeConfig {
        interval_ms: SELF_INTERVAL_MS,
        timeout_ms: SELF_INTERVAL_MS,
        ..ScrapeConfig::of_targets("prefold", vec![own.to_string()])
    }
}
