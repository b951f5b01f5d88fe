//! What each PromQL function takes and gives, one line each: the table of Prometheus 3.14.
//!
//! The parser knows every function, so that a query is understood whether or not it can be evaluated here.

use super::expr::ValueType;
use ValueType::{Matrix, Scalar, String, Vector};

/// What a function takes and gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signature {
    pub name: &'static str,
    /// Types of the arguments; with [`Extra`], the last one is optional.
    pub args: &'static [ValueType],
    /// How often the last argument may stand.
    pub extra: Extra,
    pub returns: ValueType,
    /// Behind a flag in Prometheus, and may change there.
    pub experimental: bool,
}

/// How often the last argument of a function may stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extra {
    /// Exactly once.
    None,
    /// From not at all to this many times.
    UpTo(usize),
    /// As often as wanted, or not at all.
    Any,
}

impl Signature {
    /// Why a call with so many arguments is wrong, in Prometheus' words; `None` when it is not.
    pub fn count_error(&self, given: usize) -> Option<std::string::String> {
        let (name, wanted) = (self.name, self.args.len());
        let least = wanted.saturating_sub(1);
        match self.extra {
            Extra::None if given != wanted => {
                Some(format!("expected {wanted} argument(s) in call to \"{name}\", got {given}"))
            }
            Extra::UpTo(_) | Extra::Any if given < least => {
                Some(format!("expected at least {least} argument(s) in call to \"{name}\", got {given}"))
            }
            Extra::UpTo(extra) if given > least + extra => {
                Some(format!("expected at most {} argument(s) in call to \"{name}\", got {given}", least + extra))
            }
            _ => None,
        }
    }

    /// The type an argument must have, by its place from 0.
    pub fn arg_type(&self, place: usize) -> Option<ValueType> {
        self.args.get(place).or(self.args.last()).copied()
    }
}

/// The signature of a function; names are case-sensitive.
pub fn signature(name: &str) -> Option<&'static Signature> {
    SIGNATURES.binary_search_by(|signature| signature.name.cmp(name)).ok().map(|at| &SIGNATURES[at])
}

/// Aggregations that take a parameter before the expression.
pub const AGGREGATIONS_WITH_PARAM: [&str; 6] = ["bottomk", "count_values", "limit_ratio", "limitk", "quantile", "topk"];

