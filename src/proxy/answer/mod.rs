//! Query and query_range: rewritten where views answer exactly, forwarded as they came where not.

mod evaluate;
mod records;
mod request;
mod steps;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use request::{Asked, Early, Range, range_params};
use steps::{AtTheEdge, StepPlan, Survey};

use super::edge::{EdgeKey, EdgePoints};
use super::json::{self, Notes};
use super::params::Params;
use super::stitch::{self, Stretch};
use super::upstream::{Incoming, Purpose, RangeAnswer};
use super::{Answered, Proxy};
use crate::model::Timestamp;
use crate::plan::Catalog;
use crate::promql::Origin;
use crate::query::{QueryError, QueryErrorKind, Value};
use crate::rewrite::{Outcome, QueryTime, Question, Refused};

pub use steps::EDGE_SLACK_MS;

/// The most views named in the response header.
const VIEWS_NAMED_MAX: usize = 16;

/// `/api/v1/query_range`
pub(super) async fn range(proxy: &Arc<Proxy>, incoming: &Incoming, params: &Params) -> Response {
    let began = Instant::now();
    let range = match range_params(proxy, params) {
        Ok(range) => range,
        Err(early) => return early.answer(proxy, incoming, began).await,
    };
    let time = QueryTime::Range { start: range.start, end: range.end, step_ms: range.step_ms };
    let asked = match Asked::new(proxy, incoming, params, (time, range), began) {
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
        Err(message) => return Early::wrong(proxy, message).answer(proxy, incoming, began).await,
    };
    let asked = match Asked::new(proxy, incoming, params, (QueryTime::Instant(at), Range::instant(at)), began) {
        Ok(asked) => asked,
        Err(early) => return early.answer(proxy, incoming, began).await,
    };
    let (response, how) = asked.instant(at).await;
    proxy.counters.answered(how, began.elapsed());
    response
}

/// A query whose sender wants upstream's own answer.
pub(super) async fn untouched(proxy: &Proxy, incoming: &Incoming) -> Response {
    let began = Instant::now();
    let (response, how) = forward(proxy, incoming, &[], "rewriting is off for this request").await;
    proxy.counters.answered(how, began.elapsed());
    response
}

/// What a query over a range or at an instant becomes, as of now.
pub(super) fn outcome(proxy: &Proxy, catalog: &Catalog, question: &Question<'_>) -> Outcome {
    let range = match question.time {
        QueryTime::Instant(at) => Range::instant(at),
        QueryTime::Range { start, end, step_ms } => Range { start, end, step_ms },
    };
    let at_the_edge = if proxy.options.edge_omit { AtTheEdge::LeaveOut } else { AtTheEdge::PerView };
    request::rewritten(proxy, catalog, question, range, at_the_edge)
}

/// Why upstream's part of an answer is not there.
enum Missed {
    /// The query's time was over.
    TooLate,
    Failed(String),
}

