//! From the texts of job files to jobs: each file on its own, then what must hold over all of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::check::{RuleText, check_rule};
use super::problem::{Problem, Report};
use super::structure::{Grammar, Later};
use super::tree::{Node, Place, Value, item, parse_json};
use super::types::{JobSpec, schema};
use crate::model::matcher::{is_label_name, is_metric_name};
use crate::model::time::{DURATION_REMEDY, parse_duration};
use crate::model::{METRIC_NAME, Tenant};
use crate::plan::job::Job;

/// A job file larger than this is refused unread.
pub const JOB_FILE_BYTES_MAX: usize = 1 << 20;

/// What to do about a file whose shape is not a job's, where nothing better is known.
pub(super) const SEE_SCHEMA: &str = "write it as `prefold check --schema` says";

/// What reading needs to know beside the files.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Whose samples the jobs fold.
    pub tenant: Tenant,
    /// How often targets are scraped, when that is known; windows shorter than two of these earn a note.
    pub scrape_interval_ms: Option<i64>,
}

/// The jobs that could be read, and everything there is to say about the files.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Only jobs of files without errors, in the files' order.
    pub jobs: Vec<Job>,
    /// In the files' order, each file's by place.
    pub problems: Vec<Problem>,
}

impl Checked {
    /// Takes in what else is to say about the files; by file and place afterwards.
    pub fn add(&mut self, problems: Vec<Problem>) {
        if !problems.is_empty() {
            self.problems.extend(problems);
            self.problems.sort();
        }
    }

    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }
}

/// Reads job files, all or nothing.
///
/// # Errors
/// Every problem of every file, warnings among them, when any is an error.
pub fn read_jobs(files: &[(PathBuf, String)], options: &ReadOptions) -> Result<Vec<Job>, Vec<Problem>> {
    let checked = check_jobs(files, options);
    if checked.has_errors() { Err(checked.problems) } else { Ok(checked.jobs) }
}

/// Reads one job file, all or nothing.
///
/// # Errors
/// Every problem of the file when any is an error.
pub fn read_job(file: &Path, text: &str, options: &ReadOptions) -> Result<Job, Vec<Problem>> {
    let checked = check_file(file, text, options);
    match checked.job {
        Some(job) if !checked.problems.iter().any(Problem::is_error) => Ok(job),
        _ => Err(checked.problems),
    }
}

/// Reads job files and says everything there is to say, warnings and notes too.
pub fn check_jobs(files: &[(PathBuf, String)], options: &ReadOptions) -> Checked {
    let mut all: Vec<CheckedFile> = files.iter().map(|(file, text)| check_file(file, text, options)).collect();
    refuse_doubles(&mut all);
    let mut checked = Checked::default();
    for mut file in all {
        file.problems.sort();
        let refused = file.problems.iter().any(Problem::is_error);
        checked.jobs.extend(file.job.filter(|_| !refused));
        checked.problems.extend(file.problems);
    }
    checked
}

/// One file: its job if enough of it could be read, and where its unique names stand.
struct CheckedFile {
    file: PathBuf,
    job: Option<Job>,
    problems: Vec<Problem>,
    /// Kind of name, name, field, place.
    names: Vec<(&'static str, String, String, Place)>,
}

fn check_file(file: &Path, text: &str, options: &ReadOptions) -> CheckedFile {
    let mut report = Report::new(file);
    let mut checked = CheckedFile { file: file.to_owned(), job: None, problems: Vec::new(), names: Vec::new() };
    if let Some(tree) = parse(text, &mut report) {
        GRAMMAR.check(&tree, &mut report);
        checked.names = unique_names(&tree);
        checked.job = job(file, text, &tree, options, &mut report);
    }
    checked.problems = report.into_problems();
    checked.problems.sort();
    checked
}

fn parse(text: &str, report: &mut Report) -> Option<Node> {
    if text.len() > JOB_FILE_BYTES_MAX {
        let message = format!("the file has {} bytes and the limit is {JOB_FILE_BYTES_MAX}", text.len());
        report.error("", Place::START, message, "split it into several jobs");
        return None;
    }
    match parse_json(text) {
        Ok(tree) => Some(tree),
        Err(error) => {
            report.error("", error.place, format!("not JSON: {}", error.message), error.remedy);
            None
        }
    }
}

fn job(file: &Path, text: &str, tree: &Node, options: &ReadOptions, report: &mut Report) -> Option<Job> {
    let header = header(tree, report)?;
    let nodes = tree.get("rules").map_or(&[][..], Node::items);
    let mut rules = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let defaults = header.defaults.as_ref().map(|defaults| &defaults.0);
        let place = RuleText { source: text, field: item("rules", index), node, defaults: tree.get("defaults"), index };
        rules.extend(check_rule(&place, defaults, options, report));
    }
    Some(Job {
        name: header.name.into(),
        description: header.description.unwrap_or_default(),
        owner: header.owner.unwrap_or_default(),
        file: file.to_owned(),
        rules,
    })
}

