//! The population variance of the values in the window.

use super::variance::variance;
use super::{HistogramsInWindow, RangeFunction};

pub static STDVAR_OVER_TIME: RangeFunction = RangeFunction {
    name: "stdvar_over_time",
    doc: "The population variance of the values in the window.",
    version: 1,
    eval: |samples, _| Some(variance(samples)),
    parameters: &[],
    histograms: HistogramsInWindow::Ignored,
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};
