//! Numbers as Prometheus reads them: Go's floats without hexadecimal and underscores.

use super::line::quote;

/// The NaN Prometheus stores for any NaN it reads, so that no target can write a staleness marker by hand.
const ORDINARY_NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// A sample's value: decimal, `NaN`, `Inf`, `Infinity` in any case.
pub fn parse_float(token: &[u8]) -> Result<f64, String> {
    let wrong = || format!("{} is not a number", quote(token));
    let text = std::str::from_utf8(token).map_err(|_| wrong())?;
    let value: f64 = text.parse().map_err(|_| wrong())?;
    let digits = text.trim_start_matches(['+', '-']);
    if value.is_nan() {
        return if digits.len() == text.len() { Ok(ORDINARY_NAN) } else { Err(wrong()) };
    }
    let spelled_infinite = digits.starts_with(['i', 'I']);
    if value.is_infinite() && !spelled_infinite {
        return Err(format!("{} is out of range of a 64-bit float", quote(token)));
    }
    Ok(value)
}

/// A timestamp of Prometheus' text format: whole milliseconds.
pub fn parse_milliseconds(token: &[u8]) -> Result<i64, String> {
    std::str::from_utf8(token)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("timestamp {} is not a whole number of milliseconds", quote(token)))
}

/// A timestamp of OpenMetrics: seconds, finite.
pub fn parse_seconds(token: &[u8]) -> Result<f64, String> {
    let seconds = parse_float(token).map_err(|reason| format!("timestamp: {reason}"))?;
    if seconds.is_finite() { Ok(seconds) } else { Err(format!("timestamp {} is not a time", quote(token))) }
}

/// Seconds as milliseconds, cut off as Prometheus does; what does not fit becomes the nearest that does.
pub fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}

/// A number as OpenMetrics writes bounds of buckets and quantiles: Go's shortest form, with a point or an exponent.
pub fn canonical_float(value: f64) -> String {
    if value == 0.0 {
        return "0.0".to_owned();
    }
    if !value.is_finite() {
        let name = if value.is_nan() { "NaN" } else { ["-Inf", "+Inf"][usize::from(value > 0.0)] };
        return name.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        let plain = value.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_gos() {
        for (text, expected) in [
            ("1", 1.0),
            ("+1.5e3", 1500.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("08", 8.0),
            ("1E-2", 0.01),
            ("Inf", f64::INFINITY),
            ("-iNf", f64::NEG_INFINITY),
            ("+Infinity", f64::INFINITY),
            ("1e-999", 0.0),
            ("NaN", ORDINARY_NAN),
            ("nan", ORDINARY_NAN),
        ] {
            assert_eq!(parse_float(text.as_bytes()).map(f64::to_bits), Ok(expected.to_bits()), "{text}");
        }
        for text in
            ["", "1_2", "0x1p-3", "0x1", "0b1", "true", "1e999", "-nan", "+NaN", "1 ", "e5", ".", "infinit", "\u{661}"]
        {
            assert!(parse_float(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse_float(b"\xff").is_err());
    }

    #[test]
    fn bounds_are_written_the_canonical_way() {
        for (text, expected) in [
            ("1", "1.0"),
            ("-1", "-1.0"),
            ("-0", "0.0"),
            (".25", "0.25"),
            ("172.8", "172.8"),
            ("100000", "100000.0"),
            ("1000000", "1e+06"),
            ("1234567", "1.234567e+06"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("-2.5e-10", "-2.5e-10"),
            ("1e100", "1e+100"),
            ("inf", "+Inf"),
            ("-Inf", "-Inf"),
            ("nan", "NaN"),
        ] {
            assert_eq!(parse_float(text.as_bytes()).map(canonical_float).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn timestamps_are_finite_and_fit() {
        assert_eq!(parse_milliseconds(b"-2"), Ok(-2));
        assert!(parse_milliseconds(b"2.72").is_err());
        assert!(parse_seconds(b"NaN").is_err() && parse_seconds(b"Inf").is_err());
        assert_eq!(parse_seconds(b"1520879607.789").map(milliseconds), Ok(1_520_879_607_789));
        assert_eq!(parse_seconds(b"12345678901234567890.1").map(milliseconds), Ok(i64::MAX));
    }
}
