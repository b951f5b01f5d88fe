//! Query and query_range: rewritten where views answer exactly, forwarded as they came where not.

mod evaluate;
mod request;
mod steps;

use std::sync::Arc;
use std::time::Instant;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use request::{Asked, Early, Range, range_params};

use super::json::{self, Notes};
use super::params::Params;
use super::stitch::{self, Stretch};
use super::upstream::Incoming;
use super::{Answered, Proxy};
use crate::model::Timestamp;
use crate::query::{QueryError, QueryErrorKind, Value};
use crate::rewrite::{QueryTime, Refused};

/// The most views named in the response header.
const VIEWS_NAMED_MAX: usize = 16;

/// `/api/v1/query_range`
pub(super) async fn range(proxy: &Arc<Proxy>, incoming: &Incoming, params: &Params) -> Response {
    let began = Instant::now();
    let range = match range_params(proxy, params) {
        Ok(range) => range,
        Err(message) => return json::bad_data(&message),
    };
    let time = QueryTime::Range { start: range.start, end: range.end, step_ms: range.step_ms };
    let asked = match Asked::new(proxy, incoming, params, time) {
        Ok(asked) => asked,
        Err(early) => return early.answer(proxy, incoming, began).await,
    };
    let (response, how) = asked.range(range).await;
    proxy.counters.answered(how, began.elapsed());
    response
}

/// `/api/v1/query`
pub(super) async fn instant(proxy: &Arc<Proxy>, incoming: &Incoming, params: &Params) -> Response {
    let began = Instant::now();
    let at = match params.instant("time", proxy.clock.now()) {
        Ok(at) => at,
        Err(message) => return json::bad_data(&message),
    };
    let asked = match Asked::new(proxy, incoming, params, QueryTime::Instant(at)) {
        Ok(asked) => asked,
        Err(early) => return early.answer(proxy, incoming, began).await,
    };
    let (response, how) = asked.instant(at).await;
    proxy.counters.answered(how, began.elapsed());
    response
}

impl Early {
    async fn answer(self, proxy: &Arc<Proxy>, incoming: &Incoming, began: Instant) -> Response {
        let (response, how) = match self {
            Early::Forward(slug, why) => forward(proxy, incoming, &[slug], &why).await,
            Early::Untouched => forward(proxy, incoming, &[], "rewriting is off for this request").await,
            Early::BadData(message) => (json::bad_data(&message), Answered::Refused),
        };
        proxy.counters.answered(how, began.elapsed());
        response
    }
}

