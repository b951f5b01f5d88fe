//! Aggregations of the registry: the partial, inserted into step by step.

use crate::function::kahan::mean;
use crate::function::{Aggregation, Partial};
use crate::query::row::{ABSENT, Row, is_absent};

/// Accumulators over all steps, used for one group after the other.
pub(super) struct Fold {
    entry: &'static Aggregation,
    partials: Vec<Partial>,
    seen: Vec<bool>,
}

impl Fold {
    pub fn new(entry: &'static Aggregation, steps: usize) -> Fold {
        Fold { entry, partials: vec![entry.partial.identity; steps], seen: vec![false; steps] }
    }

    pub fn values(&mut self, rows: &[&Row]) -> Vec<f64> {
        self.partials.fill(self.entry.partial.identity);
        self.seen.fill(false);
        let insert = self.entry.partial.insert;
        for row in rows {
            for ((value, partial), seen) in row.values.iter().zip(&mut self.partials).zip(&mut self.seen) {
                if !is_absent(*value) {
                    insert(partial, *value);
                    *seen = true;
                }
            }
        }
        (0..self.seen.len()).map(|step| if self.seen[step] { self.finish(rows, step) } else { ABSENT }).collect()
    }

    /// A mean whose sum overflowed is taken again incrementally, as Prometheus takes it.
    fn finish(&self, rows: &[&Row], step: usize) -> f64 {
        let value = (self.entry.finish)(&self.partials[step]);
        if self.entry.name == "avg" && !value.is_finite() {
            return mean(rows.iter().map(|row| row.values[step]).filter(|v| !is_absent(*v)));
        }
        value
    }
}
