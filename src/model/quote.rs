//! Texts in double quotes, as PromQL writes them: what people read can be pasted into a query.

use std::fmt::Write;

/// A text in double quotes, escaped as Go does it; PromQL reads it back as the same text.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    text.chars().for_each(|c| push_escaped(&mut out, c, '"'));
    out.push('"');
    out
}

/// A character as it stands between such quotes.
pub fn push_escaped(out: &mut String, c: char, quote: char) {
    match c {
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        '\\' => out.push_str("\\\\"),
        _ if c == quote => out.extend(['\\', c]),
        '"' | '\'' | ' '..='~' => out.push(c),
        _ => {
            // The lexer refuses the replacement character itself; what cannot be printed is written as its number.
            let printable = c != char::REPLACEMENT_CHARACTER && c.escape_debug().len() == 1;
            let written = match u32::from(c) {
                _ if printable => write!(out, "{c}"),
                code @ 0..=0x7f => write!(out, "\\x{code:02x}"),
                code @ 0x80..=0xffff => write!(out, "\\u{code:04x}"),
                code => write!(out, "\\U{code:08x}"),
            };
            written.expect("writing to a String cannot fail");
        }
    }
}
