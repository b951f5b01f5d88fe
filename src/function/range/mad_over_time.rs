//! The median distance of the values from their median; NaN when any value is.

use super::{HistogramsInWindow, RangeFunction};
use crate::function::quantile::quantile;
use crate::model::Sample;

pub static MAD_OVER_TIME: RangeFunction = RangeFunction {
    name: "mad_over_time",
    doc: "The median distance of the values from their median; NaN when any value is.",
    version: 1,
    eval: |samples, _| Some(median_deviation(samples)),
    parameters: &[],
    histograms: HistogramsInWindow::Ignored,
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};

fn median_deviation(samples: &[Sample]) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(|sample| sample.v).collect();
    if values.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    let median = quantile(0.5, &mut values);
    values.iter_mut().for_each(|v| *v = (*v - median).abs());
    quantile(0.5, &mut values)
}
