//! Why a subtree is not answered from a view. Each reason has a name.
//!
//! The slug is the response header, the metric label and the line in explain; the sentence names the view and what it
//! lacks; the remedy says what to change. [`REFUSALS`] is the registry the docs are made from. Some reasons are found here,
//! others by the proxy, which knows coverage, trust, parameters and credentials; one list holds them all.

use std::fmt;

use smol_str::SmolStr;

use super::moments::OffGrid;
use crate::model::time::format_duration;
use crate::model::{Matcher, ViewId};
use crate::plan::CatalogEntry;
use crate::promql::Grouping;

/// A reason's name and what it means.
#[derive(Debug, PartialEq, Eq)]
pub struct RefusalEntry {
    /// Lower case words joined by hyphens.
    pub slug: &'static str,
    /// What it means, for the docs table.
    pub doc: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// The view a refusal is about, as people know it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ViewName {
    pub id: ViewId,
    pub job: SmolStr,
    pub rule: SmolStr,
}

impl ViewName {
    pub fn of(entry: &CatalogEntry) -> ViewName {
        ViewName { id: entry.view.id, job: entry.job.clone(), rule: entry.rule.clone() }
    }
}

impl fmt::Display for ViewName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {} of job {}", self.rule, self.job)
    }
}

/// Why something is not answered from a view.
#[derive(Clone, PartialEq, Debug)]
pub enum Refusal {
    /// `metric` is absent when the query names none.
    NoViewForMetric { metric: Option<SmolStr> },
    FunctionDiffers { view: ViewName, wanted: SmolStr, kept: &'static str },
    WindowDiffers { view: ViewName, wanted_ms: i64, kept_ms: i64 },
    SemanticsDiffers { view: ViewName, kept: &'static str },
    MatcherNotImplied { view: ViewName, matcher: Matcher },
    ResidualLabelMissing { view: ViewName, matcher: Matcher },
    GroupingTooCoarse { view: ViewName, missing: Vec<SmolStr> },
    /// The query keeps all labels but a few, the view only a few.
    GroupingUnknown { view: ViewName, kept: Grouping },
    AggregationDoesNotRollUp { view: ViewName, wanted: SmolStr, kept: &'static str },
    /// The query reads series one by one.
    SeriesNotKept { view: ViewName },
    StepOffGrid { view: ViewName, grid_ms: i64, off: OffGrid },
    RecordNotRewritable { record: SmolStr, place: &'static str },
    /// `why` is the span's reason, or that a grid point is not final yet.
    NotCoveredYet { view: ViewName, why: SmolStr },
    NotTrustedYet { view: ViewName },
    ParameterNotKnown { parameter: SmolStr },
    ClientAuthenticated,
    TenantFederation { tenant: SmolStr },
    QueryNotUnderstood { error: String },
    EvaluationUnsupported { what: String },
    PartlyRewritten { selectors_left: usize },
}

static NO_VIEW_FOR_METRIC: RefusalEntry = RefusalEntry {
    slug: "no-view-for-metric",
    doc: "No rule of this tenant keeps the metric the query asks for.",
    remedy: "Write a rule for it; `prefold check` says what it would cost.",
};
static FUNCTION_DIFFERS: RefusalEntry = RefusalEntry {
    slug: "function-differs",
    doc: "The metric is kept, but under another function than the query's. Only rate and increase give each other.",
    remedy: "Add a rule with the query's function.",
};
static WINDOW_DIFFERS: RefusalEntry = RefusalEntry {
    slug: "window-differs",
    doc: "The metric is kept over another window than the query's, and one window does not give another.",
    remedy: "Add the window to the rule's windows; \"grafana\" there keeps those that $__rate_interval asks for.",
};
static SEMANTICS_DIFFERS: RefusalEntry = RefusalEntry {
    slug: "semantics-differs",
    doc: "The view follows other rules for windows and extrapolation than the query.",
    remedy: "Set the rule's semantics to those of the upstream.",
};
static MATCHER_NOT_IMPLIED: RefusalEntry = RefusalEntry {
    slug: "matcher-not-implied",
    doc: "The view selects by a matcher that the query does not guarantee: it may lack series the query selects.",
    remedy: "Take the matcher out of the rule and keep its label, or add it to the query.",
};
static RESIDUAL_LABEL_MISSING: RefusalEntry = RefusalEntry {
    slug: "residual-label-missing",
    doc: "The query filters by a label that the view did not keep.",
    remedy: "Add the label to the rule's keep_labels.",
};
static GROUPING_TOO_COARSE: RefusalEntry = RefusalEntry {
    slug: "grouping-too-coarse",
    doc: "The query keeps labels that the view did not keep. `without` is answered only by a view that says `without` too.",
    remedy: "Add the labels to the rule's keep_labels, or group by fewer labels in the query.",
};
static AGGREGATION_DOES_NOT_ROLL_UP: RefusalEntry = RefusalEntry {
    slug: "aggregation-does-not-roll-up",
    doc: "The view's aggregation does not give the query's: a sum of maxima is not a maximum, and single series cannot be \
          had back from groups. Ranks and quantiles are answered above an inner aggregation that is answered itself.",
    remedy: "Add a rule with the query's aggregation; avg answers sum, count and avg.",
};
static STEP_OFF_GRID: RefusalEntry = RefusalEntry {
    slug: "step-off-grid",
    doc: "The query reads at instants at which the view has no value.",
    remedy: "Ask at multiples of the rule's step (in Grafana: set the panel's min step), give subqueries a step, or make the \
             rule's step finer.",
};
static RECORD_NOT_REWRITABLE: RefusalEntry = RefusalEntry {
    slug: "record-not-rewritable",
    doc: "A recorded name stands where only stored samples of it would give the same answer.",
    remedy: "Use the record's expression instead of its name.",
};
static NOT_COVERED_YET: RefusalEntry = RefusalEntry {
    slug: "not-covered-yet",
    doc: "The view may not be served at these steps: it began later, or a span uncovers them.",
    remedy: "Wait; the page /prefold/api/v1/views lists coverage and spans with their reasons.",
};
static NOT_TRUSTED_YET: RefusalEntry = RefusalEntry {
    slug: "not-trusted-yet",
    doc: "The view has not been compared with upstream yet, or the last comparison was unequal.",
    remedy: "Wait for a comparison, look at the status page when it fails, or set upstream.trust to always.",
};
static PARAMETER_NOT_KNOWN: RefusalEntry = RefusalEntry {
    slug: "parameter-not-known",
    doc: "The request has a parameter or header that may change the answer in ways Prefold does not know.",
    remedy: "Leave the parameter out of the data source's settings if it is not needed.",
};
static CLIENT_AUTHENTICATED: RefusalEntry = RefusalEntry {
    slug: "client-authenticated",
    doc: "The request carries credentials that only upstream can judge.",
    remedy: "Set upstream.clients to trusted, or to checked.",
};
static TENANT_FEDERATION: RefusalEntry = RefusalEntry {
    slug: "tenant-federation",
    doc: "The request asks for several tenants at once, and views belong to one.",
    remedy: "Ask for one tenant at a time.",
};
static QUERY_NOT_UNDERSTOOD: RefusalEntry = RefusalEntry {
    slug: "query-not-understood",
    doc: "The query is not PromQL as Prefold knows it; upstream may know more.",
    remedy: "Nothing, when upstream answers it; else correct the query.",
};
static EVALUATION_UNSUPPORTED: RefusalEntry = RefusalEntry {
    slug: "evaluation-unsupported",
    doc: "The query uses something that Prefold's engine does not evaluate.",
    remedy: "Nothing: upstream answers it.",
};
static PARTLY_REWRITTEN: RefusalEntry = RefusalEntry {
    slug: "partly-rewritten",
    doc: "Views answer a part of the query, and the rest cannot be joined with it here.",
    remedy: "Write rules for the rest of the query too.",
};

/// Every reason: those of S4 in the order of its conditions, then the proxy's.
pub static REFUSALS: &[&RefusalEntry] = &[
    &NO_VIEW_FOR_METRIC,
    &FUNCTION_DIFFERS,
    &WINDOW_DIFFERS,
    &SEMANTICS_DIFFERS,
    &MATCHER_NOT_IMPLIED,
    &RESIDUAL_LABEL_MISSING,
    &GROUPING_TOO_COARSE,
    &AGGREGATION_DOES_NOT_ROLL_UP,
    &STEP_OFF_GRID,
    &RECORD_NOT_REWRITABLE,
    &NOT_COVERED_YET,
    &NOT_TRUSTED_YET,
    &PARAMETER_NOT_KNOWN,
    &CLIENT_AUTHENTICATED,
    &TENANT_FEDERATION,
    &QUERY_NOT_UNDERSTOOD,
    &EVALUATION_UNSUPPORTED,
    &PARTLY_REWRITTEN,
];

impl Refusal {
    /// Its line in the registry.
    pub fn entry(&self) -> &'static RefusalEntry {
        match self {
            Refusal::NoViewForMetric { .. } => &NO_VIEW_FOR_METRIC,
            Refusal::FunctionDiffers { .. } => &FUNCTION_DIFFERS,
            Refusal::WindowDiffers { .. } => &WINDOW_DIFFERS,
            Refusal::SemanticsDiffers { .. } => &SEMANTICS_DIFFERS,
            Refusal::MatcherNotImplied { .. } => &MATCHER_NOT_IMPLIED,
            Refusal::ResidualLabelMissing { .. } => &RESIDUAL_LABEL_MISSING,
            Refusal::GroupingTooCoarse { .. } | Refusal::GroupingUnknown { .. } => &GROUPING_TOO_COARSE,
            Refusal::AggregationDoesNotRollUp { .. } | Refusal::SeriesNotKept { .. } => &AGGREGATION_DOES_NOT_ROLL_UP,
            Refusal::StepOffGrid { .. } => &STEP_OFF_GRID,
            Refusal::RecordNotRewritable { .. } => &RECORD_NOT_REWRITABLE,
            Refusal::NotCoveredYet { .. } => &NOT_COVERED_YET,
            Refusal::NotTrustedYet { .. } => &NOT_TRUSTED_YET,
            Refusal::ParameterNotKnown { .. } => &PARAMETER_NOT_KNOWN,
            Refusal::ClientAuthenticated => &CLIENT_AUTHENTICATED,
            Refusal::TenantFederation { .. } => &TENANT_FEDERATION,
            Refusal::QueryNotUnderstood { .. } => &QUERY_NOT_UNDERSTOOD,
            Refusal::EvaluationUnsupported { .. } => &EVALUATION_UNSUPPORTED,
            Refusal::PartlyRewritten { .. } => &PARTLY_REWRITTEN,
        }
    }

    pub fn slug(&self) -> &'static str {
        self.entry().slug
    }

    pub fn remedy(&self) -> &'static str {
        self.entry().remedy
    }
}

/// One sentence for people, without a full stop.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoViewForMetric { metric: Some(metric) } => write!(f, "no rule keeps {metric}"),
            Refusal::NoViewForMetric { metric: None } => f.write_str("no rule keeps every metric the query selects"),
            Refusal::FunctionDiffers { view, wanted, kept } => {
                write!(f, "{view} keeps {}, the query asks for {}", named(kept), named(wanted))
            }
            Refusal::WindowDiffers { view, wanted_ms, kept_ms } => {
                let (wanted, kept) = (format_duration(*wanted_ms), format_duration(*kept_ms));
                write!(f, "{view} keeps windows of {kept}, the query asks for {wanted}")
            }
            Refusal::SemanticsDiffers { view, kept } => write!(f, "{view} follows the semantics of {kept}"),
            Refusal::MatcherNotImplied { view, matcher } => {
                write!(f, "{view} keeps only series with {matcher}, and the query may select others")
            }
            Refusal::ResidualLabelMissing { view, matcher } => {
                write!(f, "the query filters by {matcher}, and {view} does not keep {}", matcher.name)
            }
            Refusal::GroupingTooCoarse { view, missing } => {
                write!(f, "the query keeps {}, and {view} does not", missing.join(", "))
            }
            Refusal::GroupingUnknown { view, kept } => {
                let (Grouping::By(names) | Grouping::Without(names)) = kept;
                write!(f, "the query keeps all labels but a few, and {view} keeps only ({})", names.join(", "))
            }
            Refusal::AggregationDoesNotRollUp { view, wanted, kept } => {
                write!(f, "{view} keeps {kept}, which does not give {wanted} with the labels asked for")
            }
            Refusal::SeriesNotKept { view } => write!(f, "the query reads series one by one, and {view} keeps groups of them"),
            Refusal::StepOffGrid { view, grid_ms, off } => {
                write!(f, "{off}, and {view} has values every {}", format_duration(*grid_ms))
            }
            Refusal::RecordNotRewritable { record, place } => write!(f, "the recorded name {record} stands {place}"),
            Refusal::NotCoveredYet { view, why } => write!(f, "{view} is not covered at these steps ({why})"),
            Refusal::NotTrustedYet { view } => write!(f, "{view} has not been found equal to upstream yet"),
            Refusal::ParameterNotKnown { parameter } => write!(f, "{parameter} is not known to leave the answer as it is"),
            Refusal::ClientAuthenticated => f.write_str("the request carries credentials"),
            Refusal::TenantFederation { tenant } => write!(f, "{tenant} names several tenants"),
            Refusal::QueryNotUnderstood { error } => write!(f, "the query was not understood: {error}"),
            Refusal::EvaluationUnsupported { what } => write!(f, "not evaluated here: {what}"),
            Refusal::PartlyRewritten { selectors_left } => {
                write!(f, "{selectors_left} selectors of the query are not answered from views")
            }
        }
    }
}

