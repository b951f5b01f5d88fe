//! Quantiles and fractions of classic histograms: series that differ in `le` alone.
//!
//! Buckets summed over shards in another order differ in their last bits, so neighbours within 1e-12 count as equal; larger
//! decreases are lifted and noted (prometheus.md 9.4).

use std::sync::Arc;

use smol_str::SmolStr;

use super::{Body, Call, Function};
use crate::model::{Labels, Timestamp};
use crate::promql::{Expr, SourceRange};
use crate::query::almost::almost_equal;
use crate::query::annotations::ForcedMonotonicity;
use crate::query::error::QueryError;
use crate::query::evaluate::{Evaluator, Operand};
use crate::query::go_text;
use crate::query::row::{ABSENT, NameRemoval, Row, merge_equal};
use crate::query::steps::Steps;

pub(super) static FUNCTIONS: &[Function] = &[
    Function { name: "histogram_fraction", body: Body::Whole(histogram_fraction) },
    Function { name: "histogram_quantile", body: Body::Whole(histogram_quantile) },
    Function { name: "histogram_quantiles", body: Body::Whole(histogram_quantiles) },
];

/// The relative difference up to which two neighbouring buckets are the same count.
const SMALL_DIFFERENCE: f64 = 1e-12;

/// The label that holds a bucket's upper bound.
const BUCKET_LABEL: &str = "le";

/// A bucket at one step: everything up to the bound, counted.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// The bucket series of one histogram, by upper bound.
struct Histogram {
    labels: Arc<Labels>,
    buckets: Vec<(f64, Row)>,
}

impl Histogram {
    /// The buckets that have a value at a step, in order of their bounds, equal bounds added up.
    fn at(&self, step: usize, buckets: &mut Vec<Bucket>) {
        buckets.clear();
        for (bound, row) in self.buckets.iter().filter(|(_, row)| row.has(step)) {
            let count = row.values[step];
            match buckets.last_mut() {
                Some(last) if last.bound == *bound => last.count += count,
                _ => buckets.push(Bucket { bound: *bound, count }),
            }
        }
    }
}

/// The histograms of a vector; series whose `le` is no number are left out and noted.
fn histograms(evaluator: &mut Evaluator<'_>, arg: &Expr, steps: &Steps) -> Result<Vec<Histogram>, QueryError> {
    let mut histograms: Vec<Histogram> = Vec::new();
    let mut places: foldhash::HashMap<Labels, usize> = foldhash::HashMap::default();
    for row in evaluator.vector(arg, steps)? {
        evaluator.check()?;
        let text = row.labels.get(BUCKET_LABEL);
        let Ok(bound) = text.parse::<f64>() else {
            let metric = name_to_note(evaluator, &row.labels);
            evaluator.notes.bad_bucket_label(text, metric, arg.source);
            continue;
        };
        let labels = Labels::drop(&row.labels, &[BUCKET_LABEL]);
        let place = match places.get(&labels) {
            Some(place) => *place,
            None => {
                histograms.push(Histogram { labels: Arc::new(labels.clone()), buckets: Vec::new() });
                places.insert(labels, histograms.len() - 1);
                histograms.len() - 1
            }
        };
        histograms[place].buckets.push((bound, row));
    }
    histograms.iter_mut().for_each(|histogram| histogram.buckets.sort_by(|a, b| a.0.total_cmp(&b.0)));
    Ok(histograms)
}

/// The metric's name in notes: where names go at once, an operand may have none any more, and none is said.
fn name_to_note<'l>(evaluator: &Evaluator<'_>, labels: &'l Labels) -> &'l str {
    if evaluator.names == NameRemoval::AtTheEnd { labels.metric() } else { "" }
}

/// One row per histogram, of a function of its buckets at each step where it has any.
fn each_histogram(
    evaluator: &mut Evaluator<'_>,
    histograms: &[Histogram],
    steps: &Steps,
    mut f: impl FnMut(&Labels, usize, &mut Vec<Bucket>) -> f64,
) -> Result<Vec<Row>, QueryError> {
    let mut rows = Vec::with_capacity(histograms.len());
    let mut buckets = Vec::new();
    for histogram in histograms {
        evaluator.check()?;
        let value = |step: usize| {
            histogram.at(step, &mut buckets);
            if buckets.is_empty() { ABSENT } else { f(&histogram.labels, step, &mut buckets) }
        };
        let values = (0..steps.count).map(value).collect();
        if let Some(row) = Row::new(Arc::clone(&histogram.labels), values) {
            evaluator.budget.hold_row(&row)?;
            rows.push(row);
        }
    }
    Ok(rows)
}

fn histogram_quantile(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    let qs = evaluator.scalar(call.arg(0)?, call.steps)?;
    let arg = call.arg(1)?;
    let histograms = histograms(evaluator, arg, call.steps)?;
    note_quantiles(evaluator, &qs, call.arg(0)?.source);
    let rows = quantile_rows(evaluator, &histograms, &qs, arg.source, call.steps)?;
    evaluator.names.drop_names(rows).map(Operand::Vector)
}

