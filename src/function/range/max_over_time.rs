//! The greatest value in the window; NaN only when all are.

use super::{HistogramsInWindow, RangeFunction};

pub static MAX_OVER_TIME: RangeFunction = RangeFunction {
    name: "max_over_time",
    doc: "The greatest value in the window; NaN only when all are.",
    version: 1,
    eval: |samples, _| samples.iter().map(|sample| sample.v).reduce(|a, b| if b > a || a.is_nan() { b } else { a }),
    parameters: &[],
    histograms: HistogramsInWindow::Ignored,
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};
