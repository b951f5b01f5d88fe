//! The compensated sum of the values.

use super::{Aggregation, HistogramsInGroup, RollUp};
use crate::function::partial;

pub static SUM: Aggregation = Aggregation {
    name: "sum",
    doc: "The compensated sum of the values.",
    version: 1,
    partial: &partial::sum::SUM,
    fields: &["sum"],
    store: |p| [p.slots[0] + p.slots[1], 0.0],
    finish: |p| p.slots[0] + p.slots[1],
    histograms: HistogramsInGroup::NotMixed,
    answers: &[("sum", RollUp::Field { aggregation: "sum", field: 0 })],
};
