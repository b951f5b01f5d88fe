//! The value some seconds after the evaluation's time, on the least squares line through the window.

use super::regression::regression;
use super::{HistogramsInWindow, Moment, Parameter, RangeFunction};
use crate::model::Sample;

pub static PREDICT_LINEAR: RangeFunction = RangeFunction {
    name: "predict_linear",
    doc: "The value some seconds after the evaluation's time, on the least squares line through the window.",
    version: 1,
    eval: predict,
    parameters: &[Parameter::Number],
    histograms: HistogramsInWindow::Ignored,
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};

fn predict(samples: &[Sample], at: &Moment<'_>) -> Option<f64> {
    let ([_, _, ..], [seconds]) = (samples, at.parameters) else { return None };
    let (slope, intercept) = regression(samples, at.time);
    Some(slope * seconds + intercept)
}
