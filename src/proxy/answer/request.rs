//! What a request asks: its parameters and its query, understood, or the reason why it is not looked at further.

use std::sync::Arc;

use crate::model::Timestamp;
use crate::promql::parse;
use crate::proxy::Proxy;
use crate::proxy::params::Params;
use crate::proxy::upstream::Incoming;
use crate::query::counter_infos;
use crate::rewrite::{Outcome, QueryTime, Question, rewrite};

/// A range query's instants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub start: Timestamp,
    pub end: Timestamp,
    pub step_ms: i64,
}

impl Range {
    pub fn steps(self) -> impl Iterator<Item = Timestamp> {
        (0..=(self.end - self.start) / self.step_ms).map(move |k| self.start + k * self.step_ms)
    }
}

/// The instants of a range query.
///
/// # Errors
/// Prometheus' text for what is missing, wrong or too much.
pub(super) fn range_params(proxy: &Proxy, params: &Params) -> Result<Range, String> {
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
pub(super) enum Early {
    /// Not ours to understand: upstream's, with the slug of the reason.
    Forward(&'static str, String),
    Untouched,
    BadData(String),
}

/// A query that was understood, and what became of it.
pub(super) struct Asked<'a> {
    pub proxy: &'a Arc<Proxy>,
    pub incoming: &'a Incoming,
    pub query: String,
    /// What evaluating the original over samples would have noted and views cannot.
    pub infos: Vec<String>,
    pub outcome: Outcome,
    pub limit: Option<usize>,
}

impl<'a> Asked<'a> {
    pub fn new(proxy: &'a Arc<Proxy>, incoming: &'a Incoming, params: &Params, time: QueryTime) -> Result<Asked<'a>, Early> {
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
}
