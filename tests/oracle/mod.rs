//! The naive oracle: what a view's values and coverage are, from all samples at once.
//!
//! Stupid on purpose, and shares no code with the engine: it loops over every sample for every grid point, keeps no state
//! between grid points, and imports the model alone. It can see wrong values, wrong times, wrong groups and wrong spans; it
//! cannot see what is wrong in the model, nor in the order of additions.

use std::collections::{BTreeMap, BTreeSet};

use prefold::model::{Labels, Matcher, Sample, Selector, is_stale};

pub const LOOKBACK_MS: i64 = 300_000;
const FUTURE_MS: i64 = 600_000;

/// A record of the log; without series it is a tick.
#[derive(Clone, Debug)]
pub struct Record {
    pub partition: u16,
    pub log_time: i64,
    pub sender: String,
    pub series: Vec<(Labels, Vec<Sample>)>,
}

/// What is kept.
#[derive(Clone, Debug)]
pub struct Rule {
    pub aggregation: &'static str,
    pub by: Option<Vec<&'static str>>,
    pub without: Option<Vec<&'static str>>,
    /// Empty for a bare selector.
    pub function: &'static str,
    pub selector: Selector,
    pub window_ms: i64,
    pub step_ms: i64,
    pub max_delay_ms: i64,
    pub tolerance: f64,
}

impl Rule {
    /// `sum by (g) (count_over_time(x[window]))`, every second.
    pub fn count(window_ms: i64, max_delay_ms: i64) -> Rule {
        Rule {
            aggregation: "sum",
            by: Some(vec!["g"]),
            without: None,
            function: "count_over_time",
            selector: Selector::new(vec![Matcher::equal("__name__", "x")]),
            window_ms,
            step_ms: 1_000,
            max_delay_ms,
            tolerance: 0.0,
        }
    }
}

/// One emitted grid point.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub values: BTreeMap<Labels, f64>,
    pub covered: bool,
    /// Why not, for messages.
    pub reasons: BTreeSet<&'static str>,
}

/// Everything that a log gives of a rule.
pub fn run(records: &[Record], partitions: u16, rule: &Rule) -> BTreeMap<i64, Expected> {
    let Some(begin) = records.iter().map(|record| record.log_time).min() else { return BTreeMap::new() };
    let ends: Vec<i64> = (0..partitions)
        .map(|p| records.iter().filter(|r| r.partition == p).map(|r| r.log_time).max().unwrap_or(i64::MIN))
        .collect();
    let end = ends.into_iter().min().unwrap_or(i64::MIN);
    let mut out = BTreeMap::new();
    let mut t = begin.div_euclid(rule.step_ms) * rule.step_ms;
    if t < begin {
        t += rule.step_ms;
    }
    while end != i64::MIN && t + rule.max_delay_ms < end {
        let mut expected = Expected { values: values_at(records, rule, t), ..Expected::default() };
        if t < begin + rule.window_ms {
            expected.reasons.insert("new-view");
        }
        expected.reasons.extend(reasons_at(records, rule, t));
        out.insert(t, expected);
        t += rule.step_ms;
    }
    for (from, to) in overdue_spans(records, rule, out.keys().copied().collect()) {
        for (_, expected) in out.range_mut(from..to.max(from)) {
            expected.reasons.insert("overdue");
        }
    }
    out.values_mut().for_each(|expected| expected.covered = expected.reasons.is_empty());
    out
}

/// The samples of one series in log order, each with its record's log time and sender.
fn arrivals<'a>(records: &'a [Record], labels: &'a Labels) -> impl Iterator<Item = (i64, &'a str, Sample)> + 'a {
    records.iter().flat_map(move |record| {
        let of_series = record.series.iter().filter(move |(had, _)| had == labels);
        of_series.flat_map(move |(_, samples)| samples.iter().map(|s| (record.log_time, record.sender.as_str(), *s)))
    })
}

fn counts(rule: &Rule, log_time: i64, t: i64) -> bool {
    log_time - t <= rule.max_delay_ms && t - log_time <= FUTURE_MS
}

fn matching(records: &[Record], rule: &Rule) -> BTreeSet<Labels> {
    let all = records.iter().flat_map(|record| record.series.iter().map(|(labels, _)| labels));
    all.filter(|labels| rule.selector.matches(labels)).cloned().collect()
}

