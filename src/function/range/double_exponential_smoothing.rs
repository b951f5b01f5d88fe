//! The smoothed newest value of the window, by Holt's linear method: a smoothed level and a smoothed trend.

use super::{HistogramsInWindow, Moment, Parameter, RangeFunction};
use crate::model::Sample;

pub static DOUBLE_EXPONENTIAL_SMOOTHING: RangeFunction = RangeFunction {
    name: "double_exponential_smoothing",
    doc: "The smoothed newest value of the window, by Holt's linear method: a smoothed level and a smoothed trend.",
    version: 1,
    eval: smooth,
    parameters: &[Parameter::Factor { name: "smoothing", short: "sf" }, Parameter::Factor { name: "trend", short: "tf" }],
    histograms: HistogramsInWindow::Ignored,
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};

fn smooth(samples: &[Sample], at: &Moment<'_>) -> Option<f64> {
    let ([first, second, ..], [sf, tf]) = (samples, at.parameters) else { return None };
    let (mut previous, mut level, mut trend) = (0.0, first.v, second.v - first.v);
    for (place, sample) in samples.iter().enumerate().skip(1) {
        if place > 1 {
            trend = tf * (level - previous) + (1.0 - tf) * trend;
        }
        (previous, level) = (level, sf * sample.v + (1.0 - sf) * (level + trend));
    }
    Some(level)
}
