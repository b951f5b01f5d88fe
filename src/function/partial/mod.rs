//! Partials: mergeable summaries that know nothing of labels.
//!
//! Fold inserts the values of a group's series in SeriesId order; combine merges the partitions' partials in theirs. The
//! contract, executed by the law tests beside the registry:
//! - **Identity**: merging it changes nothing.
//! - **Merge**: inserting all values equals merging the partials of any cuts of them, to the last bits of compensated sums.
//! - **Order** matters only to those last bits, which is why the order is fixed.
//! - **Bytes**: slots are plain floats, so a partial is its own encoding.

pub mod count;
pub mod extreme;
pub mod sum;

/// One summary: up to three floats whose meaning the aggregation's partial kind gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Partial {
    pub slots: [f64; 3],
}

/// What can be done with the partials of one kind.
#[derive(Clone, Copy)]
pub struct PartialKind {
    /// The name stored with partials that travel.
    pub name: &'static str,
    pub identity: Partial,
    pub insert: fn(&mut Partial, f64),
    pub merge: fn(&mut Partial, &Partial),
}

/// Every kind, for the law tests.
pub static PARTIAL_KINDS: &[&PartialKind] = &[&sum::SUM, &count::COUNT, &extreme::MIN, &extreme::MAX];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fold(kind: &PartialKind, values: &[f64]) -> Partial {
        let mut partial = kind.identity;
        values.iter().for_each(|value| (kind.insert)(&mut partial, *value));
        partial
    }

    /// Bits, or both NaN, or within the error of one rounding.
    fn same(a: f64, b: f64) -> bool {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            8 => (-1000i32..1000).prop_map(f64::from),
            2 => -1e15..1e15,
            1 => Just(f64::NAN),
            1 => Just(f64::INFINITY),
            1 => Just(f64::NEG_INFINITY),
        ]
    }

    proptest! {
        #[test]
        fn law_merge_of_cuts_equals_insertion(values in prop::collection::vec(value(), 0..40), cut in 0usize..40) {
            for kind in PARTIAL_KINDS {
                let cut = cut.min(values.len());
                let mut merged = fold(kind, &values[..cut]);
                (kind.merge)(&mut merged, &fold(kind, &values[cut..]));
                let all = fold(kind, &values);
                prop_assert!(same(merged.slots[0] + merged.slots[1], all.slots[0] + all.slots[1]), "{}", kind.name);
                prop_assert!(same(merged.slots[2], all.slots[2]), "{}", kind.name);
            }
        }

        #[test]
        fn law_identity_changes_nothing(values in prop::collection::vec(value(), 0..20)) {
            for kind in PARTIAL_KINDS {
                let all = fold(kind, &values);
                let (mut left, mut right) = (kind.identity, all);
                (kind.merge)(&mut left, &all);
                (kind.merge)(&mut right, &kind.identity);
                for (a, b) in left.slots.iter().zip(right.slots).chain(all.slots.iter().zip(right.slots)) {
                    prop_assert!(same(*a, b), "{}: {left:?} {right:?} {all:?}", kind.name);
                }
            }
        }
    }

    #[test]
    fn kinds_are_named_once() {
        let mut names: Vec<_> = PARTIAL_KINDS.iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PARTIAL_KINDS.len());
    }
}
