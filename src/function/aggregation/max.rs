//! The greatest value; NaN only when all are.

use super::{Aggregation, HistogramsInGroup, RollUp};
use crate::function::partial;

pub static MAX: Aggregation = Aggregation {
    name: "max",
    doc: "The greatest value; NaN only when all are.",
    version: 1,
    partial: &partial::extreme::MAX,
    fields: &["max"],
    store: |p| [p.slots[0], 0.0],
    finish: |p| p.slots[0],
    histograms: HistogramsInGroup::Ignored,
    answers: &[("max", RollUp::Field { aggregation: "max", field: 0 })],
};
