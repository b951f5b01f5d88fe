//! The least value in the window; NaN only when all are.

use super::{HistogramsInWindow, RangeFunction};

pub static MIN_OVER_TIME: RangeFunction = RangeFunction {
    name: "min_over_time",
    doc: "The least value in the window; NaN only when all are.",
    version: 1,
    eval: |samples, _| samples.iter().map(|sample| sample.v).reduce(|a, b| if b < a || a.is_nan() { b } else { a }),
    parameters: &[],
    histograms: HistogramsInWindow::Ignored,
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};
