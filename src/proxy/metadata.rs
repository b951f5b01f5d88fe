//! Series, labels, values, rules, metadata and buildinfo.
//!
//! With an upstream they are upstream's, with our recorded names added to the metric names. Without one they come from the
//! store: the groups of every view, under its record names, or under the metric it aggregates when it has none.

use std::collections::BTreeSet;

use axum::body::to_bytes;
use axum::http::StatusCode;
use axum::response::Response;

use super::Proxy;
use super::json::{self, Notes};
use super::params::Params;
use super::upstream::Incoming;
use crate::model::{Labels, METRIC_NAME, Selector};
use crate::plan::CatalogEntry;
use crate::promql::{ExprKind, parse};

/// The most bytes of an upstream list that names are added to.
const LIST_BYTES_MAX: usize = 64 << 20;

/// `/api/v1/series`
pub(super) async fn series(proxy: &Proxy, incoming: &Incoming, params: &Params) -> Response {
    if let Some(upstream) = &proxy.upstream {
        return upstream.forward(incoming).await;
    }
    if params.all("match[]").next().is_none() {
        return json::bad_data("no match[] parameter provided");
    }
    list(proxy, incoming, params, |series| {
        let mut text = String::new();
        json::label_set(&mut text, series);
        vec![text]
    })
}

/// `/api/v1/labels`
pub(super) async fn labels(proxy: &Proxy, incoming: &Incoming, params: &Params) -> Response {
    if let Some(upstream) = &proxy.upstream {
        return upstream.forward(incoming).await;
    }
    list(proxy, incoming, params, |series| series.iter().map(|label| quoted(&label.name)).collect())
}

/// `/api/v1/label/NAME/values`
pub(super) async fn label_values(proxy: &Proxy, incoming: &Incoming, params: &Params, name: &str) -> Response {
    let Some(upstream) = &proxy.upstream else {
        let value = |series: &Labels| match series.get(name) {
            "" => Vec::new(),
            value => vec![quoted(value)],
        };
        return list(proxy, incoming, params, value);
    };
    let response = upstream.forward(incoming).await;
    let catalog = proxy.catalog.load();
    let plain = name == METRIC_NAME && params.get("match[]").is_none() && params.get("limit").is_none();
    match plain && response.status() == StatusCode::OK && catalog.records().next().is_some() {
        true => with_names(response, catalog.records().map(ToString::to_string)).await,
        false => response,
    }
}

/// Adds names to a list of values; an answer that is not one passes unchanged.
async fn with_names(response: Response, names: impl Iterator<Item = String>) -> Response {
    let (head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, LIST_BYTES_MAX).await else {
        return json::error(StatusCode::BAD_GATEWAY, "unavailable", "upstream's answer broke off or is too large");
    };
    let listed = |bytes: &[u8]| -> Option<serde_json::Value> {
        let mut answer: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        let had = answer.get("data")?.as_array()?.iter().filter_map(|name| name.as_str().map(str::to_owned));
        let all: BTreeSet<String> = had.chain(names).collect();
        answer["data"] = all.into_iter().collect::<Vec<_>>().into();
        Some(answer)
    };
    match listed(&bytes) {
        Some(answer) => json::json(StatusCode::OK, answer.to_string()),
        None => Response::from_parts(head, bytes.into()),
    }
}

/// A sorted list of what the matching series of the store give, each once.
fn list(proxy: &Proxy, incoming: &Incoming, params: &Params, give: impl Fn(&Labels) -> Vec<String>) -> Response {
    let selectors = match params.all("match[]").map(selector).collect::<Result<Vec<_>, String>>() {
        Ok(selectors) => selectors,
        Err(message) => return json::bad_data(&message),
    };
    let anytime = crate::model::Timestamp(0);
    let times = params.instant("start", anytime).and(params.instant("end", anytime));
    let limit = match times.and_then(|_| params.limit()) {
        Ok(limit) => limit,
        Err(message) => return json::bad_data(&message),
    };
    let tenant = incoming.headers.get("X-Scope-OrgID").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut values = BTreeSet::new();
    for entry in proxy.catalog.load().entries().filter(|entry| entry.view.tenant == tenant) {
        for series in published(proxy, entry) {
            if selectors.is_empty() || selectors.iter().any(|selector| selector.matches(&series)) {
                values.extend(give(&series));
            }
        }
    }
    let mut notes = Notes::default();
    let mut values: Vec<String> = values.into_iter().collect();
    if let Some(limit) = limit.filter(|limit| values.len() > *limit) {
        values.truncate(limit);
        notes.warnings.push("results truncated due to limit".to_owned());
    }
    json::success(&format!("[{}]", values.join(",")), &notes)
}

