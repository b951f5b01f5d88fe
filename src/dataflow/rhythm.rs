//! How far apart a series' samples come: the lengths of its last few gaps, by which overdue series are told.
//!
//! Gaps follow each other without a break, so their lengths and the newest sample's time say where each began.

/// A series is expected again after this when nothing is known of its rhythm.
const SPACING_UNKNOWN_MS: i64 = 60_000;

/// Gaps that began longer ago than this before the newest sample say nothing: a resume could not know them.
const RHYTHM_MS: i64 = 600_000;

/// How many of its last gaps tell a series' rhythm.
const GAPS: usize = 4;

/// The last gaps of one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rhythm {
    /// In milliseconds, the newest first; 0 where there was none. What does not fit 32 bits began too long ago in any case.
    gaps_ms: [u32; GAPS],
}

impl Rhythm {
    /// Notes that a sample came so long after the newest one before.
    #[inline]
    pub fn note(&mut self, gap_ms: i64) {
        let [first, second, third, _] = self.gaps_ms;
        self.gaps_ms = [u32::try_from(gap_ms).unwrap_or(u32::MAX), first, second, third];
    }

    /// The longest of the last few gaps.
    #[inline]
    pub fn spacing_ms(&self) -> i64 {
        let (mut reached_ms, mut longest_ms) = (0, 0);
        for gap_ms in self.gaps_ms.map(i64::from) {
            reached_ms += gap_ms;
            if reached_ms <= RHYTHM_MS {
                longest_ms = gap_ms.max(longest_ms);
            }
        }
        if longest_ms == 0 { SPACING_UNKNOWN_MS } else { longest_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(gaps_ms: &[i64], expected: i64) {
        let mut rhythm = Rhythm::default();
        gaps_ms.iter().for_each(|gap_ms| rhythm.note(*gap_ms));
        assert_eq!(rhythm.spacing_ms(), expected, "{gaps_ms:?}");
    }

    #[test]
    fn the_rhythm_is_the_longest_of_the_last_gaps() {
        check(&[], SPACING_UNKNOWN_MS);
        check(&[15_000], 15_000);
        check(&[15_000, 15_000, 30_000, 15_000], 30_000);
        check(&[30_000, 15_000, 15_000, 15_000, 15_000], 15_000); // four, no more
        check(&[1], 1);
    }

    #[test]
    fn gaps_that_began_too_long_ago_are_not_known() {
        check(&[600_000], 600_000);
        check(&[600_001], SPACING_UNKNOWN_MS);
        check(&[590_000, 10_000], 590_000);
        check(&[590_001, 10_000], 10_000);
        check(&[i64::MAX], SPACING_UNKNOWN_MS);
        check(&[i64::MAX, 10_000, 20_000], 20_000);
        check(&[20_000, i64::MAX, 10_000], 10_000);
        check(&[1 << 32, 7], 7);
    }
}
