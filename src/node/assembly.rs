//! The node assembled: log, store, stream, gateway, scraper and proxy, and the tasks that keep them going.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::histogram::Histogram;

use super::clock::SystemClock;
use super::config::{Clients, Config, Edge, NewSenders, Trust, UpstreamKind};
use super::imports::Imports;
use super::ingest;
use super::jobs::LoadedJobs;
use super::metrics::uncovered::UncoveredSeconds;
use super::open_log::open_log;
use super::reload::LastReload;
use super::retired::with_retired;
use super::scrape::ScrapeCounters;
use super::stream::{Stream, StreamOptions, StreamStatus};
use crate::ingest::gateway::Gateway;
use crate::ingest::remote_write::Receiver;
use crate::ingest::scrape::Scraper;
use crate::log::Log;
use crate::model::time::format_duration;
use crate::model::{Clock, PartitionId, SenderSeen};
use crate::proxy::upstream::{Kind, Upstream};
use crate::proxy::{DURATION_BUCKETS, Proxy, ProxyOptions, ViewActivity};
use crate::query::QueryLimits;
use crate::store::{Store, StoreOptions};

/// How often comparisons that are due are looked for.
const COMPARE_EVERY: Duration = Duration::from_secs(2);

/// How often upstream is asked what it is, and so whether it is there.
const IDENTIFY_EVERY: Duration = Duration::from_secs(60);

/// How often retention of results is enforced.
const RETENTION_EVERY: Duration = Duration::from_secs(600);

/// Everything of one process.
pub struct Node {
    pub config: Config,
    pub clock: Arc<dyn Clock>,
    pub log: Arc<dyn Log>,
    pub store: Arc<Store>,
    pub gateway: Arc<Gateway>,
    pub receiver: Receiver,
    pub imports: Imports,
    pub proxy: Arc<Proxy>,
    pub append_duration: Histogram,
    pub scrape_counters: Arc<ScrapeCounters>,
    pub uncovered: UncoveredSeconds,
    pub(super) scraper: tokio::sync::Mutex<Option<Scraper>>,
    /// Where the node listens, for scraping itself.
    pub(super) own: OnceLock<SocketAddr>,
    /// Read again for what is scraped; none when all is default.
    pub config_file: OnceLock<PathBuf>,
    pub last_reload: Mutex<LastReload>,
    /// Taken when the node stops.
    pub(super) stream: Mutex<Option<Stream>>,
    status: Arc<StreamStatus>,
    tasks: Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

impl Node {
    /// Opens log and store, resumes the stream, and starts what runs beside it. Needs a tokio runtime.
    ///
    /// # Errors
    /// What could not be started, and what to do.
    pub fn start(config: Config, loaded: LoadedJobs, threads: usize) -> Result<Arc<Node>, String> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let append_duration = Histogram::new(DURATION_BUCKETS);
        let store = Store::open(&config.data_dir.join("store"), StoreOptions::default());
        let store = Arc::new(store.map_err(|error| error.to_string())?);
        let known = store.positions().map(|(incarnation, _)| incarnation);
        let log = open_log(&config, &clock, &append_duration, known)?;
        let uncovered = UncoveredSeconds::new(&store);
        let new_senders_uncover = config.ingest.new_senders == NewSenders::Uncover;
        let options = StreamOptions { threads, new_senders_uncover };
        let stream = Stream::start(Arc::clone(&log), Arc::clone(&store), Arc::clone(&loaded.catalog), options)?;
        let gateway = ingest::gateway(&config, &log, &clock, &store);
        let receiver = ingest::receiver(&config, &gateway);
        let imports = Imports::start(&config, &gateway)?;
        let status = Arc::clone(&stream.status);
        let proxy = Arc::new(proxy(&config, &store, &loaded, &clock, &status)?);
        let succeeded = clock.now();
        let node = Arc::new(Node {
            config,
            clock,
            log,
            store,
            gateway,
            receiver,
            imports,
            proxy,
            append_duration,
            scrape_counters: Arc::default(),
            uncovered,
            scraper: tokio::sync::Mutex::new(None),
            own: OnceLock::new(),
            config_file: OnceLock::new(),
            last_reload: Mutex::new(LastReload { succeeded, problems: None }),
            stream: Mutex::new(Some(stream)),
            status,
            tasks: Mutex::default(),
        });
        node.start_tasks();
        Ok(node)
    }

    pub fn stream_status(&self) -> &StreamStatus {
        &self.status
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

    /// Whether requests can be taken: always; queries without an upstream wait for the replay.
    pub fn caught_up(&self) -> bool {
        self.status.caught_up.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn start_tasks(self: &Arc<Self>) {
        let mut tasks = vec![tokio::spawn(Arc::clone(self).enforce_retention())];
        if self.proxy.upstream.is_some() {
            tasks.push(tokio::spawn(Arc::clone(self).compare()));
            tasks.push(tokio::spawn(Arc::clone(self).look_at_upstream()));
        }
        self.tasks.lock().extend(tasks);
    }

    /// Keeps a task to be stopped with the node.
    pub fn keep(&self, task: tokio::task::JoinHandle<()>) {
        self.tasks.lock().push(task);
    }

    async fn enforce_retention(self: Arc<Self>) {
        let mut every = tokio::time::interval(RETENTION_EVERY);
        loop {
            every.tick().await;
            if let Err(error) = self.store.enforce_retention(self.clock.now()) {
                tracing::error!(%error, "cannot delete old results; trying again in ten minutes");
            }
            self.look_at_the_logs_reach();
        }
    }

    /// Says which views a restart now could not resume, because the log has forgotten what they need.
    fn look_at_the_logs_reach(&self) {
        let extents: Vec<_> = (0..self.log.partitions()).map(|p| self.log.extent(PartitionId(p))).collect();
        let truncated = extents.iter().filter(|extent| extent.truncated);
        let Some(held_ms) = truncated.map(|extent| extent.newest_log_time - extent.first_log_time).min() else { return };
        for entry in self.proxy.catalog.load().in_force().filter(|entry| entry.view.resume_ms() > held_ms) {
            tracing::warn!(
                job = %entry.job, rule = %entry.rule,
                "the log holds {}, and a restart needs {} for this view: it would leave a gap; let \
                 the log keep more: log.embedded.retention_bytes and log.embedded.retention, or retention.ms of the topic",
                format_duration(held_ms), format_duration(entry.view.resume_ms())
            );
        }
    }

    async fn compare(self: Arc<Self>) {
        let mut every = tokio::time::interval(COMPARE_EVERY);
        loop {
            every.tick().await;
            self.proxy.compare().await;
        }
    }

    /// Asks upstream what it is, now and then, and says where its numbers must differ whenever that changes.
    async fn look_at_upstream(self: Arc<Self>) {
        let Some(upstream) = &self.proxy.upstream else { return };
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

    /// Stops everything in order: tasks, imports, the stream, then the log.
    pub fn stop(&self) {
        self.tasks.lock().drain(..).for_each(|task| task.abort());
        self.imports.stop();
        drop(self.stream.lock().take());
        if let Err(error) = self.store.sync() {
            tracing::error!(%error, "cannot sync the store; what is missing is computed again at the next start");
        }
        self.log.close();
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

/// An address to listen on.
///
/// # Errors
/// When it is not one, or its name has no address.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    use std::net::ToSocketAddrs;
    let found = text.to_socket_addrs().map_err(|error| format!("listen {text:?}: {error}"))?.next();
    found.ok_or_else(|| format!("listen {text:?}: this name has no address"))
}
