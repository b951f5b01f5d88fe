//! Holds a tree against a JSON Schema, so that every unknown key and wrong type is found at once, each with its place.
//!
//! The schema is the one that is published for editors, made from the serde types: one description of a file's shape
//! serves the editor, this check and the reading. Only the words of JSON Schema that schemars writes for our types are
//! known here; a test over the schemas holds that they use no others.

use serde_json::Value as Json;

use super::nearest::did_you_mean;
use super::problem::Report;
use super::tree::{Entry, Node, Place, Value, item, member};

/// What a file may contain.
pub struct Grammar {
    /// A JSON Schema.
    pub schema: Json,
    /// Keys and values of later versions, refused by name.
    pub later: &'static [Later],
    pub format: FormatCheck,
}

/// Holds a text (second) against the schema's `format` (first): what is wrong, and the remedy.
pub type FormatCheck = fn(&str, &str) -> Result<(), (String, String)>;

/// An option that no code reads yet.
pub struct Later {
    pub key: &'static str,
    /// `None` when the key itself is not supported, else the value that is not.
    pub value: Option<&'static str>,
    /// What to do instead.
    pub remedy: &'static str,
}

impl Grammar {
    /// The words of the schema that this check does not know, and would pass over in silence. A test's business.
    pub fn unknown_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        unknown_words(&self.schema, &mut words);
        words
    }

    /// Reports everything in the tree that the schema does not allow.
    pub fn check(&self, root: &Node, report: &mut Report) {
        self.node(&self.schema, root, "", report);
    }

    fn node(&self, schema: &Json, node: &Node, field: &str, report: &mut Report) {
        let alternatives = self.alternatives(schema);
        let Some(schema) = alternatives.iter().find(|schema| admits(schema, &node.value)) else {
            let message = format!("must be {}, not {}", wanted(&alternatives), kind(&node.value));
            let remedy = example(schema).unwrap_or_else(|| format!("write {} there", wanted(&alternatives)));
            return report.error(field, node.place, message, remedy);
        };
        match &node.value {
            Value::Map(entries) => self.map(schema, node, entries, field, report),
            Value::List(items) => self.list(schema, node.place, items, field, report),
            Value::Text(text) => self.text(&alternatives, schema, node.place, text, field, report),
            Value::Number(number) => range(schema, node.place, number, field, report),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// A schema without references and choices: one for each kind of value it allows.
    fn alternatives<'a>(&'a self, schema: &'a Json) -> Vec<&'a Json> {
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
            return self.alternatives(&self.schema["$defs"][name]);
        }
        let choices = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array());
        match choices {
            Some(choices) => choices.iter().flat_map(|choice| self.alternatives(choice)).collect(),
            None => vec![schema],
        }
    }

    fn map(&self, schema: &Json, node: &Node, entries: &[Entry], field: &str, report: &mut Report) {
        for entry in entries {
            let name = member(field, &entry.key);
            match (schema["properties"].get(&entry.key), schema.get("additionalProperties")) {
                (Some(inner), _) => self.node(inner, &entry.node, &name, report),
                (None, Some(Json::Bool(false))) => self.unknown_key(schema, entry, &name, report),
                (None, Some(inner)) => self.node(inner, &entry.node, &name, report),
                (None, None) => {}
            }
        }
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            if !entries.iter().any(|entry| entry.key == key) {
                let about = first_sentence(schema["properties"][key]["description"].as_str().unwrap_or_default());
                let remedy = if about.is_empty() { "add it".to_owned() } else { format!("add it: {about}") };
                report.error(member(field, key), node.place, "is missing", remedy);
            }
        }
    }

    fn unknown_key(&self, schema: &Json, entry: &Entry, field: &str, report: &mut Report) {
        if let Some(later) = self.later.iter().find(|later| later.key == entry.key && later.value.is_none()) {
            let message = format!("this version does not support `{}` yet", entry.key);
            return report.error(field, entry.key_place, message, later.remedy);
        }
        let known: Vec<&str> = schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        let remedy = match did_you_mean(&entry.key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here are {}", known.join(", ")),
        };
        report.error(field, entry.key_place, "is not a known key", remedy);
    }

    fn list(&self, schema: &Json, place: Place, items: &[Node], field: &str, report: &mut Report) {
        if schema["minItems"].as_u64().is_some_and(|least| (items.len() as u64) < least) {
            let remedy = example(schema).unwrap_or_else(|| "add one, or more".to_owned());
            report.error(field, place, "must not be empty", remedy);
        }
        for (index, node) in items.iter().enumerate() {
            self.node(&schema["items"], node, &item(field, index), report);
        }
    }

    fn text(&self, alternatives: &[&Json], schema: &Json, place: Place, text: &str, field: &str, report: &mut Report) {
        let allowed: Vec<&str> = alternatives.iter().flat_map(|schema| constants(schema)).collect();
        if !allowed.is_empty() && !allowed.contains(&text) {
            return self.unknown_value(&allowed, place, text, field, report);
        }
        if let Some(Err((message, remedy))) = schema["format"].as_str().map(|format| (self.format)(format, text)) {
            report.error(field, place, message, remedy);
        }
    }

    fn unknown_value(&self, allowed: &[&str], place: Place, text: &str, field: &str, report: &mut Report) {
        let key = field.rsplit('.').next().unwrap_or_default();
        if let Some(later) = self.later.iter().find(|later| later.key == key && later.value == Some(text)) {
            return report.error(field, place, format!("this version does not support {text:?} yet"), later.remedy);
        }
        let message = format!("must be one of {}, not {text:?}", allowed.join(", "));
        let near = did_you_mean(text, allowed.iter().copied());
        report.error(
            field,
            place,
            message,
            near.map_or("choose one of them".to_owned(), |near| format!("did you mean {near}?")),
        );
    }
}

