//! Native histograms, as far as floats have to know of them: that one is there, and of which kind its buckets are.
//!
//! What one counts is not kept, so nothing can be computed from it. But Prometheus passes native histograms over in many
//! places, counts them in others, and drops what mixes them with floats, and all that can be answered without looking inside
//! one. So a sample that is one, or a step of a series, holds a NaN of a pattern of its own, as a step without a value does:
//! no arithmetic yields it. Whoever would need what it counts refuses the query by name.

use super::error::{NATIVE_HISTOGRAM, QueryError};

/// Signalling NaNs, the last bit for the kind.
const BITS: u64 = 0x7ff4_6869_7374_0000;

/// A histogram whose buckets follow a schema.
pub const EXPONENTIAL: f64 = f64::from_bits(BITS);

/// A histogram whose buckets have bounds of their own. Two of these may not fit each other.
pub const CUSTOM: f64 = f64::from_bits(BITS | 1);

/// Whether a value stands for a native histogram, by its bits.
#[inline]
pub fn is_histogram(v: f64) -> bool {
    v.to_bits() | 1 == BITS | 1
}

/// Whether a value stands for a native histogram with bounds of its own.
pub(super) fn is_custom(v: f64) -> bool {
    v.to_bits() == BITS | 1
}

/// The refusal of a query that needs what a native histogram counts.
pub(super) fn needed() -> QueryError {
    QueryError::unsupported(NATIVE_HISTOGRAM)
}

/// # Errors
/// When any of some values is a native histogram.
pub(super) fn only_floats(values: impl IntoIterator<Item = f64>) -> Result<(), QueryError> {
    if values.into_iter().any(is_histogram) { Err(needed()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{STALE_NAN, is_stale};

    #[test]
    fn only_the_two_patterns_are_histograms() {
        assert!(is_histogram(EXPONENTIAL) && is_histogram(CUSTOM) && is_custom(CUSTOM) && !is_custom(EXPONENTIAL));
        assert!(EXPONENTIAL.is_nan() && CUSTOM.is_nan() && !is_stale(CUSTOM));
        for other in [f64::NAN, STALE_NAN, EXPONENTIAL + 1.0, -CUSTOM, 0.0, f64::from_bits(BITS | 2)] {
            assert!(!is_histogram(other), "{:x}", other.to_bits());
        }
        assert!(only_floats([1.0, f64::NAN]).is_ok() && only_floats([1.0, CUSTOM]).is_err());
    }
}
