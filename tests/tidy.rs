//! The rules of the house that no compiler knows, as tables: who may import whom, which crates have one door, how long
//! files and functions may be, and what README must name.
//!
//! Sees: an import, a name or a length that breaks a rule, by file and line. Does not see: a macro that builds a path, or
//! prose that names a key and says something wrong of it. Adding a row is normal. Removing one is a decision, and
//! ARCHITECTURE.md has to say why.

mod source;

use std::path::Path;

use source::{
    all_rust_files, code_of, files_under, folder_of, has_word, imported, keys_of_struct, names_path, public_fields,
    quoted_after, read, root, rust_files,
};

/// For each folder of src/ the other folders it may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("promql", &["model"]),
    ("function", &["model"]),
    ("plan", &["model", "promql", "function"]),
    ("compile", &["model", "promql", "function", "plan"]),
    ("rewrite", &["model", "promql", "function", "plan"]),
    ("wire", &["model"]),
    ("log", &["model", "wire"]),
    ("store", &["model"]),
    ("ingest", &["model", "wire", "log"]),
    ("dataflow", &["model", "function", "plan", "compile", "wire"]),
    ("query", &["model", "promql", "function"]),
    ("proxy", &["model", "promql", "function", "plan", "rewrite", "query", "store"]),
    ("sink", &["model", "plan", "wire", "store"]),
    (
        "node",
        &[
            "model", "promql", "function", "plan", "compile", "rewrite", "wire", "log", "store", "ingest", "dataflow",
            "query", "proxy", "sink",
        ],
    ),
    (
        "cli",
        &[
            "model", "promql", "function", "plan", "compile", "rewrite", "wire", "log", "store", "ingest", "dataflow",
            "query", "proxy", "sink", "node",
        ],
    ),
];

/// What the oracle may take of the library: it shares nothing with what it judges.
const ORACLE_MAY_IMPORT: &[&str] = &["model", "promql"];

/// Paths that only some folders may name.
const DOORS: &[(&str, &[&str])] = &[
    ("timely", &["dataflow"]),
    ("prost", &["wire"]),
    ("snap", &["wire"]),
    ("pco", &["store"]),
    ("rdkafka", &["log"]),
    ("reqwest", &["ingest", "proxy", "sink", "node", "cli"]),
    ("axum", &["ingest", "proxy", "node", "cli"]),
    ("hyper", &["ingest", "proxy", "node", "cli"]),
    ("hyper_util", &["ingest", "proxy", "node", "cli"]),
    ("prometheus_client", &["proxy", "node"]),
    ("tokio_io_timeout", &["node"]),
    ("clap", &["cli"]),
    ("std::fs", &["log", "store", "node", "cli"]),
];

/// Names of ours behind a door, and the folders and files of src/ that may use them. Which log runs is known where it is
/// configured and where it is opened; a cluster's is in Kafka, with its other topics.
const OWN_DOORS: &[(&str, &[&str])] = &[
    ("log::embedded", &["log/", "node/open_log.rs"]),
    ("log::kafka", &["log/", "node/open_log.rs", "node/cluster_topics.rs"]),
    ("EmbeddedLog", &["log/", "node/open_log.rs"]),
    ("EmbeddedOptions", &["log/", "node/open_log.rs"]),
    ("KafkaLog", &["log/", "node/open_log.rs", "node/cluster_topics.rs"]),
    ("KafkaOptions", &["log/", "node/open_log.rs", "node/cluster_topics.rs"]),
    ("log.embedded", &["node/config/", "node/open_log.rs"]),
    ("log.kafka", &["node/config/", "node/open_log.rs", "node/cluster_topics.rs"]),
];

const FILE_LINES_MAX: usize = 350;
const FUNCTION_LINES_MAX: usize = 70;

/// Files that are longer, and how long they may be. Numbers here only ever go down.
const LONGER_FILES: &[(&str, usize)] = &[];

/// Functions that are longer, and how long they may be. Numbers here only ever go down.
const LONGER_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// Names that say nothing about what is inside.
const BANNED_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];

