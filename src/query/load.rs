//! The series notation of load files: `name{label="value"} 0+10x5 _ stale 3`.
//!
//! Item i of a series stands at i times the load's gap after the epoch. `_` is no sample, `axN` is a repeated N more times,
//! `a+bxN` counts up N more times, `_xN` is N times no sample, `stale` is the staleness marker, `{{..}}` a native histogram.

use super::memory::MemorySource;
use super::native::{CUSTOM, EXPONENTIAL};
use crate::model::time::parse_duration;
use crate::model::{Labels, METRIC_NAME, STALE_NAN, Sample, Timestamp};

/// The most items one line may unfold into.
const ITEMS_MAX: usize = 10_000_000;

/// What stands at one place of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item {
    /// No sample.
    Gap,
    Float(f64),
    /// A native histogram, of which nothing is kept but whether its buckets have bounds of their own.
    Histogram {
        custom: bool,
    },
}

/// A series and its items, of which item i stands at i times the gap.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesLine {
    pub labels: Labels,
    pub items: Vec<Item>,
}

/// Adds the series of load lines to a source; blank lines and lines that begin with `#` are skipped.
///
/// # Errors
/// What is wrong with the first bad line, and its number counted from 1.
pub fn load_lines(source: &mut MemorySource, gap_ms: i64, lines: &str) -> Result<(), String> {
    for (at, line) in lines.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            let line = series_line(line).map_err(|error| format!("line {}: {error}", at + 1))?;
            source.add(line.labels, samples(&line.items, gap_ms));
        }
    }
    Ok(())
}

/// Items as samples.
pub fn samples(items: &[Item], gap_ms: i64) -> Vec<Sample> {
    let sample = |(at, item): (usize, &Item)| {
        let v = match item {
            Item::Gap => return None,
            Item::Float(v) => *v,
            Item::Histogram { custom: false } => EXPONENTIAL,
            Item::Histogram { custom: true } => CUSTOM,
        };
        Some(Sample { t: Timestamp(gap_ms.saturating_mul(at as i64)), v })
    };
    items.iter().enumerate().filter_map(sample).collect()
}

/// One line of the notation.
///
/// # Errors
/// What is wrong with it.
pub fn series_line(line: &str) -> Result<SeriesLine, String> {
    let (labels, rest) = series(line.trim())?;
    let (mut items, mut rest) = (Vec::new(), rest.trim_start());
    while !rest.is_empty() {
        let length = word_length(rest)?;
        unfold(&rest[..length], &mut items)?;
        if items.len() > ITEMS_MAX {
            return Err(format!("the series has more than {ITEMS_MAX} items"));
        }
        rest = rest[length..].trim_start();
    }
    Ok(SeriesLine { labels, items })
}

/// The length of the first item: up to a blank that stands outside of `{{..}}`.
fn word_length(text: &str) -> Result<usize, String> {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next().filter(|c| !c.is_whitespace()) {
        at += match text[at..].strip_prefix("{{") {
            Some(inside) => 4 + inside.find("}}").ok_or_else(|| format!("a histogram without end: {text:?}"))?,
            None => c.len_utf8(),
        };
    }
    Ok(at)
}

/// The labels at the beginning of a line, and what follows them.
///
/// # Errors
/// What is wrong with the labels.
pub fn series(line: &str) -> Result<(Labels, &str), String> {
    let wrong = |what: &str| format!("{what} in series {line:?}");
    let name_end = line.find(|c: char| c == '{' || c.is_whitespace()).unwrap_or(line.len());
    let mut pairs: Vec<(String, String)> = Vec::new();
    if name_end > 0 {
        pairs.push((METRIC_NAME.to_owned(), line[..name_end].to_owned()));
    }
    let mut rest = &line[name_end..];
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside.trim_start();
        while !rest.starts_with('}') {
            let (name, after) = word(rest).ok_or_else(|| wrong("bad label name"))?;
            let quoted = rest.starts_with(['"', '\'', '`']);
            rest = after.trim_start();
            if let Some(after) = rest.strip_prefix('=') {
                let (value, after) = quoted_text(after.trim_start()).ok_or_else(|| wrong("bad label value"))?;
                pairs.push((name, value));
                rest = after.trim_start();
            } else if quoted {
                pairs.push((METRIC_NAME.to_owned(), name)); // `{"the.name", ...}`
            } else {
                return Err(wrong("a label without value"));
            }
            rest = rest.strip_prefix(',').map_or(rest, str::trim_start);
            if rest.is_empty() {
                return Err(wrong("missing }"));
            }
        }
        rest = &rest[1..];
    }
    Ok((Labels::from_pairs(pairs), rest))
}

