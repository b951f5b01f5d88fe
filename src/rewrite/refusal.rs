//! Why a subtree is not answered from a view. Each reason has a name.
//!
//! The slug is the response header, the metric label and the line in explain; the sentence names the view and what it
//! lacks; the remedy says what to change. [`REFUSALS`] is the registry the docs are made from. Some reasons are found here,
//! others by the proxy, which knows coverage, trust, parameters and credentials; one list holds them all.

mod registry;

use std::fmt;

use smol_str::SmolStr;

pub use registry::{REFUSALS, RefusalEntry};

use super::moments::OffGrid;
use crate::model::time::format_duration;
use crate::model::{Matcher, ViewId};
use crate::plan::CatalogEntry;

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
    NoViewForMetric {
        metric: Option<SmolStr>,
    },
    FunctionDiffers {
        view: ViewName,
        wanted: SmolStr,
        kept: &'static str,
    },
    WindowDiffers {
        view: ViewName,
        wanted_ms: i64,
        kept_ms: i64,
    },
    SemanticsDiffers {
        view: ViewName,
        kept: &'static str,
    },
    MatcherNotImplied {
        view: ViewName,
        matcher: Box<Matcher>,
    },
    ResidualLabelMissing {
        view: ViewName,
        matcher: Box<Matcher>,
    },
    GroupingTooCoarse {
        view: ViewName,
        missing: Vec<SmolStr>,
    },
    /// The query keeps all labels but a few, the view only a few.
    GroupingUnknown {
        view: ViewName,
        kept: Vec<SmolStr>,
    },
    AggregationDoesNotRollUp {
        view: ViewName,
        wanted: SmolStr,
        kept: &'static str,
    },
    /// The query reads series one by one.
    SeriesNotKept {
        view: ViewName,
    },
    StepOffGrid {
        view: ViewName,
        grid_ms: i64,
        off: OffGrid,
    },
    RecordNotRewritable {
        record: SmolStr,
        place: &'static str,
    },
    /// The steps are not final yet, or the query wants the newest ones.
    NotEmittedYet,
    /// `why` is the span's reason, or that a grid point is not final yet.
    NotCoveredYet {
        view: ViewName,
        why: SmolStr,
    },
    NotTrustedYet {
        view: ViewName,
    },
    ParameterNotKnown {
        parameter: SmolStr,
    },
    ClientAuthenticated,
    TenantFederation {
        tenant: SmolStr,
    },
    QueryNotUnderstood {
        error: String,
    },
    EvaluationUnsupported {
        what: String,
    },
    PartlyRewritten {
        selectors_left: usize,
    },
    QueryTooLarge {
        what: String,
    },
}

