//! Numbers, durations and strings as PromQL writes them: where they end, what they are worth, how they are quoted.

use crate::model::quote::{push_escaped, quoted};
use crate::model::time::parse_duration;

/// The NaN that Prometheus' literal stands for.
pub(in crate::promql) const NAN_LITERAL: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// Prometheus counts durations in nanoseconds, in 64 bits.
const DURATION_MS_MAX: i64 = i64::MAX / 1_000_000;

/// A letter, digit or underscore.
pub(in crate::promql) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn skip(bytes: &[u8], mut at: usize, accepted: impl Fn(u8) -> bool) -> usize {
    while bytes.get(at).is_some_and(|byte| accepted(*byte)) {
        at += 1;
    }
    at
}

/// Where the number that begins at `at` ends, or how far one could be read. Its value may still be out of range.
pub(in crate::promql) fn scan_number(bytes: &[u8], at: usize) -> Result<usize, usize> {
    let digit = |byte: u8| byte.is_ascii_digit() || byte == b'_';
    let byte_at = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let hexadecimal = byte_at(at) == b'0' && matches!(byte_at(at + 1), b'x' | b'X');
    let end = if hexadecimal {
        skip(bytes, at + 2, |byte| byte.is_ascii_hexdigit() || byte == b'_')
    } else {
        let mut end = skip(bytes, at, digit);
        if byte_at(end) == b'.' {
            end += 1;
            if matches!(byte_at(end), b'_' | b'.') {
                return Err(end + 1);
            }
            end = skip(bytes, end, digit);
        }
        if matches!(byte_at(end), b'e' | b'E') {
            end += 1 + usize::from(matches!(byte_at(end + 1), b'+' | b'-'));
            if matches!(byte_at(end), b'.' | b'_' | b'e' | b'E') {
                return Err(end + 1);
            }
            end = skip(bytes, end, digit);
        }
        end
    };
    match byte_at(end) {
        b'.' => Err(end + 1),
        next if is_word(next) => Err(end),
        _ => Ok(end),
    }
}

/// Where the duration ends whose first digits end at `at`, or how far one could be read.
pub(in crate::promql) fn scan_units(bytes: &[u8], mut at: usize) -> Result<usize, usize> {
    let is = |at: usize, set: &[u8]| bytes.get(at).is_some_and(|byte| set.contains(byte));
    let mut units: &[u8] = b"smhdwy";
    loop {
        if !is(at, units) {
            return Err(at);
        }
        at += 1 + usize::from(is(at + 1, b"s"));
        let digits_end = skip(bytes, at, |byte| byte.is_ascii_digit());
        if digits_end == at {
            break;
        }
        (at, units) = (digits_end, b"smhdw");
    }
    if bytes.get(at).is_some_and(|byte| is_word(*byte)) { Err(at + 1) } else { Ok(at) }
}

/// The value of a number: decimal, `0x` hexadecimal, octal after a leading zero, `Inf`, `NaN`; `_` may separate digits.
pub(in crate::promql) fn number(text: &str) -> Result<f64, String> {
    let wrong = |why: &str| Err(format!("error parsing number: strconv.ParseFloat: parsing {}: {why}", quoted(text)));
    if text.eq_ignore_ascii_case("inf") {
        return Ok(f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Ok(NAN_LITERAL);
    }
    if !underscores_separate_digits(text) {
        return wrong("invalid syntax");
    }
    let digits = text.replace('_', "");
    if let Some(hexadecimal) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return i64::from_str_radix(hexadecimal, 16).map_or_else(|_| wrong("invalid syntax"), |n| Ok(n as f64));
    }
    if digits.starts_with('0')
        && let Ok(octal) = i64::from_str_radix(&digits, 8)
    {
        return Ok(octal as f64);
    }
    match digits.parse::<f64>() {
        Ok(value) if value.is_infinite() => wrong("value out of range"),
        Ok(value) => Ok(value),
        Err(_) => wrong("invalid syntax"),
    }
}

