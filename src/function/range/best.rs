//! What ts_of_max_over_time and ts_of_min_over_time share: when the best value was seen last.

use crate::model::Sample;

/// Any value is better than NaN.
pub(super) fn time_of_best(samples: &[Sample], better: fn(f64, f64) -> bool) -> Option<f64> {
    let best = samples.iter().reduce(|best, s| if better(s.v, best.v) || best.v.is_nan() { s } else { best });
    best.map(|sample| sample.t.seconds())
}
