//! `agg(m{MV, R})`  ->  `agg(view of m{MV} {R})`, when the view keeps the labels of R
//!
//! Allowed because all series of a group then agree on those labels, an absent one being the empty one, so that a group is
//! selected whole or not at all. Not when a label of R was aggregated away, `x=""` and `x!="a"` included: a group without
//! the label holds series of every value. `without` never keeps the metric's name.

use super::{Draft, Refusal, Wanted};
use crate::model::METRIC_NAME;
use crate::plan::CatalogEntry;
use crate::promql::Grouping;
use crate::rewrite::refusal::ViewName;

pub(super) fn condition(wanted: &Wanted<'_>, have: &CatalogEntry, rewrite: &mut Draft) -> Result<(), Refusal> {
    let kept = &have.view.shape;
    let residual = wanted.shape.selector.residual(&kept.selector);
    match residual.iter().find(|matcher| !keeps(&kept.grouping, &matcher.name)) {
        Some(matcher) => Err(Refusal::ResidualLabelMissing { view: ViewName::of(have), matcher: Box::new(matcher.clone()) }),
        None => {
            rewrite.residual = residual;
            Ok(())
        }
    }
}

fn keeps(grouping: &Grouping, name: &str) -> bool {
    match grouping {
        Grouping::By(names) => names.iter().any(|kept| kept == name),
        Grouping::Without(names) => name != METRIC_NAME && names.iter().all(|dropped| dropped != name),
    }
}
