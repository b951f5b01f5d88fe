//! The part of a node that answers queries: the store of results, the proxy over it, and the comparisons with upstream.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::config::{Clients, Config, Edge, Trust, UpstreamKind};
use super::jobs::LoadedJobs;
use super::metrics::uncovered::UncoveredSeconds;
use super::retention;
use super::retired::with_retired;
use super::stream::StreamStatus;
use crate::model::{Clock, SenderSeen};
use crate::proxy::upstream::{Kind, Upstream};
use crate::proxy::{Proxy, ProxyOptions, ViewActivity};
use crate::query::QueryLimits;
use crate::sink::Sinks;
use crate::store::{Store, StoreOptions};

/// How often comparisons that are due are looked for.
const COMPARE_EVERY: Duration = Duration::from_secs(2);

/// How often upstream is asked what it is, and so whether it is there.
const IDENTIFY_EVERY: Duration = Duration::from_secs(60);

/// What answers queries.
pub struct Queries {
    pub store: Arc<Store>,
    pub proxy: Arc<Proxy>,
    pub uncovered: UncoveredSeconds,
    /// Started last, taken when the node stops.
    pub(super) sinks: Mutex<Option<Sinks>>,
}

/// The store of results in the data directory.
///
/// # Errors
/// Why it cannot be opened.
pub fn open_store(config: &Config) -> Result<Arc<Store>, String> {
    let store = Store::open(&config.data_dir.join("store"), StoreOptions::default());
    Ok(Arc::new(store.map_err(|error| error.to_string())?))
}

impl Queries {
    /// Over a store, with the jobs in force at first and what is known of the stream.
    ///
    /// # Errors
    /// When upstream cannot be one.
    pub fn new(
        config: &Config,
        store: Arc<Store>,
        loaded: &LoadedJobs,
        clock: &Arc<dyn Clock>,
        status: &Arc<StreamStatus>,
    ) -> Result<Queries, String> {
        let uncovered = UncoveredSeconds::new(&store);
        let proxy = Arc::new(proxy(config, &store, loaded, clock, status)?);
        Ok(Queries { store, proxy, uncovered, sinks: Mutex::default() })
    }

    /// The senders known, each with the least of its first times over the partitions.
    pub fn senders(&self) -> Vec<SenderSeen> {
        // Sorted by tenant and sender: the partitions of one stand together.
        let mut senders = self.store.senders();
        senders.dedup_by(|next, kept| {
            let same = (&next.tenant, &next.sender) == (&kept.tenant, &kept.sender);
            kept.first = if same { kept.first.min(next.first) } else { kept.first };
            same
        });
        senders
    }

    /// What goes on beside answering.
    pub(super) fn tasks(&self) -> Vec<tokio::task::JoinHandle<()>> {
        let mut tasks = vec![tokio::spawn(enforce_retention(Arc::clone(&self.store), Arc::clone(&self.proxy.clock)))];
        if let Some(upstream) = &self.proxy.upstream {
            tasks.push(tokio::spawn(compare(Arc::clone(&self.proxy))));
            tasks.push(tokio::spawn(look_at_upstream(Arc::clone(upstream))));
        }
        tasks
    }
}

async fn enforce_retention(store: Arc<Store>, clock: Arc<dyn Clock>) {
    let mut every = tokio::time::interval(retention::EVERY);
    loop {
        every.tick().await;
        if let Err(error) = retention::enforce(&store, clock.now()) {
            tracing::error!(%error, "cannot delete old results; trying again in ten minutes");
        }
    }
}

async fn compare(proxy: Arc<Proxy>) {
    let mut every = tokio::time::interval(COMPARE_EVERY);
    loop {
        every.tick().await;
        proxy.compare().await;
    }
}

/// Asks upstream what it is, now and then, and says where its numbers must differ whenever that changes.
async fn look_at_upstream(upstream: Arc<Upstream>) {
    let (mut every, mut said) = (tokio::time::interval(IDENTIFY_EVERY), None);
    loop {
        every.tick().await;
        let identified = upstream.identify().await.map(|identity| (*identity).clone());
        if said.as_ref() == Some(&identified) {
            continue;
        }
        // What was told of it holds without its answer.
        let known = identified.clone().ok().or_else(|| upstream.identity().map(|identity| (*identity).clone()));
        match (&identified, known.as_ref().and_then(|identity| identity.difference())) {
            (Ok(identity), None) => tracing::info!(upstream = %identity, "upstream answers"),
            (_, Some(difference)) => {
                tracing::warn!(upstream = %known.unwrap_or_default(), "upstream differs from Prometheus 3: {difference}");
            }
            (Err(error), None) => tracing::warn!(%error, "upstream does not say what it is"),
        }
        said = Some(identified);
    }
}

fn proxy(
    config: &Config,
    store: &Arc<Store>,
    loaded: &LoadedJobs,
    clock: &Arc<dyn Clock>,
    status: &Arc<StreamStatus>,
) -> Result<Proxy, String> {
    let limits = &config.limits;
    let upstream = match &config.upstream {
        None => None,
        Some(upstream) => {
            let headers: Vec<(String, String)> =
                upstream.headers.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect();
            Some(Upstream::new(&upstream.url, millis(upstream.timeout.0), &headers)?.told(told(upstream.kind)))
        }
    };
    let options = ProxyOptions {
        limits: QueryLimits {
            samples_max: limits.query_samples_max,
            series_max: limits.query_series_max,
            steps_max: limits.query_steps_max,
            ..QueryLimits::default()
        },
        query_timeout: millis(limits.query_timeout.0),
        query_concurrency_max: limits.query_concurrency_max,
        edge_values_max: limits.edge_values_max,
        compare: config.upstream.as_ref().is_some_and(|upstream| upstream.trust == Trust::Compare),
        clients_trusted: config.upstream.as_ref().is_some_and(|upstream| upstream.clients == Clients::Trusted),
        edge_omit: config.upstream.as_ref().is_none_or(|upstream| upstream.edge == Edge::Omit),
        evaluation_interval_ms: None,
    };
    let status = Arc::clone(status);
    let activity = Arc::new(move |view| status.views.get(&view).map_or_else(ViewActivity::default, |view| view.activity()));
    let files = (Arc::new(with_retired(&loaded.catalog, store)), Arc::clone(&loaded.jobs));
    Ok(Proxy::new(Arc::clone(store), files, upstream, Arc::clone(clock), activity, options))
}

fn told(kind: UpstreamKind) -> Option<Kind> {
    match kind {
        UpstreamKind::Auto => None,
        UpstreamKind::Prometheus => Some(Kind::Prometheus),
        UpstreamKind::VictoriaMetrics => Some(Kind::VictoriaMetrics),
        UpstreamKind::Thanos => Some(Kind::Thanos),
        UpstreamKind::Mimir => Some(Kind::Mimir),
        UpstreamKind::M3 => Some(Kind::M3),
    }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs())
}
