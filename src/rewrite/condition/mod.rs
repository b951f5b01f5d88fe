//! The conditions under which a view answers an aggregation (semantics.md S4), one file each, in the order they run.
//!
//! Each either lets the rewrite pass, after writing into the draft what follows from it, or refuses by name. None knows of
//! another: a coarser, filtered average over sums and counts is three of them agreeing.

mod aggregation;
mod function;
mod grouping;
mod matchers;
mod metric;
mod residual;
mod semantics;
mod time;
mod window;

use super::draft::Draft;
use super::moments::Moments;
use super::refusal::Refusal;
use crate::plan::{CatalogEntry, Semantics, Shape};
use crate::promql::TimeShift;

/// What is asked of a view.
pub struct Wanted<'a> {
    pub shape: &'a Shape,
    pub tenant: &'a str,
    pub semantics: Semantics,
    /// Of the selector under the aggregation.
    pub shift: TimeShift,
    /// When the aggregation is evaluated.
    pub moments: &'a Moments,
}

/// One thing that must hold for a view to answer, and what it does to the rewrite.
pub type Condition = fn(wanted: &Wanted<'_>, have: &CatalogEntry, rewrite: &mut Draft) -> Result<(), Refusal>;

/// All conditions, in S4's order: a refusal is told by the last one that is reached, so what is most telling comes late.
pub static CONDITIONS: &[Condition] = &[
    metric::condition,
    // The metric first: another metric's function and window say nothing.
    function::condition,
    // The function before the window: a bare selector has none of its own.
    window::condition,
    semantics::condition,
    // All values are alike from here on; now which series they are of.
    matchers::condition,
    // Only what the view does not guarantee already must be filtered again.
    residual::condition,
    grouping::condition,
    // After the labels: the quotient of an average needs to know which of them are asked for.
    aggregation::condition,
    // Last, since it depends on when the query is asked and not on what it asks.
    time::condition,
];
