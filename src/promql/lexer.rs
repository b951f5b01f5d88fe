//! PromQL's words: text in, tokens with byte positions out.
//!
//! What a character means depends on where it stands: in braces every word is a label name, in brackets a word is part of
//! a duration. The lexer keeps that state itself, so that the parser asks for one token at a time and never goes back.

use super::expr::BinaryOp;
use super::parse::literal::{is_word, quoted_char_at, read_escape, scan_number, scan_units};
use super::token::{Keyword, Preprocessor, Token, TokenKind, keyword};

/// Why the text is not a sequence of tokens.
#[derive(Debug)]
pub(super) struct LexError {
    pub message: String,
    pub start: usize,
}

/// Where the lexer stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Braces,
    /// In brackets, with nothing but signs and parentheses since the bracket or the last colon.
    BracketOpening,
    /// In brackets, after the first number.
    BracketRest,
}

pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    place: Place,
    open_parens: u32,
    colon_seen: bool,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0, place: Place::Outside, open_parens: 0, colon_seen: false }
    }

    /// The next token; `End` for ever once the text is used up.
    pub fn next(&mut self) -> Result<Token, LexError> {
        self.skip_blanks();
        let start = self.at;
        let kind = match self.peek() {
            None => self.end_of_text()?,
            Some(byte) => match self.place {
                Place::Braces => self.in_braces(byte)?,
                Place::BracketOpening => self.in_bracket(byte)?,
                Place::Outside | Place::BracketRest => self.statement(byte)?,
            },
        };
        Ok(Token { kind, start: start as u32, end: self.at as u32 })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips spaces and comments; a duration's beginning has no comments.
    fn skip_blanks(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(b'#') if self.place != Place::BracketOpening => {
                    let rest = &self.text.as_bytes()[self.at..];
                    self.at += rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, LexError> {
        Err(LexError { message: message.into(), start: self.at })
    }

    fn end_of_text(&self) -> Result<TokenKind, LexError> {
        match self.place {
            Place::Braces => self.error("unexpected end of input inside braces"),
            Place::BracketOpening => self.error("unexpected end of input in duration expression"),
            _ if self.open_parens > 0 => self.error("unclosed left parenthesis"),
            Place::BracketRest => self.error("unclosed left bracket"),
            Place::Outside => Ok(TokenKind::End),
        }
    }

    /// The character here, as error messages quote it.
    fn quoted_char(&self) -> String {
        quoted_char_at(self.text, self.at)
    }

    fn take(&mut self, bytes: usize, kind: TokenKind) -> Result<TokenKind, LexError> {
        self.at += bytes;
        Ok(kind)
    }

    fn statement(&mut self, byte: u8) -> Result<TokenKind, LexError> {
        let next = self.text.as_bytes().get(self.at + 1).copied();
        if let Some((bytes, kind)) = operator(byte, next) {
            return self.take(bytes, kind);
        }
        match byte {
            b',' => self.take(1, TokenKind::Comma),
            b'@' => self.take(1, TokenKind::At),
            b'=' if next == Some(b'~') => {
                self.error(format!("unexpected character after '=': {}", quoted_char_at(self.text, self.at + 1)))
            }
            b'=' => self.take(1, TokenKind::Equal),
            b'!' => self.error(format!("unexpected character after '!': {}", quoted_char_at(self.text, self.at + 1))),
            b'(' | b')' => self.parenthesis(byte),
            b'{' => {
                self.place = Place::Braces;
                self.take(1, TokenKind::LeftBrace)
            }
            b'[' | b']' => self.bracket(byte),
            b'"' | b'\'' | b'`' => self.string(byte),
            b'.' if next.is_some_and(|byte| byte.is_ascii_digit()) => self.number(),
            b'0'..=b'9' => self.number(),
            b':' | b'_' | b'a'..=b'z' | b'A'..=b'Z' => self.word_or_colon(byte),
            _ => self.error(format!("unexpected character: {}", self.quoted_char())),
        }
    }

    fn parenthesis(&mut self, byte: u8) -> Result<TokenKind, LexError> {
        if byte == b'(' {
            self.open_parens += 1;
            return self.take(1, TokenKind::LeftParen);
        }
        if self.open_parens == 0 {
            // Prometheus has read it by then, and names the place behind it.
            let message = "unexpected right parenthesis ')'".to_owned();
            return Err(LexError { message, start: self.at + 1 });
        }
        self.open_parens -= 1;
        self.take(1, TokenKind::RightParen)
    }

    fn bracket(&mut self, byte: u8) -> Result<TokenKind, LexError> {
        match (byte, self.place) {
            (b'[', Place::Outside) => {
                (self.place, self.colon_seen) = (Place::BracketOpening, false);
                self.take(1, TokenKind::LeftBracket)
            }
            (b'[', _) => self.error("unexpected left bracket '['"),
            (_, Place::Outside) => self.error("unexpected right bracket ']'"),
            _ => {
                self.place = Place::Outside;
                self.take(1, TokenKind::RightBracket)
            }
        }
    }

    fn word_or_colon(&mut self, byte: u8) -> Result<TokenKind, LexError> {
        if self.place == Place::Outside {
            return Ok(self.word());
        }
        if byte != b':' {
            let wrong = format!("unexpected character: {}, expected ':'", self.quoted_char());
            return self.duration_word().map_or_else(|| self.error(wrong), Ok);
        }
        if self.colon_seen {
            return self.error("unexpected colon ':'");
        }
        self.colon_seen = true;
        self.take(1, TokenKind::Colon)
    }

    /// A keyword or an identifier; `fill` and its like are keywords only before a parenthesis: metrics may be called so.
    fn word(&mut self) -> TokenKind {
        let rest = &self.text[self.at..];
        let length = rest.bytes().take_while(|byte| is_word(*byte) || *byte == b':').count();
        let word = &rest[..length];
        self.at += length;
        match keyword(word) {
            Some(TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.text[self.at..].trim_start_matches([' ', '\t', '\n', '\r']).starts_with('(') =>
            {
                TokenKind::Identifier
            }
            Some(kind) => kind,
            None if word.contains(':') => TokenKind::MetricIdentifier,
            None => TokenKind::Identifier,
        }
    }

    /// `step`, `range`, `max_of` or `min_of`.
    fn duration_word(&mut self) -> Option<TokenKind> {
        let rest = &self.text[self.at..];
        let length = rest.bytes().take_while(|byte| byte.is_ascii_alphabetic() || *byte == b'_').count();
        let kind = keyword(&rest[..length])?;
        let known = matches!(
            kind,
            TokenKind::Preprocessor(Preprocessor::Step | Preprocessor::Range | Preprocessor::MaxOf | Preprocessor::MinOf)
        );
        known.then(|| {
            self.at += length;
            kind
        })
    }

    fn in_bracket(&mut self, byte: u8) -> Result<TokenKind, LexError> {
        let next = self.text.as_bytes().get(self.at + 1).copied();
        match byte {
            b']' => self.bracket(byte),
            b'(' | b')' => self.parenthesis(byte),
            b'+' | b'-' | b'*' | b'/' | b'%' | b'^' => self.statement(byte),
            b',' => self.take(1, TokenKind::Comma),
            b':' => self.error("unexpected colon before duration in duration expression"),
            b'0'..=b'9' => self.number(),
            b'.' if next.is_some_and(|byte| byte.is_ascii_digit()) => self.number(),
            _ => {
                let wrong = format!("unexpected character in duration expression: {}", self.quoted_char());
                self.duration_word().map_or_else(|| self.error(wrong), Ok)
            }
        }
    }

    fn in_braces(&mut self, byte: u8) -> Result<TokenKind, LexError> {
        let next = self.text.as_bytes().get(self.at + 1).copied();
        match (byte, next) {
            (b'_' | b'a'..=b'z' | b'A'..=b'Z', _) => {
                let length = self.text[self.at..].bytes().take_while(|byte| is_word(*byte)).count();
                self.take(length, TokenKind::Identifier)
            }
            (b',', _) => self.take(1, TokenKind::Comma),
            (b'"' | b'\'' | b'`', _) => self.string(byte),
            (b'=', Some(b'~')) => self.take(2, TokenKind::EqualRegex),
            (b'=', _) => self.take(1, TokenKind::Equal),
            (b'!', Some(b'~')) => self.take(2, TokenKind::NotRegex),
            (b'!', Some(b'=')) => self.take(2, TokenKind::Operator(BinaryOp::NotEqual)),
            (b'!', _) => {
                let next = quoted_char_at(self.text, self.at + 1);
                self.error(format!("unexpected character after '!' inside braces: {next}"))
            }
            (b'{', _) => self.error("unexpected left brace '{'"),
            (b'}', _) => {
                self.place = Place::Outside;
                self.take(1, TokenKind::RightBrace)
            }
            _ => self.error(format!("unexpected character inside braces: {}", self.quoted_char())),
        }
    }

    fn number(&mut self) -> Result<TokenKind, LexError> {
        let bytes = self.text.as_bytes();
        if self.place == Place::BracketOpening {
            self.place = Place::BracketRest;
        }
        let number_stop = match scan_number(bytes, self.at) {
            Ok(end) => return self.take(end - self.at, TokenKind::Number),
            Err(stop) => stop,
        };
        match scan_units(bytes, number_stop) {
            Ok(end) => self.take(end - self.at, TokenKind::Duration),
            Err(stop) => {
                let read = String::from_utf8_lossy(&bytes[self.at..stop.min(bytes.len())]);
                self.error(format!("bad number or duration syntax: {read:?}"))
            }
        }
    }

    /// A quoted string, quotes included; its escapes are checked here and resolved by the parser.
    fn string(&mut self, quote: u8) -> Result<TokenKind, LexError> {
        let mut at = self.at + 1;
        while let Some(c) = self.text[at..].chars().next() {
            match c {
                _ if c == char::from(quote) => return self.take(at + 1 - self.at, TokenKind::String),
                char::REPLACEMENT_CHARACTER => return self.error("invalid UTF-8 rune"),
                '\n' if quote != b'`' => return self.error("unterminated quoted string"),
                '\\' if quote != b'`' => match read_escape(&self.text[at + 1..], quote) {
                    Ok((_, length)) => at += 1 + length,
                    Err(message) => return self.error(message),
                },
                _ => at += c.len_utf8(),
            }
        }
        self.error(if quote == b'`' { "unterminated raw string" } else { "unterminated quoted string" })
    }
}

/// An operator of one or two bytes.
fn operator(byte: u8, next: Option<u8>) -> Option<(usize, TokenKind)> {
    let (bytes, op) = match (byte, next) {
        (b'<', Some(b'/')) => (2, BinaryOp::TrimUpper),
        (b'>', Some(b'/')) => (2, BinaryOp::TrimLower),
        (b'=', Some(b'=')) => (2, BinaryOp::Equal),
        (b'!', Some(b'=')) => (2, BinaryOp::NotEqual),
        (b'<', Some(b'=')) => (2, BinaryOp::LessEqual),
        (b'>', Some(b'=')) => (2, BinaryOp::GreaterEqual),
        (b'<', _) => (1, BinaryOp::Less),
        (b'>', _) => (1, BinaryOp::Greater),
        (b'+', _) => (1, BinaryOp::Add),
        (b'-', _) => (1, BinaryOp::Sub),
        (b'*', _) => (1, BinaryOp::Mul),
        (b'/', _) => (1, BinaryOp::Div),
        (b'%', _) => (1, BinaryOp::Mod),
        (b'^', _) => (1, BinaryOp::Pow),
        _ => return None,
    };
    Some((bytes, TokenKind::Operator(op)))
}