/// Marks of unfinished work, written so that this file has none.
const UNFINISHED: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("todo", "!"), concat!("unimplemented", "!")];

#[test]
fn imports_follow_the_table() {
    let mut broken = Vec::new();
    for file in rust_files("src") {
        let folder = folder_of(&file.path);
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == folder) else {
            if file.path.matches('/').count() > 1 {
                broken.push(format!("{}: folder {folder} has no row in MAY_IMPORT", file.path));
            }
            continue;
        };
        for (number, line) in file.code() {
            for name in imported(line, "crate::") {
                if name != folder && !allowed.contains(&name) {
                    broken.push(format!("{}:{number}: {folder} may not import {name}", file.path));
                }
            }
        }
        broken.extend(file.climbs_to_the_root());
    }
    report("imports go model <- promql, function <- plan <- ..., as MAY_IMPORT says", broken);
}

#[test]
fn the_oracle_shares_nothing_with_what_it_judges() {
    let mut broken = Vec::new();
    for file in rust_files("tests/oracle") {
        for (number, line) in file.code() {
            let named = imported(line, "prefold::");
            let other = named.into_iter().filter(|name| !ORACLE_MAY_IMPORT.contains(name));
            broken.extend(other.map(|name| format!("{}:{number}: tests/oracle may not import {name}", file.path)));
            if line.contains("crate::") {
                broken.push(format!("{}:{number}: tests/oracle may not use other tests", file.path));
            }
        }
    }
    report("the oracle imports model and promql alone", broken);
}

#[test]
fn crates_with_one_door_are_used_behind_it() {
    let mut broken = Vec::new();
    for file in rust_files("src") {
        let folder = folder_of(&file.path);
        for (number, line) in file.code() {
            let used = DOORS.iter().filter(|(name, folders)| !folders.contains(&folder) && names_path(line, name));
            broken.extend(
                used.map(|(name, folders)| format!("{}:{number}: {name} is used only in {}", file.path, folders.join(", "))),
            );
        }
    }
    report("a crate with a door is named behind it only", broken);
}

#[test]
fn names_with_one_door_are_used_behind_it() {
    let mut broken = Vec::new();
    for file in rust_files("src") {
        for (number, line) in file.code_without_tests() {
            broken.extend(own_doors_passed(&file.path, line).map(|rule| format!("{}:{number}: {rule}", file.path)));
        }
    }
    report("a name with a door is used behind it only", broken);
}

/// What a line outside tests breaks of [`OWN_DOORS`].
fn own_doors_passed<'a>(path: &'a str, line: &'a str) -> impl Iterator<Item = String> + 'a {
    let path = path.strip_prefix("src/").unwrap_or(path);
    let inside = move |doors: &[&str]| doors.iter().any(|door| path.starts_with(door));
    let passed = OWN_DOORS.iter().filter(move |(name, doors)| has_word(line, name) && !inside(doors));
    passed.map(|(name, doors)| format!("{name} is used only in {}", doors.join(", ")))
}

#[test]
fn files_say_why_they_exist_and_hold_one_thing() {
    let mut broken = Vec::new();
    for file in all_rust_files() {
        if !file.text.starts_with("//! ") {
            broken.push(format!("{}:1: does not open with //! saying what it is and why", file.path));
        }
        let banned = Path::new(&file.path).iter().filter_map(|part| Path::new(part).file_stem()?.to_str());
        let banned = banned.filter(|name| BANNED_NAMES.contains(name));
        broken.extend(banned.map(|name| format!("{}: nothing is named {name}", file.path)));
        let lines = file.text.lines().count();
        let allowed = LONGER_FILES.iter().find(|(path, _)| *path == file.path).map(|(_, lines)| *lines);
        broken.extend(length_problem(&file.path, lines, FILE_LINES_MAX, allowed));
    }
    let gone = LONGER_FILES.iter().filter(|(path, _)| !root().join(path).exists());
    broken.extend(gone.map(|(path, _)| format!("{path}: is gone; take its row out of LONGER_FILES")));
    report("files open with //!, are named after one thing, and are short", broken);
}

