//! HTTP out: Prometheus' query API, answered from views where they answer exactly, forwarded where they do not.

pub mod answer;
pub mod counters;
pub mod coverage;
pub mod edge;
pub mod json;
pub mod lists;
pub mod metadata;
pub mod pages;
pub mod params;
pub mod source;
pub mod stitch;
pub mod trust;
pub mod upstream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::{Method, StatusCode};
use axum::response::Response;

use crate::model::{Clock, Labels, Timestamp, ViewId};
use crate::plan::{Catalog, Job};
use crate::query::QueryLimits;
use crate::store::{ReadLimits, Store};
pub use counters::{Answered, Counters, DURATION_BUCKETS};
use coverage::{Coverage, Vouching};
use edge::{Edge, Settled, settle_ms};
use params::Params;
use trust::{Trust, first_difference};
use upstream::{Incoming, Purpose, Upstream};

/// How the proxy answers.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    pub limits: QueryLimits,
    pub query_timeout: Duration,
    pub query_concurrency_max: usize,
    /// Values of upstream's answers at the edge kept at once.
    pub edge_values_max: usize,
    /// Whether a view is served only after an equal comparison with upstream.
    pub compare: bool,
    /// Whether requests with credentials may be answered from views.
    pub clients_trusted: bool,
    /// Whether steps not emitted yet are left out of range answers rather than asked of upstream.
    pub edge_omit: bool,
    /// Upstream's evaluation interval, for subqueries without a step.
    pub evaluation_interval_ms: Option<i64>,
}

/// What the stream knows of a view, as of its newest grid point.
#[derive(Clone, Copy, Debug, Default)]
pub struct ViewActivity {
    pub input_series: u64,
    /// The newest grid point, and how many series have a value at it; `None` before the first since the start.
    pub valued_series: Option<(Timestamp, u64)>,
    pub output_series: u64,
    /// Samples in the windows of all its series: what a query over them reads at one step.
    pub window_samples: u64,
    pub state_bytes: u64,
    pub overdue_series: u64,
    pub not_counted: u64,
}

/// Where the proxy asks what the stream knows of a view.
pub type Activity = Arc<dyn Fn(ViewId) -> ViewActivity + Send + Sync>;

/// The query side of a node.
pub struct Proxy {
    pub store: Arc<Store>,
    pub catalog: ArcSwap<Catalog>,
    pub jobs: ArcSwap<Vec<Job>>,
    pub upstream: Option<Arc<Upstream>>,
    pub clock: Arc<dyn Clock>,
    pub options: ProxyOptions,
    pub activity: Activity,
    pub trust: Trust,
    pub edge: Arc<Edge>,
    pub counters: Counters,
    /// One permit per evaluation, held until it has ended.
    running: Arc<tokio::sync::Semaphore>,
}

impl Proxy {
    pub fn new(
        store: Arc<Store>,
        (catalog, jobs): (Arc<Catalog>, Arc<Vec<Job>>),
        upstream: Option<Upstream>,
        clock: Arc<dyn Clock>,
        activity: Activity,
        options: ProxyOptions,
    ) -> Proxy {
        Proxy {
            trust: Trust::new(Arc::clone(&store)),
            store,
            catalog: ArcSwap::new(catalog),
            jobs: ArcSwap::new(jobs),
            upstream: upstream.map(Arc::new),
            edge: Arc::new(Edge::new(Arc::clone(&clock), options.edge_values_max)),
            clock,
            activity,
            running: Arc::new(tokio::sync::Semaphore::new(options.query_concurrency_max)),
            options,
            counters: Counters::default(),
        }
    }

    /// Evaluations running now.
    pub fn evaluations_running(&self) -> usize {
        self.options.query_concurrency_max.saturating_sub(self.running.available_permits())
    }

    /// Makes the comparisons with upstream that are due, and those that the edge has paid for.
    pub async fn compare(&self) {
        let catalog = self.catalog.load_full();
        for settled in self.settled(&catalog) {
            self.compare_at_edge(&catalog, &settled);
        }
        if let (Some(upstream), true) = (&self.upstream, self.options.compare) {
            let valued = |view| (self.activity)(view).valued_series;
            self.trust.compare_due(&catalog, upstream, self.clock.now(), valued).await;
        }
    }

