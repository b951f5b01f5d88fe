//! `f(m[w])` as Prometheus evaluates it  ->  a view that follows Prometheus
//!
//! Allowed because the value is then the same by definition. Not across rule sets: they differ in extrapolation and in
//! which sample before the window counts.

use super::{Draft, Refusal, Wanted};
use crate::plan::CatalogEntry;
use crate::rewrite::refusal::ViewName;

pub(super) fn condition(wanted: &Wanted<'_>, have: &CatalogEntry, _: &mut Draft) -> Result<(), Refusal> {
    if have.view.semantics == wanted.semantics {
        return Ok(());
    }
    Err(Refusal::SemanticsDiffers { view: ViewName::of(have), kept: have.view.semantics.name() })
}
