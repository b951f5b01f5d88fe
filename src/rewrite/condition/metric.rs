//! `m{..}` of tenant A  ->  a view of `m{..}` of tenant A
//!
//! Allowed because nothing crosses a tenant, and because the view then holds every series of the names the query selects.
//! Not when the query selects several names of which the view keeps one, nor when the name is only known to be likely.

use super::{Draft, Refusal, Wanted};
use crate::model::METRIC_NAME;
use crate::plan::CatalogEntry;

pub(super) fn condition(wanted: &Wanted<'_>, have: &CatalogEntry, _: &mut Draft) -> Result<(), Refusal> {
    let asked = &wanted.shape.selector;
    let mut kept = have.view.shape.selector.on(METRIC_NAME);
    if have.view.tenant == wanted.tenant && kept.all(|matcher| matcher.implied_by(asked.on(METRIC_NAME))) {
        return Ok(());
    }
    Err(Refusal::NoViewForMetric { metric: asked.metric().map(Into::into) })
}