/// A label's name, bare or quoted.
fn word(text: &str) -> Option<(String, &str)> {
    if text.starts_with(['"', '\'', '`']) {
        return quoted_text(text);
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    (end > 0).then(|| (text[..end].to_owned(), &text[end..]))
}

/// A string in any of Go's quotes, and what follows it.
pub(super) fn quoted_text(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    let body = &text[1..];
    if quote == '`' {
        let end = body.find('`')?;
        return Some((body[..end].to_owned(), &body[end + 1..]));
    }
    let mut bytes: Vec<u8> = Vec::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some((String::from_utf8_lossy(&bytes).into_owned(), &body[at + 1..]));
        }
        let mut utf8 = [0; 4];
        match c {
            '\\' => escaped(&mut chars, &mut bytes)?,
            _ => bytes.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes()),
        }
    }
    None
}

/// What follows a backslash.
fn escaped(chars: &mut std::str::CharIndices<'_>, bytes: &mut Vec<u8>) -> Option<()> {
    let (_, kind) = chars.next()?;
    let mut digits = |count: usize, radix: u32| {
        (0..count).try_fold(0u32, |value, _| Some(value * radix + chars.next()?.1.to_digit(radix)?))
    };
    let code = match kind {
        'n' => Some('\n'),
        't' => Some('\t'),
        'r' => Some('\r'),
        'a' => Some('\x07'),
        'b' => Some('\x08'),
        'f' => Some('\x0c'),
        'v' => Some('\x0b'),
        '\\' | '"' | '\'' => Some(kind),
        'u' => char::from_u32(digits(4, 16)?),
        'U' => char::from_u32(digits(8, 16)?),
        'x' => {
            bytes.push(u8::try_from(digits(2, 16)?).ok()?);
            return Some(());
        }
        first @ '0'..='7' => {
            let value = first.to_digit(8)? * 64 + digits(2, 8)?;
            bytes.push(u8::try_from(value).ok()?);
            return Some(());
        }
        _ => None,
    };
    let mut utf8 = [0; 4];
    bytes.extend_from_slice(code?.encode_utf8(&mut utf8).as_bytes());
    Some(())
}

/// Appends what one word of the values stands for.
fn unfold(word: &str, items: &mut Vec<Item>) -> Result<(), String> {
    let wrong = || format!("bad sample value {word:?}");
    // `0x10` is a zero and ten more, never a hexadecimal number: Prometheus reads it so here.
    let counted = word.rsplit_once('x').filter(|(head, tail)| !head.is_empty() && tail.bytes().all(|b| b.is_ascii_digit()));
    let (head, times) = match counted {
        Some((head, tail)) => (head, Some(tail.parse::<usize>().map_err(|_| wrong())?)),
        None => (word, None),
    };
    if times.is_some_and(|times| times > ITEMS_MAX) {
        return Err(format!("{word:?} stands for more than {ITEMS_MAX} items"));
    }
    if head == "_" {
        items.extend(std::iter::repeat_n(Item::Gap, times.unwrap_or(1)));
        return Ok(());
    }
    if head.starts_with("{{") && head.ends_with("}}") {
        let histogram = Item::Histogram { custom: has_custom_buckets(head) };
        items.extend(std::iter::repeat_n(histogram, times.unwrap_or(0) + 1));
        return Ok(());
    }
    let (mut value, step) = match value(head) {
        Some(value) => (value, 0.0),
        None => counting(head).ok_or_else(wrong)?,
    };
    if step != 0.0 && times.is_none() {
        return Err(wrong());
    }
    for _ in 0..=times.unwrap_or(0) {
        items.push(Item::Float(value));
        if step != 0.0 {
            value += step;
        }
    }
    Ok(())
}

