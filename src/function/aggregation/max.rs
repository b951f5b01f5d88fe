//! The greatest value; NaN only when all are.

use super::{Aggregation, RollUp};
use crate::function::partial;

pub static MAX: Aggregation = Aggregation {
    name: "max",
    doc: "The greatest value; NaN only when all are.",
    version: 1,
    partial: &partial::extreme::MAX,
    fields: &["max"],
    store: |p| [p.slots[0], 0.0],
    finish: |p| p.slots[0],
    answers: &[("max", RollUp::Field { aggregation: "max", field: 0 })],
};
