//! Aggregations of the registry: the partial, inserted into step by step.

use crate::function::aggregation::HistogramsInGroup;
use crate::function::kahan::mean;
use crate::function::{Aggregation, Partial};
use crate::query::error::QueryError;
use crate::query::native::{is_custom, is_histogram, needed};
use crate::query::row::{ABSENT, Row, is_absent};

/// Accumulators over all steps, used for one group after the other.
pub(super) struct Fold {
    entry: &'static Aggregation,
    partials: Vec<Partial>,
    seen: Vec<bool>,
    /// Whether any group had native histograms that were passed over, or mixed with floats.
    pub ignored: bool,
    pub mixed: bool,
}

impl Fold {
    pub fn new(entry: &'static Aggregation, steps: usize) -> Fold {
        let (partials, seen) = (vec![entry.partial.identity; steps], vec![false; steps]);
        Fold { entry, partials, seen, ignored: false, mixed: false }
    }

    pub fn values(&mut self, rows: &[&Row]) -> Result<Vec<f64>, QueryError> {
        self.partials.fill(self.entry.partial.identity);
        self.seen.fill(false);
        let insert = self.entry.partial.insert;
        let counts_all = self.entry.histograms == HistogramsInGroup::Counted;
        let mut any_histogram = false;
        for row in rows {
            for ((value, partial), seen) in row.values.iter().zip(&mut self.partials).zip(&mut self.seen) {
                if is_absent(*value) {
                    continue;
                }
                if is_histogram(*value) && !counts_all {
                    any_histogram = true;
                    continue;
                }
                insert(partial, *value);
                *seen = true;
            }
        }
        let finish = |step: usize| if self.seen[step] { self.finish(rows, step) } else { ABSENT };
        let mut values: Vec<f64> = (0..self.seen.len()).map(finish).collect();
        if any_histogram {
            match self.entry.histograms {
                HistogramsInGroup::NotMixed => self.not_mixed(rows, &mut values)?,
                HistogramsInGroup::Counted | HistogramsInGroup::Ignored => self.ignored = true,
            }
        }
        Ok(values)
    }

    /// A mean whose sum overflowed is taken again incrementally, as Prometheus takes it.
    fn finish(&self, rows: &[&Row], step: usize) -> f64 {
        let value = (self.entry.finish)(&self.partials[step]);
        if self.entry.name == "avg" && !value.is_finite() {
            return mean(rows.iter().filter_map(|row| row.float(step)));
        }
        value
    }

    /// A group that mixes kinds at a step has no value there. One native histogram alone is the result; several would have
    /// to be added up, which also comes before the mix is found where two come first whose bounds may not fit.
    fn not_mixed(&mut self, rows: &[&Row], values: &mut [f64]) -> Result<(), QueryError> {
        for (step, value) in values.iter_mut().enumerate() {
            let at_step = || rows.iter().map(|row| row.values[step]).filter(|v| !is_absent(*v));
            let histograms = || at_step().filter(|v| is_histogram(*v));
            let several = histograms().nth(1).is_some();
            match (histograms().next(), self.seen[step]) {
                (None, _) => {}
                (Some(_), false) if several => return Err(needed()),
                (Some(only), false) => *value = only,
                (Some(_), true) => {
                    if several && at_step().next().is_some_and(is_histogram) && histograms().any(is_custom) {
                        return Err(needed());
                    }
                    self.mixed = true;
                    *value = ABSENT;
                }
            }
        }
        Ok(())
    }
}
