//! What an evaluation must give: a value, an error, warnings, infos.

use regex::Regex;

use super::parse::duration;
use crate::model::{Labels, Timestamp};
use crate::query::NATIVE_HISTOGRAM;
use crate::query::load::{SeriesLine, quoted_text, series_line, value};

/// Everything the lines under an `eval` say.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    pub value: ExpectedValue,
    /// The evaluation must fail, with this text.
    pub fail: Option<TextMatch>,
    /// The order of the series counts.
    pub ordered: bool,
    /// Each must match a warning, and each warning one of them, unless there are none.
    pub warnings: Vec<TextMatch>,
    pub infos: Vec<TextMatch>,
    pub no_warnings: bool,
    pub no_infos: bool,
    /// Why this cannot be compared here.
    pub unsupported: Option<String>,
}

#[derive(Clone, Debug)]
pub enum ExpectedValue {
    /// Series and their items: one per series for an instant, one per step for a range.
    Series(Vec<SeriesLine>),
    /// Series of an instant query that gives a matrix: item i stands at `start + i * step_ms`.
    RangeVector {
        start: Timestamp,
        step_ms: i64,
        series: Vec<SeriesLine>,
    },
    Scalar(f64),
    String(String),
}

impl Default for ExpectedValue {
    fn default() -> ExpectedValue {
        ExpectedValue::Series(Vec::new())
    }
}

/// How a text is compared.
#[derive(Clone, Debug)]
pub enum TextMatch {
    Any,
    Exactly(String),
    /// Anywhere in the text.
    Pattern(Regex),
}

impl TextMatch {
    pub fn matches(&self, text: &str) -> bool {
        match self {
            TextMatch::Any => true,
            TextMatch::Exactly(expected) => text == expected,
            TextMatch::Pattern(pattern) => pattern.is_match(text),
        }
    }

    fn parse(text: &str) -> Result<TextMatch, String> {
        if let Some(message) = text.strip_prefix("msg:") {
            return Ok(TextMatch::Exactly(message.trim().to_owned()));
        }
        match text.strip_prefix("regex:") {
            Some(pattern) => TextMatch::pattern(pattern.trim()),
            None if text.is_empty() => Ok(TextMatch::Any),
            None => Err(format!("expected msg: or regex:, got {text:?}")),
        }
    }

    fn pattern(pattern: &str) -> Result<TextMatch, String> {
        Regex::new(pattern).map(TextMatch::Pattern).map_err(|_| format!("bad regular expression {pattern:?}"))
    }
}

impl Expectation {
    /// `suffix` is that of the older commands: `eval_fail`, `eval_ordered`, `eval_warn`, `eval_info`.
    pub(super) fn parse(suffix: Option<&str>, lines: &[(usize, &str)]) -> Result<Expectation, String> {
        let mut expectation = Expectation::default();
        match suffix {
            None => {}
            Some("fail") => expectation.fail = Some(TextMatch::Any),
            Some("ordered") => expectation.ordered = true,
            Some("warn") => expectation.warnings.push(TextMatch::Any),
            Some("info") => expectation.infos.push(TextMatch::Any),
            Some(other) => return Err(format!("unknown command \"eval_{other}\"")),
        }
        for (number, line) in lines {
            expectation.line(line).map_err(|error| format!("{error} (line {number})"))?;
        }
        Ok(expectation)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match word {
            "expect" => self.expect(rest.trim()),
            "expected_fail_message" => {
                self.fail = Some(TextMatch::Exactly(rest.trim().to_owned()));
                Ok(())
            }
            "expected_fail_regexp" => {
                self.fail = Some(TextMatch::pattern(rest.trim())?);
                Ok(())
            }
            _ => self.value_line(line),
        }
    }

    fn expect(&mut self, text: &str) -> Result<(), String> {
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        match word {
            "fail" => self.fail = Some(TextMatch::parse(rest)?),
            "ordered" => self.ordered = true,
            "warn" => self.warnings.push(TextMatch::parse(rest)?),
            "info" => self.infos.push(TextMatch::parse(rest)?),
            "no_warn" => self.no_warnings = true,
            "no_info" => self.no_infos = true,
            "string" => {
                let (text, _) = quoted_text(rest).ok_or_else(|| format!("bad string {rest:?}"))?;
                self.value = ExpectedValue::String(text);
            }
            "range" => self.value = range_vector(rest)?,
            _ => return Err(format!("unknown expectation {word:?}")),
        }
        Ok(())
    }

    fn value_line(&mut self, line: &str) -> Result<(), String> {
        if line.contains("{{") {
            self.unsupported = Some(NATIVE_HISTOGRAM.to_owned());
            return Ok(());
        }
        if let Some(scalar) = value(line) {
            self.value = ExpectedValue::Scalar(scalar);
            return Ok(());
        }
        let line = series_line(line)?;
        match &mut self.value {
            ExpectedValue::Series(series) | ExpectedValue::RangeVector { series, .. } => series.push(line),
            ExpectedValue::Scalar(_) | ExpectedValue::String(_) => {
                return Err("a series after a scalar or string".to_owned());
            }
        }
        Ok(())
    }

    /// The labels of all series expected.
    pub fn labels(&self) -> impl Iterator<Item = &Labels> {
        let series = match &self.value {
            ExpectedValue::Series(series) | ExpectedValue::RangeVector { series, .. } => series.as_slice(),
            ExpectedValue::Scalar(_) | ExpectedValue::String(_) => &[],
        };
        series.iter().map(|line| &line.labels)
    }
}

/// `vector from A to B step S`
fn range_vector(text: &str) -> Result<ExpectedValue, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["vector", "from", start, "to", _, "step", step] => Ok(ExpectedValue::RangeVector {
            start: Timestamp(duration(start)?),
            step_ms: duration(step)?,
            series: Vec::new(),
        }),
        _ => Err(format!("write `expect range vector from A to B step S`, not {text:?}")),
    }
}
