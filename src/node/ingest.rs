//! The part of a node that takes samples: the log, the gateway to it, and what receives and scrapes.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

use super::config::Config;
use super::imports::Imports;
use super::open_log::open_log;
use super::scrape::ScrapeCounters;
use crate::ingest::gateway::{Gateway, GatewayOptions};
use crate::ingest::limits::SeriesLimits;
use crate::ingest::remote_write::{Receiver, ReceiverOptions};
use crate::ingest::scrape::Scraper;
use crate::log::Log;
use crate::model::Clock;
use crate::proxy::DURATION_BUCKETS;
use crate::store::Store;

/// A body must arrive within this.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// What takes samples.
pub struct Ingest {
    pub log: Arc<dyn Log>,
    pub gateway: Arc<Gateway>,
    pub receiver: Receiver,
    pub imports: Imports,
    pub append_duration: Histogram,
    pub scrape_counters: Arc<ScrapeCounters>,
    pub(super) scraper: tokio::sync::Mutex<Option<Scraper>>,
    /// Where the node listens, for scraping itself; unset in one that does not.
    pub(super) own: OnceLock<SocketAddr>,
}

impl Ingest {
    /// Opens the log. The store, where there is one, says which log positions are known of and who has written; without
    /// one nobody is known.
    ///
    /// # Errors
    /// Why the log cannot be opened, and what to do.
    pub fn open(config: &Config, clock: &Arc<dyn Clock>, store: Option<&Store>) -> Result<Ingest, String> {
        let append_duration = Histogram::new(DURATION_BUCKETS);
        let known = store.and_then(Store::positions).map(|(incarnation, _)| incarnation);
        let log = open_log(config, clock, &append_duration, known)?;
        let gateway = gateway(config, &log, clock, store);
        Ok(Ingest {
            receiver: receiver(config, &gateway),
            imports: Imports::start(config, &gateway)?,
            log,
            gateway,
            append_duration,
            scrape_counters: Arc::default(),
            scraper: tokio::sync::Mutex::new(None),
            own: OnceLock::new(),
        })
    }
}

/// The gateway, which knows the senders of the commit where there is one.
fn gateway(config: &Config, log: &Arc<dyn Log>, clock: &Arc<dyn Clock>, store: Option<&Store>) -> Arc<Gateway> {
    let senders = |store: &Store| store.senders().into_iter().map(|seen| (seen.tenant, seen.sender)).collect();
    let options = GatewayOptions {
        limits: SeriesLimits {
            labels_per_series_max: config.limits.labels_per_series_max,
            label_name_bytes_max: config.limits.label_name_bytes_max,
            label_value_bytes_max: config.limits.label_value_bytes_max,
        },
        senders_max: config.limits.senders_max,
        senders: store.map(senders),
        bodies_bytes_max: config.limits.bodies_bytes_max.0 as usize,
        drop_labels: config.ingest.drop_labels.clone(),
        sender_labels: config.ingest.sender_labels.clone(),
    };
    Arc::new(Gateway::new(Arc::clone(log), Arc::clone(clock), options))
}

fn receiver(config: &Config, gateway: &Arc<Gateway>) -> Receiver {
    let options = ReceiverOptions {
        body_bytes_max: config.ingest.body_bytes_max.0 as usize,
        sender_header: config.ingest.sender_header.clone(),
        body_timeout: BODY_TIMEOUT,
    };
    Receiver { gateway: Arc::clone(gateway), options }
}
