//! Of all views that answer a question the cheapest that can be served; of all that do not, the one that got furthest.

use std::sync::Arc;

use super::Shortfall;
use super::condition::{CONDITIONS, Wanted};
use super::draft::Draft;
use super::outcome::ViewRead;
use super::refusal::Refusal;
use crate::model::ViewId;
use crate::plan::{Catalog, CatalogEntry, Shape, View};
use crate::promql::Grouping;

/// The view that answers, and how.
///
/// # Errors
/// The refusal of the view that passed most conditions; of several, the first by id.
pub(super) fn choose<'a>(
    wanted: &Wanted<'_>,
    catalog: &'a Catalog,
    shortfall: Shortfall<'_>,
) -> Result<(&'a Arc<CatalogEntry>, Draft), Refusal> {
    let metric = wanted.shape.selector.metric();
    let mut answering: Vec<(&Arc<CatalogEntry>, Draft)> = Vec::new();
    let mut furthest = (0, Box::new(Refusal::NoViewForMetric { metric: metric.map(Into::into) }));
    for entry in catalog.candidates(metric) {
        match attempt(wanted, entry) {
            Ok(draft) => answering.push((entry, draft)),
            Err((passed, refusal)) if passed > furthest.0 => furthest = (passed, refusal),
            Err(_) => {}
        }
    }
    if answering.len() < 2 {
        // Nothing to choose: the shortfall of a view is not looked up in vain.
        return answering.pop().ok_or(*furthest.1);
    }
    let weight = |entry: &CatalogEntry| (shortfall(&read_by(wanted, entry.view.id)), cost(wanted.shape, &entry.view));
    let weighed = answering.into_iter().map(|(entry, draft)| (weight(entry), entry, draft));
    let best = weighed.min_by(|(a, ..), (b, ..)| a.cmp(b));
    best.map(|(_, entry, draft)| (entry, draft)).ok_or(*furthest.1)
}

fn read_by(wanted: &Wanted<'_>, view: ViewId) -> ViewRead {
    ViewRead::new(view, wanted.moments.time.resolve(wanted.shift), &wanted.moments.within)
}

/// Runs the conditions in order.
fn attempt(wanted: &Wanted<'_>, have: &CatalogEntry) -> Result<Draft, (usize, Box<Refusal>)> {
    let mut draft = Draft::default();
    for (passed, condition) in CONDITIONS.iter().enumerate() {
        condition(wanted, have, &mut draft).map_err(|refusal| (passed, Box::new(refusal)))?;
    }
    Ok(draft)
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
