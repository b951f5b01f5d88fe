//! Functions over windows that views do not keep: changes, regressions, spread.

use super::{Body, Function};
use crate::function::KahanSum;
use crate::model::{Sample, Timestamp};
use crate::query::aggregate::quantile;
use crate::query::range_vector::{MetricName::Dropped, MetricName::Kept};

pub(super) static FUNCTIONS: &[Function] = &[
    Function { name: "changes", body: Body::Window(|at, _| Some(pairs(at.samples, differ)), Dropped) },
    Function { name: "deriv", body: Body::Window(|at, _| slope(at.samples), Dropped) },
    Function { name: "first_over_time", body: Body::Window(|at, _| at.samples.first().map(|s| s.v), Kept) },
    Function { name: "idelta", body: Body::Window(|at, _| last_difference(at.samples), Dropped) },
    Function { name: "mad_over_time", body: Body::Window(|at, _| Some(median_deviation(at.samples)), Dropped) },
    Function { name: "predict_linear", body: Body::Window(|at, args| predict(at.samples, at.time, args[0]), Dropped) },
    Function { name: "resets", body: Body::Window(|at, _| Some(pairs(at.samples, |a, b| b < a)), Dropped) },
    Function { name: "stddev_over_time", body: Body::Window(|at, _| Some(variance(at.samples).sqrt()), Dropped) },
    Function { name: "stdvar_over_time", body: Body::Window(|at, _| Some(variance(at.samples)), Dropped) },
    Function { name: "ts_of_first_over_time", body: Body::Window(|at, _| at.samples.first().map(time_of), Dropped) },
    Function { name: "ts_of_last_over_time", body: Body::Window(|at, _| at.samples.last().map(time_of), Dropped) },
    Function { name: "ts_of_max_over_time", body: Body::Window(|at, _| extreme(at.samples, |v, best| v >= best), Dropped) },
    Function { name: "ts_of_min_over_time", body: Body::Window(|at, _| extreme(at.samples, |v, best| v <= best), Dropped) },
];

fn time_of(sample: &Sample) -> f64 {
    sample.t.seconds()
}

/// Neighbours of which something holds.
fn pairs(samples: &[Sample], holds: fn(f64, f64) -> bool) -> f64 {
    samples.windows(2).filter(|pair| holds(pair[0].v, pair[1].v)).count() as f64
}

/// From NaN to NaN is no change.
fn differ(a: f64, b: f64) -> bool {
    a != b && !(a.is_nan() && b.is_nan())
}

fn last_difference(samples: &[Sample]) -> Option<f64> {
    let [.., previous, last] = samples else { return None };
    (last.t != previous.t).then_some(last.v - previous.v)
}

/// When the best value was seen last.
fn extreme(samples: &[Sample], better: fn(f64, f64) -> bool) -> Option<f64> {
    let best = samples.iter().reduce(|best, s| if better(s.v, best.v) || best.v.is_nan() { s } else { best });
    best.map(time_of)
}

/// The population variance, by a compensated running mean.
fn variance(samples: &[Sample]) -> f64 {
    let (mut mean, mut squares, mut count) = (KahanSum::default(), KahanSum::default(), 0.0);
    for sample in samples {
        count += 1.0;
        let delta = sample.v - mean.value();
        mean.add(delta / count);
        squares.add(delta * (sample.v - mean.value()));
    }
    squares.value() / count
}

/// The median distance from the median; NaN when any value is.
fn median_deviation(samples: &[Sample]) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(|sample| sample.v).collect();
    if values.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    let median = quantile(0.5, &mut values);
    values.iter_mut().for_each(|v| *v = (*v - median).abs());
    quantile(0.5, &mut values)
}

fn slope(samples: &[Sample]) -> Option<f64> {
    let [first, _, ..] = samples else { return None };
    Some(regression(samples, first.t).0)
}

/// The value `seconds` after the step's time, on the line through the window's samples.
fn predict(samples: &[Sample], time: Timestamp, seconds: f64) -> Option<f64> {
    let [_, _, ..] = samples else { return None };
    let (slope, intercept) = regression(samples, time);
    Some(slope * seconds + intercept)
}

/// Slope per second and value at `origin` of the least squares line.
fn regression(samples: &[Sample], origin: Timestamp) -> (f64, f64) {
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
