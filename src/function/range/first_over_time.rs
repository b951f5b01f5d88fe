//! The oldest value in the window.

use super::{HistogramsInWindow, RangeFunction};

pub static FIRST_OVER_TIME: RangeFunction = RangeFunction {
    name: "first_over_time",
    doc: "The oldest value in the window.",
    version: 1,
    eval: |samples, _| samples.first().map(|sample| sample.v),
    parameters: &[],
    histograms: HistogramsInWindow::Counted,
    counter: false,
    keeps_metric_name: true,
    scaled_from: None,
};
