//! A file's text as a tree in which every key and value knows its place.
//!
//! One reader for JSON and YAML. The tree exists because a typed reader stops at its first error, and whoever writes a
//! job wants to hear of all of them at once, each with line and column.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Where something stands in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// In bytes, from 0.
    pub offset: usize,
}

impl Place {
    /// The beginning of a file.
    pub const START: Place = Place { line: 1, column: 1, offset: 0 };
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    /// In the file's order, keys unique.
    Map(Vec<Entry>),
}

/// A key of a map and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub key_place: Place,
    pub node: Node,
}

/// A text that is no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    pub place: Place,
    pub message: String,
    /// What to do.
    pub remedy: &'static str,
}

const JSON: &str = "names and texts stand in double quotes, commas between entries and none after the last";
const YAML: &str =
    "names and values stand as `name: value`, lists as `- item`; quote what holds : or # or begins with a bracket";
const TOO_DEEP: &str = "nest lists and objects less deep, and split what is large";

/// Reads JSON: strictly, because editors and other tools read job files too.
///
/// # Errors
/// The first place that is not JSON, or a key that stands twice in one object.
pub fn parse_json(text: &str) -> Result<Node, SyntaxError> {
    let strict = serde_json::from_str::<serde_json::Value>(text);
    strict.map_err(|error| json_error(text, &error))?;
    parse_yaml(text)
}

/// Reads YAML, of which JSON is a part.
///
/// # Errors
/// The first place that is not YAML, or a key that stands twice in one mapping.
pub fn parse_yaml(text: &str) -> Result<Node, SyntaxError> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| yaml_error(&error))
}

/// The reader's message and place, without the place in words and the drawing of the source.
pub fn yaml_error(error: &serde_saphyr::Error) -> SyntaxError {
    let place = error.location().map_or(Place::START, |location| place(&location));
    let message = error.without_snippet().to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    let message = message.split(", set DuplicateKeyPolicy").next().unwrap_or_default();
    let remedy = match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { .. } => "leave one of the two out",
        serde_saphyr::Error::Budget { .. } => TOO_DEEP,
        _ => YAML,
    };
    SyntaxError { place, message: message.to_owned(), remedy }
}

fn json_error(text: &str, error: &serde_json::Error) -> SyntaxError {
    let line = error.line().max(1);
    let source = text.lines().nth(line - 1).unwrap_or_default();
    // serde_json counts bytes, and names the last byte it read.
    let bytes = error.column().saturating_sub(1).min(source.len());
    let column = source.char_indices().take_while(|(at, _)| *at < bytes).count() + 1;
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default().to_owned();
    let remedy = if message.contains("recursion limit") { TOO_DEEP } else { JSON };
    SyntaxError { place: Place { line: clamp(line as u64), column: clamp(column as u64), offset: 0 }, message, remedy }
}

fn place(location: &serde_saphyr::Location) -> Place {
    let offset = location.span().byte_offset().and_then(|offset| usize::try_from(offset).ok());
    Place { line: clamp(location.line()), column: clamp(location.column()), offset: offset.unwrap_or(usize::MAX) }
}

fn clamp(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX).max(1)
}

impl Node {
    /// The value of a key, when this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node),
            _ => None,
        }
    }

    /// The entries of a map; nothing for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; nothing for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// As a JSON value, without the fields in `except`, whose names begin with `field`: this node's own.
    pub fn to_json(&self, field: &str, except: &BTreeSet<String>) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => serde_json::Value::Bool(*value),
            Value::Number(value) => serde_json::Value::Number(value.clone()),
            Value::Text(value) => serde_json::Value::String(value.clone()),
            Value::List(items) => {
                let kept = items.iter().enumerate().map(|(index, node)| (item(field, index), node));
                let kept = kept.filter(|(field, _)| !except.contains(field));
                serde_json::Value::Array(kept.map(|(field, node)| node.to_json(&field, except)).collect())
            }
            Value::Map(entries) => {
                let kept = entries.iter().map(|entry| (member(field, &entry.key), entry));
                let kept = kept.filter(|(field, _)| !except.contains(field));
                serde_json::Value::Object(
                    kept.map(|(field, entry)| (entry.key.clone(), entry.node.to_json(&field, except))).collect(),
                )
            }
        }
    }

    /// The place of a byte of this JSON string's value, escapes counted as they are written.
    pub fn place_within(&self, source: &str, byte: usize) -> Place {
        let written = source.get(self.place.offset..).and_then(|rest| rest.strip_prefix('"'));
        let Some(written) = written else { return self.place };
        let (mut rest, mut decoded, mut columns) = (written, 0, 1);
        while decoded < byte && !rest.is_empty() && !rest.starts_with('"') {
            let (bytes, chars, value_bytes) = next_character(rest);
            rest = rest.get(bytes..).unwrap_or_default();
            columns += chars;
            decoded += value_bytes;
        }
        let offset = self.place.offset + 1 + (written.len() - rest.len());
        Place { line: self.place.line, column: self.place.column.saturating_add(columns), offset }
    }
}

