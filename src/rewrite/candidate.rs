//! Of all views that answer a question the cheapest; of all that do not, the one that got furthest.

use std::cmp::Ordering;
use std::sync::Arc;

use super::condition::{CONDITIONS, Wanted};
use super::draft::Draft;
use super::refusal::Refusal;
use crate::model::ViewId;
use crate::plan::{Catalog, CatalogEntry, Shape, View};
use crate::promql::Grouping;

/// The view that answers, and how.
///
/// # Errors
/// The refusal of the view that passed most conditions; of several, the first by id.
pub(super) fn choose<'a>(wanted: &Wanted<'_>, catalog: &'a Catalog) -> Result<(&'a Arc<CatalogEntry>, Draft), Refusal> {
    let metric = wanted.shape.selector.metric();
    let mut best: Option<(&Arc<CatalogEntry>, Draft)> = None;
    let mut furthest = (0, Box::new(Refusal::NoViewForMetric { metric: metric.map(Into::into) }));
    for entry in catalog.candidates(metric) {
        match attempt(wanted, entry) {
            Ok(draft) => {
                if best.as_ref().is_none_or(|(other, _)| cheaper(wanted.shape, &entry.view, &other.view)) {
                    best = Some((entry, draft));
                }
            }
            Err((passed, refusal)) if passed > furthest.0 => furthest = (passed, refusal),
            Err(_) => {}
        }
    }
    best.ok_or(*furthest.1)
}

/// Runs the conditions in order.
fn attempt(wanted: &Wanted<'_>, have: &CatalogEntry) -> Result<Draft, (usize, Box<Refusal>)> {
    let mut draft = Draft::default();
    for (passed, condition) in CONDITIONS.iter().enumerate() {
        condition(wanted, have, &mut draft).map_err(|refusal| (passed, Box::new(refusal)))?;
    }
    Ok(draft)
}

fn cheaper(wanted: &Shape, view: &View, than: &View) -> bool {
    cost(wanted, view).cmp(&cost(wanted, than)) == Ordering::Less
}

/// The same shape first, then the fewest kept labels (`without` keeps more than any `by`), then the smallest id.
fn cost(wanted: &Shape, view: &View) -> (bool, usize, ViewId) {
    let kept = match &view.shape.grouping {
        Grouping::By(names) => names.len(),
        Grouping::Without(names) => usize::MAX - names.len(),
    };
    (!same(wanted, &view.shape), kept, view.id)
}

fn same(wanted: &Shape, have: &Shape) -> bool {
    (wanted.aggregation.name, wanted.function_name(), wanted.window_ms)
        == (have.aggregation.name, have.function_name(), have.window_ms)
        && wanted.grouping == have.grouping
        && wanted.selector == have.selector
}
