//! Series, labels and label values.
//!
//! Without an upstream they come from the store: the groups of every view, under its record names, or under the metric it
//! aggregates when it has none. With an upstream they are upstream's, and what our record names stand for is added, since
//! only we have it. Where there is nothing to add, upstream's answer passes untouched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Proxy;
use super::json::{self, Notes};
use super::params::Params;
use super::upstream::{Incoming, Purpose};
use crate::model::{Labels, METRIC_NAME, Selector, Tenant, Timestamp};
use crate::plan::CatalogEntry;
use crate::promql::{ExprKind, parse};
use crate::store::ReadLimits;

/// The most bytes of an upstream list that something is added to; a longer one passes as it is.
const LIST_BYTES_MAX: usize = 64 << 20;

/// The most entries of a list, whatever `limit` says.
const ENTRIES_MAX: usize = 1_000_000;

/// The most points looked at to find out which groups have any in an interval; beyond it all groups count.
const POINTS_LOOKED_AT_MAX: usize = 5_000_000;

const TRUNCATED: &str = "results truncated due to limit";

/// `/api/v1/series`
pub(super) async fn series(proxy: &Arc<Proxy>, incoming: &Incoming, params: &Params) -> Response {
    if proxy.upstream.is_none() && params.all("match[]").next().is_none() {
        return json::bad_data("no match[] parameter provided");
    }
    let pairs = |series: &Labels| -> Vec<BTreeMap<String, String>> {
        vec![series.iter().map(|label| (label.name.to_string(), label.value.to_string())).collect()]
    };
    listed(proxy, incoming, params, pairs).await
}

/// `/api/v1/labels`
pub(super) async fn labels(proxy: &Arc<Proxy>, incoming: &Incoming, params: &Params) -> Response {
    listed(proxy, incoming, params, |series| series.iter().map(|label| label.name.to_string()).collect()).await
}

/// `/api/v1/label/NAME/values`
pub(super) async fn label_values(proxy: &Arc<Proxy>, incoming: &Incoming, params: &Params, name: &str) -> Response {
    let name = name.to_owned();
    let value = move |series: &Labels| match series.get(&name) {
        "" => Vec::new(),
        value => vec![value.to_owned()],
    };
    listed(proxy, incoming, params, value).await
}

/// A sorted list of what the series that match give, each once.
async fn listed<T>(
    proxy: &Arc<Proxy>,
    incoming: &Incoming,
    params: &Params,
    give: impl Fn(&Labels) -> Vec<T> + Send + 'static,
) -> Response
where
    T: Ord + Serialize + DeserializeOwned + Send + 'static,
{
    let wanted = match Wanted::new(proxy, incoming, params) {
        Ok(wanted) => wanted,
        // What is wrong with a request is upstream's to say, in its own words.
        Err(message) => match &proxy.upstream {
            Some(upstream) => return upstream.forward(incoming, Purpose::Listed).await,
            None => return json::bad_data(&message),
        },
    };
    let (searched, limit) = (Arc::clone(proxy), wanted.limit);
    let ours = tokio::task::spawn_blocking(move || wanted.entries(&searched, give)).await.unwrap_or_default();
    match &proxy.upstream {
        None => list(ours, limit, Notes::default()),
        Some(upstream) => {
            let response = upstream.forward(incoming, Purpose::Listed).await;
            match ours.is_empty() || response.status() != StatusCode::OK {
                true => response,
                false => added(response, ours, limit).await,
            }
        }
    }
}

/// Which series a request is about.
struct Wanted {
    tenant: Tenant,
    selectors: Vec<Selector>,
    /// Inclusive.
    from: Timestamp,
    to: Timestamp,
    limit: Option<usize>,
    /// Only what stands under a record name: the rest is upstream's.
    records_only: bool,
}

impl Wanted {
    /// # Errors
    /// Prometheus' text for a parameter that is wrong.
    fn new(proxy: &Proxy, incoming: &Incoming, params: &Params) -> Result<Wanted, String> {
        Ok(Wanted {
            tenant: incoming.tenant().map_err(|malformed| malformed.to_string())?,
            selectors: params.all("match[]").map(selector).collect::<Result<_, String>>()?,
            from: params.instant("start", Timestamp::MIN)?,
            to: params.instant("end", Timestamp::MAX)?,
            limit: params.limit()?,
            records_only: proxy.upstream.is_some(),
        })
    }

