//! How often the value differs from the one before it; from NaN to NaN is no change.

use super::pairs::pairs;
use super::{HistogramsInWindow, RangeFunction};

pub static CHANGES: RangeFunction = RangeFunction {
    name: "changes",
    doc: "How often the value differs from the one before it; from NaN to NaN is no change.",
    version: 1,
    eval: |samples, _| Some(pairs(samples, differ)),
    parameters: &[],
    histograms: HistogramsInWindow::Neighbours,
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};

fn differ(a: f64, b: f64) -> bool {
    a != b && !(a.is_nan() && b.is_nan())
}