impl Refusal {
    /// Its line in the registry.
    pub fn entry(&self) -> &'static RefusalEntry {
        match self {
            Refusal::NoViewForMetric { .. } => &registry::NO_VIEW_FOR_METRIC,
            Refusal::FunctionDiffers { .. } => &registry::FUNCTION_DIFFERS,
            Refusal::WindowDiffers { .. } => &registry::WINDOW_DIFFERS,
            Refusal::SemanticsDiffers { .. } => &registry::SEMANTICS_DIFFERS,
            Refusal::MatcherNotImplied { .. } => &registry::MATCHER_NOT_IMPLIED,
            Refusal::ResidualLabelMissing { .. } => &registry::RESIDUAL_LABEL_MISSING,
            Refusal::GroupingTooCoarse { .. } | Refusal::GroupingUnknown { .. } => &registry::GROUPING_TOO_COARSE,
            Refusal::AggregationDoesNotRollUp { .. } | Refusal::SeriesNotKept { .. } => {
                &registry::AGGREGATION_DOES_NOT_ROLL_UP
            }
            Refusal::StepOffGrid { .. } => &registry::STEP_OFF_GRID,
            Refusal::RecordNotRewritable { .. } => &registry::RECORD_NOT_REWRITABLE,
            Refusal::NotCoveredYet { .. } => &registry::NOT_COVERED_YET,
            Refusal::NotEmittedYet => &registry::NOT_EMITTED_YET,
            Refusal::NotTrustedYet { .. } => &registry::NOT_TRUSTED_YET,
            Refusal::ParameterNotKnown { .. } => &registry::PARAMETER_NOT_KNOWN,
            Refusal::ClientAuthenticated => &registry::CLIENT_AUTHENTICATED,
            Refusal::TenantFederation { .. } => &registry::TENANT_FEDERATION,
            Refusal::QueryNotUnderstood { .. } => &registry::QUERY_NOT_UNDERSTOOD,
            Refusal::EvaluationUnsupported { .. } => &registry::EVALUATION_UNSUPPORTED,
            Refusal::PartlyRewritten { .. } => &registry::PARTLY_REWRITTEN,
            Refusal::QueryTooLarge { .. } => &registry::QUERY_TOO_LARGE,
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
                write!(f, "the query keeps all labels but a few, and {view} keeps only ({})", kept.join(", "))
            }
            Refusal::AggregationDoesNotRollUp { view, wanted, kept } => {
                write!(f, "{view} keeps {kept}, which does not give {wanted} with the labels asked for")
            }
            Refusal::SeriesNotKept { view } => {
                write!(f, "the query reads series one by one, and {view} keeps groups of them")
            }
            Refusal::StepOffGrid { view, grid_ms, off } => {
                write!(f, "{off}, and {view} has values every {}", format_duration(*grid_ms))
            }
            Refusal::RecordNotRewritable { record, place } => write!(f, "the recorded name {record} stands {place}"),
            Refusal::NotCoveredYet { view, why } => write!(f, "{view} is not covered at these steps ({why})"),
            Refusal::NotEmittedYet => f.write_str("the steps asked for are not final yet"),
            Refusal::NotTrustedYet { view } => write!(f, "{view} has not been found equal to upstream yet"),
            Refusal::ParameterNotKnown { parameter } => write!(f, "{parameter} is not known to leave the answer as it is"),
            Refusal::ClientAuthenticated => f.write_str("the request carries credentials"),
            Refusal::TenantFederation { tenant } => write!(f, "{tenant} names several tenants"),
            Refusal::QueryNotUnderstood { error } => write!(f, "the query was not understood: {error}"),
            Refusal::EvaluationUnsupported { what } => write!(f, "not evaluated here: {what}"),
            Refusal::PartlyRewritten { selectors_left } => {
                write!(f, "not all of the query is answered from views (selectors left: {selectors_left})")
            }
            Refusal::QueryTooLarge { what } => write!(f, "larger than a query may be here: {what}"),
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
    fn every_refusal_is_in_the_registry_and_speaks_in_one_line() {
        let view = || ViewName { id: ViewId(7), job: "grpc".into(), rule: "0".into() };
        let matcher = || Matcher::equal("app", "A");
        let all = [
            Refusal::NoViewForMetric { metric: None },
            Refusal::FunctionDiffers { view: view(), wanted: "irate".into(), kept: "" },
            Refusal::WindowDiffers { view: view(), wanted_ms: 60_000, kept_ms: 120_000 },
            Refusal::SemanticsDiffers { view: view(), kept: "metricsql" },
            Refusal::MatcherNotImplied { view: view(), matcher: matcher().into() },
            Refusal::ResidualLabelMissing { view: view(), matcher: matcher().into() },
            Refusal::GroupingTooCoarse { view: view(), missing: vec!["pod".into()] },
            Refusal::GroupingUnknown { view: view(), kept: vec!["le".into()] },
            Refusal::AggregationDoesNotRollUp { view: view(), wanted: "max".into(), kept: "sum" },
            Refusal::SeriesNotKept { view: view() },
            Refusal::StepOffGrid { view: view(), grid_ms: 30_000, off: OffGrid::Step(15_000) },
            Refusal::RecordNotRewritable { record: "a:b".into(), place: "in a range selector" },
            Refusal::NotCoveredYet { view: view(), why: "late".into() },
            Refusal::NotEmittedYet,
            Refusal::NotTrustedYet { view: view() },
            Refusal::ParameterNotKnown { parameter: "lookback_delta".into() },
            Refusal::ClientAuthenticated,
            Refusal::TenantFederation { tenant: "a|b".into() },
            Refusal::QueryNotUnderstood { error: "x".into() },
            Refusal::EvaluationUnsupported { what: "info()".into() },
            Refusal::PartlyRewritten { selectors_left: 2 },
            Refusal::QueryTooLarge { what: "11,001 steps".into() },
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
