//! A counter's increase over the window, extrapolated to its borders.

use super::RangeFunction;
use super::extrapolated::difference;

pub static INCREASE: RangeFunction = RangeFunction {
    name: "increase",
    doc: "A counter's increase over the window, extrapolated to its borders.",
    version: 1,
    eval: |samples, window| difference(samples, window, true),
    counter: true,
    keeps_metric_name: false,
    scaled_from: Some(("rate", super::Scale::TimesWindow)),
};
