//! Functions of one value: arithmetic, rounding, logarithms, angles.

use super::{Body, Function};

pub(super) static FUNCTIONS: &[Function] = &[
    Function { name: "abs", body: Body::Value(f64::abs) },
    Function { name: "acos", body: Body::Value(f64::acos) },
    Function { name: "acosh", body: Body::Value(f64::acosh) },
    Function { name: "asin", body: Body::Value(f64::asin) },
    Function { name: "asinh", body: Body::Value(f64::asinh) },
    Function { name: "atan", body: Body::Value(f64::atan) },
    Function { name: "atanh", body: Body::Value(f64::atanh) },
    Function { name: "ceil", body: Body::Value(f64::ceil) },
    Function { name: "clamp", body: Body::ValueWith(|v, bounds| clamp(v, bounds[0], bounds[1])) },
    Function { name: "clamp_max", body: Body::ValueWith(|v, bounds| Some(least(bounds[0], v))) },
    Function { name: "clamp_min", body: Body::ValueWith(|v, bounds| Some(greatest(bounds[0], v))) },
    Function { name: "cos", body: Body::Value(f64::cos) },
    Function { name: "cosh", body: Body::Value(f64::cosh) },
    Function { name: "deg", body: Body::Value(f64::to_degrees) },
    Function { name: "exp", body: Body::Value(f64::exp) },
    Function { name: "floor", body: Body::Value(f64::floor) },
    Function { name: "ln", body: Body::Value(f64::ln) },
    Function { name: "log10", body: Body::Value(f64::log10) },
    Function { name: "log2", body: Body::Value(f64::log2) },
    Function { name: "rad", body: Body::Value(f64::to_radians) },
    Function { name: "round", body: Body::ValueWith(|v, to| Some(round(v, to.first().copied().unwrap_or(1.0)))) },
    Function {
        name: "sgn",
        body: Body::Value(|v| {
            if v < 0.0 {
                -1.0
            } else if v > 0.0 {
                1.0
            } else {
                v
            }
        }),
    },
    Function { name: "sin", body: Body::Value(f64::sin) },
    Function { name: "sinh", body: Body::Value(f64::sinh) },
    Function { name: "sqrt", body: Body::Value(f64::sqrt) },
    Function { name: "tan", body: Body::Value(f64::tan) },
    Function { name: "tanh", body: Body::Value(f64::tanh) },
];

fn clamp(v: f64, lower: f64, upper: f64) -> Option<f64> {
    // Bounds that are not numbers do not contradict each other.
    if upper < lower { None } else { Some(greatest(lower, least(upper, v))) }
}

/// The greater of two; NaN when one is, unless the other is +Inf.
pub(super) fn greatest(a: f64, b: f64) -> f64 {
    if (a.is_nan() || b.is_nan()) && a != f64::INFINITY && b != f64::INFINITY { f64::NAN } else { a.max(b) }
}

/// The lesser of two; NaN when one is, unless the other is -Inf.
pub(super) fn least(a: f64, b: f64) -> f64 {
    if (a.is_nan() || b.is_nan()) && a != f64::NEG_INFINITY && b != f64::NEG_INFINITY { f64::NAN } else { a.min(b) }
}

/// To the nearest multiple, halves up. By the inverse, so that tenths come out as written.
fn round(v: f64, to: f64) -> f64 {
    let inverse = 1.0 / to;
    (v * inverse + 0.5).floor() / inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_and_bounds() {
        assert_eq!((round(-2.5, 1.0), round(2.5, 1.0), round(0.05, 0.1), round(17.0, 5.0)), (-2.0, 3.0, 0.1, 15.0));
        assert_eq!((clamp(5.0, 1.0, 3.0), clamp(5.0, 3.0, 1.0)), (Some(3.0), None));
        assert!(clamp(5.0, f64::NAN, 3.0).unwrap().is_nan() && greatest(1.0, f64::NAN).is_nan());
        assert_eq!(greatest(f64::INFINITY, f64::NAN), f64::INFINITY);
    }
}