/// Everything but the rules, which are read one by one so that one bad rule hides no other.
fn header(tree: &Node, report: &mut Report) -> Option<JobSpec> {
    let serde_json::Value::Object(mut json) = tree.to_json("", report.bad()) else { return None };
    json.insert("rules".to_owned(), serde_json::Value::Array(Vec::new()));
    json.entry("name").or_insert_with(|| serde_json::Value::String(String::new()));
    serde_json::from_value(serde_json::Value::Object(json))
        .map_err(|error| report.error("", tree.place, error.to_string(), SEE_SCHEMA))
        .ok()
}

fn unique_names(tree: &Node) -> Vec<(&'static str, String, String, Place)> {
    let mut names = Vec::new();
    let mut add = |kind, field: String, node: Option<&Node>| {
        if let Some(Node { value: Value::Text(name), place }) = node {
            names.push((kind, name.clone(), field, *place));
        }
    };
    add("job", "name".to_owned(), tree.get("name"));
    for (index, rule) in tree.get("rules").map_or(&[][..], Node::items).iter().enumerate() {
        add("record", format!("rules[{index}].record"), rule.get("record"));
    }
    names
}

/// A job's name and a record name stand once over all files.
fn refuse_doubles(files: &mut [CheckedFile]) {
    let mut seen: HashMap<(&'static str, String), String> = HashMap::new();
    for file in files {
        let mut report = Report::new(&file.file);
        for (kind, name, field, place) in std::mem::take(&mut file.names) {
            let here = format!("{}:{}:{}", file.file.display(), place.line, place.column);
            if let Some(first) = seen.get(&(kind, name.clone())) {
                let message = format!("the {kind} name {name:?} is taken by {first}");
                report.error(field, place, message, "choose another name");
            } else {
                seen.insert((kind, name), here);
            }
        }
        file.problems.extend(report.into_problems());
    }
}

static GRAMMAR: LazyLock<Grammar> = LazyLock::new(|| Grammar { schema: schema(), later: LATER, format });

/// Keys and values of interfaces that this version does not read.
const LATER: &[Later] = &[
    Later { key: "windows", value: None, remedy: "write one rule per window, each with the window in its expr" },
    Later { key: "grafana_interval", value: None, remedy: "write one rule per window that dashboards ask for" },
    Later { key: "max_window", value: None, remedy: "leave it out: a rule has the one window in its expr" },
    Later {
        key: "align",
        value: None,
        remedy: "leave it out: queries are answered on the rule's grid, and others are forwarded",
    },
    Later {
        key: "semantics",
        value: Some("metricsql"),
        remedy: "use prometheus, or leave these expressions to the upstream",
    },
];

fn format(format: &str, text: &str) -> Result<(), (String, String)> {
    let wrong = |ok: bool, message: String, remedy: &str| if ok { Ok(()) } else { Err((message, remedy.to_owned())) };
    match format {
        "prometheus-duration" => duration_fault(text),
        "metric-name" => wrong(
            is_metric_name(text),
            format!("{text:?} is not a metric name"),
            "use letters, digits, _ and :, and no digit first",
        ),
        "label-name" if text == METRIC_NAME => {
            Err(("the metric's name is not a label to keep".to_owned(), "leave it out: a view has one metric".to_owned()))
        }
        "label-name" => wrong(
            is_label_name(text),
            format!("{text:?} is not a label name"),
            "use letters, digits and _, and no digit first",
        ),
        "job-name" => {
            let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            let ok = (1..=100).contains(&text.len()) && text.bytes().all(valid);
            wrong(ok, format!("{text:?} is not a job name"), "use 1 to 100 lower case letters, digits and hyphens")
        }
        _ => Ok(()),
    }
}

/// What is wrong with a duration, and the remedy.
pub(crate) fn duration_fault(text: &str) -> Result<(), (String, String)> {
    let remedy = || DURATION_REMEDY.to_owned();
    parse_duration(text).map(drop).map_err(|_| (format!("not a valid duration: {text:?}"), remedy()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_structure_check_knows_every_word_of_the_schema() {
        assert_eq!(super::GRAMMAR.unknown_words(), Vec::<String>::new());
    }
}
