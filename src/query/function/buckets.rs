//! The buckets of one classic histogram at one step: quantiles and fractions by interpolation.
//!
//! Buckets summed over shards in another order differ in their last bits, so neighbours within 1e-12 count as equal; larger
//! decreases are lifted and noted (prometheus.md 9.4).

use crate::model::Timestamp;
use crate::query::almost::almost_equal;
use crate::query::annotations::ForcedMonotonicity;

/// The relative difference up to which two neighbouring buckets are the same count.
const SMALL_DIFFERENCE: f64 = 1e-12;

/// A bucket at one step: everything up to the bound, counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    pub bound: f64,
    pub count: f64,
}

/// The q-quantile of a histogram, its buckets in order and of different bounds.
pub(super) fn bucket_quantile(q: f64, buckets: &mut [Bucket], t: Timestamp) -> (f64, Option<ForcedMonotonicity>) {
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

/// The share of observations between two values.
pub(super) fn bucket_fraction(lower: f64, upper: f64, buckets: &[Bucket]) -> f64 {
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
