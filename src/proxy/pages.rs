//! Our own pages under /prefold/: what is kept, how far, and why a query is or is not answered from it.

use axum::http::StatusCode;
use axum::response::Response;

use super::Proxy;
use super::answer;
use super::coverage::Coverage;
use super::json::{self, Notes};
use super::params::Params;
use super::upstream::Kind;
use crate::model::Timestamp;
use crate::plan::{CatalogEntry, Job};
use crate::promql::parse;
use crate::rewrite::{QueryTime, Question, explain};

/// `/prefold/api/v1/views`
pub fn views(proxy: &Proxy) -> Response {
    let catalog = proxy.catalog.load();
    let views: Vec<serde_json::Value> = catalog.in_force().map(|entry| view(proxy, entry)).collect();
    json::success(&serde_json::Value::from(views).to_string(), &Notes::default())
}

fn view(proxy: &Proxy, entry: &CatalogEntry) -> serde_json::Value {
    let activity = (proxy.activity)(entry.view.id);
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
    let trusted_from = record.compared().equal.first().map(|t| t.0).filter(|_| asked);
    serde_json::json!({
        "id": view.id.to_string(), "job": entry.job, "rule": entry.rule, "expr": entry.expr, "tenant": view.tenant,
        "step_ms": view.step_ms, "window_ms": view.shape.window_ms, "max_delay_ms": view.max_delay_ms,
        "coverage": served, "spans": spans, "trusted_from_ms": trusted_from,
        "comparisons": {
            "equal": record.equal, "unequal": record.unequal, "failed": record.failed, "nothing": record.nothing,
            "last_equal_ms": record.last_equal().map(|t| t.0), "last_difference": record.last_difference,
        },
        "final_to_ms": state.as_ref().and_then(|state| state.final_to).map(|t| t.0),
        "input_series": activity.input_series, "output_series": activity.output_series,
        "overdue_series": activity.overdue_series, "state_bytes": activity.state_bytes,
    })
}

/// `/prefold/api/v1/explain?query=..&start=&end=&step= | time=`
pub fn explained(proxy: &Proxy, params: &Params, tenant: &str) -> Response {
    let now = proxy.clock.now();
    let time = match query_time(params, now).and_then(|time| bounded(proxy, time)) {
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
    let outcome = answer::outcome(proxy, &catalog, &question);
    let explanation = explain(query, &outcome, &catalog);
    match serde_json::to_value(&explanation) {
        Ok(mut value) => {
            value["upstream"] = upstream(proxy);
            value["text"] = explanation.to_string().into();
            json::success(&value.to_string(), &Notes::default())
        }
        Err(error) => json::bad_data(&error.to_string()),
    }
}

/// A range of no more steps than a query may have.
fn bounded(proxy: &Proxy, time: QueryTime) -> Result<QueryTime, String> {
    let steps_max = proxy.options.limits.steps_max;
    match time {
        QueryTime::Range { start, end, step_ms } if end < start || (end - start) / step_ms > steps_max as i64 => {
            Err(format!("the range must have at least one step and at most {steps_max}"))
        }
        time => Ok(time),
    }
}

/// What upstream is, and where it must differ from what views give; `null` without one.
fn upstream(proxy: &Proxy) -> serde_json::Value {
    let Some(upstream) = &proxy.upstream else { return serde_json::Value::Null };
    let identity = upstream.identity();
    let kind = identity.as_ref().and_then(|identity| identity.kind).map(Kind::name);
    let version = identity.as_ref().and_then(|identity| identity.version.clone());
    let difference = identity.as_ref().and_then(|identity| identity.difference());
    serde_json::json!({"kind": kind, "version": version, "difference": difference})
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

/// `/prefold/api/v1/jobs`: the jobs in force, and which of the cluster's numbered sets they are, where they are one.
pub fn jobs(jobs: &[Job], set: Option<serde_json::Value>) -> Response {
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
    let mut body = json::success_body(&serde_json::Value::from(listed.collect::<Vec<_>>()).to_string(), &Notes::default());
    if let Some(set) = set {
        body.truncate(body.len() - 1);
        body.push_str(&format!(",\"set\":{set}}}"));
    }
    json::json(StatusCode::OK, body)
}