/// The next character of a JSON string as written: its bytes, its columns, and the bytes of its value in UTF-8.
fn next_character(rest: &str) -> (usize, u32, usize) {
    let Some(escape) = rest.strip_prefix('\\') else {
        let length = rest.chars().next().map_or(1, char::len_utf8);
        return (length, 1, length);
    };
    if !escape.starts_with('u') {
        return (2, 2, 1);
    }
    let unit = |at: usize| rest.get(at..at + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let code = unit(2).unwrap_or_default();
    match char::from_u32(code) {
        Some(character) => (6, 6, character.len_utf8()),
        None => (12, 12, 4),
    }
}

/// The field of a key: `parent.key`.
pub fn member(parent: &str, key: &str) -> String {
    match parent {
        "" => key.to_owned(),
        _ => format!("{parent}.{key}"),
    }
}

/// The field of a list's item: `parent[index]`.
pub fn item(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Node { place: place(&spanned.referenced), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    /// What JSON has no number for stays a text, and is refused where a number is wanted.
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(serde_json::Number::from_f64(value).map_or_else(|| Value::Text(value.to_string()), Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element::<Node>()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = access.next_entry::<Spanned<String>, Node>()? {
            entries.push(Entry { key_place: place(&key.referenced), key: key.value, node });
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn place_of(node: &Node, expected: (u32, u32)) {
        assert_eq!((node.place.line, node.place.column), expected, "{node:?}");
    }

    #[test]
    fn every_value_knows_its_place() {
        let tree = parse_json("{\n\t\"näme\": \"x\", \"on\": true,\n  \"l\": [1, {\"k\": null}]\n}").unwrap();
        place_of(tree.get("näme").unwrap(), (2, 10));
        place_of(tree.get("on").unwrap(), (2, 21));
        place_of(&tree.get("l").unwrap().items()[1], (3, 12));
        assert_eq!(tree.entries()[2].key_place.column, 3);
        let yaml = parse_yaml("a:\n  b: yes\n  c: 5m\n").unwrap();
        place_of(yaml.get("a").unwrap().get("c").unwrap(), (3, 6));
        assert!(matches!(yaml.get("a").unwrap().get("b").unwrap().value, Value::Text(_)));
    }

    #[track_caller]
    fn check_syntax(text: &str, place: (u32, u32), word: &str) {
        let error = parse_json(text).unwrap_err();
        assert_eq!((error.place.line, error.place.column), place, "{text}: {error:?}");
        assert!(error.message.contains(word) && !error.remedy.is_empty(), "{error:?}");
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        check_syntax("{\"a\": 1,}", (1, 9), "trailing comma");
        check_syntax("{\"ä\": }", (1, 7), "expected value");
        check_syntax("{\"a\": 1,\n \"a\": 2}", (2, 2), "duplicate");
        check_syntax("a: 1", (1, 1), "expected value");
        check_syntax("", (1, 1), "EOF");
        check_syntax("{}\n{}", (2, 1), "trailing characters");
    }

    #[track_caller]
    fn check_within(written: &str, byte: usize, column: u32) {
        let text = format!("[ {written} ]");
        let tree = parse_json(&text).unwrap();
        assert_eq!(tree.items()[0].place_within(&text, byte).column, column, "{written} at {byte}");
    }

    #[test]
    fn places_within_a_string_count_escapes_as_written() {
        check_within(r#""abc""#, 0, 4);
        check_within(r#""abc""#, 2, 6);
        check_within(r#""a\"b""#, 2, 7); // the b
        check_within(r#""äb""#, 2, 5);
        check_within(r#""\u00e4b""#, 2, 10);
        check_within(r#""\ud83d\ude00b""#, 4, 16);
        check_within(r#""abc""#, 99, 7); // the end
    }

    #[test]
    fn fields_in_error_are_left_out() {
        let tree = parse_json(r#"{"a": [1, 2], "b": {"c": 1, "d": 2}}"#).unwrap();
        let except = ["a[0]".to_owned(), "b.d".to_owned()].into();
        assert_eq!(tree.to_json("", &except), serde_json::json!({"a": [2], "b": {"c": 1}}));
    }
}
