//! Expressions that nobody wrote, for both engines to answer over the same samples.
//!
//! They follow from seeds; PREFOLD_E2E_CASES asks more of them. Left out is what Debian's 2.42 does not have, or has with
//! another meaning that [`super::differences::DIFFERENCES`] lists, and rates of gauges, whose resets would be limited to zero.

use prefold::promql::parse;

use crate::fuzz::generate::{Choices, Words, expression};

/// Of one run, unless PREFOLD_E2E_CASES says otherwise.
const CASES: u64 = 600;

/// The exporter's series, and windows that the samples fill, of which no step of a subquery stands on an edge.
const WORDS: Words = Words {
    selectors: &[
        "e2e_work_total",
        "e2e_work_total{shard=\"c\"}",
        "e2e_level",
        "e2e_level{zone!=\"east\"}",
        "e2e_latency_bucket",
        "{__name__=~\"e2e_(level|work_total)\", shard=~\"a|d\"}",
        "e2e_nothing",
    ],
    counters: &["e2e_work_total", "e2e_work_total{shard=~\"c|d\"}", "e2e_latency_bucket"],
    ranges: &["7s", "9s", "11s", "15s"],
    steps: &["2s"],
    shifts: &["", "", "", "", " offset 2s", " offset -2s", " @ start()", " @ end()", " @ end() offset 2s"],
    numbers: &["0", "1", "2", "0.5", "-1", "1e3", "1e308", "NaN", "Inf", "-Inf", "0x1F", "300", "-0", "9223372036854775808"],
    strings: &["shard", "zone", "__name__", "le", "", "$1", "(.*)", "(e)(.*)", "é", "%"],
    labels: &["shard", "zone", "le", "__name__", "shard, zone", "nothing", ""],
    matchings: &[
        "",
        "",
        "on (shard)",
        "on ()",
        "ignoring (shard)",
        "ignoring (le)",
        "on (zone) group_left ()",
        "on (shard) group_left (zone)",
        "ignoring (le) group_right ()",
        "on (shard, zone) group_right (le)",
    ],
    absent: &[
        "atan2",
        "double_exponential_smoothing",
        "end",
        "first_over_time",
        "histogram_avg",
        "histogram_fraction",
        "histogram_quantiles",
        "histogram_stddev",
        "histogram_stdvar",
        "info",
        "limit_ratio",
        "limitk",
        "mad_over_time",
        "max_of",
        "min_of",
        "range",
        "sort_by_label",
        "sort_by_label_desc",
        "start",
        "start_timestamp",
        "step",
        "ts_of_first_over_time",
        "ts_of_last_over_time",
        "ts_of_max_over_time",
        "ts_of_min_over_time",
    ],
};

pub fn expressions() -> Vec<String> {
    let cases =
        std::env::var("PREFOLD_E2E_CASES").map_or(CASES, |cases| cases.parse().expect("PREFOLD_E2E_CASES is a number"));
    let generated = (0..cases).map(|case| {
        let mut choices = Choices::over(&WORDS, 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(case + 1));
        let depth = 1 + choices.below(3);
        expression(&mut choices, depth)
    });
    generated.filter(|text| parse(text).is_ok()).collect()
}