/// Custom buckets are schema -53, whose bounds are then given.
fn has_custom_buckets(histogram: &str) -> bool {
    histogram.replace(' ', "").contains("schema:-53")
}

/// `a+b` or `a-b`: the first value and the step.
fn counting(head: &str) -> Option<(f64, f64)> {
    let signs = head.char_indices().skip(1).filter(|(_, c)| matches!(c, '+' | '-'));
    signs.map(|(at, _)| at).find_map(|at| {
        let step = value(&head[at..]).filter(|step| !step.is_nan())?;
        Some((value(&head[..at])?, step))
    })
}

/// A number as Go reads one, a duration in seconds, or the staleness marker.
pub(super) fn value(text: &str) -> Option<f64> {
    if text == "stale" {
        return Some(STALE_NAN);
    }
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() > 1 {
        return None;
    }
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    if let Some(digits) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        return u64::from_str_radix(digits, 16).ok().map(|number| sign * number as f64);
    }
    if let Ok(number) = text.parse::<f64>() {
        return Some(number);
    }
    parse_duration(unsigned).ok().map(|ms| sign * ms as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected_labels: &str, expected: &[f64]) {
        let line_read = series_line(line).unwrap();
        assert_eq!(line_read.labels.to_string(), expected_labels);
        // -1 stands for no sample, -9 and -53 for a histogram, so that a row stays readable.
        let number = |item: &Item| match item {
            Item::Gap => -1.0,
            Item::Float(v) => *v,
            Item::Histogram { custom: false } => -9.0,
            Item::Histogram { custom: true } => -53.0,
        };
        let items: Vec<f64> = line_read.items.iter().map(number).collect();
        assert_eq!(format!("{items:?}"), format!("{expected:?}"), "{line}");
    }

    #[test]
    fn the_notation() {
        check("up 1", "up", &[1.0]);
        check(r#"m{a="b", c="d\"e"} 0+10x3 _ 2x2"#, r#"m{a="b", c="d\"e"}"#, &[0.0, 10.0, 20.0, 30.0, -1.0, 2.0, 2.0, 2.0]);
        check("m 5-1x2 _x2 7", "m", &[5.0, 4.0, 3.0, -1.0, -1.0, 7.0]);
        check(
            "m 1e3+1e2x1 -2-3x1 +Inf 0x3 0x0 1m",
            "m",
            &[1000.0, 1100.0, -2.0, -5.0, f64::INFINITY, 0.0, 0.0, 0.0, 0.0, 0.0, 60.0],
        );
        check(r#"{"my.name", "a.b"='c'} NaN"#, r#"my.name{a.b="c"}"#, &[f64::NAN]);
        check("{} 3", "{}", &[3.0]);
        check("m 0+0x2", "m", &[0.0, 0.0, 0.0]);
        check("m 1 {{sum:1 count:2}}x1 _ {{}} {{sum:1}}+{{sum: 2}}x1", "m", &[1.0, -9.0, -9.0, -1.0, -9.0, -9.0, -9.0]);
        check("m {{schema:-53 sum:1 custom_values:[5 10]}}x1 {{schema:5}}", "m", &[-53.0, -53.0, -9.0]);
    }

    #[test]
    fn stale_is_the_marker_and_bad_lines_are_named() {
        let stale = samples(&series_line("m stale").unwrap().items, 1);
        assert!(crate::model::is_stale(stale[0].v));
        for line in ["m 1+2", "m{a} 1", "m{a=\"b\" 1", "m x3", "m 1x99999999999", "m 1 foo", "m {{}", "m 0xff+1", "m 1x"] {
            assert!(series_line(line).is_err(), "{line}");
        }
        let mut source = MemorySource::new();
        assert!(load_lines(&mut source, 1000, "a 1\n# note\n\nb z").unwrap_err().starts_with("line 4: "));
        assert_eq!(source.len(), 1);
    }
}
