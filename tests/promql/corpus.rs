//! Reading the corpora in place. A test that finds no corpora says so and passes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The folder of the corpora: PREFOLD_CORPORA, or the one beside the repository.
fn corpora() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora");
    let folder = std::env::var_os("PREFOLD_CORPORA").map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no corpora at {}", folder.display());
    None
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// The rows of a file of vectors.
pub fn vectors(name: &str) -> Option<Vec<Value>> {
    Some(json_lines(&read(&corpora()?.join("vectors").join(name))))
}

/// Every different expression of the dashboards and rules.
pub fn dashboard_expressions() -> Option<BTreeSet<String>> {
    let path = corpora()?.join("expressions/dev.jsonl.gz");
    let output = Command::new("gzip").arg("-dc").arg(&path).output().expect("gzip is installed");
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("the expressions are UTF-8");
    Some(json_lines(&text).iter().filter_map(|row| row["expr"].as_str()).map(str::to_owned).collect())
}

/// The queries of Prometheus' own tests, and whether each is meant to fail.
pub fn eval_queries() -> Option<Vec<(String, bool)>> {
    let mut queries = Vec::new();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(corpora()?.join("promqltest"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .collect();
    paths.sort();
    for path in paths {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(query) = query_of(line) else { continue };
            let block = lines[at + 1..].iter().take_while(|line| !line.is_empty() && !line.starts_with('#'));
            let fails = line.starts_with("eval_fail") || block.into_iter().any(|line| line.starts_with("expect fail"));
            queries.push((query.to_owned(), fails));
        }
    }
    Some(queries)
}

/// `eval instant at T QUERY` or `eval range from A to B step S QUERY`
fn query_of(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("eval")?;
    let (_, rest) = rest.split_once(' ')?;
    let words_before = match rest.trim_start() {
        rest if rest.starts_with("instant at ") => 3,
        rest if rest.starts_with("instant ") => 1,
        rest if rest.starts_with("range ") => 7,
        _ => return None,
    };
    let mut rest = rest.trim_start();
    for _ in 0..words_before {
        rest = rest.split_once(char::is_whitespace)?.1.trim_start();
    }
    Some(rest)
}
