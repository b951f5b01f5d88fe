//! The least squares line through the samples of a window, which deriv and predict_linear read.

use crate::function::KahanSum;
use crate::model::{Sample, Timestamp};

/// Slope per second and value at `origin`; the samples are at least one.
pub fn regression(samples: &[Sample], origin: Timestamp) -> (f64, f64) {
    let first = samples[0].v;
    if samples.iter().all(|sample| sample.v == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut x_sum, mut y_sum) = (KahanSum::default(), KahanSum::default());
    let (mut xy_sum, mut xx_sum) = (KahanSum::default(), KahanSum::default());
    for sample in samples {
        let x = (sample.t - origin) as f64 / 1000.0;
        x_sum.add(x);
        y_sum.add(sample.v);
        xy_sum.add(x * sample.v);
        xx_sum.add(x * x);
    }
    let n = samples.len() as f64;
    let (x, y) = (x_sum.value(), y_sum.value());
    let covariance = xy_sum.value() - x * y / n;
    let variance = xx_sum.value() - x * x / n;
    let slope = covariance / variance;
    (slope, y / n - slope * x / n)
}
