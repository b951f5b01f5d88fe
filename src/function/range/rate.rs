//! A counter's per-second increase over the window, extrapolated to its borders.

use super::RangeFunction;
use super::extrapolated::difference;

pub static RATE: RangeFunction = RangeFunction {
    name: "rate",
    doc: "A counter's per-second increase over the window, extrapolated to its borders.",
    version: 1,
    eval: |samples, window| difference(samples, window, true).map(|increase| increase / (window.range_ms as f64 / 1000.0)),
    counter: true,
    keeps_metric_name: false,
    scaled_from: Some(("increase", super::Scale::PerWindow)),
};
