//! The population variance of the values in a window, by a compensated running mean.

use crate::function::KahanSum;
use crate::model::Sample;

pub(super) fn variance(samples: &[Sample]) -> f64 {
    let (mut mean, mut squares, mut count) = (KahanSum::default(), KahanSum::default(), 0.0);
    for sample in samples {
        count += 1.0;
        let delta = sample.v - mean.value();
        mean.add(delta / count);
        squares.add(delta * (sample.v - mean.value()));
    }
    squares.value() / count
}