/// The series of a view as they are seen from outside.
fn published(proxy: &Proxy, entry: &CatalogEntry) -> Vec<Labels> {
    // A view that has emitted nothing yet has no groups.
    let groups = proxy.store.groups(entry.view.id, &[]).unwrap_or_default();
    let mut series = Vec::new();
    for group in &groups {
        for (record, labels) in &entry.records {
            let set = labels.iter().fold((**group).clone(), |set, label| set.with(&label.name, &label.value));
            series.push(set.with(METRIC_NAME, record));
        }
        if let (true, Some(metric)) = (entry.records.is_empty(), entry.view.selects_metric()) {
            series.push(group.with(METRIC_NAME, metric));
        }
    }
    series
}

fn selector(text: &str) -> Result<Selector, String> {
    let expr = parse(text).map_err(|error| format!("invalid parameter \"match[]\": {error}"))?;
    match &expr.peel().kind {
        ExprKind::Vector(vector) => Ok(vector.selector.clone()),
        _ => Err(format!("invalid parameter \"match[]\": {text:?} is not a series selector")),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `/api/v1/rules`: upstream's; without one, what our jobs record.
pub(super) async fn rules(proxy: &Proxy, incoming: &Incoming) -> Response {
    if let Some(upstream) = &proxy.upstream {
        return upstream.forward(incoming).await;
    }
    let jobs = proxy.jobs.load();
    let groups = jobs.iter().map(|job| {
        let rules = job.rules.iter().filter_map(|rule| {
            let name = rule.record.as_ref()?;
            let labels: serde_json::Map<String, serde_json::Value> =
                rule.labels.iter().map(|label| (label.name.to_string(), label.value.as_str().into())).collect();
            Some(serde_json::json!({
                "name": name, "query": rule.expr, "labels": labels, "health": "ok", "evaluationTime": 0,
                "lastEvaluation": "0001-01-01T00:00:00Z", "type": "recording",
            }))
        });
        serde_json::json!({
            "name": job.name, "file": job.file.display().to_string(), "interval": 0, "limit": 0, "evaluationTime": 0,
            "lastEvaluation": "0001-01-01T00:00:00Z", "rules": rules.collect::<Vec<_>>(),
        })
    });
    json::success(&serde_json::json!({"groups": groups.collect::<Vec<_>>()}).to_string(), &Notes::default())
}

/// `/api/v1/metadata`: upstream's; nothing is kept here.
pub(super) async fn metadata(proxy: &Proxy, incoming: &Incoming) -> Response {
    match &proxy.upstream {
        Some(upstream) => upstream.forward(incoming).await,
        None => json::success("{}", &Notes::default()),
    }
}

/// `/api/v1/status/buildinfo`: upstream's; without one our own, with no features: any would make Grafana take us for Mimir.
pub(super) async fn build_info(proxy: &Proxy, incoming: &Incoming) -> Response {
    if let Some(upstream) = &proxy.upstream {
        return upstream.forward(incoming).await;
    }
    let info = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"), "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": "",
        "application": "prefold",
    });
    json::success(&info.to_string(), &Notes::default())
}

/// A label's name in a path: `U__` begins one whose odd characters are written `_HEX_`, as Grafana sends them.
pub fn unescape_label(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::new();
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let code = tail.find('_').and_then(|end| Some((end, char::from_u32(u32::from_str_radix(&tail[..end], 16).ok()?)?)));
        let Some((end, character)) = code else { return name.to_owned() };
        out.push(character);
        rest = &tail[end + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_label_names_are_read() {
        for (name, expected) in [
            ("job", "job"),
            ("U__a_2e_b", "a.b"),
            ("U__a__b", "a_b"),
            ("U__bad_zz_", "U__bad_zz_"),
            ("U__bad_2e", "U__bad_2e"),
        ] {
            assert_eq!(unescape_label(name), expected);
        }
    }
}
