//! HTTP out: Prometheus' query API, answered from views where they answer exactly, forwarded where they do not.

pub mod answer;
pub mod coverage;
pub mod json;
pub mod metadata;
pub mod pages;
pub mod params;
pub mod source;
pub mod stitch;
pub mod trust;
pub mod upstream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use dashmap::DashMap;
use prometheus_client::metrics::histogram::Histogram;

use crate::model::Clock;
use crate::plan::{Catalog, Job};
use crate::query::QueryLimits;
use crate::store::Store;
use coverage::{Coverage, Vouching};
use params::Params;
use trust::Trust;
use upstream::{Incoming, Upstream};

/// How the proxy answers.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    pub limits: QueryLimits,
    pub query_timeout: Duration,
    pub query_concurrency_max: usize,
    /// Whether a view is served only after an equal comparison with upstream.
    pub compare: bool,
    /// Whether requests with credentials may be answered from views.
    pub clients_trusted: bool,
    /// Whether steps not emitted yet are left out of range answers rather than asked of upstream.
    pub edge_omit: bool,
    /// Upstream's evaluation interval, for subqueries without a step.
    pub evaluation_interval_ms: Option<i64>,
}

/// The query side of a node.
pub struct Proxy {
    pub store: Arc<Store>,
    pub catalog: ArcSwap<Catalog>,
    pub jobs: ArcSwap<Vec<Job>>,
    pub upstream: Option<Upstream>,
    pub clock: Arc<dyn Clock>,
    pub options: ProxyOptions,
    pub trust: Trust,
    pub counters: Counters,
    running: tokio::sync::Semaphore,
}

/// What was answered how.
pub struct Counters {
    answers: [AtomicU64; Answered::ALL.len()],
    durations: [Histogram; Answered::ALL.len()],
    refusals: DashMap<&'static str, u64>,
}

/// Seconds: from an answer out of the store to one that upstream took long over.
pub const DURATION_BUCKETS: [f64; 10] = [0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0, 60.0];

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            answers: std::array::from_fn(|_| AtomicU64::new(0)),
            durations: std::array::from_fn(|_| Histogram::new(DURATION_BUCKETS)),
            refusals: DashMap::new(),
        }
    }
}

/// How a query was answered: the header `X-Prefold-Answer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answered {
    /// From the store alone.
    Rewritten,
    /// From the store and upstream, by time.
    Stitched,
    /// Evaluated here, no view used.
    Local,
    Forwarded,
    Refused,
}

impl Answered {
    pub const ALL: [Answered; 5] =
        [Answered::Rewritten, Answered::Stitched, Answered::Local, Answered::Forwarded, Answered::Refused];

    pub fn name(self) -> &'static str {
        match self {
            Answered::Rewritten => "rewritten",
            Answered::Stitched => "stitched",
            Answered::Local => "local",
            Answered::Forwarded => "forwarded",
            Answered::Refused => "refused",
        }
    }
}

impl Counters {
    pub fn answered(&self, how: Answered, took: Duration) {
        self.answers[how as usize].fetch_add(1, Ordering::Relaxed);
        self.durations[how as usize].observe(took.as_secs_f64());
    }

    pub fn refused(&self, slug: &'static str) {
        *self.refusals.entry(slug).or_insert(0) += 1;
    }

    pub fn answers(&self, how: Answered) -> u64 {
        self.answers[how as usize].load(Ordering::Relaxed)
    }

    pub fn durations(&self, how: Answered) -> &Histogram {
        &self.durations[how as usize]
    }

    pub fn refusals(&self) -> Vec<(&'static str, u64)> {
        let mut refusals: Vec<_> = self.refusals.iter().map(|entry| (*entry.key(), *entry.value())).collect();
        refusals.sort_unstable();
        refusals
    }
}

impl Proxy {
    pub fn new(
        store: Arc<Store>,
        catalog: Arc<Catalog>,
        jobs: Arc<Vec<Job>>,
        upstream: Option<Upstream>,
        clock: Arc<dyn Clock>,
        options: ProxyOptions,
    ) -> Proxy {
        Proxy {
            trust: Trust::new(Arc::clone(&store)),
            store,
            catalog: ArcSwap::new(catalog),
            jobs: ArcSwap::new(jobs),
            upstream,
            clock,
            running: tokio::sync::Semaphore::new(options.query_concurrency_max),
            options,
            counters: Counters::default(),
        }
    }

    /// What may be served of a view now.
    pub fn coverage(&self, view: crate::model::ViewId) -> Option<Coverage> {
        let state = self.store.view(view)?;
        Some(match (&self.upstream, self.options.compare) {
            (None, _) => Coverage::alone(&state),
            (Some(_), false) => Coverage::strict(&state, Vouching::NotAsked),
            (Some(_), true) => Coverage::strict(&state, Vouching::Compared(&self.trust.record(view).confirmed())),
        })
    }

    /// Answers a request whose path is, or ends like, one of the query API's.
    pub async fn handle(self: &Arc<Self>, incoming: Incoming) -> Response {
        let path = incoming.path.split('?').next().unwrap_or_default().to_owned();
        let Some(endpoint) = endpoint(&path) else { return not_found(&path) };
        if !matches!(incoming.method, Method::GET | Method::POST) {
            return json::error(StatusCode::METHOD_NOT_ALLOWED, "bad_data", "only GET and POST are answered here");
        }
        let url_query = incoming.path.split_once('?').map_or("", |(_, query)| query);
        let params = Params::parse(url_query, if is_form(&incoming) { &incoming.body } else { &[] });
        match endpoint {
            Endpoint::Query => answer::instant(self, &incoming, &params).await,
            Endpoint::QueryRange => answer::range(self, &incoming, &params).await,
            Endpoint::Series => metadata::series(self, &incoming, &params).await,
            Endpoint::Labels => metadata::labels(self, &incoming, &params).await,
            Endpoint::LabelValues(name) => metadata::label_values(self, &incoming, &params, &name).await,
            Endpoint::Rules => metadata::rules(self, &incoming).await,
            Endpoint::Metadata => metadata::metadata(self, &incoming).await,
            Endpoint::BuildInfo => metadata::build_info(self, &incoming).await,
            Endpoint::Other => self.forward_other(&incoming, &path).await,
        }
    }

    async fn forward_other(&self, incoming: &Incoming, path: &str) -> Response {
        match &self.upstream {
            Some(upstream) => upstream.forward(incoming).await,
            None => not_found(path),
        }
    }
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
const FORWARDED: [&str; 9] = [
    "query_exemplars",
    "format_query",
    "parse_query",
    "targets",
    "alerts",
    "alertmanagers",
    "status/config",
    "status/flags",
    "status/runtimeinfo",
];

/// Paths keep whatever prefix stands before `/api/v1/`.
fn endpoint(path: &str) -> Option<Endpoint> {
    if path == "/federate" {
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
            ("/api/v1/admin/tsdb/delete_series", None),
            ("/api/v1/write", None),
            ("/", None),
        ] {
            assert_eq!(endpoint(path), expected, "{path}");
        }
    }
}