/// Each underscore has a digit, or `0x`, before it and a digit after it.
fn underscores_separate_digits(text: &str) -> bool {
    let bytes = text.as_bytes();
    let hexadecimal = bytes.len() > 1 && matches!(bytes[1], b'x' | b'X');
    let digit = |at: usize| {
        bytes.get(at).is_some_and(|byte| if hexadecimal { byte.is_ascii_hexdigit() } else { byte.is_ascii_digit() })
    };
    let before = |at: usize| at > 0 && (digit(at - 1) || (hexadecimal && at == 2));
    (0..bytes.len()).filter(|at| bytes[*at] == b'_').all(|at| before(at) && digit(at + 1))
}

/// The value of a duration in milliseconds.
pub(in crate::promql) fn duration_ms(text: &str) -> Result<i64, String> {
    match parse_duration(text) {
        Ok(ms) if ms <= DURATION_MS_MAX => Ok(ms),
        Ok(_) => Err("duration out of range".to_owned()),
        Err(message) if message.starts_with("duration out of range") => Err("duration out of range".to_owned()),
        Err(_) => Err(match unknown_unit(text) {
            Some(unit) => format!("unknown unit {} in duration {}", quoted(unit), quoted(text)),
            None => format!("not a valid duration string: {}", quoted(text)),
        }),
    }
}

fn unknown_unit(text: &str) -> Option<&str> {
    let mut units = text.split(|c: char| c.is_ascii_digit()).filter(|unit| !unit.is_empty());
    units.find(|unit| !matches!(*unit, "y" | "w" | "d" | "h" | "m" | "s" | "ms"))
}

/// What an escape sequence stands for.
pub(in crate::promql) enum Escape {
    Char(char),
    /// `\377` and `\xff` are bytes, not characters.
    Byte(u8),
}

/// Reads what follows a backslash: what it stands for and how many bytes it takes.
pub(in crate::promql) fn read_escape(rest: &str, quote: u8) -> Result<(Escape, usize), String> {
    let Some(first) = rest.chars().next() else {
        return Err("escape sequence not terminated".to_owned());
    };
    let plain = |c: char| Ok((Escape::Char(c), 1));
    match first {
        'a' => plain('\x07'),
        'b' => plain('\x08'),
        'f' => plain('\x0c'),
        'n' => plain('\n'),
        'r' => plain('\r'),
        't' => plain('\t'),
        'v' => plain('\x0b'),
        '\\' => plain('\\'),
        _ if first == char::from(quote) => plain(first),
        '0'..='7' => escape_byte(rest, 0, 3, 8),
        'x' => escape_byte(rest, 1, 2, 16),
        'u' => escape_char(rest, 4),
        'U' => escape_char(rest, 8),
        _ => Err(format!("unknown escape sequence U+{:04X} '{first}'", u32::from(first))),
    }
}

fn escape_byte(rest: &str, skipped: usize, digits: usize, radix: u32) -> Result<(Escape, usize), String> {
    let value = escape_digits(&rest[skipped..], digits, radix)?;
    let byte = u8::try_from(value).map_err(|_| INVALID_CODE_POINT.to_owned())?;
    Ok((Escape::Byte(byte), skipped + digits))
}

fn escape_char(rest: &str, digits: usize) -> Result<(Escape, usize), String> {
    let c = char::from_u32(escape_digits(&rest[1..], digits, 16)?).ok_or(INVALID_CODE_POINT)?;
    Ok((Escape::Char(c), 1 + digits))
}

const INVALID_CODE_POINT: &str = "escape sequence is an invalid Unicode code point";

fn escape_digits(rest: &str, count: usize, radix: u32) -> Result<u32, String> {
    let mut value = 0u32;
    let mut chars = rest.chars();
    for _ in 0..count {
        let c = chars.next().ok_or("escape sequence not terminated")?;
        let Some(digit) = c.to_digit(radix) else {
            return Err(format!("illegal character U+{:04X} '{c}' in escape sequence", u32::from(c)));
        };
        value = value * radix + digit;
    }
    Ok(value)
}

