//! Our own pages under /prefold/: what is kept, how far, and why a query is or is not answered from it.

use axum::response::Response;

use super::Proxy;
use super::coverage::Coverage;
use super::json::{self, Notes};
use super::params::Params;
use crate::model::{Timestamp, ViewId};
use crate::plan::CatalogEntry;
use crate::promql::parse;
use crate::rewrite::{QueryTime, Question, explain, rewrite};

/// What the stream knows of a view.
#[derive(Clone, Copy, Debug, Default)]
pub struct ViewActivity {
    pub input_series: u64,
    pub output_series: u64,
    pub state_bytes: u64,
    pub overdue_series: u64,
    pub not_counted: u64,
}

/// `/prefold/api/v1/views`
pub fn views(proxy: &Proxy, activity: impl Fn(ViewId) -> ViewActivity) -> Response {
    let catalog = proxy.catalog.load();
    let views: Vec<serde_json::Value> =
        catalog.in_force().map(|entry| view(proxy, entry, activity(entry.view.id))).collect();
    json::success(&serde_json::Value::from(views).to_string(), &Notes::default())
}

fn view(proxy: &Proxy, entry: &CatalogEntry, activity: ViewActivity) -> serde_json::Value {
    let (view, state) = (&entry.view, proxy.store.view(entry.view.id));
    let coverage = proxy.coverage(view.id);
    let served: Vec<[i64; 2]> = coverage.iter().flat_map(Coverage::served).map(|(from, to)| [from.0, to.0]).collect();
    let spans: Vec<serde_json::Value> = state
        .iter()
        .flat_map(|state| &state.spans)
        .map(|span| {
            let to = (span.to != Timestamp::MAX).then_some(span.to.0);
            serde_json::json!({"from_ms": span.from.0, "to_ms": to, "reason": span.reason.slug()})
        })
        .collect();
    let record = proxy.trust.record(view.id);
    let asked = proxy.upstream.is_some() && proxy.options.compare;
    let trusted_from = record.confirmed().first().map(|t| t.0).filter(|_| asked);
    serde_json::json!({
        "id": view.id.to_string(), "job": entry.job, "rule": entry.rule, "expr": entry.expr, "tenant": view.tenant,
        "step_ms": view.step_ms, "window_ms": view.shape.window_ms, "max_delay_ms": view.max_delay_ms,
        "coverage": served, "spans": spans, "trusted_from_ms": trusted_from,
        "comparisons": {"equal": record.equal, "unequal": record.unequal, "last_difference": record.last_difference},
        "final_to_ms": state.as_ref().and_then(|state| state.final_to).map(|t| t.0),
        "input_series": activity.input_series, "output_series": activity.output_series,
        "overdue_series": activity.overdue_series, "state_bytes": activity.state_bytes,
    })
}

/// `/prefold/api/v1/explain?query=..&start=&end=&step= | time=`
pub fn explained(proxy: &Proxy, params: &Params, tenant: &str) -> Response {
    let now = proxy.clock.now();
    let time = match query_time(params, now) {
        Ok(time) => time,
        Err(message) => return json::bad_data(&message),
    };
    let query = params.get("query").unwrap_or_default();
    let expr = match parse(query) {
        Ok(expr) => expr,
        Err(error) => return json::bad_data(&format!("invalid parameter \"query\": {error}")),
    };
    let catalog = proxy.catalog.load();
    let question = Question { expr: &expr, tenant, time, evaluation_interval_ms: proxy.options.evaluation_interval_ms };
    let outcome = rewrite(&question, &catalog);
    match serde_json::to_string(&explain(query, &outcome, &catalog)) {
        Ok(text) => json::success(&text, &Notes::default()),
        Err(error) => json::bad_data(&error.to_string()),
    }
}

/// A range when `start` is given, else an instant.
///
/// # Errors
/// What is wrong with the parameters.
pub fn query_time(params: &Params, now: Timestamp) -> Result<QueryTime, String> {
    if params.get("start").is_none() {
        return Ok(QueryTime::Instant(params.instant("time", now)?));
    }
    let (start, end) = (params.instant("start", now)?, params.instant("end", now)?);
    Ok(QueryTime::Range { start, end, step_ms: params.step_ms("step")? })
}

/// `/prefold/api/v1/jobs`
pub fn jobs(proxy: &Proxy) -> Response {
    let jobs = proxy.jobs.load();
    let listed = jobs.iter().map(|job| {
        let rules = job.rules.iter().map(|rule| {
            serde_json::json!({
                "rule": rule.name(), "expr": rule.expr, "view": rule.view.id.to_string(), "step_ms": rule.view.step_ms,
                "record": rule.record,
            })
        });
        serde_json::json!({
            "name": job.name, "description": job.description, "owner": job.owner, "file": job.file.display().to_string(),
            "rules": rules.collect::<Vec<_>>(),
        })
    });
    json::success(&serde_json::Value::from(listed.collect::<Vec<_>>()).to_string(), &Notes::default())
}
