//! The mean of the values in the window.

use super::RangeFunction;
use crate::function::kahan::mean;

pub static AVG_OVER_TIME: RangeFunction = RangeFunction {
    name: "avg_over_time",
    doc: "The mean of the values in the window.",
    version: 1,
    eval: |samples, _| Some(mean(samples.iter().map(|sample| sample.v))),
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};
