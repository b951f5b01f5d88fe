//! A gauge's difference over the window, extrapolated to its borders.

use super::extrapolated::difference;
use super::{HistogramsInWindow, RangeFunction};

pub static DELTA: RangeFunction = RangeFunction {
    name: "delta",
    doc: "A gauge's difference over the window, extrapolated to its borders.",
    version: 1,
    eval: |samples, at| difference(samples, at.window, false),
    parameters: &[],
    histograms: HistogramsInWindow::NotMixed { least: 2 },
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};
