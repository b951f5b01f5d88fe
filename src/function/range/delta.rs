//! A gauge's difference over the window, extrapolated to its borders.

use super::RangeFunction;
use super::extrapolated::difference;

pub static DELTA: RangeFunction = RangeFunction {
    name: "delta",
    doc: "A gauge's difference over the window, extrapolated to its borders.",
    version: 1,
    eval: |samples, window| difference(samples, window, false),
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};
