//! A quantile of the values in the window.

use super::{HistogramsInWindow, Moment, Parameter, RangeFunction};
use crate::function::quantile::quantile;
use crate::model::Sample;

pub static QUANTILE_OVER_TIME: RangeFunction = RangeFunction {
    name: "quantile_over_time",
    doc: "A quantile of the values in the window.",
    version: 1,
    eval: quantile_of,
    parameters: &[Parameter::Quantile],
    histograms: HistogramsInWindow::Ignored,
    counter: false,
    keeps_metric_name: false,
    scaled_from: None,
};

fn quantile_of(samples: &[Sample], at: &Moment<'_>) -> Option<f64> {
    let [q] = at.parameters else { return None };
    let mut values: Vec<f64> = samples.iter().map(|sample| sample.v).collect();
    Some(quantile(*q, &mut values))
}
