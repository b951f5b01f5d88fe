//! Least and greatest value: `[value, 0, count]`. NaN only while nothing else was seen.

use super::{Partial, PartialKind};

pub static MIN: PartialKind = PartialKind {
    name: "min",
    identity: Partial { slots: [f64::NAN, 0.0, 0.0] },
    insert: |partial, value| insert(partial, value, value < partial.slots[0]),
    merge: |partial, other| merge(partial, other, other.slots[0] < partial.slots[0]),
};

pub static MAX: PartialKind = PartialKind {
    name: "max",
    identity: Partial { slots: [f64::NAN, 0.0, 0.0] },
    insert: |partial, value| insert(partial, value, value > partial.slots[0]),
    merge: |partial, other| merge(partial, other, other.slots[0] > partial.slots[0]),
};

fn insert(partial: &mut Partial, value: f64, better: bool) {
    if better || partial.slots[0].is_nan() {
        partial.slots[0] = value;
    }
    partial.slots[2] += 1.0;
}

fn merge(partial: &mut Partial, other: &Partial, better: bool) {
    let count = partial.slots[2] + other.slots[2];
    if other.slots[2] > 0.0 {
        insert(partial, other.slots[0], better);
    }
    partial.slots[2] = count;
}