#[test]
fn functions_fit_a_screen() {
    let mut broken = Vec::new();
    let mut found = Vec::new();
    for file in all_rust_files() {
        for (name, number, lines) in file.functions() {
            let key = (file.path.clone(), name.clone());
            let row = LONGER_FUNCTIONS.iter().find(|(path, function, _)| *path == file.path && *function == name);
            let place = format!("{}:{number}: fn {name}", file.path);
            broken.extend(length_problem(&place, lines, FUNCTION_LINES_MAX, row.map(|(_, _, lines)| *lines)));
            found.push(key);
        }
    }
    let is_there = |path: &str, name: &str| found.iter().any(|(p, n)| p == path && n == name);
    let gone = LONGER_FUNCTIONS.iter().filter(|(path, name, _)| !is_there(path, name));
    broken.extend(gone.map(|(path, name, _)| format!("{path}: fn {name} is gone; take its row out of LONGER_FUNCTIONS")));
    assert!(found.len() > 500, "functions are found: {}", found.len());
    report("functions are short", broken);
}

#[test]
fn nothing_is_unfinished() {
    let mut broken = Vec::new();
    for file in all_rust_files() {
        for (number, line) in file.text.lines().enumerate() {
            let marks = UNFINISHED.iter().filter(|mark| has_word(line, mark));
            broken.extend(marks.map(|mark| format!("{}:{}: {mark}", file.path, number + 1)));
        }
        let ignored = file.code().filter(|(_, line)| line.contains("#[ignore"));
        broken.extend(ignored.map(|(number, _)| format!("{}:{number}: a test that is not run is no test", file.path)));
    }
    report("no marks of unfinished work, no tests that are skipped by attribute", broken);
}

#[test]
fn jobs_carry_their_test_and_plan() {
    let mut broken = Vec::new();
    let jobs = files_under(&root().join("jobs"), "json");
    let jobs: Vec<_> = jobs.into_iter().filter(|path| !path.ends_with("job.schema.json")).collect();
    assert!(!jobs.is_empty(), "there are jobs");
    for job in jobs {
        let missing = ["test", "plan"].iter().filter(|extension| !job.with_extension(extension).exists());
        broken.extend(missing.map(|extension| format!("{}: has no .{extension} beside it", job.display())));
    }
    report("every jobs/NAME.json has NAME.test and NAME.plan", broken);
}

/// What a user can set or see stands in README: config keys, job keys, scrape keys, metrics, and every named reason.
#[test]
fn readme_names_what_users_touch() {
    let readme = read("README.md");
    let keys = |path: &str| -> Vec<String> { public_fields(&code_of(&read(path))) };
    let slugs = |path: &str, before: &str| quoted_after(&read(path), before);
    let words =
        |texts: Vec<String>| -> Vec<String> { texts.into_iter().filter(|text| !text.contains([' ', ')'])).collect() };
    let sources = rust_files("src/node/metrics").into_iter().map(|file| file.text).collect::<String>();
    let metrics = quoted_after(&sources, "").into_iter().filter(|text| text.starts_with("prefold_"));
    let named: Vec<(&str, Vec<String>)> = vec![
        ("config key", ["mod", "kafka", "limits", "sinks"].map(|file| keys(&format!("src/node/config/{file}.rs"))).concat()),
        ("job key", keys("src/plan/spec/types.rs")),
        ("scrape key", keys_of_struct(&read("src/ingest/scrape/config.rs"), "struct Keys {")),
        ("metric", metrics.collect()),
        ("refusal", slugs("src/rewrite/refusal/registry.rs", "slug: ")),
        ("ingest refusal", words(slugs("src/ingest/limits.rs", ": "))),
        ("scrape failure", words(slugs("src/ingest/scrape/failure.rs", ": "))),
        ("span reason", slugs("src/model/commit.rs", "=> ")),
    ];
    let mut broken = Vec::new();
    for (what, names) in named {
        assert!(names.len() > 5, "{what}s are found: {names:?}");
        let counted = |name: &str| what == "metric" && has_word(&readme, &format!("{name}_total"));
        let missing = names.iter().filter(|name| !has_word(&readme, name) && !counted(name));
        broken.extend(missing.map(|name| format!("README.md: {what} {name} is not named")));
    }
    report("README names every key, metric and reason", broken);
}

