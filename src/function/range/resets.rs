//! How often the value is less than the one before it.

use super::pairs::pairs;
use super::{HistogramsInWindow, RangeFunction};

pub static RESETS: RangeFunction = RangeFunction {
    name: "resets",
    doc: "How often the value is less than the one before it.",
    version: 1,
    eval: |samples, _| Some(pairs(samples, |a, b| b < a)),
    parameters: &[],
    histograms: HistogramsInWindow::Neighbours,
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};