/// The values of one grid point, by group.
pub fn values_at(records: &[Record], rule: &Rule, t: i64) -> BTreeMap<Labels, f64> {
    let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
    for labels in matching(records, rule) {
        let mut points: BTreeMap<i64, f64> = BTreeMap::new();
        for (log_time, _, sample) in arrivals(records, &labels) {
            if counts(rule, log_time, sample.t.0) && sample.t.0 > t - rule.window_ms && sample.t.0 <= t {
                points.entry(sample.t.0).or_insert(sample.v);
            }
        }
        if let Some(value) = function(rule, t, &points) {
            groups.entry(group(rule, &labels)).or_default().push(value);
        }
    }
    groups.into_iter().map(|(labels, values)| (labels, aggregate(rule.aggregation, &values))).collect()
}

fn group(rule: &Rule, labels: &Labels) -> Labels {
    let keeps_name = matches!(rule.function, "" | "last_over_time");
    let pairs = labels.iter().filter(|label| {
        let listed = |names: &Vec<&str>| names.contains(&label.name.as_str());
        match (&rule.by, &rule.without) {
            (Some(by), _) => listed(by) && (keeps_name || label.name != "__name__"),
            (None, Some(without)) => !listed(without) && label.name != "__name__",
            (None, None) => false,
        }
    });
    Labels::from_pairs(pairs.map(|label| (label.name.clone(), label.value.clone())))
}

fn function(rule: &Rule, t: i64, points: &BTreeMap<i64, f64>) -> Option<f64> {
    if rule.function.is_empty() {
        return points.values().next_back().copied().filter(|v| !is_stale(*v));
    }
    // Seconds after the grid point, so that fractions stay exact.
    let p: Vec<(f64, f64)> =
        points.iter().filter(|(_, v)| !is_stale(**v)).map(|(at, v)| ((at - t) as f64 / 1000.0, *v)).collect();
    let (first, last) = (*p.first()?, *p.last()?);
    let values = || p.iter().map(|(_, v)| *v);
    match rule.function {
        "count_over_time" => Some(p.len() as f64),
        "present_over_time" => Some(1.0),
        "last_over_time" => Some(last.1),
        "sum_over_time" => Some(values().sum()),
        "avg_over_time" => Some(values().sum::<f64>() / p.len() as f64),
        "min_over_time" => Some(least(values())),
        "max_over_time" => Some(-least(values().map(|v| -v))),
        "irate" => {
            let (t1, v1) = *p.get(p.len().checked_sub(2)?)?;
            Some(if last.1 < v1 { last.1 } else { last.1 - v1 } / (last.0 - t1))
        }
        "rate" | "increase" | "delta" => {
            if p.len() < 2 {
                return None;
            }
            let counter = rule.function != "delta";
            let resets: f64 = p.windows(2).filter(|w| counter && w[1].1 < w[0].1).map(|w| w[0].1).sum();
            let change = last.1 - first.1 + resets;
            let sampled = last.0 - first.0;
            let average = sampled / (p.len() as f64 - 1.0);
            let window = rule.window_ms as f64 / 1000.0;
            let mut before = first.0 + window;
            let mut after = -last.0;
            if before >= average * 1.1 {
                before = average / 2.0;
            }
            if counter && change > 0.0 && first.1 >= 0.0 {
                let to_zero = sampled * (first.1 / change);
                if to_zero < before {
                    before = to_zero;
                }
            }
            if after >= average * 1.1 {
                after = average / 2.0;
            }
            let stretched = change * ((sampled + before + after) / sampled);
            Some(if rule.function == "rate" { stretched / window } else { stretched })
        }
        other => panic!("the oracle does not know {other}"),
    }
}

/// NaN only when all are.
fn least(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::NAN, |least, v| if least.is_nan() || v < least { v } else { least })
}

fn aggregate(name: &str, values: &[f64]) -> f64 {
    match name {
        "sum" => values.iter().sum(),
        "avg" => values.iter().sum::<f64>() / values.len() as f64,
        "count" => values.len() as f64,
        "group" => 1.0,
        "min" => least(values.iter().copied()),
        "max" => -least(values.iter().map(|v| -v)),
        other => panic!("the oracle does not know {other}"),
    }
}

/// Why a grid point is uncovered, but for overdue series, which need the grid points before.
fn reasons_at(records: &[Record], rule: &Rule, t: i64) -> BTreeSet<&'static str> {
    let mut reasons = BTreeSet::new();
    let mut feeding = BTreeSet::new();
    for labels in matching(records, rule) {
        let mut senders_inside = BTreeSet::new();
        for (log_time, sender, sample) in arrivals(records, &labels) {
            let at = sample.t.0;
            let inside = at > t - rule.window_ms && at <= t;
            feeding.insert(sender.to_owned());
            if !counts(rule, log_time, at) && at <= t && t < at + rule.window_ms {
                reasons.insert("late");
            }
            if counts(rule, log_time, at) && inside {
                senders_inside.insert(sender.to_owned());
            }
        }
        if senders_inside.len() > 1 {
            reasons.insert("two-senders");
        }
    }
    for sender in feeding {
        let (from, whole_from) = begun(records, &sender, rule, t + rule.max_delay_ms);
        if from <= t && t - rule.window_ms < whole_from {
            reasons.insert("sender-new");
        }
    }
    reasons
}