/// Every function, sorted by name.
pub static SIGNATURES: [Signature; 90] = [
    stable("abs", &[Vector], Extra::None, Vector),
    stable("absent", &[Vector], Extra::None, Vector),
    stable("absent_over_time", &[Matrix], Extra::None, Vector),
    stable("acos", &[Vector], Extra::None, Vector),
    stable("acosh", &[Vector], Extra::None, Vector),
    stable("asin", &[Vector], Extra::None, Vector),
    stable("asinh", &[Vector], Extra::None, Vector),
    stable("atan", &[Vector], Extra::None, Vector),
    stable("atanh", &[Vector], Extra::None, Vector),
    stable("avg_over_time", &[Matrix], Extra::None, Vector),
    stable("ceil", &[Vector], Extra::None, Vector),
    stable("changes", &[Matrix], Extra::None, Vector),
    stable("clamp", &[Vector, Scalar, Scalar], Extra::None, Vector),
    stable("clamp_max", &[Vector, Scalar], Extra::None, Vector),
    stable("clamp_min", &[Vector, Scalar], Extra::None, Vector),
    stable("cos", &[Vector], Extra::None, Vector),
    stable("cosh", &[Vector], Extra::None, Vector),
    stable("count_over_time", &[Matrix], Extra::None, Vector),
    stable("day_of_month", &[Vector], Extra::UpTo(1), Vector),
    stable("day_of_week", &[Vector], Extra::UpTo(1), Vector),
    stable("day_of_year", &[Vector], Extra::UpTo(1), Vector),
    stable("days_in_month", &[Vector], Extra::UpTo(1), Vector),
    stable("deg", &[Vector], Extra::None, Vector),
    stable("delta", &[Matrix], Extra::None, Vector),
    stable("deriv", &[Matrix], Extra::None, Vector),
    experimental("double_exponential_smoothing", &[Matrix, Scalar, Scalar], Extra::None, Vector),
    experimental("end", &[], Extra::None, Scalar),
    stable("exp", &[Vector], Extra::None, Vector),
    stable("first_over_time", &[Matrix], Extra::None, Vector),
    stable("floor", &[Vector], Extra::None, Vector),
    stable("histogram_avg", &[Vector], Extra::None, Vector),
    stable("histogram_count", &[Vector], Extra::None, Vector),
    stable("histogram_fraction", &[Scalar, Scalar, Vector], Extra::None, Vector),
    stable("histogram_quantile", &[Scalar, Vector], Extra::None, Vector),
    experimental("histogram_quantiles", &[Vector, String, Scalar, Scalar], Extra::UpTo(9), Vector),
    stable("histogram_stddev", &[Vector], Extra::None, Vector),
    stable("histogram_stdvar", &[Vector], Extra::None, Vector),
    stable("histogram_sum", &[Vector], Extra::None, Vector),
    stable("hour", &[Vector], Extra::UpTo(1), Vector),
    stable("idelta", &[Matrix], Extra::None, Vector),
    stable("increase", &[Matrix], Extra::None, Vector),
    experimental("info", &[Vector, Vector], Extra::UpTo(1), Vector),
    stable("irate", &[Matrix], Extra::None, Vector),
    stable("label_join", &[Vector, String, String, String], Extra::Any, Vector),
    stable("label_replace", &[Vector, String, String, String, String], Extra::None, Vector),
    stable("last_over_time", &[Matrix], Extra::None, Vector),
    stable("ln", &[Vector], Extra::None, Vector),
    stable("log10", &[Vector], Extra::None, Vector),
    stable("log2", &[Vector], Extra::None, Vector),
    experimental("mad_over_time", &[Matrix], Extra::None, Vector),
    experimental("max_of", &[Scalar, Scalar], Extra::None, Scalar),
    stable("max_over_time", &[Matrix], Extra::None, Vector),
    experimental("min_of", &[Scalar, Scalar], Extra::None, Scalar),
    stable("min_over_time", &[Matrix], Extra::None, Vector),
    stable("minute", &[Vector], Extra::UpTo(1), Vector),
    stable("month", &[Vector], Extra::UpTo(1), Vector),
    stable("pi", &[], Extra::None, Scalar),
    stable("predict_linear", &[Matrix, Scalar], Extra::None, Vector),
    stable("present_over_time", &[Matrix], Extra::None, Vector),
    stable("quantile_over_time", &[Scalar, Matrix], Extra::None, Vector),
    stable("rad", &[Vector], Extra::None, Vector),
    experimental("range", &[], Extra::None, Scalar),
    stable("rate", &[Matrix], Extra::None, Vector),
    stable("resets", &[Matrix], Extra::None, Vector),
    stable("round", &[Vector, Scalar], Extra::UpTo(1), Vector),
    stable("scalar", &[Vector], Extra::None, Scalar),
    stable("sgn", &[Vector], Extra::None, Vector),
    stable("sin", &[Vector], Extra::None, Vector),
    stable("sinh", &[Vector], Extra::None, Vector),
    stable("sort", &[Vector], Extra::None, Vector),
    experimental("sort_by_label", &[Vector, String], Extra::Any, Vector),
    experimental("sort_by_label_desc", &[Vector, String], Extra::Any, Vector),
    stable("sort_desc", &[Vector], Extra::None, Vector),
    stable("sqrt", &[Vector], Extra::None, Vector),
    experimental("start", &[], Extra::None, Scalar),
    experimental("start_timestamp", &[Vector], Extra::None, Vector),
    stable("stddev_over_time", &[Matrix], Extra::None, Vector),
    stable("stdvar_over_time", &[Matrix], Extra::None, Vector),
    experimental("step", &[], Extra::None, Scalar),
    stable("sum_over_time", &[Matrix], Extra::None, Vector),
    stable("tan", &[Vector], Extra::None, Vector),
    stable("tanh", &[Vector], Extra::None, Vector),
    stable("time", &[], Extra::None, Scalar),
    stable("timestamp", &[Vector], Extra::None, Vector),
    experimental("ts_of_first_over_time", &[Matrix], Extra::None, Vector),
    experimental("ts_of_last_over_time", &[Matrix], Extra::None, Vector),
    experimental("ts_of_max_over_time", &[Matrix], Extra::None, Vector),
    experimental("ts_of_min_over_time", &[Matrix], Extra::None, Vector),
    stable("vector", &[Scalar], Extra::None, Vector),
    stable("year", &[Vector], Extra::UpTo(1), Vector),
];

const fn stable(name: &'static str, args: &'static [ValueType], extra: Extra, returns: ValueType) -> Signature {
    Signature { name, args, extra, returns, experimental: false }
}

const fn experimental(name: &'static str, args: &'static [ValueType], extra: Extra, returns: ValueType) -> Signature {
    Signature { name, args, extra, returns, experimental: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_unique_and_found() {
        assert!(SIGNATURES.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(SIGNATURES.iter().all(|row| signature(row.name) == Some(row)));
        assert!(signature("Rate").is_none() && signature("").is_none());
        assert!(SIGNATURES.iter().all(|row| row.extra == Extra::None || !row.args.is_empty()));
    }

    #[test]
    fn argument_counts_are_judged_in_prometheus_words() {
        for (name, given, error) in [
            ("rate", 1, None),
            ("rate", 0, Some("expected 1 argument(s) in call to \"rate\", got 0")),
            ("hour", 0, None),
            ("hour", 2, Some("expected at most 1 argument(s) in call to \"hour\", got 2")),
            ("label_join", 2, Some("expected at least 3 argument(s) in call to \"label_join\", got 2")),
            ("label_join", 9, None),
            ("histogram_quantiles", 12, None),
            ("histogram_quantiles", 13, Some("expected at most 12 argument(s) in call to \"histogram_quantiles\", got 13")),
        ] {
            let signature = signature(name).unwrap();
            assert_eq!(signature.count_error(given).as_deref(), error, "{name} {given}");
        }
        assert_eq!(signature("label_join").unwrap().arg_type(7), Some(String));
        assert_eq!(signature("time").unwrap().arg_type(0), None);
    }
}
