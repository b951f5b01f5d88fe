//! The population standard deviation of the values in the window.

use super::variance::variance;
use super::{HistogramsInWindow, RangeFunction};

pub static STDDEV_OVER_TIME: RangeFunction = RangeFunction {
    name: "stddev_over_time",
    doc: "The population standard deviation of the values in the window.",
    version: 1,
    eval: |samples, _| Some(variance(samples).sqrt()),
    parameters: &[],
    histograms: HistogramsInWindow::Ignored,
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};
