//! One line of a body and how far it has been read. Both formats are lines; a quoted text cannot hold a newline.

use std::borrow::Cow;

/// A place in a line.
#[derive(Clone, Copy)]
pub struct Line<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Line<'b> {
    pub fn new(bytes: &'b [u8]) -> Line<'b> {
        Line { bytes, at: 0 }
    }

    pub fn rest(&self) -> &'b [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub fn at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Moves past a byte if it is next.
    pub fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Moves past a text if it is next.
    pub fn eat_text(&mut self, text: &[u8]) -> bool {
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    /// Moves past spaces and tabs.
    pub fn skip_blanks(&mut self) {
        self.take_while(|byte| byte == b' ' || byte == b'\t');
    }

    /// What comes before the first byte that is not wanted.
    pub fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'b [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// A metric's name, empty when none is next.
    pub fn metric_name(&mut self) -> &'b str {
        self.name(|byte| byte == b':')
    }

    /// A label's name, empty when none is next.
    pub fn label_name(&mut self) -> &'b str {
        self.name(|_| false)
    }

    fn name(&mut self, also: impl Fn(u8) -> bool) -> &'b str {
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return "";
        }
        let name = self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || also(byte));
        std::str::from_utf8(name).unwrap_or_default()
    }

    /// A text in double quotes with its escapes resolved. An escape that is none of `\\`, `\"` and `\n` stays as it is, or
    /// is an error.
    pub fn quoted(&mut self, unknown_escapes: UnknownEscapes) -> Result<Cow<'b, str>, String> {
        if !self.eat(b'"') {
            return Err(format!("expected a text in double quotes, found {}", self.found()));
        }
        let (start, mut escaped) = (self.at, false);
        loop {
            self.take_while(|byte| byte != b'"' && byte != b'\\');
            match self.peek() {
                Some(b'"') => break,
                Some(_) => {
                    escaped = true;
                    self.at = (self.at + 2).min(self.bytes.len());
                }
                None => return Err("a text in double quotes does not end on its line".to_owned()),
            }
        }
        let inside = self.bytes.get(start..self.at).unwrap_or_default();
        self.at += 1;
        let text = std::str::from_utf8(inside).map_err(|_| format!("{} is not UTF-8", quote(inside)))?;
        if escaped { unescape(text, unknown_escapes).map(Cow::Owned) } else { Ok(Cow::Borrowed(text)) }
    }

    /// What is next, for an error message.
    pub fn found(&self) -> String {
        let rest = self.rest();
        if rest.is_empty() { "the end of the line".to_owned() } else { quote(rest) }
    }
}

/// What becomes of an escape that the format does not know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum UnknownEscapes {
    Kept,
    Refused,
}

/// A text with `\\\\`, `\\"` and `\\n` resolved.
pub fn unescape(text: &str, unknown: UnknownEscapes) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match (chars.next(), unknown) {
            (Some(c @ ('\\' | '"')), _) => out.push(c),
            (Some('n'), _) => out.push('\n'),
            (c, UnknownEscapes::Kept) => out.extend(Some('\\').into_iter().chain(c)),
            (c, UnknownEscapes::Refused) => {
                return Err(format!("unknown escape \\{}: write \\\\, \\\" or \\n", c.unwrap_or_default()));
            }
        }
    }
    Ok(out)
}

/// Bytes of the body for an error message: printable, and short.
pub fn quote(bytes: &[u8]) -> String {
    const BYTES_MAX: usize = 40;
    let shown = bytes.get(..BYTES_MAX).unwrap_or(bytes);
    let more = if shown.len() < bytes.len() { "..." } else { "" };
    format!("{:?}{more}", String::from_utf8_lossy(shown))
}
