//! The newest value in the window.

use super::{HistogramsInWindow, RangeFunction};

pub static LAST_OVER_TIME: RangeFunction = RangeFunction {
    name: "last_over_time",
    doc: "The newest value in the window.",
    version: 1,
    eval: |samples, _| samples.last().map(|sample| sample.v),
    parameters: &[],
    histograms: HistogramsInWindow::Counted,
    counter: false,
    keeps_metric_name: true,
    scaled_from: None,
};
