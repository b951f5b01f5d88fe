//! The mean of the values in the window.

use super::{HistogramsInWindow, RangeFunction};
use crate::function::kahan::mean;

pub static AVG_OVER_TIME: RangeFunction = RangeFunction {
    name: "avg_over_time",
    doc: "The mean of the values in the window.",
    version: 1,
    eval: |samples, _| Some(mean(samples.iter().map(|sample| sample.v))),
    parameters: &[],
    histograms: HistogramsInWindow::NotMixed { least: 1 },
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};
