//! The mean of the values; a view keeps their sum and their number.

use super::{Aggregation, HistogramsInGroup, RollUp};
use crate::function::partial;

pub static AVG: Aggregation = Aggregation {
    name: "avg",
    doc: "The mean of the values; a view keeps their sum and their number.",
    version: 1,
    partial: &partial::sum::SUM,
    fields: &["sum", "count"],
    store: |p| [p.slots[0] + p.slots[1], p.slots[2]],
    finish: |p| (p.slots[0] + p.slots[1]) / p.slots[2],
    histograms: HistogramsInGroup::NotMixed,
    answers: &[
        ("avg", RollUp::Ratio { numerator: 0, denominator: 1 }),
        ("sum", RollUp::Field { aggregation: "sum", field: 0 }),
        ("count", RollUp::Field { aggregation: "sum", field: 1 }),
    ],
};