    fn settled(&self, catalog: &Catalog) -> Vec<Settled> {
        let edge_ms = |entry: &Arc<crate::plan::CatalogEntry>| entry.view.max_delay_ms + entry.view.step_ms;
        let keep_ms = catalog.entries().map(edge_ms).max().unwrap_or(0) + answer::EDGE_SLACK_MS;
        let final_to = |view| self.store.view(view).and_then(|state| state.final_to);
        self.edge.take_settled(final_to, keep_ms)
    }

    /// An answer that came too early to be whole says nothing, nor does one without a series.
    fn compare_at_edge(&self, catalog: &Catalog, settled: &Settled) {
        let (key, entry) = (settled.key, catalog.get(settled.key.view));
        let Some(entry) = entry.filter(|entry| self.options.compare && settled.age_ms >= settle_ms(&entry.view)) else {
            return;
        };
        let limits = ReadLimits { series_max: usize::MAX, points_max: usize::MAX };
        let Ok(groups) = self.store.read(key.view, &[], key.t, key.t, limits) else { return };
        let value = |fields: &[Vec<f64>; 2]| fields[usize::from(key.field)].first().copied();
        let ours: BTreeMap<Labels, f64> =
            groups.iter().filter_map(|group| Some(((*group.labels).clone(), value(&group.fields)?))).collect();
        let theirs: BTreeMap<Labels, f64> = settled.values.iter().map(|(labels, v)| ((**labels).clone(), *v)).collect();
        if ours.is_empty() && theirs.is_empty() {
            return;
        }
        let difference = first_difference(&ours, &theirs);
        self.trust.compared_at_edge(entry, key.t, difference.as_deref());
    }

    /// What may be served of a view now.
    pub fn coverage(&self, view: ViewId) -> Option<Coverage> {
        let state = self.store.view(view)?;
        Some(match (&self.upstream, self.options.compare) {
            (None, _) => Coverage::alone(&state),
            (Some(_), false) => Coverage::strict(&state, Vouching::NotAsked),
            (Some(_), true) => Coverage::strict(&state, Vouching::Compared(&self.trust.record(view).compared())),
        })
    }

    /// Answers a request whose path is, or ends like, one of the query API's.
    pub async fn handle(self: &Arc<Self>, incoming: Incoming) -> Response {
        let path = incoming.path.split('?').next().unwrap_or_default().to_owned();
        let Some(endpoint) = endpoint(&path) else { return not_found(&path) };
        if let Err(malformed) = incoming.tenant() {
            return json::bad_data(&malformed.to_string());
        }
        if !matches!(incoming.method, Method::GET | Method::POST) {
            return json::error(StatusCode::METHOD_NOT_ALLOWED, "bad_data", "only GET and POST are answered here");
        }
        let url_query = incoming.path.split_once('?').map_or("", |(_, query)| query);
        let params = Params::parse(url_query, if is_form(&incoming) { &incoming.body } else { &[] });
        if rewrite_is_off(&incoming, &params) {
            match endpoint {
                Endpoint::Query | Endpoint::QueryRange => return answer::untouched(self, &incoming).await,
                _ if self.upstream.is_some() => return self.forward_other(&incoming, &path).await,
                _ => {}
            }
        }
        match endpoint {
            Endpoint::Query => answer::instant(self, &incoming, &params).await,
            Endpoint::QueryRange => answer::range(self, &incoming, &params).await,
            Endpoint::Series => lists::series(self, &incoming, &params).await,
            Endpoint::Labels => lists::labels(self, &incoming, &params).await,
            Endpoint::LabelValues(name) => lists::label_values(self, &incoming, &params, &name).await,
            Endpoint::Rules => metadata::rules(self, &incoming, &params).await,
            Endpoint::Metadata => metadata::metadata(self, &incoming).await,
            Endpoint::BuildInfo => metadata::build_info(self, &incoming).await,
            Endpoint::Other => self.forward_other(&incoming, &path).await,
        }
    }

