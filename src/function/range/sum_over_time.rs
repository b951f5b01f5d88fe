//! The compensated sum of the values in the window.

use super::{HistogramsInWindow, RangeFunction};
use crate::function::kahan::KahanSum;
use crate::model::Sample;

pub static SUM_OVER_TIME: RangeFunction = RangeFunction {
    name: "sum_over_time",
    doc: "The compensated sum of the values in the window.",
    version: 1,
    eval: |samples, _| Some(sum(samples)),
    parameters: &[],
    histograms: HistogramsInWindow::NotMixed { least: 1 },
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};

fn sum(samples: &[Sample]) -> f64 {
    let mut sum = KahanSum::default();
    samples.iter().for_each(|sample| sum.add(sample.v));
    sum.value()
}
