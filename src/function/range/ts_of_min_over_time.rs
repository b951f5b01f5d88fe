//! When the least value of the window was seen last.

use super::best::time_of_best;
use super::{HistogramsInWindow, RangeFunction};

pub static TS_OF_MIN_OVER_TIME: RangeFunction = RangeFunction {
    name: "ts_of_min_over_time",
    doc: "When the least value of the window was seen last.",
    version: 1,
    eval: |samples, _| time_of_best(samples, |v, best| v <= best),
    parameters: &[],
    histograms: HistogramsInWindow::Ignored,
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};
