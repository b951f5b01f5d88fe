//! Sum and number of values: `[sum, compensation, count]`.

use super::{Partial, PartialKind};
use crate::function::kahan::KahanSum;

pub static SUM: PartialKind = PartialKind { name: "sum", identity: Partial { slots: [0.0, 0.0, 0.0] }, insert, merge };

fn insert(partial: &mut Partial, value: f64) {
    let mut sum = kahan(partial);
    sum.add(value);
    partial.slots = [sum.sum, sum.compensation, partial.slots[2] + 1.0];
}

fn merge(partial: &mut Partial, other: &Partial) {
    let mut sum = kahan(partial);
    sum.merge(&kahan(other));
    partial.slots = [sum.sum, sum.compensation, partial.slots[2] + other.slots[2]];
}

fn kahan(partial: &Partial) -> KahanSum {
    KahanSum { sum: partial.slots[0], compensation: partial.slots[1] }
}
