//! Instants and durations: milliseconds, read and written the way Prometheus does.
//!
//! An instant is a [`Timestamp`]; a duration is a plain `i64` whose name ends in `_ms`. Nobody outside the node reads a
//! wall clock: who needs one takes a [`Clock`].

use std::fmt;
use std::ops::{Add, Sub};

/// Milliseconds since the Unix epoch. Comes from samples, log records and query parameters; stored as a signed 64-bit integer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// From seconds, rounded to the millisecond. `None` for what is not finite or does not fit.
    pub fn from_seconds(seconds: f64) -> Option<Timestamp> {
        let ms = (seconds * 1000.0).round();
        (ms.is_finite() && ms.abs() < 9.2e18).then_some(Timestamp(ms as i64))
    }

    /// Seconds since the epoch, as PromQL's `time()` and `timestamp()` give them.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

/// Shifting by milliseconds saturates: a hostile timestamp must not wrap around.
impl Add<i64> for Timestamp {
    type Output = Timestamp;
    fn add(self, ms: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }
}

impl Sub<i64> for Timestamp {
    type Output = Timestamp;
    fn sub(self, ms: i64) -> Timestamp {
        Timestamp(self.0.saturating_sub(ms))
    }
}

/// The distance in milliseconds, saturating.
impl Sub<Timestamp> for Timestamp {
    type Output = i64;
    fn sub(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// RFC 3339 in UTC with milliseconds, or the bare number where the calendar ends.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// Where the time of day comes from. The node has the real one; tests bring their own.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// An instant as users write it: Unix seconds (`1700000000.5`) or RFC 3339.
///
/// # Errors
/// What is wrong and what would be right, in one sentence.
pub fn parse_instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Timestamp::from_seconds(seconds).ok_or_else(|| format!("cannot parse {text:?} to a valid timestamp"));
    }
    text.parse::<jiff::Timestamp>()
        .map(|instant| Timestamp(instant.as_millisecond()))
        .map_err(|_| format!("cannot parse {text:?} to a valid timestamp"))
}

/// An instant in RFC 3339 as machines write it, with `T`, seconds and an offset; what is finer than a millisecond is cut
/// off.
pub fn parse_rfc_3339(text: &str) -> Option<Timestamp> {
    const SEPARATORS: [(usize, u8); 5] = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let is_whole = SEPARATORS.iter().all(|(at, separator)| text.as_bytes().get(*at) == Some(separator));
    let instant: jiff::Timestamp = text.parse().ok().filter(|_| is_whole)?;
    Some(Timestamp(instant.as_millisecond()))
}

/// A distance as Prometheus' API takes it, in milliseconds: seconds, perhaps with a fraction, or a duration.
///
/// # Errors
/// When it is neither, or beyond all times.
pub fn parse_seconds(text: &str) -> Result<i64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds.abs() < 9e15 => Ok((seconds * 1000.0) as i64),
        _ => parse_duration(text).map_err(|_| format!("cannot parse {text:?} to a valid duration")),
    }
}

/// The units of a Prometheus duration, largest first, with their length in milliseconds.
const UNITS: [(&str, i64); 7] =
    [("y", 31_536_000_000), ("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// How a duration is written.
pub const DURATION_REMEDY: &str = "write it like 30s, 5m or 1h30m";

/// A Prometheus duration (`90s`, `1h30m`, `500ms`) in milliseconds: units in falling order, each at most once.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("not a valid duration: {text:?} ({DURATION_REMEDY})");
    if text == "0" {
        return Ok(0);
    }
    let (mut rest, mut total, mut next_unit) = (text, 0i64, 0usize);
    if rest.is_empty() {
        return Err(format!("empty duration ({DURATION_REMEDY})"));
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = UNITS.iter().position(|(name, _)| *name == &rest[..letters]).ok_or_else(wrong)?;
        if unit < next_unit {
            return Err(wrong());
        }
        next_unit = unit + 1;
        let ms = count.checked_mul(UNITS[unit].1).and_then(|ms| total.checked_add(ms));
        total = ms.ok_or_else(|| format!("duration out of range: {text:?}"))?;
        rest = &rest[letters..];
    }
    Ok(total)
}

/// A duration the way Prometheus prints it: `5400000` is `1h30m`, zero is `0s`; weeks and years only when they divide it.
pub fn format_duration(duration_ms: i64) -> String {
    if duration_ms == 0 {
        return "0s".to_owned();
    }
    let sign = if duration_ms < 0 { "-" } else { "" };
    let (mut rest, mut text) = (duration_ms.unsigned_abs(), String::from(sign));
    for (unit, length) in UNITS {
        let length = length.unsigned_abs();
        let exact_only = matches!(unit, "y" | "w");
        if rest < length || (exact_only && !rest.is_multiple_of(length)) {
            continue;
        }
        text.push_str(&format!("{}{unit}", rest / length));
        rest %= length;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_trip_and_bad_ones_are_refused() {
        for (text, ms) in
            [("30s", 30_000), ("1h30m", 5_400_000), ("1m15s", 75_000), ("500ms", 500), ("0", 0), ("1w", 604_800_000)]
        {
            assert_eq!(parse_duration(text), Ok(ms), "{text}");
        }
        for text in ["", "5", "m", "5m1h", "1m1m", "-5m", "1.5h", "99999999999999y", "5 m"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["30s", "1h30m", "1m15s", "500ms", "1w", "8d", "1d1s"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn instants_are_seconds_or_rfc_3339() {
        assert_eq!(parse_instant("1435781451.781"), Ok(Timestamp(1_435_781_451_781)));
        assert_eq!(parse_instant("2015-07-01T20:10:51.781Z"), Ok(Timestamp(1_435_781_451_781)));
        assert!(parse_instant("yesterday").is_err());
        assert!(parse_instant("1e300").is_err());
    }
}
