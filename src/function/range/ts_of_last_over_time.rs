//! When the newest sample of the window was taken.

use super::{HistogramsInWindow, RangeFunction};

pub static TS_OF_LAST_OVER_TIME: RangeFunction = RangeFunction {
    name: "ts_of_last_over_time",
    doc: "When the newest sample of the window was taken.",
    version: 1,
    eval: |samples, _| samples.last().map(|sample| sample.t.seconds()),
    parameters: &[],
    histograms: HistogramsInWindow::Counted,
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};
