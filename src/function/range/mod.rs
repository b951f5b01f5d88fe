//! Functions over the samples of one series in one window.
//!
//! An entry's `eval` sees the window's samples in time order, staleness markers removed, at least one of them. The stream
//! calls it at grid points, the query engine at the steps of a query. Some take parameters as well, which no view keeps yet.

mod avg_over_time;
mod best;
mod changes;
mod count_over_time;
mod delta;
mod deriv;
mod double_exponential_smoothing;
mod extrapolated;
mod first_over_time;
mod idelta;
mod increase;
mod irate;
mod last_over_time;
mod mad_over_time;
mod max_over_time;
mod min_over_time;
mod pairs;
mod predict_linear;
mod present_over_time;
mod quantile_over_time;
mod rate;
mod regression;
mod resets;
mod stddev_over_time;
mod stdvar_over_time;
mod sum_over_time;
mod ts_of_first_over_time;
mod ts_of_last_over_time;
mod ts_of_max_over_time;
mod ts_of_min_over_time;
mod variance;

use crate::model::window::Window;
use crate::model::{Sample, Timestamp};

/// What a function is evaluated at, beside the samples.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    pub window: Window,
    /// The grid point or step: the window's end, but for `offset` and `@`.
    pub time: Timestamp,
    /// The values of the parameters, in the order in which a call has them.
    pub parameters: &'a [f64],
}

impl Moment<'_> {
    /// The end of a window, for a function without parameters.
    pub fn end_of(window: Window) -> Moment<'static> {
        Moment { window, time: window.end, parameters: &[] }
    }
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    Number,
    /// From 0 to 1; anything else is answered with a warning.
    Quantile,
    /// More than 0 and less than 1; anything else is an error.
    Factor {
        name: &'static str,
        short: &'static str,
    },
}

/// What a function makes of native histograms in a window. The stream never meets one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistogramsInWindow {
    /// They are passed over.
    Ignored,
    /// They count like any sample: the function looks at no value, or gives one as it is.
    Counted,
    /// A window that mixes them with floats has no value; of them alone there is one from `least` on.
    NotMixed { least: usize },
    /// Only the last two samples count, and have a value when they are of a kind.
    LastTwo,
    /// Each two neighbours count; of two kinds they differ.
    Neighbours,
}

