//! Why a text is not a query that we read, and where in it that shows.

use std::fmt;

use super::super::expr::SourceRange;

/// Why a text was refused. Displayed the way Prometheus does: `1:5: parse error: unexpected <op:*>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    pub message: String,
    /// The bytes of the query that the message is about.
    pub source: SourceRange,
    /// From 1.
    pub line: u32,
    /// From 1, in bytes.
    pub column: u32,
    /// Whether it may be PromQL, and is longer or nested deeper than we read.
    pub beyond_limits: bool,
}

impl ParseError {
    pub(in crate::promql) fn new(text: &str, source: SourceRange, message: impl Into<String>) -> Box<ParseError> {
        let before = &text.as_bytes()[..(source.start as usize).min(text.len())];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        Box::new(ParseError {
            message: message.into(),
            source,
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count() as u32,
            column: 1 + (before.len() - line_start) as u32,
            beyond_limits: false,
        })
    }

    pub(in crate::promql) fn beyond_limits(text: &str, source: SourceRange, message: String) -> Box<ParseError> {
        let mut error = ParseError::new(text, source, message);
        error.beyond_limits = true;
        error
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: parse error: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}
