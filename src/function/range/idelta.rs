//! A gauge's difference between the window's last two samples.

use super::{HistogramsInWindow, RangeFunction};
use crate::model::Sample;

pub static IDELTA: RangeFunction = RangeFunction {
    name: "idelta",
    doc: "A gauge's difference between the window's last two samples.",
    version: 1,
    eval: |samples, _| last_difference(samples),
    parameters: &[],
    histograms: HistogramsInWindow::LastTwo,
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};

fn last_difference(samples: &[Sample]) -> Option<f64> {
    let [.., previous, last] = samples else { return None };
    (last.t != previous.t).then_some(last.v - previous.v)
}
