//! `f(m[w])`  ->  a view of `f(m[w])`
//!
//! Allowed because the windows are the same samples. Not for any other window, however near: an approximate answer is not
//! on offer. A bare selector's window is the lookback, the same everywhere.

use super::{Draft, Refusal, Wanted};
use crate::plan::CatalogEntry;
use crate::rewrite::refusal::ViewName;

pub(super) fn condition(wanted: &Wanted<'_>, have: &CatalogEntry, _: &mut Draft) -> Result<(), Refusal> {
    let (wanted_ms, kept_ms) = (wanted.shape.window_ms, have.view.shape.window_ms);
    if wanted_ms == kept_ms {
        return Ok(());
    }
    Err(Refusal::WindowDiffers { view: ViewName::of(have), wanted_ms, kept_ms })
}
