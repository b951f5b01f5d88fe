//! Functions over the samples of one series in one window.
//!
//! An entry's `eval` sees the window's samples in time order, staleness markers removed, at least one of them. The stream
//! calls it at grid points, the query engine at the steps of a query.

mod avg_over_time;
mod count_over_time;
mod delta;
mod extrapolated;
mod increase;
mod irate;
mod last_over_time;
mod max_over_time;
mod min_over_time;
mod present_over_time;
mod rate;
mod sum_over_time;

use crate::model::Sample;
use crate::model::window::Window;

/// A registry entry.
pub struct RangeFunction {
    pub name: &'static str,
    /// One sentence for the docs table.
    pub doc: &'static str,
    /// Part of a view's identity; raised when a value would change.
    pub version: u8,
    /// The value over a window's samples; `None` when it has none.
    pub eval: fn(&[Sample], Window) -> Option<f64>,
    /// Expects a counter: a name without one of the counter suffixes earns an info annotation.
    pub counter: bool,
    /// Whether the metric's name survives.
    pub keeps_metric_name: bool,
    /// The function whose value times a constant of the window gives this one, and how to scale it.
    pub scaled_from: Option<(&'static str, Scale)>,
}

/// A factor known from the window alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Times the window's seconds.
    TimesWindow,
    /// Divided by the window's seconds.
    PerWindow,
}

/// Every range function a view can keep.
pub static RANGE_FUNCTIONS: &[&RangeFunction] = &[
    &avg_over_time::AVG_OVER_TIME,
    &count_over_time::COUNT_OVER_TIME,
    &delta::DELTA,
    &increase::INCREASE,
    &irate::IRATE,
    &last_over_time::LAST_OVER_TIME,
    &max_over_time::MAX_OVER_TIME,
    &min_over_time::MIN_OVER_TIME,
    &present_over_time::PRESENT_OVER_TIME,
    &rate::RATE,
    &sum_over_time::SUM_OVER_TIME,
];

/// The entry of a name.
pub fn range_function(name: &str) -> Option<&'static RangeFunction> {
    RANGE_FUNCTIONS.iter().find(|entry| entry.name == name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn entries_are_named_once_and_scale_both_ways() {
        let mut names: Vec<_> = RANGE_FUNCTIONS.iter().map(|entry| entry.name).collect();
        names.dedup();
        assert_eq!(names.len(), RANGE_FUNCTIONS.len());
        for entry in RANGE_FUNCTIONS {
            assert!(!entry.doc.is_empty() && entry.name == entry.name.to_lowercase());
            if let Some((from, _)) = entry.scaled_from {
                let back = range_function(from).unwrap().scaled_from;
                assert_eq!(back.map(|(name, _)| name), Some(entry.name));
            }
        }
    }

    #[track_caller]
    fn check(function: &str, points: &[(i64, f64)], expected: Option<f64>) {
        let samples: Vec<Sample> = points.iter().map(|(t, v)| Sample { t: Timestamp(t * 1000), v: *v }).collect();
        let value = (range_function(function).unwrap().eval)(&samples, Window::new(Timestamp(60_000), 60_000));
        let equal = match (value, expected) {
            (Some(a), Some(b)) => a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-12,
            (a, b) => a == b,
        };
        assert!(equal, "{function}{points:?} = {value:?}, expected {expected:?}");
    }

    #[test]
    fn values_over_a_minute() {
        let inf = f64::INFINITY;
        check("increase", &[(15, 100.0), (30, 115.0), (45, 130.0), (60, 145.0)], Some(60.0));
        check("rate", &[(15, 100.0), (30, 115.0), (45, 130.0), (60, 145.0)], Some(1.0));
        check("increase", &[(15, 5.0)], None);
        check("increase", &[(30, 10.0), (40, 15.0), (50, 2.0), (60, 6.0)], Some(11.0 / 30.0 * 35.0)); // reset; half a gap to the left
        check("increase", &[(15, 1.0), (30, 16.0), (45, 31.0), (60, 46.0)], Some(46.0)); // never below zero
        check("delta", &[(15, 1.0), (30, 16.0), (45, 31.0), (60, 46.0)], Some(60.0)); // a gauge may be
        check("delta", &[(15, 10.0), (30, 5.0), (45, 7.0), (60, 4.0)], Some(-8.0));
        check("irate", &[(15, 1.0), (30, 16.0), (45, 31.0)], Some(1.0));
        check("irate", &[(30, 16.0), (45, 3.0)], Some(0.2));
        check("irate", &[(30, 16.0)], None);
        check("min_over_time", &[(1, f64::NAN), (2, 3.0), (3, 2.0)], Some(2.0));
        check("max_over_time", &[(1, f64::NAN)], Some(f64::NAN));
        check("max_over_time", &[(1, 4.0), (2, f64::NAN)], Some(4.0));
        check("sum_over_time", &[(1, 1e100), (2, 1.0), (3, -1e100)], Some(1.0));
        check("avg_over_time", &[(1, 1.0), (2, 2.0), (3, 6.0)], Some(3.0));
        check("avg_over_time", &[(1, inf), (2, 2.0)], Some(inf));
        check("count_over_time", &[(1, f64::NAN), (2, 2.0)], Some(2.0));
        check("last_over_time", &[(1, 1.0), (2, 2.0)], Some(2.0));
        check("present_over_time", &[(1, 5.0)], Some(1.0));
    }
}
