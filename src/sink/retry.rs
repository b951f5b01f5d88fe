//! How long to wait before a request is sent again.
//!
//! The pause doubles up to a bound, and half of it is by chance, so that many senders that lost one receiver do not come
//! back as one. What the receiver asks for goes before it.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::model::Timestamp;

/// The first pause, and the longest.
const PAUSE_MS: u64 = 200;
const PAUSE_MS_MAX: u64 = 30_000;

/// The longest that a receiver can ask for.
const ASKED_MS_MAX: i64 = 3_600_000;

/// The pause after so many attempts that failed in a row. What it is made of by chance is told by the seed.
pub fn pause(attempts: u32, seed: &str, now: Timestamp) -> Duration {
    let whole = PAUSE_MS.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(PAUSE_MS_MAX);
    let chance = xxh3_64(format!("{seed} {attempts} {}", now.0).as_bytes()) % (whole / 2 + 1);
    Duration::from_millis(whole / 2 + chance)
}

/// What `Retry-After` asks for, in seconds or until an instant; `None` when it says neither.
pub fn asked(retry_after: &str, now: Timestamp) -> Option<Duration> {
    let text = retry_after.trim();
    let ms = match text.parse::<i64>() {
        Ok(seconds) => seconds.checked_mul(1000)?,
        Err(_) => jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond() - now.0,
    };
    Some(Duration::from_millis(ms.clamp(0, ASKED_MS_MAX).unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let now = Timestamp(1_700_000_000_000);
        let ms = |attempts: u32, seed: &str| pause(attempts, seed, now).as_millis() as u64;
        for attempts in [1, 2, 5, 8, 9, 40, u32::MAX] {
            let whole = PAUSE_MS.saturating_mul(1 << (attempts - 1).min(16)).min(PAUSE_MS_MAX);
            assert!((whole / 2..=whole).contains(&ms(attempts, "a")), "{attempts}: {}", ms(attempts, "a"));
        }
        let different: std::collections::BTreeSet<_> = (0..20).map(|seed| ms(9, &seed.to_string())).collect();
        assert!(different.len() > 10, "{different:?}");
    }

    #[test]
    fn what_the_receiver_asks_for_is_read() {
        let now = Timestamp(784_111_777_000);
        let seconds = |text| asked(text, now).map(|pause| pause.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds(" Sun, 06 Nov 1994 08:49:47 GMT "), Some(10));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:27 GMT"), Some(0), "over already");
        assert_eq!(seconds("-3"), Some(0));
        assert_eq!(seconds("999999999"), Some(3600), "bounded");
        for nothing in ["", "soon", "1.5", "99999999999999999999"] {
            assert_eq!(seconds(nothing), None, "{nothing}");
        }
    }
}