/// The bytes a quoted string of any kind stands for. The lexer has found its end and checked its escapes.
pub(in crate::promql) fn unquote(token: &str) -> Result<Vec<u8>, String> {
    let quote = token.as_bytes().first().copied().unwrap_or(b'"');
    let inner = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
    if quote == b'`' {
        return Ok(inner.as_bytes().to_vec());
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(inner.len()), inner);
    while let Some(backslash) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..backslash]);
        let (escape, length) = read_escape(&rest[backslash + 1..], quote)?;
        match escape {
            Escape::Byte(byte) => bytes.push(byte),
            Escape::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = &rest[backslash + 1 + length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// The character at a byte position in single quotes.
pub(in crate::promql) fn quoted_char_at(text: &str, at: usize) -> String {
    let mut out = String::from("'");
    push_escaped(&mut out, text[at..].chars().next().unwrap_or(char::REPLACEMENT_CHARACTER), '\'');
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_gos_values() {
        for (text, value) in [
            ("0", 0.0),
            ("0755", 493.0),
            ("08", 8.0),
            ("0xA", 10.0),
            ("0x_1F", 31.0),
            ("1_000.5", 1000.5),
            ("5.", 5.0),
            (".5", 0.5),
            ("1e-3", 0.001),
            ("1.e2", 100.0),
            ("Inf", f64::INFINITY),
        ] {
            assert_eq!(scan_number(text.as_bytes(), 0).ok().filter(|_| text != "Inf").unwrap_or(text.len()), text.len());
            assert_eq!(number(text), Ok(value), "{text}");
        }
        assert!(number("nAn").unwrap().is_nan());
        for text in ["1_", "1__0", "_1", "0x", "1e999", "1e", "1_.5", "0xfffffffffffffffff"] {
            assert!(number(text).is_err(), "{text}");
        }
        for (text, stop) in [("100..4", 5), ("2.5.", 4), ("0de", 1), ("1e5e", 3), ("1e.", 3)] {
            assert_eq!(scan_number(text.as_bytes(), 0), Err(stop), "{text}");
        }
    }

    #[test]
    fn durations_end_at_their_last_unit() {
        for (text, digits, end) in
            [("5m", 1, Ok(2)), ("5m30s]", 1, Ok(5)), ("5ms", 1, Ok(3)), ("5mm", 1, Err(3)), ("5m1", 1, Err(3))]
        {
            assert_eq!(scan_units(text.as_bytes(), digits), end, "{text}");
        }
        assert_eq!(duration_ms("1h30m"), Ok(5_400_000));
        assert_eq!(duration_ms("5y1hs").unwrap_err(), "unknown unit \"hs\" in duration \"5y1hs\"");
        assert_eq!(duration_ms("5m1h").unwrap_err(), "not a valid duration string: \"5m1h\"");
        assert_eq!(duration_ms("300y").unwrap_err(), "duration out of range");
    }

    #[test]
    fn strings_are_quoted_and_unquoted_as_go_does() {
        for (token, bytes) in [
            (r#""a\n\"\\\t""#, &b"a\n\"\\\t"[..]),
            (r"'it\'s'", b"it's"),
            (r"`raw\n'`", b"raw\\n'"),
            (r#""\xff\101\u00e9\U0001F600""#, b"\xffA\xc3\xa9\xf0\x9f\x98\x80"),
        ] {
            assert_eq!(unquote(token).as_deref(), Ok(bytes), "{token}");
        }
        for text in ["plain", "q\"'`\\", "\u{7}\u{7f}\u{200b}\u{e000}\u{1f600}\u{fffd}é", "\n\r\t\0"] {
            assert_eq!(unquote(&quoted(text)), Ok(text.as_bytes().to_vec()), "{text:?}");
            assert!(!quoted(text).contains(['\n', '\u{fffd}']), "{text:?}");
        }
        for escape in ["c", "x.", "400", "ud800", "U00110000", "x1", ""] {
            assert!(read_escape(escape, b'"').is_err(), "{escape}");
        }
    }
}