#[track_caller]
fn report(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}; broken {} times:\n  {}", broken.len(), broken.join("\n  "));
}

fn length_problem(place: &str, lines: usize, max: usize, allowed: Option<usize>) -> Option<String> {
    match allowed {
        None if lines > max => Some(format!("{place}: {lines} lines, at most {max}")),
        Some(allowed) if lines > allowed => Some(format!("{place}: {lines} lines, was {allowed} and may only shrink")),
        Some(_) if lines <= max => Some(format!("{place}: {lines} lines are short enough; take its row out")),
        _ => None,
    }
}

/// The rules above are only as good as what reads the sources.
#[test]
fn breaches_are_seen() {
    let code = code_of("use a::b; // use crate::store\nlet x = \"crate::log\"; let y = '\"'; use crate::wire::z;\n");
    assert_eq!(imported(&code, "crate::"), ["wire"]);
    assert_eq!(imported("use crate::{log, store};", "crate::"), ["{..}: one `use` per folder"]);
    for (line, name, expected) in [
        ("use timely::worker::Worker;", "timely", true),
        ("use timely as t;", "timely", true),
        ("let timely = 1;", "timely", false),
        ("crate::timely::x()", "timely", false),
        ("std::fs::read(path)", "std::fs", true),
        ("use std::{fs, io};", "std::fs", true),
        ("use std::fs;", "std::fs", true),
        ("use std::fmt;", "std::fs", false),
    ] {
        assert_eq!(names_path(line, name), expected, "{line}");
    }
    for (text, word, expected) in
        [("`late`", "late", true), ("latest", "late", false), ("too-late", "late", false), ("late.", "late", true)]
    {
        assert_eq!(has_word(text, word), expected, "{text}");
    }
    for (path, line, expected) in [
        ("src/cli/check.rs", "let rate = log::embedded::bytes_per_ms(dir);", 1),
        ("src/cli/check.rs", "use crate::log::kafka::Sasl;", 1),
        ("src/cli/check.rs", "if config.log.kafka.is_some() {", 1),
        ("src/ingest/gateway.rs", "use crate::log::{EmbeddedLog, Log};", 1),
        ("src/ingest/gateway.rs", "use crate::log::{Log, NewRecord};", 0),
        ("src/node/open_log.rs", "let log = EmbeddedLog::open(&config.log.embedded);", 0),
        ("src/node/config/mod.rs", "pub embedded: EmbeddedLogConfig,", 0),
    ] {
        assert_eq!(own_doors_passed(path, line).count(), expected, "{path}: {line}");
    }
    let tested = source::SourceFile::new("src/a/b.rs", "use b;\n#[cfg(test)]\nmod tests {\n    use c;\n}\n");
    assert_eq!(tested.code_without_tests().map(|(_, line)| line).collect::<Vec<_>>(), ["use b;", "#[cfg(test)]"]);
    let long = source::SourceFile::new("src/a/b.rs", "fn long(\n) {\n    {\n    }\n}\nfn declared();\n");
    assert_eq!(long.functions(), [("long".to_owned(), 1, 5)]);
    let climbing = source::SourceFile::new("src/a/b.rs", "use super::c;\nuse super::super::d;\n");
    assert_eq!(climbing.climbs_to_the_root().len(), 1);
    assert!(length_problem("f", 351, FILE_LINES_MAX, None).is_some());
    assert!(length_problem("f", 360, FILE_LINES_MAX, Some(360)).is_none());
    assert!(length_problem("f", 361, FILE_LINES_MAX, Some(360)).is_some());
    assert!(length_problem("f", 350, FILE_LINES_MAX, Some(360)).is_some());
}
