//! A small schema, and trees that it allows and does not.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::plan::spec::tree::parse_yaml;

fn grammar() -> Grammar {
    Grammar {
        schema: json!({
            "type": "object",
            "properties": {
                "name": { "type": "string", "description": "What it is called. More.", "format": "lower" },
                "mode": { "anyOf": [{ "$ref": "#/$defs/Mode" }, { "type": "null" }] },
                "lines": { "anyOf": [
                    { "type": "string" },
                    { "type": "array", "items": { "type": "string" }, "minItems": 1 },
                ] },
                "share": { "type": ["number", "null"], "minimum": 0, "maximum": 1 },
                "count": { "type": "integer", "minimum": 1 },
                "labels": { "type": "object", "additionalProperties": { "type": "string" } },
            },
            "required": ["name"],
            "additionalProperties": false,
            "$defs": { "Mode": { "oneOf": [
                { "type": "string", "const": "fast" },
                { "type": "string", "enum": ["slow"] },
            ] } },
        }),
        later: &[
            Later { key: "turbo", value: None, remedy: "use mode" },
            Later { key: "mode", value: Some("warp"), remedy: "be patient" },
        ],
        format: |format, text| match format == "lower" && text != text.to_lowercase() {
            true => Err((format!("{text:?} is not lower case"), "lower it".to_owned())),
            false => Ok(()),
        },
    }
}

#[track_caller]
fn check(yaml: &str, expected: &[&str]) {
    let mut report = Report::new(Path::new("f"));
    grammar().check(&parse_yaml(yaml).unwrap(), &mut report);
    let found: Vec<String> = report.into_problems().iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{yaml}");
}

#[test]
fn what_the_schema_allows_passes() {
    check("{name: a, mode: fast, lines: x, share: 1, count: 3, labels: {a: b}}", &[]);
    check("{name: a, mode: slow, lines: [x, y], share: 0.5}", &[]);
    check("{name: a, mode: null, share: null}", &[]);
}

#[test]
fn everything_else_is_reported_at_its_place() {
    check(
        "{nmae: a}",
        &["f:1:2: nmae: is not a known key; did you mean `name`?", "f:1:1: name: is missing; add it: What it is called"],
    );
    check(
        "{name: A, turbo: 1}",
        &[
            "f:1:8: name: \"A\" is not lower case; lower it",
            "f:1:11: turbo: this version does not support `turbo` yet; use mode",
        ],
    );
    check(
        "{name: 5, mode: fats, count: 1.5}",
        &[
            "f:1:8: name: must be a string, not a number; write a string there",
            "f:1:17: mode: must be one of fast, slow, not \"fats\"; did you mean fast?",
            "f:1:30: count: must be a whole number, not a fraction; write a whole number there",
        ],
    );
    check(
        "{name: a, mode: warp, share: 1.5, count: 0}",
        &[
            "f:1:17: mode: this version does not support \"warp\" yet; be patient",
            "f:1:30: share: must be between 0 and 1, not 1.5; make it 1 or less",
            "f:1:42: count: must be at least 1, not 0; make it 1 or more",
        ],
    );
    check(
        "{name: a, lines: [], labels: {a: 1}}",
        &[
            "f:1:18: lines: must not be empty; add one, or more",
            "f:1:34: labels.a: must be a string, not a number; write a string there",
        ],
    );
    check(
        "{name: a, lines: {}}",
        &["f:1:18: lines: must be a string or a list, not an object; write a string or a list there"],
    );
    check("[]", &["f:1:1: must be an object, not a list; write an object there"]);
}