/// A registry entry.
pub struct RangeFunction {
    pub name: &'static str,
    /// One sentence for the docs table.
    pub doc: &'static str,
    /// Part of a view's identity; raised when a value would change.
    pub version: u8,
    /// The value over a window's samples; `None` when it has none.
    pub eval: fn(&[Sample], &Moment<'_>) -> Option<f64>,
    /// The scalars that a call has beside the range vector.
    pub parameters: &'static [Parameter],
    pub histograms: HistogramsInWindow,
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

/// Functions of a window's samples that no view keeps yet: only queries evaluate them. One that moves up to
/// [`RANGE_FUNCTIONS`] is folded by the stream as it is.
pub static OTHER_RANGE_FUNCTIONS: &[&RangeFunction] = &[
    &changes::CHANGES,
    &deriv::DERIV,
    &double_exponential_smoothing::DOUBLE_EXPONENTIAL_SMOOTHING,
    &first_over_time::FIRST_OVER_TIME,
    &idelta::IDELTA,
    &mad_over_time::MAD_OVER_TIME,
    &predict_linear::PREDICT_LINEAR,
    &quantile_over_time::QUANTILE_OVER_TIME,
    &resets::RESETS,
    &stddev_over_time::STDDEV_OVER_TIME,
    &stdvar_over_time::STDVAR_OVER_TIME,
    &ts_of_first_over_time::TS_OF_FIRST_OVER_TIME,
    &ts_of_last_over_time::TS_OF_LAST_OVER_TIME,
    &ts_of_max_over_time::TS_OF_MAX_OVER_TIME,
    &ts_of_min_over_time::TS_OF_MIN_OVER_TIME,
];

/// The entry of a function that a view can keep.
pub fn range_function(name: &str) -> Option<&'static RangeFunction> {
    RANGE_FUNCTIONS.iter().find(|entry| entry.name == name).copied()
}

/// The entry of a function of windows, whether a view can keep it or not.
pub fn window_function(name: &str) -> Option<&'static RangeFunction> {
    range_function(name).or_else(|| OTHER_RANGE_FUNCTIONS.iter().find(|entry| entry.name == name).copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn entries_are_named_once_and_scale_both_ways() {
        let all = || RANGE_FUNCTIONS.iter().chain(OTHER_RANGE_FUNCTIONS);
        let mut names: Vec<_> = all().map(|entry| entry.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().count());
        for entry in all() {
            assert!(!entry.doc.is_empty() && entry.name == entry.name.to_lowercase());
            assert!(entry.parameters.is_empty() || range_function(entry.name).is_none(), "{}: a view has none", entry.name);
            if let Some((from, _)) = entry.scaled_from {
                let back = range_function(from).unwrap().scaled_from;
                assert_eq!(back.map(|(name, _)| name), Some(entry.name));
            }
        }
    }

    #[track_caller]
    fn check(function: &str, points: &[(i64, f64)], expected: Option<f64>) {
        check_with(function, &[], points, expected);
    }

    #[track_caller]
    fn check_with(function: &str, parameters: &[f64], points: &[(i64, f64)], expected: Option<f64>) {
        let moment = Moment { parameters, ..Moment::end_of(Window::new(Timestamp(60_000), 60_000)) };
        let samples: Vec<Sample> = points.iter().map(|(t, v)| Sample { t: Timestamp(t * 1000), v: *v }).collect();
        let value = (window_function(function).unwrap().eval)(&samples, &moment);
        let equal = match (value, expected) {
            (Some(a), Some(b)) => a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-12,
            (a, b) => a == b,
        };
        assert!(equal, "{function}{points:?} = {value:?}, expected {expected:?}");
    }

    #[test]
    fn values_over_a_minute() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
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
        check("first_over_time", &[(1, 5.0), (2, 6.0)], Some(5.0));
        check("changes", &[(1, 5.0), (2, 5.0), (3, nan), (4, nan), (5, 5.0)], Some(2.0));
        check("resets", &[(1, 5.0), (2, 4.0), (3, nan), (4, 3.0), (5, 1.0)], Some(2.0));
        check("idelta", &[(1, 5.0), (2, 4.0), (3, 7.0)], Some(3.0));
        check("idelta", &[(3, 7.0)], None);
        check("deriv", &[(10, 5.0), (20, 25.0), (30, 45.0)], Some(2.0));
        check("deriv", &[(10, inf), (20, inf)], Some(nan));
        check("deriv", &[(10, 4.0)], None);
        check("stdvar_over_time", &[(1, 1.0), (2, 5.0)], Some(4.0));
        check("stddev_over_time", &[(1, 1.0), (2, 5.0)], Some(2.0));
        check("mad_over_time", &[(1, 4.0), (2, 6.0), (3, 2.0), (4, 1.0), (5, 999.0)], Some(2.0));
        check("mad_over_time", &[(1, 4.0), (2, nan)], Some(nan));
        check("ts_of_first_over_time", &[(1, 4.0), (2, nan)], Some(1.0));
        check("ts_of_last_over_time", &[(1, 4.0), (2, nan)], Some(2.0));
        check("ts_of_max_over_time", &[(1, nan), (2, 3.0), (3, 3.0), (4, 1.0), (5, nan)], Some(3.0));
        check("ts_of_min_over_time", &[(1, nan), (2, 3.0), (3, 3.0), (4, 9.0), (5, nan)], Some(3.0));
    }

    #[test]
    fn values_that_depend_on_parameters() {
        check_with("predict_linear", &[10.0], &[(10, 5.0), (20, 25.0), (30, 45.0)], Some(125.0)); // from the moment on
        check_with("predict_linear", &[10.0], &[(10, 5.0)], None);
        check_with("quantile_over_time", &[0.25], &[(1, 5.0), (2, 1.0), (3, 3.0)], Some(2.0));
        check_with("quantile_over_time", &[2.0], &[(1, 5.0)], Some(f64::INFINITY));
        check_with("double_exponential_smoothing", &[0.5, 0.5], &[(1, 1.0), (2, 2.0), (3, 3.0)], Some(3.0));
        check_with("double_exponential_smoothing", &[0.5, 0.5], &[(1, 1.0), (2, 3.0), (3, 3.0)], Some(4.0));
        check_with("double_exponential_smoothing", &[0.5, 0.5], &[(1, 1.0)], None);
    }
}
