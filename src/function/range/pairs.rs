//! What changes and resets share: neighbours of which something holds.

use crate::model::Sample;

pub(super) fn pairs(samples: &[Sample], holds: fn(f64, f64) -> bool) -> f64 {
    samples.windows(2).filter(|pair| holds(pair[0].v, pair[1].v)).count() as f64
}