fn named(function: &str) -> String {
    if function.is_empty() { "plain values".to_owned() } else { format!("{function}()") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_named_once_and_say_what_to_do() {
        let mut slugs: Vec<&str> = REFUSALS.iter().map(|entry| entry.slug).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), REFUSALS.len());
        for entry in REFUSALS {
            assert!(entry.slug.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", entry.slug);
            assert!(entry.doc.ends_with('.') && entry.remedy.ends_with('.'), "{}", entry.slug);
        }
    }

    #[test]
    fn every_refusal_is_in_the_registry_and_speaks_in_one_line() {
        let view = || ViewName { id: ViewId(7), job: "grpc".into(), rule: "0".into() };
        let matcher = || Matcher::equal("app", "A");
        let all = [
            Refusal::NoViewForMetric { metric: None },
            Refusal::FunctionDiffers { view: view(), wanted: "irate".into(), kept: "" },
            Refusal::WindowDiffers { view: view(), wanted_ms: 60_000, kept_ms: 120_000 },
            Refusal::SemanticsDiffers { view: view(), kept: "metricsql" },
            Refusal::MatcherNotImplied { view: view(), matcher: matcher() },
            Refusal::ResidualLabelMissing { view: view(), matcher: matcher() },
            Refusal::GroupingTooCoarse { view: view(), missing: vec!["pod".into()] },
            Refusal::GroupingUnknown { view: view(), kept: Grouping::by(["le"]) },
            Refusal::AggregationDoesNotRollUp { view: view(), wanted: "max".into(), kept: "sum" },
            Refusal::SeriesNotKept { view: view() },
            Refusal::StepOffGrid { view: view(), grid_ms: 30_000, off: OffGrid::Step(15_000) },
            Refusal::RecordNotRewritable { record: "a:b".into(), place: "in a range selector" },
            Refusal::NotCoveredYet { view: view(), why: "late".into() },
            Refusal::NotTrustedYet { view: view() },
            Refusal::ParameterNotKnown { parameter: "lookback_delta".into() },
            Refusal::ClientAuthenticated,
            Refusal::TenantFederation { tenant: "a|b".into() },
            Refusal::QueryNotUnderstood { error: "x".into() },
            Refusal::EvaluationUnsupported { what: "info()".into() },
            Refusal::PartlyRewritten { selectors_left: 2 },
        ];
        for refusal in &all {
            assert!(REFUSALS.contains(&refusal.entry()), "{}", refusal.slug());
            let sentence = refusal.to_string();
            assert!(!sentence.is_empty() && !sentence.contains('\n') && !sentence.ends_with('.'), "{sentence}");
        }
        assert!(REFUSALS.iter().all(|entry| all.iter().any(|refusal| refusal.entry() == *entry)));
        assert_eq!(all[7].to_string(), "the query keeps all labels but a few, and rule 0 of job grpc keeps only (le)");
        assert_eq!(all[10].to_string(), "the query reads every 15s, and rule 0 of job grpc has values every 30s");
    }
}
