//! When the oldest sample of the window was taken.

use super::{HistogramsInWindow, RangeFunction};

pub static TS_OF_FIRST_OVER_TIME: RangeFunction = RangeFunction {
    name: "ts_of_first_over_time",
    doc: "When the oldest sample of the window was taken.",
    version: 1,
    eval: |samples, _| samples.first().map(|sample| sample.t.seconds()),
    parameters: &[],
    histograms: HistogramsInWindow::Counted,
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};
