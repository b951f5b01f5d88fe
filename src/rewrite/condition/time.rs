//! `agg(f(m[w] offset o)) at T`  ->  `agg(view offset o) at T`, when T - o is on the view's grid for every T
//!
//! Allowed because the view has a value at exactly those instants. Not between grid points: the value before is another
//! one. Not in a subquery whose step is upstream's secret.

use super::{Draft, Refusal, Wanted};
use crate::plan::CatalogEntry;
use crate::rewrite::refusal::ViewName;

pub(super) fn condition(wanted: &Wanted<'_>, have: &CatalogEntry, _: &mut Draft) -> Result<(), Refusal> {
    let grid = have.view.grid();
    wanted.moments.on_grid(wanted.shift, grid).map_err(|off| Refusal::StepOffGrid {
        view: ViewName::of(have),
        grid_ms: grid.step_ms(),
        off,
    })
}
