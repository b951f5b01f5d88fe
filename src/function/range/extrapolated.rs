//! What rate, increase and delta share: a difference, stretched to the window's borders (semantics.md S2).

use crate::model::Sample;
use crate::model::window::Window;

/// The difference between last and first sample, counter resets added when `counter`, extrapolated to the window's borders.
///
/// Source: Prometheus 3's extrapolatedRate without start timestamps.
pub fn difference(samples: &[Sample], window: Window, counter: bool) -> Option<f64> {
    let (first, last) = (samples.first()?, samples.last()?);
    if samples.len() < 2 {
        return None;
    }
    let mut delta = last.v - first.v;
    if counter {
        let mut previous = first.v;
        for sample in samples {
            if sample.v < previous {
                delta += previous;
            }
            previous = sample.v;
        }
    }
    let sampled = (last.t - first.t) as f64 / 1000.0;
    let average = sampled / (samples.len() - 1) as f64;
    let threshold = average * 1.1;
    let mut to_start = (first.t - window.start()) as f64 / 1000.0;
    let mut to_end = (window.end - last.t) as f64 / 1000.0;
    if to_start >= threshold {
        to_start = average / 2.0;
    }
    if counter && delta > 0.0 && first.v >= 0.0 {
        to_start = to_start.min(sampled * (first.v / delta));
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    Some(delta * ((sampled + to_start + to_end) / sampled))
}
