//! Pieces of HTML. Whatever comes from outside passes [`escape`]; there are no attributes that hold any of it.

use std::fmt::Write;

use crate::model::Timestamp;
use crate::model::time::format_duration;

/// Text that cannot end or begin anything.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// An instant, and how far it is from now.
pub fn ago(t: Timestamp, now: Timestamp) -> String {
    let second = t.to_string().replace('T', " ");
    let second = second.split('.').next().unwrap_or_default().to_owned();
    let ms = now - t;
    let distance = format_duration(ms.saturating_abs() / 1000 * 1000);
    match ms {
        i64::MIN..0 => format!("{second} (in {distance})"),
        _ => format!("{second} ({distance} ago)"),
    }
}

/// A number with spaces between thousands.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap_or("")).collect();
    groups.join("\u{202f}")
}

/// A table; cells are text, and become HTML here.
pub struct Table {
    out: String,
}

impl Table {
    pub fn new(columns: &[&str]) -> Table {
        let mut out = "<div class=\"scroll\"><table><thead><tr>".to_owned();
        for column in columns {
            // Writing to a String cannot fail.
            let _ = write!(out, "<th>{}</th>", escape(column));
        }
        out.push_str("</tr></thead><tbody>\n");
        Table { out }
    }

    pub fn row(&mut self, cells: &[Cell]) {
        self.out.push_str("<tr>");
        for cell in cells {
            let _ = match cell {
                Cell::Text(text) => write!(self.out, "<td>{}</td>", lines(text)),
                Cell::Lines(text) => write!(self.out, "<td class=\"lines\">{}</td>", lines(text)),
                Cell::Bad(text) => write!(self.out, "<td class=\"bad\">{}</td>", lines(text)),
                Cell::Code(text) => write!(self.out, "<td><code>{}</code></td>", lines(text)),
                Cell::Number(n) => write!(self.out, "<td class=\"n\">{}</td>", number(*n)),
            };
        }
        self.out.push_str("</tr>\n");
    }

    pub fn end(self) -> String {
        self.out + "</tbody></table></div>\n"
    }
}

/// What stands in a cell.
pub enum Cell {
    Text(String),
    /// Text whose lines are not broken.
    Lines(String),
    /// Something that is not as it should be.
    Bad(String),
    Code(String),
    Number(u64),
}

/// Line breaks stay.
fn lines(text: &str) -> String {
    text.split('\n').map(escape).collect::<Vec<_>>().join("<br>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        assert_eq!(escape("<a href=\"x\" onclick='y'>&\u{0}\n"), "&lt;a href=&quot;x&quot; onclick=&#39;y&#39;&gt;&amp;  ");
        let mut table = Table::new(&["<b>"]);
        table.row(&[Cell::Text("<i>\n</td>".to_owned()), Cell::Code("</code>".to_owned()), Cell::Bad("\"".to_owned())]);
        let html = table.end();
        for tag in ["<b>", "<i>", "</td>\n", "</code></code>"] {
            assert!(!html.contains(tag), "{html}");
        }
    }

    #[test]
    fn instants_say_how_far_they_are() {
        let now = Timestamp(1_700_000_000_000);
        assert_eq!(ago(now + -90_500, now), "2023-11-14 22:11:49 (1m30s ago)");
        assert_eq!(ago(now + 5_000, now), "2023-11-14 22:13:25 (in 5s)");
        assert_eq!((number(0).as_str(), number(1_234_567).as_str()), ("0", "1\u{202f}234\u{202f}567"));
    }
}
