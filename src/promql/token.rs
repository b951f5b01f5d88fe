//! The words PromQL is made of, and how error messages name them.

use super::expr::BinaryOp;
use crate::model::quote::quoted;

/// One word and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub start: u32,
    pub end: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TokenKind {
    End,
    Identifier,
    /// An identifier with a colon in it, which cannot be a function or a label.
    MetricIdentifier,
    String,
    Number,
    Duration,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    Equal,
    EqualRegex,
    NotRegex,
    At,
    Operator(BinaryOp),
    Aggregation,
    Keyword(Keyword),
    Preprocessor(Preprocessor),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keyword {
    Bool,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Offset,
    Anchored,
    Smoothed,
}

/// Words that stand for a number known only when the query runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Preprocessor {
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// Words that are not plain identifiers, in lower case; they are recognised in any case.
const KEYWORDS: [(&str, TokenKind); 39] = [
    ("and", TokenKind::Operator(BinaryOp::And)),
    ("or", TokenKind::Operator(BinaryOp::Or)),
    ("unless", TokenKind::Operator(BinaryOp::Unless)),
    ("atan2", TokenKind::Operator(BinaryOp::Atan2)),
    ("sum", TokenKind::Aggregation),
    ("avg", TokenKind::Aggregation),
    ("count", TokenKind::Aggregation),
    ("min", TokenKind::Aggregation),
    ("max", TokenKind::Aggregation),
    ("group", TokenKind::Aggregation),
    ("stddev", TokenKind::Aggregation),
    ("stdvar", TokenKind::Aggregation),
    ("topk", TokenKind::Aggregation),
    ("bottomk", TokenKind::Aggregation),
    ("count_values", TokenKind::Aggregation),
    ("quantile", TokenKind::Aggregation),
    ("limitk", TokenKind::Aggregation),
    ("limit_ratio", TokenKind::Aggregation),
    ("offset", TokenKind::Keyword(Keyword::Offset)),
    ("smoothed", TokenKind::Keyword(Keyword::Smoothed)),
    ("anchored", TokenKind::Keyword(Keyword::Anchored)),
    ("by", TokenKind::Keyword(Keyword::By)),
    ("without", TokenKind::Keyword(Keyword::Without)),
    ("on", TokenKind::Keyword(Keyword::On)),
    ("ignoring", TokenKind::Keyword(Keyword::Ignoring)),
    ("group_left", TokenKind::Keyword(Keyword::GroupLeft)),
    ("group_right", TokenKind::Keyword(Keyword::GroupRight)),
    ("fill", TokenKind::Keyword(Keyword::Fill)),
    ("fill_left", TokenKind::Keyword(Keyword::FillLeft)),
    ("fill_right", TokenKind::Keyword(Keyword::FillRight)),
    ("bool", TokenKind::Keyword(Keyword::Bool)),
    ("start", TokenKind::Preprocessor(Preprocessor::Start)),
    ("end", TokenKind::Preprocessor(Preprocessor::End)),
    ("step", TokenKind::Preprocessor(Preprocessor::Step)),
    ("range", TokenKind::Preprocessor(Preprocessor::Range)),
    ("max_of", TokenKind::Preprocessor(Preprocessor::MaxOf)),
    ("min_of", TokenKind::Preprocessor(Preprocessor::MinOf)),
    ("inf", TokenKind::Number),
    ("nan", TokenKind::Number),
];

/// What a word is when it is not a plain identifier.
pub(super) fn keyword(word: &str) -> Option<TokenKind> {
    KEYWORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, kind)| *kind)
}

impl Token {
    /// What stands in the text, as errors say it: `identifier "b"`, `<op:+>`, `end of input`.
    pub fn describe(&self, text: &str) -> String {
        let word = &text[self.start as usize..self.end as usize];
        match self.kind {
            TokenKind::End => "end of input".to_owned(),
            TokenKind::Identifier => format!("identifier {}", quoted(word)),
            TokenKind::MetricIdentifier => format!("metric identifier {}", quoted(word)),
            TokenKind::String => format!("string {}", shortened(word)),
            TokenKind::Number => format!("number {}", shortened(word)),
            TokenKind::Duration => format!("duration {}", shortened(word)),
            TokenKind::Operator(_) | TokenKind::EqualRegex | TokenKind::NotRegex | TokenKind::At => {
                format!("<op:{word}>")
            }
            TokenKind::Aggregation => format!("<aggr:{word}>"),
            TokenKind::Keyword(_) => format!("<{word}>"),
            _ => quoted(word),
        }
    }
}

/// The first ten characters of a word, quoted.
fn shortened(word: &str) -> String {
    match word.char_indices().nth(10) {
        Some((end, _)) => format!("{}...", quoted(&word[..end])),
        None => quoted(word),
    }
}