/// The words this check understands, or may pass over because they only describe.
const KEYWORDS: &[&str] = &[
    "$schema",
    "$defs",
    "$ref",
    "title",
    "description",
    "examples",
    "default",
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "anyOf",
    "oneOf",
    "enum",
    "const",
    "minimum",
    "maximum",
    "format",
    "pattern",
];

fn unknown_words(schema: &Json, words: &mut Vec<String>) {
    for (word, inner) in schema.as_object().into_iter().flatten() {
        match word.as_str() {
            "properties" | "$defs" => {
                inner.as_object().into_iter().flatten().for_each(|(_, schema)| unknown_words(schema, words));
            }
            "items" | "additionalProperties" => unknown_words(inner, words),
            "anyOf" | "oneOf" => inner.as_array().into_iter().flatten().for_each(|schema| unknown_words(schema, words)),
            word if !KEYWORDS.contains(&word) => words.push(word.to_owned()),
            _ => {}
        }
    }
}

fn range(schema: &Json, place: Place, number: &serde_json::Number, field: &str, report: &mut Report) {
    let value = number.as_f64().unwrap_or(f64::NAN);
    let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
    if least.is_none_or(|least| value >= least) && most.is_none_or(|most| value <= most) {
        return;
    }
    let message = match (least, most) {
        (Some(least), Some(most)) => format!("must be between {least} and {most}, not {number}"),
        (Some(least), None) => format!("must be at least {least}, not {number}"),
        _ => format!("must be at most {}, not {number}", most.unwrap_or(f64::NAN)),
    };
    let remedy = match least.filter(|least| value < *least) {
        Some(least) => format!("make it {least} or more"),
        None => format!("make it {} or less", most.unwrap_or(f64::MAX)),
    };
    report.error(field, place, message, remedy);
}

/// The texts a schema is restricted to; none when it is not.
fn constants(schema: &Json) -> Vec<&str> {
    let one = schema["const"].as_str();
    schema["enum"].as_array().into_iter().flatten().filter_map(Json::as_str).chain(one).collect()
}

/// The names JSON Schema has for a schema's types; none when everything is allowed.
fn types(schema: &Json) -> Vec<&str> {
    match &schema["type"] {
        Json::String(name) => vec![name],
        Json::Array(names) => names.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

fn admits(schema: &Json, value: &Value) -> bool {
    let types = types(schema);
    let is = |name: &str| types.contains(&name);
    types.is_empty()
        || match value {
            Value::Null => is("null"),
            Value::Bool(_) => is("boolean"),
            Value::Number(number) => is("number") || (is("integer") && !number.is_f64()),
            Value::Text(_) => is("string"),
            Value::List(_) => is("array"),
            Value::Map(_) => is("object"),
        }
}

/// The allowed kinds in words. That null may stand for an absent option is not offered.
fn wanted(alternatives: &[&Json]) -> String {
    let mut words: Vec<&str> = Vec::new();
    for name in alternatives.iter().flat_map(|schema| types(schema)) {
        let word = match name {
            "boolean" => "true or false",
            "integer" => "a whole number",
            "number" => "a number",
            "string" => "a string",
            "array" => "a list",
            "object" => "an object",
            _ => continue,
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(" or ")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::Text(_) => "a string",
        Value::List(_) => "a list",
        Value::Map(_) => "an object",
    }
}

fn example(schema: &Json) -> Option<String> {
    schema["examples"][0].as_str().map(|example| format!("write it like {example:?}"))
}

fn first_sentence(text: &str) -> &str {
    text.split_once(". ").map_or(text, |(first, _)| first).trim_end_matches('.')
}

#[cfg(test)]
mod tests;
