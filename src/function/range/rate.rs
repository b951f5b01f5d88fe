//! A counter's per-second increase over the window, extrapolated to its borders.

use super::extrapolated::difference;
use super::{HistogramsInWindow, RangeFunction};

pub static RATE: RangeFunction = RangeFunction {
    name: "rate",
    doc: "A counter's per-second increase over the window, extrapolated to its borders.",
    version: 1,
    eval: |samples, at| difference(samples, at.window, true).map(|increase| increase / (at.window.range_ms as f64 / 1000.0)),
    parameters: &[],
    histograms: HistogramsInWindow::NotMixed { least: 2 },
    counter: true,
    keeps_metric_name: false,
    scaled_from: Some(("increase", super::Scale::PerWindow)),
};