/// Several quantiles of each histogram, told apart by a label.
fn histogram_quantiles(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    let arg = call.arg(0)?;
    let label = evaluator.string(call.arg(1)?)?;
    let histograms = histograms(evaluator, arg, call.steps)?;
    let mut rows = Vec::new();
    for q_arg in call.args.iter().skip(2) {
        let qs = evaluator.scalar(q_arg, call.steps)?;
        note_quantiles(evaluator, &qs, q_arg.source);
        for row in quantile_rows(evaluator, &histograms, &qs, arg.source, call.steps)? {
            rows.extend(labelled_by_quantile(&row, &qs, label));
        }
    }
    let rows = evaluator.names.drop_names(rows)?;
    merge_equal(rows).map(Operand::Vector)
}

/// A row for each different quantile among the steps.
fn labelled_by_quantile(row: &Row, qs: &[f64], label: &str) -> Vec<Row> {
    let mut distinct: Vec<u64> = qs.iter().map(|q| q.to_bits()).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let of_quantile = |bits: u64| {
        let labels = row.labels.with(label, &go_text::open_metrics(f64::from_bits(bits)));
        let values = row.values.iter().zip(qs).map(|(v, q)| if q.to_bits() == bits { *v } else { ABSENT });
        Row::new(Arc::new(labels), values.collect())
    };
    distinct.into_iter().filter_map(of_quantile).collect()
}

fn note_quantiles(evaluator: &mut Evaluator<'_>, qs: &[f64], source: SourceRange) {
    let mut last: Option<u64> = None;
    for q in qs.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
        if last != Some(q.to_bits()) {
            evaluator.notes.quantile_out_of_range(*q, source);
            last = Some(q.to_bits());
        }
    }
}

fn quantile_rows(
    evaluator: &mut Evaluator<'_>,
    histograms: &[Histogram],
    qs: &[f64],
    source: SourceRange,
    steps: &Steps,
) -> Result<Vec<Row>, QueryError> {
    let rows_named = evaluator.names == NameRemoval::AtTheEnd;
    let mut forced: Vec<(SmolStr, ForcedMonotonicity)> = Vec::new();
    let rows = each_histogram(evaluator, histograms, steps, |labels, step, buckets| {
        let (value, lifted) = bucket_quantile(qs[step], buckets, steps.at(step));
        if let Some(lifted) = lifted {
            let metric = if rows_named { labels.metric() } else { "" };
            match forced.iter_mut().find(|(name, _)| name == metric) {
                Some((_, known)) => known.merge(&lifted),
                None => forced.push((metric.into(), lifted)),
            }
        }
        value
    })?;
    forced.into_iter().for_each(|(metric, forced)| evaluator.notes.forced_monotonicity(forced, &metric, source));
    Ok(rows)
}

/// The q-quantile of a histogram, its buckets in order and of different bounds.
fn bucket_quantile(q: f64, buckets: &mut [Bucket], t: Timestamp) -> (f64, Option<ForcedMonotonicity>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if !(0.0..=1.0).contains(&q) {
        return (if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY }, None);
    }
    if buckets.last().is_none_or(|last| last.bound != f64::INFINITY) {
        return (f64::NAN, None);
    }
    let forced = make_monotonic(buckets, t);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, forced);
    }
    let rank = q * observations;
    let at = first_reaching(&buckets[..last], rank);
    let value = if at == last {
        buckets[last - 1].bound
    } else if at == 0 && buckets[0].bound <= 0.0 {
        buckets[0].bound
    } else {
        let below = if at == 0 { Bucket { bound: 0.0, count: 0.0 } } else { buckets[at - 1] };
        let share = (rank - below.count) / (buckets[at].count - below.count);
        below.bound + (buckets[at].bound - below.bound) * share
    };
    (value, forced)
}

/// The first bucket whose count reaches the rank, found by bisection: that decides it among counts that are NaN.
fn first_reaching(buckets: &[Bucket], rank: f64) -> usize {
    let (mut from, mut to) = (0, buckets.len());
    while from < to {
        let middle = from + (to - from) / 2;
        if buckets[middle].count >= rank { to = middle } else { from = middle + 1 }
    }
    from
}

/// Lifts counts so that none is below the one before it; differences within [`SMALL_DIFFERENCE`] are levelled silently.
fn make_monotonic(buckets: &mut [Bucket], t: Timestamp) -> Option<ForcedMonotonicity> {
    let mut forced: Option<ForcedMonotonicity> = None;
    let mut previous = buckets.first()?.count;
    for bucket in buckets.iter_mut().skip(1) {
        let (current, bound) = (bucket.count, bucket.bound);
        if current == previous {
            continue;
        }
        if almost_equal(previous, current, SMALL_DIFFERENCE) {
            bucket.count = previous;
        } else if current < previous {
            bucket.count = previous;
            let difference_max = previous - current;
            let lifted =
                ForcedMonotonicity { from: t, to: t, bucket_min: bound, bucket_max: bound, difference_max, count: 0 };
            forced.get_or_insert(ForcedMonotonicity { count: 1, ..lifted }).merge(&lifted);
        } else {
            previous = current;
        }
    }
    forced
}