/// When a sender began, by its first records with samples, one per partition, that were logged by a log time: the least time
/// of a sample that may count, and the time from which on it has written all it had.
fn begun(records: &[Record], sender: &str, rule: &Rule, by: i64) -> (i64, i64) {
    let mut partitions = BTreeSet::new();
    let (mut from, mut whole_from) = (i64::MAX, i64::MAX);
    for record in records.iter().filter(|record| record.sender == sender && !record.series.is_empty()) {
        if partitions.insert(record.partition) && record.log_time <= by {
            let times = record.series.iter().flat_map(|(_, samples)| samples.iter().map(|s| s.t.0));
            let first = times.min().unwrap_or(i64::MAX);
            from = from.min(first.max(record.log_time - rule.max_delay_ms));
            whole_from = whole_from.min(first.max(record.log_time));
        }
    }
    (from, whole_from)
}

/// `[from, to)` over which overdue series uncover the view.
fn overdue_spans(records: &[Record], rule: &Rule, grid: Vec<i64>) -> Vec<(i64, i64)> {
    let mut spans = Vec::new();
    let mut open: Option<i64> = None;
    for t in grid {
        let (live, overdue) = overdue_at(records, rule, t);
        let exceeds = !overdue.is_empty() && overdue.len() as f64 > rule.tolerance * live as f64;
        let least = overdue.into_iter().min();
        open = match (open, exceeds) {
            (since, true) => since.into_iter().chain(least).min(),
            (Some(since), false) => {
                spans.push((since, t + rule.max_delay_ms + rule.window_ms));
                None
            }
            (None, false) => None,
        };
    }
    spans.extend(open.map(|since| (since, i64::MAX)));
    spans
}

/// How many series are live at a grid point, and the newest times of those that are overdue.
fn overdue_at(records: &[Record], rule: &Rule, t: i64) -> (usize, Vec<i64>) {
    let (mut live, mut overdue) = (0, Vec::new());
    for labels in matching(records, rule) {
        let mut newest: Option<Sample> = None;
        let mut gaps: Vec<(i64, i64)> = Vec::new();
        for (log_time, _, sample) in arrivals(records, &labels) {
            if log_time > t + rule.max_delay_ms || sample.t.0 - log_time > FUTURE_MS {
                continue;
            }
            match newest {
                Some(last) if sample.t <= last.t => continue,
                Some(last) => gaps.push((last.t.0, sample.t.0)),
                None => {}
            }
            newest = Some(sample);
        }
        let Some(newest) = newest else { continue };
        if newest.t.0 <= t - rule.window_ms.max(LOOKBACK_MS) || is_stale(newest.v) {
            continue;
        }
        live += 1;
        let recent = gaps.iter().rev().take(4).filter(|(from, _)| *from >= newest.t.0 - 600_000);
        let spacing = recent.map(|(from, to)| to - from).max().unwrap_or(60_000);
        if t + rule.max_delay_ms - newest.t.0 > spacing + rule.max_delay_ms / 2 {
            overdue.push(newest.t.0);
        }
    }
    (live, overdue)
}

/// The judge of all tests: both NaN, or equal within 1e-9 of the larger, or of 1e-9 where what is added up cancels. An
/// infinity equals itself alone.
pub fn equal(a: f64, b: f64) -> bool {
    let near = || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-9);
    a == b || (a.is_nan() && b.is_nan()) || (a.is_finite() && b.is_finite() && near())
}

#[test]
fn what_is_equal() {
    let (inf, max) = (f64::INFINITY, f64::MAX);
    let same = [(1.0, 1.0 + 1e-12), (0.0, -0.0), (f64::NAN, f64::NAN), (inf, inf), (-inf, -inf), (max, max * (1.0 - 1e-12))];
    let other = [(1.0, 1.0 + 1e-6), (0.0, 1e-9), (f64::NAN, 1.0), (inf, -inf), (inf, max), (inf, 7.0), (max, -max)];
    let both = |(a, b): &(f64, f64)| [equal(*a, *b), equal(*b, *a)];
    same.iter().for_each(|pair| assert_eq!(both(pair), [true; 2], "{pair:?}"));
    other.iter().for_each(|pair| assert_eq!(both(pair), [false; 2], "{pair:?}"));
}
