//! Elements for whose kinds an operator has no meaning: what is said of them.
//!
//! As in Prometheus, one pair of kinds is said per step, the last that came up.

use super::operator::kind;
use crate::promql::{BinaryOp, SourceRange};
use crate::query::annotations::Annotations;

/// The pair of kinds to be said of each step.
pub(super) struct Mismatches {
    op: BinaryOp,
    steps: usize,
    /// Empty until the first one comes up.
    last: Vec<Option<(&'static str, &'static str)>>,
}

impl Mismatches {
    pub fn new(op: BinaryOp, steps: usize) -> Mismatches {
        Mismatches { op, steps, last: Vec::new() }
    }

    pub fn add(&mut self, step: usize, left: f64, right: f64) {
        self.last.resize(self.steps, None);
        self.last[step] = Some((kind(left), kind(right)));
    }

    pub fn note(self, notes: &mut Annotations, source: SourceRange) {
        let mut pairs: Vec<_> = self.last.into_iter().flatten().collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs.into_iter().for_each(|(left, right)| notes.incompatible_types(left, self.op.symbol(), right, source));
    }
}
