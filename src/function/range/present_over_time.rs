//! One when the window has a sample.

use super::{HistogramsInWindow, RangeFunction};

pub static PRESENT_OVER_TIME: RangeFunction = RangeFunction {
    name: "present_over_time",
    doc: "One when the window has a sample.",
    version: 1,
    eval: |_, _| Some(1.0),
    parameters: &[],
    histograms: HistogramsInWindow::Counted,
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};