impl Early {
    async fn answer(self, proxy: &Arc<Proxy>, incoming: &Incoming, began: Instant) -> Response {
        let (response, how) = match self {
            Early::Forward(slug, why) => forward(proxy, incoming, &[slug], &why).await,
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
        let (plan, edge) = self.planned(range).await;
        if self.is_forwarded(&plan) {
            return self.forward_uncovered(&plan, "the steps asked for are not covered").await;
        }
        let ours = self.evaluate_range(range, &plan, edge);
        let theirs = self.ask_upstream(&plan.asked);
        let (ours, theirs) = futures_util::future::join(ours, theirs).await;
        let (mut parts, mut notes) = match ours {
            Ok(evaluated) => evaluated,
            Err(error) => return self.failed(&error).await,
        };
        let theirs = match theirs {
            Ok(answers) => answers,
            Err(Missed::TooLate) => {
                let message = "query timed out while upstream was asked for a part of it";
                return (json::error(StatusCode::SERVICE_UNAVAILABLE, "timeout", message), Answered::Refused);
            }
            // Asked for all of it, upstream may have an answer, and if not, words of its own.
            Err(Missed::Failed(why)) => {
                let why = format!("the steps that are not covered cannot be had by themselves: {why}");
                return self.forward_uncovered(&plan, &why).await;
            }
        };
        for answer in theirs {
            parts.push(answer.series);
            add(&mut notes.warnings, answer.warnings);
            add(&mut notes.infos, answer.infos);
        }
        notes.warnings.extend(plan.warnings.iter().cloned());
        notes.warnings.extend(records::warning(&self.outcome.records).filter(|_| !plan.asked.is_empty()));
        let mut series = stitch::merge(parts);
        limit(&mut series, self.limit, &mut notes);
        self.named(json::success(&json::result(&Value::Matrix(series)), &notes), &plan)
    }

    async fn instant(&self, at: Timestamp) -> (Response, Answered) {
        if let Some(answer) = self.not_from_views().await {
            return answer;
        }
        let (plan, edge) = self.planned(Range::instant(at)).await;
        if self.is_forwarded(&plan) {
            return self.forward_uncovered(&plan, "the instant asked for is not covered").await;
        }
        let evaluated = match self.evaluate_instant(at, &plan, edge).await {
            Ok(evaluated) => evaluated,
            Err(error) => return self.failed(&error).await,
        };
        let mut notes = Notes { warnings: evaluated.warnings, infos: evaluated.infos };
        notes.warnings.extend(plan.warnings.iter().cloned());
        let mut value = evaluated.value;
        if let Value::Vector(points) = &mut value {
            limit(points, self.limit, &mut notes);
        }
        self.named(json::success(&json::result(&value), &notes), &plan)
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

    /// To upstream because views may not be served; of recorded names it may know nothing.
    async fn forward_uncovered(&self, plan: &StepPlan, why: &str) -> (Response, Answered) {
        let (response, how) = self.forward(&[plan.reason()], why).await;
        match records::warning(&self.outcome.records).filter(|_| self.proxy.upstream.is_some()) {
            Some(warning) => (records::warned(response, &warning).await, how),
            None => (response, how),
        }
    }

    /// What the engine does not know upstream may, and it has other limits; any other failure is the answer.
    async fn failed(&self, error: &QueryError) -> (Response, Answered) {
        let slug = match &error.kind {
            QueryErrorKind::Unsupported(_) => "evaluation-unsupported",
            QueryErrorKind::TooLarge => "query-too-large",
            _ => return (json::query_error(error), Answered::Refused),
        };
        match self.proxy.upstream {
            Some(_) => self.forward(&[slug], &error.message).await,
            None => (json::query_error(error), Answered::Refused),
        }
    }

    fn plan(&self, range: Range, at_the_edge: AtTheEdge) -> StepPlan {
        Survey::new(self.proxy, &self.catalog, at_the_edge).plan(&self.outcome.reads, range)
    }

    fn is_forwarded(&self, plan: &StepPlan) -> bool {
        plan.served.is_empty() || (!plan.asked.is_empty() && !self.outcome.splittable)
    }

    /// The steps sorted, with upstream's points for those at the edge. When these cannot be had, such steps are asked with
    /// the query itself.
    async fn planned(&self, range: Range) -> (StepPlan, EdgePoints) {
        let plan = self.plan(range, self.at_the_edge);
        if plan.edge.is_empty() || self.is_forwarded(&plan) {
            return (plan, EdgePoints::default());
        }
        let asked = tokio::time::timeout_at(self.deadline.into(), self.edge_points(&plan)).await;
        match asked.unwrap_or_else(|_| Err("upstream took longer than the query may".to_owned())) {
            Ok(points) => (plan, points),
            Err(error) => {
                tracing::debug!(%error, query = self.query, "the edge is asked with the query itself");
                self.proxy.counters.edge_given_up.fetch_add(1, Ordering::Relaxed);
                (self.plan(range, AtTheEdge::Query), EdgePoints::default())
            }
        }
    }

    async fn edge_points(&self, plan: &StepPlan) -> Result<EdgePoints, String> {
        let Some(upstream) = &self.proxy.upstream else { return Ok(EdgePoints::default()) };
        let mut fields: Vec<(crate::model::ViewId, u8)> = Vec::new();
        self.outcome.expr.visit(&mut |expr| {
            if let crate::promql::ExprKind::Vector(selector) = &expr.kind
                && let Origin::View { view, field } = selector.origin
                && !fields.contains(&(view, field))
            {
                fields.push((view, field));
            }
        });
        let keys = plan.edge.iter().flat_map(|(view, t)| {
            let of_view = fields.iter().filter(move |(of, _)| of == view);
            of_view.map(move |(view, field)| EdgeKey { t: *t, view: *view, field: *field })
        });
        let wanted: Vec<_> = keys.filter_map(|key| Some((key, &self.catalog.get(key.view)?.view))).collect();
        self.proxy.edge.points(upstream, &wanted).await
    }

    /// The query's own expression over steps that views may not answer.
    async fn ask_upstream(&self, asked: &[Stretch]) -> Result<Vec<RangeAnswer>, Missed> {
        let Some(upstream) = &self.proxy.upstream else { return Ok(Vec::new()) };
        let path = self.incoming.path.split('?').next().unwrap_or_default();
        let asks = asked.iter().map(|stretch| {
            upstream.range(&self.incoming.headers, path, &self.query, (stretch.start, stretch.end, stretch.step_ms))
        });
        let answers = futures_util::future::try_join_all(asks);
        match tokio::time::timeout_at(self.deadline.into(), answers).await {
            Ok(answers) => answers.map_err(Missed::Failed),
            Err(_) => Err(Missed::TooLate),
        }
    }

    /// The answer with the headers that say where it is from.
    fn named(&self, mut response: Response, plan: &StepPlan) -> (Response, Answered) {
        let how = match plan.asked.is_empty() && plan.edge.is_empty() {
            _ if self.outcome.reads.is_empty() => Answered::Local,
            true => Answered::Rewritten,
            false => Answered::Stitched,
        };
        let mut views: Vec<String> = self.outcome.reads.iter().map(|read| read.view.to_string()).collect();
        views.sort();
        views.dedup();
        views.truncate(VIEWS_NAMED_MAX);
        set_header(&mut response, "x-prefold-answer", how.name());
        if !views.is_empty() {
            set_header(&mut response, "x-prefold-views", &views.join(","));
        }
        if let Some(fresh_to) = plan.fresh_to {
            set_header(&mut response, "x-prefold-fresh-to", &json::seconds(fresh_to));
        }
        (response, how)
    }
}

/// To upstream as it came; without one, a 422 that names the refusal.
async fn forward(proxy: &Proxy, incoming: &Incoming, slugs: &[&'static str], why: &str) -> (Response, Answered) {
    slugs.iter().for_each(|slug| proxy.counters.refused(slug, why, proxy.clock.now()));
    let (mut response, how) = match &proxy.upstream {
        Some(upstream) => (upstream.forward(incoming, Purpose::Forwarded).await, Answered::Forwarded),
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

/// Adds notes that are not there yet.
fn add(notes: &mut Vec<String>, others: Vec<String>) {
    for other in others {
        if !notes.contains(&other) {
            notes.push(other);
        }
    }
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