    async fn forward_other(&self, incoming: &Incoming, path: &str) -> Response {
        match &self.upstream {
            Some(upstream) => upstream.forward(incoming, Purpose::Listed).await,
            None => json::error(
                StatusCode::NOT_FOUND,
                "not_found",
                &format!("{path} is answered by the upstream, and there is none; set upstream.url"),
            ),
        }
    }
}

/// Whether upstream's answer is wanted and nothing of ours.
fn rewrite_is_off(incoming: &Incoming, params: &Params) -> bool {
    let header = incoming.headers.get("X-Prefold-Rewrite");
    header.is_some_and(|value| value == "off") || params.get("prefold_rewrite") == Some("off")
}

fn is_form(incoming: &Incoming) -> bool {
    let content_type = incoming.headers.get(axum::http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|text| text.starts_with("application/x-www-form-urlencoded"))
}

fn not_found(path: &str) -> Response {
    let message =
        format!("{path} is not served here: only the read paths of Prometheus' API are, and those under /prefold/");
    json::error(StatusCode::NOT_FOUND, "not_found", &message)
}

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Endpoint {
    Query,
    QueryRange,
    Series,
    Labels,
    LabelValues(String),
    Rules,
    Metadata,
    BuildInfo,
    /// Another read path, which only upstream answers.
    Other,
}

/// Read paths under `/api/v1/` that are only ever forwarded.
const FORWARDED: [&str; 19] = [
    "read",
    "query_exemplars",
    "format_query",
    "parse_query",
    "targets",
    "targets/metadata",
    "targets/relabel_steps",
    "scrape_pools",
    "alerts",
    "alertmanagers",
    "notifications",
    "notifications/live",
    "features",
    "status/config",
    "status/flags",
    "status/runtimeinfo",
    "status/tsdb",
    "status/tsdb/blocks",
    "status/walreplay",
];

/// Paths keep whatever prefix stands before `/api/v1/`.
fn endpoint(path: &str) -> Option<Endpoint> {
    if path.ends_with("/federate") {
        return Some(Endpoint::Other);
    }
    let (_, rest) = path.rsplit_once("/api/v1/")?;
    let rest = rest.trim_end_matches('/');
    match rest {
        "query" => Some(Endpoint::Query),
        "query_range" => Some(Endpoint::QueryRange),
        "series" => Some(Endpoint::Series),
        "labels" => Some(Endpoint::Labels),
        "rules" => Some(Endpoint::Rules),
        "metadata" => Some(Endpoint::Metadata),
        "status/buildinfo" => Some(Endpoint::BuildInfo),
        other if FORWARDED.contains(&other) => Some(Endpoint::Other),
        other => {
            let name = other.strip_prefix("label/")?.strip_suffix("/values")?;
            Some(Endpoint::LabelValues(metadata::unescape_label(name)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_known_by_their_end_and_writes_are_not_among_them() {
        for (path, expected) in [
            ("/api/v1/query_range", Some(Endpoint::QueryRange)),
            ("/select/0/prometheus/api/v1/query", Some(Endpoint::Query)),
            ("/api/v1/label/job/values", Some(Endpoint::LabelValues("job".to_owned()))),
            ("/api/v1/label/U__http_2e_status/values", Some(Endpoint::LabelValues("http.status".to_owned()))),
            ("/api/v1/query_exemplars", Some(Endpoint::Other)),
            ("/prometheus/api/v1/read", Some(Endpoint::Other)),
            ("/api/v1/status/tsdb", Some(Endpoint::Other)),
            ("/api/v1/status/tsdb/blocks", Some(Endpoint::Other)),
            ("/api/v1/status/walreplay", Some(Endpoint::Other)),
            ("/api/v1/targets/metadata", Some(Endpoint::Other)),
            ("/api/v1/scrape_pools", Some(Endpoint::Other)),
            ("/api/v1/notifications", Some(Endpoint::Other)),
            ("/prometheus/federate", Some(Endpoint::Other)),
            ("/api/v1/admin/tsdb/delete_series", None),
            ("/api/v1/status/../admin/tsdb/delete_series", None),
            ("/api/v1/otlp/v1/metrics", None),
            ("/api/v1/write", None),
            ("/", None),
        ] {
            assert_eq!(endpoint(path), expected, "{path}");
        }
    }
}
