//! What a request asks: its parameters and its query, understood, or the reason why it is not looked at further.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::steps::{AtTheEdge, Survey};
use crate::model::Timestamp;
use crate::plan::Catalog;
use crate::promql::{Expr, parse};
use crate::proxy::Proxy;
use crate::proxy::params::Params;
use crate::proxy::upstream::Incoming;
use crate::query::{NonCounter, non_counters};
use crate::rewrite::{Outcome, QueryTime, Question, rewrite_preferring};

/// A range query's instants; an instant query's single one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub start: Timestamp,
    pub end: Timestamp,
    pub step_ms: i64,
}

impl Range {
    pub fn instant(at: Timestamp) -> Range {
        Range { start: at, end: at, step_ms: 1 }
    }

    pub fn steps(self) -> impl Iterator<Item = Timestamp> {
        (0..=(self.end - self.start) / self.step_ms).map(move |k| self.start + k * self.step_ms)
    }
}

/// The instants of a range query.
///
/// # Errors
/// What is missing, wrong or too much.
pub(super) fn range_params(proxy: &Proxy, params: &Params) -> Result<Range, Early> {
    for name in ["start", "end"] {
        if params.get(name).is_none_or(str::is_empty) {
            let message = format!("invalid parameter {name:?}: cannot parse \"\" to a valid timestamp");
            return Err(Early::wrong(proxy, message));
        }
    }
    let instant = |name: &str| params.instant(name, Timestamp(0)).map_err(|message| Early::wrong(proxy, message));
    let (start, end) = (instant("start")?, instant("end")?);
    if end < start {
        let message = "invalid parameter \"end\": end timestamp must not be before start time";
        return Err(Early::wrong(proxy, message.to_owned()));
    }
    let step_ms = params.step_ms("step").map_err(|message| Early::wrong(proxy, message))?;
    if (end - start) / step_ms > proxy.options.limits.steps_max as i64 {
        let steps_max = thousands(proxy.options.limits.steps_max);
        let message = format!(
            "exceeded maximum resolution of {steps_max} points per timeseries. Try decreasing the query resolution (?step=XX)"
        );
        return Err(Early::unless_upstream(proxy, "query-too-large", message));
    }
    Ok(Range { start, end, step_ms })
}

fn thousands(n: usize) -> String {
    if n < 1000 { n.to_string() } else { format!("{},{:03}", n / 1000, n % 1000) }
}

/// Why a query is not looked at further.
pub(super) enum Early {
    /// Not ours to understand: upstream's, with the slug of the reason.
    Forward(&'static str, String),
    BadData(String),
}

impl Early {
    /// A parameter that cannot be read: upstream may read it otherwise, and if not, has words of its own.
    pub fn wrong(proxy: &Proxy, message: String) -> Early {
        Early::unless_upstream(proxy, "parameter-not-known", message)
    }

    fn unless_upstream(proxy: &Proxy, slug: &'static str, message: String) -> Early {
        match proxy.upstream {
            Some(_) => Early::Forward(slug, message),
            None => Early::BadData(message),
        }
    }
}

/// A query that was understood, and what became of it.
pub(super) struct Asked<'a> {
    pub proxy: &'a Arc<Proxy>,
    pub incoming: &'a Incoming,
    pub catalog: Arc<Catalog>,
    pub query: String,
    /// What evaluating the original over samples notes, and views cannot.
    pub non_counters: Vec<NonCounter>,
    pub outcome: Outcome,
    pub at_the_edge: AtTheEdge,
    pub limit: Option<usize>,
    /// When the answer must be there, waiting for its turn included.
    pub deadline: Instant,
}

impl<'a> Asked<'a> {
    /// `range` holds the instants of `time`.
    pub fn new(
        proxy: &'a Arc<Proxy>,
        incoming: &'a Incoming,
        params: &Params,
        (time, range): (QueryTime, Range),
        began: Instant,
    ) -> Result<Asked<'a>, Early> {
        let query = params.get("query").unwrap_or_default().to_owned();
        let limit = params.limit().map_err(|message| Early::wrong(proxy, message))?;
        let timeout = params.timeout().map_err(|message| Early::wrong(proxy, message))?;
        let original = judged(proxy, incoming, params, &query)?;
        let at_the_edge = at_the_edge(proxy, incoming, params);
        let catalog = proxy.catalog.load_full();
        let tenant = header(incoming, "X-Scope-OrgID").unwrap_or_default();
        let evaluation_interval_ms = proxy.options.evaluation_interval_ms;
        let question = Question { expr: &original, tenant, time, evaluation_interval_ms };
        let outcome = rewritten(proxy, &catalog, &question, range, at_the_edge);
        let non_counters = non_counters(&original);
        let deadline = began + timeout.unwrap_or(Duration::MAX).min(proxy.options.query_timeout);
        Ok(Asked { proxy, incoming, catalog, query, non_counters, outcome, at_the_edge, limit, deadline })
    }
}

/// The query over views, those chosen that may be served.
pub(super) fn rewritten(
    proxy: &Proxy,
    catalog: &Catalog,
    question: &Question<'_>,
    range: Range,
    at_the_edge: AtTheEdge,
) -> Outcome {
    let survey = Survey::new(proxy, catalog, at_the_edge);
    rewrite_preferring(question, catalog, &|read| survey.shortfall(read, range))
}

fn header<'a>(incoming: &'a Incoming, name: &str) -> Option<&'a str> {
    incoming.headers.get(name).and_then(|value| value.to_str().ok())
}

/// The query, if it is one that may be answered here.
fn judged(proxy: &Proxy, incoming: &Incoming, params: &Params, query: &str) -> Result<Expr, Early> {
    let header = |name: &str| header(incoming, name);
    let expr = match parse(query) {
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
    if header("X-Scope-OrgID").is_some_and(|tenant| tenant.contains('|')) {
        return Err(Early::Forward("tenant-federation", "the request asks several tenants at once".to_owned()));
    }
    Ok(expr)
}

/// Alert rules want the newest steps, whatever dashboards do without.
fn at_the_edge(proxy: &Proxy, incoming: &Incoming, params: &Params) -> AtTheEdge {
    let wanted = params.get("edge") == Some("upstream") || header(incoming, "FromAlert").is_some();
    match proxy.upstream.is_some() && (wanted || !proxy.options.edge_omit) {
        true => AtTheEdge::PerView,
        false => AtTheEdge::LeaveOut,
    }
}