impl Asked<'_> {
    async fn range(&self, range: Range) -> (Response, Answered) {
        if let Some(answer) = self.not_from_views().await {
            return answer;
        }
        let plan = self.plan(range);
        if plan.served.is_empty() || (!plan.asked.is_empty() && !self.outcome.splittable) {
            return self.forward(&[plan.reason()], "the steps asked for are not covered").await;
        }
        let ours = self.evaluate_range(plan.served.clone());
        let theirs = self.ask_upstream(&plan.asked);
        let (ours, theirs) = futures_util::future::join(ours, theirs).await;
        let (mut parts, mut notes) = match ours {
            Ok(evaluated) => evaluated,
            Err(error) => return self.failed(&error).await,
        };
        let theirs = match theirs {
            Ok(answers) => answers,
            Err(message) => {
                return (json::error(StatusCode::BAD_GATEWAY, "unavailable", &message), Answered::Refused);
            }
        };
        let how = if plan.asked.is_empty() { Answered::Rewritten } else { Answered::Stitched };
        for answer in theirs {
            parts.push(answer.series);
            notes.warnings.extend(answer.warnings);
            notes.infos.extend(answer.infos);
        }
        notes.warnings.extend(plan.warnings);
        let mut series = stitch::merge(parts);
        if !series.is_empty() {
            self.add_infos(&mut notes);
        }
        limit(&mut series, self.limit, &mut notes);
        let response = json::success(&json::result(&Value::Matrix(series)), &notes);
        (self.named(response, how, plan.fresh_to, &[]), how)
    }

    async fn instant(&self, at: Timestamp) -> (Response, Answered) {
        if let Some(answer) = self.not_from_views().await {
            return answer;
        }
        let plan = self.plan(Range { start: at, end: at, step_ms: 1 });
        if plan.served.is_empty() {
            return self.forward(&[plan.reason()], "the instant asked for is not covered").await;
        }
        let evaluated = match self.evaluate_instant(at).await {
            Ok(evaluated) => evaluated,
            Err(error) => return self.failed(&error).await,
        };
        let mut notes = Notes { warnings: evaluated.warnings, infos: evaluated.infos };
        notes.warnings.extend(plan.warnings);
        let mut value = evaluated.value;
        if let Value::Vector(points) = &mut value {
            if !points.is_empty() {
                self.add_infos(&mut notes);
            }
            limit(points, self.limit, &mut notes);
        }
        let response = json::success(&json::result(&value), &notes);
        (self.named(response, Answered::Rewritten, Some(at), &[]), Answered::Rewritten)
    }

    fn add_infos(&self, notes: &mut Notes) {
        for info in &self.infos {
            if !notes.infos.contains(info) {
                notes.infos.push(info.clone());
            }
        }
    }

    /// The answer to a query that views do not answer as a whole.
    async fn not_from_views(&self) -> Option<(Response, Answered)> {
        if self.outcome.whole {
            return None;
        }
        if self.outcome.selectors_left == 0 && self.proxy.upstream.is_none() {
            return None;
        }
        let slugs: Vec<&'static str> = self.outcome.refusals.iter().map(Refused::slug).collect();
        let why = self.outcome.refusals.iter().map(|refusal| format!("{refusal}; {}", refusal.remedy()));
        let why = why.collect::<Vec<_>>().join("; ");
        let (slugs, why) = match slugs.is_empty() {
            true => (vec!["no-view-for-metric"], "no view keeps what the query reads".to_owned()),
            false => (slugs, why),
        };
        Some(self.forward(&slugs, &why).await)
    }

    async fn forward(&self, slugs: &[&'static str], why: &str) -> (Response, Answered) {
        forward(self.proxy, self.incoming, slugs, why).await
    }

    /// What the engine does not know upstream may; any other failure is the answer.
    async fn failed(&self, error: &QueryError) -> (Response, Answered) {
        match (&error.kind, &self.proxy.upstream) {
            (QueryErrorKind::Unsupported(_), Some(_)) => self.forward(&["evaluation-unsupported"], &error.message).await,
            _ => (json::query_error(error), Answered::Refused),
        }
    }

    async fn ask_upstream(&self, asked: &[Stretch]) -> Result<Vec<super::upstream::RangeAnswer>, String> {
        let Some(upstream) = &self.proxy.upstream else { return Ok(Vec::new()) };
        let path = self.incoming.path.split('?').next().unwrap_or_default();
        let asks = asked.iter().map(|stretch| {
            upstream.range(&self.incoming.headers, path, &self.query, (stretch.start, stretch.end, stretch.step_ms))
        });
        futures_util::future::try_join_all(asks).await
    }

    fn named(&self, mut response: Response, how: Answered, fresh_to: Option<Timestamp>, slugs: &[&str]) -> Response {
        let how = if self.outcome.reads.is_empty() { Answered::Local } else { how };
        let mut views: Vec<String> = self.outcome.reads.iter().map(|read| read.view.to_string()).collect();
        views.sort();
        views.dedup();
        views.truncate(VIEWS_NAMED_MAX);
        set_header(&mut response, "x-prefold-answer", how.name());
        if !views.is_empty() {
            set_header(&mut response, "x-prefold-views", &views.join(","));
        }
        if let Some(fresh_to) = fresh_to {
            set_header(&mut response, "x-prefold-fresh-to", &json::seconds(fresh_to));
        }
        if !slugs.is_empty() {
            set_header(&mut response, "x-prefold-reason", &slugs.join(","));
        }
        response
    }
}

/// To upstream as it came; without one, a 422 that names the refusal.
async fn forward(proxy: &Proxy, incoming: &Incoming, slugs: &[&'static str], why: &str) -> (Response, Answered) {
    slugs.iter().for_each(|slug| proxy.counters.refused(slug));
    let (mut response, how) = match &proxy.upstream {
        Some(upstream) => (upstream.forward(incoming).await, Answered::Forwarded),
        None => {
            let message = format!("{}: {why}; there is no upstream to ask (set upstream.url)", slugs.join(","));
            (json::error(StatusCode::UNPROCESSABLE_ENTITY, "execution", &message), Answered::Refused)
        }
    };
    set_header(&mut response, "x-prefold-answer", how.name());
    if !slugs.is_empty() {
        set_header(&mut response, "x-prefold-reason", &slugs.join(","));
    }
    (response, how)
}

fn set_header(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(header::HeaderName::from_static(name), value);
    }
}

fn limit<T>(series: &mut Vec<T>, limit: Option<usize>, notes: &mut Notes) {
    if let Some(limit) = limit.filter(|limit| series.len() > *limit) {
        series.truncate(limit);
        notes.warnings.push("results truncated due to limit".to_owned());
    }
}
