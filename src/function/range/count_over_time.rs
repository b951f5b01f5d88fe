//! The number of samples in the window.

use super::{HistogramsInWindow, RangeFunction};

pub static COUNT_OVER_TIME: RangeFunction = RangeFunction {
    name: "count_over_time",
    doc: "The number of samples in the window.",
    version: 1,
    eval: |samples, _| Some(samples.len() as f64),
    parameters: &[],
    histograms: HistogramsInWindow::Counted,
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};
