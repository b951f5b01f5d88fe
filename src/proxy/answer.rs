//! Query and query_range: rewritten where views answer exactly, forwarded as they came where not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::coverage::{Coverage, PointState};
use super::json::{self, Notes};
use super::params::Params;
use super::source::StoreSource;
use super::stitch::{self, Stretch};
use super::upstream::Incoming;
use super::{Answered, Proxy};
use crate::model::{Timestamp, ViewId};
use crate::promql::parse;
use crate::query::{EvalOptions, Evaluated, MatrixSeries, QueryError, QueryErrorKind, Value, counter_infos};
use crate::rewrite::{Outcome, QueryTime, Question, Refused, rewrite};

/// The most views named in the response header.
const VIEWS_NAMED_MAX: usize = 16;

/// A step that is not emitted yet is left out this much longer than max_delay and step explain.
const EDGE_SLACK_MS: i64 = 30_000;

/// A range query's instants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub start: Timestamp,
    pub end: Timestamp,
    pub step_ms: i64,
}

impl Range {
    fn steps(self) -> impl Iterator<Item = Timestamp> {
        (0..=(self.end - self.start) / self.step_ms).map(move |k| self.start + k * self.step_ms)
    }
}

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

fn range_params(proxy: &Proxy, params: &Params) -> Result<Range, String> {
    for name in ["start", "end"] {
        if params.get(name).is_none_or(str::is_empty) {
            return Err(format!("invalid parameter {name:?}: cannot parse \"\" to a valid timestamp"));
        }
    }
    let (start, end) = (params.instant("start", Timestamp(0))?, params.instant("end", Timestamp(0))?);
    if end < start {
        return Err("invalid parameter \"end\": end timestamp must not be before start time".to_owned());
    }
    let step_ms = params.step_ms("step")?;
    if (end - start) / step_ms > proxy.options.limits.steps_max as i64 {
        return Err(format!(
            "exceeded maximum resolution of {} points per timeseries. Try decreasing the query resolution (?step=XX)",
            thousands(proxy.options.limits.steps_max)
        ));
    }
    Ok(Range { start, end, step_ms })
}

fn thousands(n: usize) -> String {
    if n < 1000 { n.to_string() } else { format!("{},{:03}", n / 1000, n % 1000) }
}

/// Why a query is not looked at further.
enum Early {
    /// Not ours to understand: upstream's, with the slug of the reason.
    Forward(&'static str, String),
    Untouched,
    BadData(String),
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

/// A query that was understood, and what became of it.
struct Asked<'a> {
    proxy: &'a Arc<Proxy>,
    incoming: &'a Incoming,
    query: String,
    /// What evaluating the original over samples would have noted and views cannot.
    infos: Vec<String>,
    outcome: Outcome,
    limit: Option<usize>,
}

impl<'a> Asked<'a> {
    fn new(proxy: &'a Arc<Proxy>, incoming: &'a Incoming, params: &Params, time: QueryTime) -> Result<Asked<'a>, Early> {
        let header = |name: &str| incoming.headers.get(name).and_then(|value| value.to_str().ok());
        let off = header("X-Prefold-Rewrite") == Some("off") || params.get("prefold_rewrite") == Some("off");
        if off {
            return Err(Early::Untouched);
        }
        let query = params.get("query").unwrap_or_default().to_owned();
        let limit = params.limit().map_err(Early::BadData)?;
        params.check_timeout().map_err(Early::BadData)?;
        let original = match parse(&query) {
            Ok(expr) => expr,
            Err(error) if proxy.upstream.is_none() => {
                return Err(Early::BadData(format!("invalid parameter \"query\": {error}")));
            }
            Err(error) => return Err(Early::Forward("query-not-understood", error.to_string())),
        };
        if let Some(unknown) = params.unknown() {
            return Err(Early::Forward("parameter-not-known", format!("the parameter {unknown:?} is not known here")));
        }
        let credentials = header("Authorization").is_some() || header("Cookie").is_some();
        if proxy.upstream.is_some() && credentials && !proxy.options.clients_trusted {
            return Err(Early::Forward("client-authenticated", "the request carries credentials".to_owned()));
        }
        let tenant = header("X-Scope-OrgID").unwrap_or_default();
        if tenant.contains('|') {
            return Err(Early::Forward("tenant-federation", "the request asks several tenants at once".to_owned()));
        }
        let upstream_edge = params.get("edge") == Some("upstream") || header("FromAlert").is_some();
        if upstream_edge && proxy.upstream.is_some() {
            return Err(Early::Forward(
                "not-emitted-yet",
                "the request wants the newest steps, which upstream has".to_owned(),
            ));
        }
        let evaluation_interval_ms = proxy.options.evaluation_interval_ms;
        let question = Question { expr: &original, tenant, time, evaluation_interval_ms };
        let outcome = rewrite(&question, &proxy.catalog.load());
        let infos = counter_infos(&original, &query);
        Ok(Asked { proxy, incoming, query, infos, outcome, limit })
    }

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

