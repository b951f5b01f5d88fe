//! A sample, and the staleness marker.
//!
//! Prometheus says "this series has ended" with one particular NaN. It is a bit pattern, and is only ever compared as one:
//! an ordinary NaN is a value like any other.

use super::time::Timestamp;

/// One observation of a series.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was taken, by the clock of whoever took it.
    pub t: Timestamp,
    /// Its value; may be any float, the staleness marker included.
    pub v: f64,
}

/// Equal when the bits are equal, so that markers and NaNs compare as themselves.
impl PartialEq for Sample {
    fn eq(&self, other: &Sample) -> bool {
        self.t == other.t && self.v.to_bits() == other.v.to_bits()
    }
}

/// The staleness marker's bits.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker.
pub const STALE_NAN: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether a value is the staleness marker, by its bits.
#[inline]
pub fn is_stale(v: f64) -> bool {
    v.to_bits() == STALE_NAN_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marker_is_stale() {
        assert!(is_stale(STALE_NAN) && STALE_NAN.is_nan());
        assert!(!is_stale(f64::NAN) && !is_stale(f64::from_bits(0x7ff8_0000_0000_0001)) && !is_stale(0.0));
    }
}
