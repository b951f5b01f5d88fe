//! The least value; NaN only when all are.

use super::{Aggregation, HistogramsInGroup, RollUp};
use crate::function::partial;

pub static MIN: Aggregation = Aggregation {
    name: "min",
    doc: "The least value; NaN only when all are.",
    version: 1,
    partial: &partial::extreme::MIN,
    fields: &["min"],
    store: |p| [p.slots[0], 0.0],
    finish: |p| p.slots[0],
    histograms: HistogramsInGroup::Ignored,
    answers: &[("min", RollUp::Field { aggregation: "min", field: 0 })],
};
