//! A gauge's change per second, by the least squares line through the window.

use super::regression::regression;
use super::{HistogramsInWindow, RangeFunction};
use crate::model::Sample;

pub static DERIV: RangeFunction = RangeFunction {
    name: "deriv",
    doc: "A gauge's change per second, by the least squares line through the window.",
    version: 1,
    eval: |samples, _| slope(samples),
    parameters: &[],
    histograms: HistogramsInWindow::Ignored,
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};

fn slope(samples: &[Sample]) -> Option<f64> {
    let [first, _, ..] = samples else { return None };
    Some(regression(samples, first.t).0)
}
