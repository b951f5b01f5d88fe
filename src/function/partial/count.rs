//! Number of values, NaN among them: `[count, 0, 0]`.

use super::{Partial, PartialKind};

pub static COUNT: PartialKind = PartialKind { name: "count", identity: Partial { slots: [0.0; 3] }, insert, merge };

fn insert(partial: &mut Partial, _: f64) {
    partial.slots[0] += 1.0;
}

fn merge(partial: &mut Partial, other: &Partial) {
    partial.slots[0] += other.slots[0];
}
