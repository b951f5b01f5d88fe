//! The number of series that have a value, NaN included.

use super::{Aggregation, HistogramsInGroup, RollUp};
use crate::function::partial;

pub static COUNT: Aggregation = Aggregation {
    name: "count",
    doc: "The number of series that have a value, NaN included.",
    version: 1,
    partial: &partial::count::COUNT,
    fields: &["count"],
    store: |p| [p.slots[0], 0.0],
    finish: |p| p.slots[0],
    histograms: HistogramsInGroup::Counted,
    answers: &[("count", RollUp::Field { aggregation: "sum", field: 0 })],
};
