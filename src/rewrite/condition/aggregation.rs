//! `sum by (LQ) (..)`    ->  `sum by (LQ) (view)`, likewise min, max and group
//! `count by (LQ) (..)`  ->  `sum by (LQ) (view's counts)`
//! `avg by (LQ) (..)`    ->  `sum by (LQ) (view's sums) / sum by (LQ) (view's counts)`
//!
//! Allowed because each is associative over groups, as the registry says. Not a maximum of sums, nor an average of
//! averages. Not an average that keeps the metric's name either: a quotient drops it.

use super::{Draft, Refusal, Wanted};
use crate::function::RollUp;
use crate::model::METRIC_NAME;
use crate::plan::CatalogEntry;
use crate::promql::Grouping;
use crate::rewrite::refusal::ViewName;

pub(super) fn condition(wanted: &Wanted<'_>, have: &CatalogEntry, rewrite: &mut Draft) -> Result<(), Refusal> {
    let (asked, kept) = (wanted.shape.aggregation.name, have.view.shape.aggregation);
    let named = matches!(&wanted.shape.grouping, Grouping::By(names) if names.iter().any(|name| name == METRIC_NAME));
    rewrite.roll_up = kept.answer(asked).filter(|roll_up| !(named && matches!(roll_up, RollUp::Ratio { .. })));
    match rewrite.roll_up {
        Some(_) => Ok(()),
        None => Err(Refusal::AggregationDoesNotRollUp { view: ViewName::of(have), wanted: asked.into(), kept: kept.name }),
    }
}