    /// Sorts the steps: served from views, asked of upstream, or left out.
    fn plan(&self, range: Range) -> StepPlan {
        let catalog = self.proxy.catalog.load();
        let ids: Vec<ViewId> = self.outcome.reads.iter().map(|read| read.view).collect();
        let coverage: BTreeMap<ViewId, Option<Coverage>> = ids.iter().map(|id| (*id, self.proxy.coverage(*id))).collect();
        let now = self.proxy.clock.now();
        let mut plan = StepPlan::default();
        let mut reasons = Vec::new();
        for step in range.steps() {
            let (mut state, mut recent) = (PointState::Served, true);
            for read in &self.outcome.reads {
                let Some((from, to)) = read.grid_points(step) else { continue };
                let Some(Some(covered)) = coverage.get(&read.view) else {
                    state = PointState::Uncovered;
                    break;
                };
                match covered.between(from, to) {
                    PointState::Served => {
                        if self.proxy.upstream.is_none() {
                            reasons.extend(covered.reasons(from, to));
                        }
                    }
                    PointState::NotEmitted if state != PointState::Uncovered => {
                        state = PointState::NotEmitted;
                        let entry = catalog.get(read.view).map(|entry| &entry.view);
                        let edge_max = entry.map_or(0, |view| view.max_delay_ms + view.step_ms + EDGE_SLACK_MS);
                        recent &= now - to <= edge_max;
                    }
                    other => state = other,
                }
            }
            plan.add(step, range.step_ms, self.place(state, recent));
        }
        reasons.sort_unstable();
        reasons.dedup();
        let slugs: Vec<&str> = reasons.iter().map(|reason| reason.slug()).collect();
        if !slugs.is_empty() {
            plan.warnings.push(format!("prefold: some of these steps are uncovered: {}", slugs.join(", ")));
        }
        plan
    }

    fn place(&self, state: PointState, recent: bool) -> Place {
        match state {
            PointState::Served => Place::Served,
            PointState::NotEmitted if recent && self.proxy.options.edge_omit => Place::LeftOut,
            // There is nobody to ask: what is not there is left out, as by a database that has not got it.
            _ if self.proxy.upstream.is_none() => Place::LeftOut,
            _ => Place::Asked,
        }
    }

    async fn evaluate_range(&self, served: Vec<Stretch>) -> Result<(Vec<Vec<MatrixSeries>>, Notes), QueryError> {
        let expr = self.outcome.expr.clone();
        let evaluate = move |source: &StoreSource, options: &EvalOptions| {
            let (mut parts, mut notes) = (Vec::new(), Notes::default());
            for stretch in &served {
                let evaluated = crate::query::range(&expr, stretch.start, stretch.end, stretch.step_ms, source, options)?;
                notes.warnings.extend(evaluated.warnings);
                notes.infos.extend(evaluated.infos);
                if let Value::Matrix(series) = evaluated.value {
                    parts.push(series);
                }
            }
            notes.warnings.dedup();
            notes.infos.dedup();
            Ok((parts, notes))
        };
        self.blocking(evaluate).await
    }

    async fn evaluate_instant(&self, at: Timestamp) -> Result<Evaluated, QueryError> {
        let expr = self.outcome.expr.clone();
        self.blocking(move |source, options| crate::query::instant(&expr, at, source, options)).await
    }

    /// Runs an evaluation on a blocking thread, one of a bounded number; a client that goes away stops it.
    async fn blocking<T: Send + 'static>(
        &self,
        evaluate: impl FnOnce(&StoreSource, &EvalOptions) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let internal = |message: String| QueryError { kind: QueryErrorKind::Internal, message };
        let running = &self.proxy.running;
        let _permit = running.acquire().await.map_err(|_| internal("the proxy is shutting down".to_owned()))?;
        let cancel = Arc::new(AtomicBool::new(false));
        let guard = CancelOnDrop(Arc::clone(&cancel));
        let mut limits = self.proxy.options.limits.clone();
        limits.deadline = Some(Instant::now() + self.proxy.options.query_timeout);
        limits.cancel = Some(cancel);
        let options = EvalOptions { query: self.query.clone(), limits, ..EvalOptions::default() };
        let source = StoreSource { store: Arc::clone(&self.proxy.store) };
        let done = tokio::task::spawn_blocking(move || evaluate(&source, &options)).await;
        drop(guard);
        done.unwrap_or_else(|error| Err(internal(format!("the evaluation failed: {error}"))))
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

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
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

/// Where a step's values come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Served,
    Asked,
    LeftOut,
}

/// The steps of a query, sorted.
#[derive(Default)]
struct StepPlan {
    served: Vec<Stretch>,
    asked: Vec<Stretch>,
    left_out: usize,
    fresh_to: Option<Timestamp>,
    warnings: Vec<String>,
}

impl StepPlan {
    fn add(&mut self, step: Timestamp, step_ms: i64, place: Place) {
        let stretches = match place {
            Place::Served => {
                self.fresh_to = Some(step);
                &mut self.served
            }
            Place::Asked => &mut self.asked,
            Place::LeftOut => {
                self.left_out += 1;
                return;
            }
        };
        match stretches.last_mut() {
            Some(last) if last.end + step_ms == step => last.end = step,
            _ => stretches.push(Stretch { start: step, end: step, step_ms }),
        }
    }

    fn reason(&self) -> &'static str {
        if self.asked.is_empty() { "not-emitted-yet" } else { "not-covered-yet" }
    }
}
