//! `agg by (LQ) (..)`       ->  `agg by (LQ) (view by (LV))`,            when LQ is a subset of LV
//! `agg by (LQ) (..)`       ->  `agg by (LQ) (view without (LV))`,       when LQ and LV share no label
//! `agg without (LQ) (..)`  ->  `agg without (LQ) (view without (LV))`,  when LV is a subset of LQ
//!
//! Allowed because each of the query's groups is then a union of the view's. Not `without` over `by`: which labels the
//! series had is not known. Not a label that the view's selector fixes but its grouping drops either: it is known, but it
//! is not in the stored labels, and the answer would lack it.

use smol_str::SmolStr;

use super::{Draft, Refusal, Wanted};
use crate::model::METRIC_NAME;
use crate::plan::CatalogEntry;
use crate::promql::Grouping;
use crate::rewrite::refusal::ViewName;

pub(super) fn condition(wanted: &Wanted<'_>, have: &CatalogEntry, _: &mut Draft) -> Result<(), Refusal> {
    let kept = &have.view.shape.grouping;
    let missing: Vec<SmolStr> = match (&wanted.shape.grouping, kept) {
        (Grouping::By(asked), Grouping::By(kept)) => beyond(asked, kept),
        (Grouping::By(asked), Grouping::Without(dropped)) => {
            asked.iter().filter(|name| *name == METRIC_NAME || dropped.contains(name)).cloned().collect()
        }
        (Grouping::Without(asked), Grouping::Without(dropped)) => beyond(dropped, asked),
        (Grouping::Without(_), Grouping::By(kept)) => {
            return Err(Refusal::GroupingUnknown { view: ViewName::of(have), kept: kept.clone() });
        }
    };
    if missing.is_empty() { Ok(()) } else { Err(Refusal::GroupingTooCoarse { view: ViewName::of(have), missing }) }
}

/// The names of one list that the other lacks.
fn beyond(names: &[SmolStr], known: &[SmolStr]) -> Vec<SmolStr> {
    names.iter().filter(|name| !known.contains(name)).cloned().collect()
}