fn histogram_fraction(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    let lower = evaluator.scalar(call.arg(0)?, call.steps)?;
    let upper = evaluator.scalar(call.arg(1)?, call.steps)?;
    let histograms = histograms(evaluator, call.arg(2)?, call.steps)?;
    let fraction = |_: &Labels, step: usize, buckets: &mut Vec<Bucket>| bucket_fraction(lower[step], upper[step], buckets);
    let rows = each_histogram(evaluator, &histograms, call.steps, fraction)?;
    evaluator.names.drop_names(rows).map(Operand::Vector)
}

/// The share of observations between two values.
fn bucket_fraction(lower: f64, upper: f64, buckets: &[Bucket]) -> f64 {
    let Some(last) = buckets.last().filter(|last| last.bound == f64::INFINITY) else { return f64::NAN };
    if last.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets).min(last.count) - rank_of(lower, buckets).min(last.count)) / last.count
}

/// How many observations lie below a value, interpolated within its bucket.
fn rank_of(value: f64, buckets: &[Bucket]) -> f64 {
    let first_bound = if buckets[0].bound <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let mut below = Bucket { bound: first_bound, count: 0.0 };
    for bucket in buckets {
        if below.bound >= value {
            return below.count;
        }
        if bucket.bound > value {
            if below.bound == f64::NEG_INFINITY {
                return bucket.count;
            }
            let share = (value - below.bound) / (bucket.bound - below.bound);
            return below.count + (bucket.count - below.count) * share;
        }
        below = *bucket;
    }
    f64::INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(q: f64, buckets: &[(f64, f64)], expected: f64, lifted: usize) {
        let mut buckets: Vec<Bucket> =
            buckets.iter().map(|(bound, count)| Bucket { bound: *bound, count: *count }).collect();
        let (value, forced) = bucket_quantile(q, &mut buckets, Timestamp(0));
        assert!(value == expected || (value.is_nan() && expected.is_nan()), "{value} instead of {expected}");
        assert_eq!(forced.map_or(0, |forced| forced.count), lifted);
    }

    #[test]
    fn quantiles_of_buckets() {
        let inf = f64::INFINITY;
        check(0.5, &[(1.0, 1.0), (2.0, 2.0), (inf, 2.0)], 1.0, 0);
        check(0.75, &[(1.0, 1.0), (2.0, 2.0), (inf, 2.0)], 1.5, 0);
        check(1.0, &[(1.0, 1.0), (inf, 2.0)], 1.0, 0); // in the last bucket: the bound below it
        check(0.1, &[(-1.0, 1.0), (inf, 2.0)], -1.0, 0); // nothing to interpolate from
        check(0.5, &[(1.0, 1.0), (2.0, 2.0)], f64::NAN, 0); // no +Inf
        check(0.5, &[(inf, 2.0)], f64::NAN, 0);
        check(0.5, &[(1.0, 0.0), (inf, 0.0)], f64::NAN, 0);
        check(-0.1, &[(1.0, 1.0), (inf, 2.0)], f64::NEG_INFINITY, 0);
        check(1.1, &[(1.0, 1.0), (inf, 2.0)], inf, 0);
        check(f64::NAN, &[(1.0, 1.0), (inf, 2.0)], f64::NAN, 0);
    }

    #[test]
    fn small_differences_are_levelled_and_larger_ones_noted() {
        let inf = f64::INFINITY;
        check(0.9, &[(1.0, 1e6), (2.0, 1e6 - 1e-9), (inf, 1e6)], 0.9, 0);
        check(0.9, &[(1.0, 1e6), (2.0, 1e6 + 1e-9), (inf, 1e6)], 0.9, 0);
        check(0.9, &[(1.0, 10.0), (2.0, 9.0), (3.0, 8.0), (inf, 10.0)], 0.9, 1);
    }

    #[test]
    fn fractions_interpolate() {
        let buckets = [(1.0, 2.0), (2.0, 6.0), (f64::INFINITY, 8.0)].map(|(bound, count)| Bucket { bound, count });
        for (lower, upper, expected) in [
            (0.0, 1.0, 0.25),
            (0.5, 1.5, 0.375),
            (2.0, 99.0, 0.0),
            (2.0, f64::INFINITY, 0.25),
            (-5.0, f64::INFINITY, 1.0),
            (3.0, 3.0, 0.0),
        ] {
            assert_eq!(bucket_fraction(lower, upper, &buckets), expected, "{lower} {upper}");
        }
    }
}
