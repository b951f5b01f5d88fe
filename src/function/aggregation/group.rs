//! One for every group that has a series.

use super::{Aggregation, HistogramsInGroup, RollUp};
use crate::function::partial;

pub static GROUP: Aggregation = Aggregation {
    name: "group",
    doc: "One for every group that has a series.",
    version: 1,
    partial: &partial::count::COUNT,
    fields: &["group"],
    store: |_| [1.0, 0.0],
    finish: |_| 1.0,
    histograms: HistogramsInGroup::Counted,
    answers: &[("group", RollUp::Field { aggregation: "group", field: 0 })],
};
