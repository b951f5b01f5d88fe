//! A counter's per-second increase between the window's last two samples.

use super::{HistogramsInWindow, RangeFunction};
use crate::model::Sample;

pub static IRATE: RangeFunction = RangeFunction {
    name: "irate",
    doc: "A counter's per-second increase between the window's last two samples.",
    version: 1,
    eval: |samples, _| irate(samples),
    parameters: &[],
    histograms: HistogramsInWindow::LastTwo,
    counter: true,
    keeps_metric_name: false,
    scaled_from: None,
};

fn irate(samples: &[Sample]) -> Option<f64> {
    let [.., previous, last] = samples else { return None };
    let gap_ms = last.t - previous.t;
    if gap_ms == 0 {
        return None;
    }
    let increase = if last.v < previous.v { last.v } else { last.v - previous.v };
    Some(increase / (gap_ms as f64 / 1000.0))
}
