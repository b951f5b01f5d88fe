//! Compensated summation (Kahan-Neumaier), so that a sum does not depend on what was added next to what.
//!
//! Source: A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen", ZAMM 54 (1974).
//! Prometheus sums the same way.

/// A running sum and the low bits it could not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KahanSum {
    pub sum: f64,
    /// Kept apart until the end: adding it early would lose it again.
    pub compensation: f64,
}

impl KahanSum {
    pub fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.compensation = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.compensation += (self.sum - total) + value;
        } else {
            self.compensation += (value - total) + self.sum;
        }
        self.sum = total;
    }

    /// Adds another sum, its compensation included.
    pub fn merge(&mut self, other: &KahanSum) {
        self.add(other.sum);
        if self.sum.is_finite() {
            self.compensation += other.compensation;
        }
    }

    pub fn value(&self) -> f64 {
        self.sum + self.compensation
    }
}

/// The mean of some values: their sum over their number, or an incremental mean from where the sum would overflow.
///
/// An infinity among the values is the mean unless its opposite or a NaN is there too.
pub fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (KahanSum::default(), 0.0_f64);
    let mut incremental: Option<KahanSum> = None;
    for value in values {
        count += 1.0;
        match &mut incremental {
            Some(mean) => advance_mean(mean, value, count),
            None => {
                let before = sum;
                sum.add(value);
                if count > 1.0 && sum.sum.is_infinite() {
                    let mut mean =
                        KahanSum { sum: before.sum / (count - 1.0), compensation: before.compensation / (count - 1.0) };
                    advance_mean(&mut mean, value, count);
                    incremental = Some(mean);
                }
            }
        }
    }
    match incremental {
        Some(mean) => mean.value(),
        None => sum.sum / count + sum.compensation / count,
    }
}

fn advance_mean(mean: &mut KahanSum, value: f64, count: f64) {
    if mean.sum.is_infinite() {
        let same = value.is_infinite() && (mean.sum > 0.0) == (value > 0.0);
        if same || value.is_finite() {
            return;
        }
    }
    let share = (count - 1.0) / count;
    let mut next = KahanSum { sum: share * mean.sum, compensation: share * mean.compensation };
    next.add(value / count);
    *mean = next;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_survive_large_ones() {
        let mut sum = KahanSum::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert_eq!(sum.value(), 2.0);
    }

    #[test]
    fn merging_equals_adding() {
        let values: Vec<f64> = (0..200).map(|i| (f64::from(i) * 0.1).sin() * 10f64.powi(i % 30)).collect();
        let (mut all, mut left, mut right) = (KahanSum::default(), KahanSum::default(), KahanSum::default());
        for (i, value) in values.iter().enumerate() {
            all.add(*value);
            if i < 77 { &mut left } else { &mut right }.add(*value);
        }
        left.merge(&right);
        assert!((left.value() - all.value()).abs() <= all.value().abs() * 1e-12);
    }

    #[test]
    fn infinities_and_overflow() {
        let mut sum = KahanSum::default();
        sum.add(f64::INFINITY);
        sum.add(1.0);
        assert_eq!(sum.value(), f64::INFINITY);
        sum.add(f64::NEG_INFINITY);
        assert!(sum.value().is_nan());
        let large = mean([f64::MAX, f64::MAX, f64::MAX].into_iter());
        assert!((large / f64::MAX - 1.0).abs() < 1e-15, "{large}");
        assert_eq!(mean([f64::INFINITY, 1.0].into_iter()), f64::INFINITY);
        assert!(mean([f64::INFINITY, f64::NEG_INFINITY].into_iter()).is_nan());
        assert_eq!(mean([1.0, 2.0, 3.0].into_iter()), 2.0);
    }
}
