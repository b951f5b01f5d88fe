//! predict_linear, which reads the step's time and a parameter beside its window.

use super::{Body, Function};
use crate::function::range::regression;
use crate::model::{Sample, Timestamp};
use crate::query::range_vector::MetricName::Dropped;

pub(super) static FUNCTIONS: &[Function] =
    &[Function { name: "predict_linear", body: Body::Window(|at, args| predict(at.samples, at.time, args[0]), Dropped) }];

/// The value `seconds` after the step's time, on the line through the window's samples.
fn predict(samples: &[Sample], time: Timestamp, seconds: f64) -> Option<f64> {
    let [_, _, ..] = samples else { return None };
    let (slope, intercept) = regression(samples, time);
    Some(slope * seconds + intercept)
}