    fn entries<T: Ord>(&self, proxy: &Proxy, give: impl Fn(&Labels) -> Vec<T>) -> BTreeSet<T> {
        let mut entries = BTreeSet::new();
        for entry in proxy.catalog.load().entries().filter(|entry| entry.view.tenant == self.tenant) {
            if self.records_only && entry.records.is_empty() {
                continue;
            }
            for series in self.published(proxy, entry) {
                if self.selectors.is_empty() || self.selectors.iter().any(|selector| selector.matches(&series)) {
                    entries.extend(give(&series));
                }
                if entries.len() > ENTRIES_MAX {
                    return entries;
                }
            }
        }
        entries
    }

    /// The series of a view as they are seen from outside.
    fn published(&self, proxy: &Proxy, entry: &CatalogEntry) -> Vec<Labels> {
        let mut series = Vec::new();
        for group in self.groups(proxy, entry) {
            for (record, labels) in &entry.records {
                let set = labels.iter().fold((*group).clone(), |set, label| set.with(&label.name, &label.value));
                series.push(set.with(METRIC_NAME, record));
            }
            if let (true, Some(metric)) = (entry.records.is_empty(), entry.view.selects_metric()) {
                series.push(group.with(METRIC_NAME, metric));
            }
        }
        series
    }

    /// The groups that have a value in the interval. A view that has emitted nothing yet has none.
    fn groups(&self, proxy: &Proxy, entry: &CatalogEntry) -> Vec<crate::model::GroupLabels> {
        let view = entry.view.id;
        let Some(state) = proxy.store.view(view) else { return Vec::new() };
        let (Some(first), Some(last)) = (state.covered_from, state.final_to) else { return Vec::new() };
        let all = || proxy.store.groups(view, &[]).unwrap_or_default();
        if self.from > last || self.to < first {
            return Vec::new();
        }
        if self.from <= first && self.to >= last {
            return all();
        }
        let limits = ReadLimits { series_max: usize::MAX, points_max: POINTS_LOOKED_AT_MAX };
        match proxy.store.read(view, &[], self.from, self.to, limits) {
            Ok(groups) => groups.into_iter().map(|group| group.labels).collect(),
            Err(_) => all(),
        }
    }
}

fn selector(text: &str) -> Result<Selector, String> {
    let expr = parse(text).map_err(|error| format!("invalid parameter \"match[]\": {error}"))?;
    match &expr.peel().kind {
        ExprKind::Vector(vector) => Ok(vector.selector.clone()),
        _ => Err(format!("invalid parameter \"match[]\": {text:?} is not a series selector")),
    }
}

fn list<T: Serialize>(entries: BTreeSet<T>, limit: Option<usize>, mut notes: Notes) -> Response {
    let limit = limit.unwrap_or(ENTRIES_MAX).min(ENTRIES_MAX);
    if entries.len() > limit && !notes.warnings.iter().any(|warning| warning == TRUNCATED) {
        notes.warnings.push(TRUNCATED.to_owned());
    }
    let kept: Vec<T> = entries.into_iter().take(limit).collect();
    match serde_json::to_string(&kept) {
        Ok(text) => json::success(&text, &notes),
        Err(error) => json::error(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string()),
    }
}

/// Upstream's answer with our entries among it; one that is too long, or is not what it should be, passes as it is.
async fn added<T: Ord + Serialize + DeserializeOwned>(
    response: Response,
    ours: BTreeSet<T>,
    limit: Option<usize>,
) -> Response {
    let (head, body) = response.into_parts();
    let mut theirs = body.into_data_stream();
    let mut read = Vec::new();
    while let Some(chunk) = theirs.next().await {
        match chunk {
            Ok(chunk) => read.extend_from_slice(&chunk),
            Err(_) => {
                return json::error(StatusCode::BAD_GATEWAY, "unavailable", "upstream's answer broke off");
            }
        }
        if read.len() > LIST_BYTES_MAX {
            let begun = stream::iter([Ok::<Bytes, axum::Error>(read.into())]);
            return Response::from_parts(head, Body::from_stream(begun.chain(theirs)));
        }
    }
    #[derive(serde::Deserialize)]
    struct List<T> {
        data: Vec<T>,
        #[serde(default)]
        warnings: Vec<String>,
        #[serde(default)]
        infos: Vec<String>,
    }
    match serde_json::from_slice::<List<T>>(&read) {
        Ok(answer) => {
            let all = answer.data.into_iter().chain(ours).collect();
            list(all, limit, Notes { warnings: answer.warnings, infos: answer.infos })
        }
        Err(_) => Response::from_parts(head, read.into()),
    }
}
