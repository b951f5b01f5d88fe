//! `prefold check`: what is wrong with jobs and configuration, before anything runs.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::model::time::format_duration;
use crate::node::config::{CheckedConfig, Config, check_config, sources};
use crate::node::open_log::log_bounds;
use crate::plan::spec::tree::{Place, parse_json};
use crate::plan::spec::{Checked, Problem, ReadOptions, Severity, check_jobs, plan_text, schema};
use crate::plan::{Job, Rule};

/// The files' texts.
type Texts<'a> = HashMap<&'a Path, &'a str>;

/// Checks job files and configuration.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CheckArgs {
    /// Job files (.json), configuration (.yaml, .yml), or directories of them
    #[arg(required_unless_present = "schema")]
    pub paths: Vec<PathBuf>,
    /// Print the JSON Schema of job files, and nothing else
    #[arg(long)]
    pub schema: bool,
    /// Print each job's views, their fingerprints and operators, as kept in NAME.plan
    #[arg(long, conflicts_with = "schema")]
    pub plan: bool,
}

/// Results to stdout, problems to stderr. 0 when all is well, 1 when a file has errors, 3 when one could not be read.
pub fn run(args: &CheckArgs) -> ExitCode {
    let status = report(args, &mut io::stdout().lock(), &mut io::stderr().lock());
    // Whoever reads us may have gone away: then nothing is left to say.
    ExitCode::from(status.unwrap_or(3))
}

/// As [`run`], to given outputs; the exit status.
///
/// # Errors
/// When an output cannot be written.
pub fn report(args: &CheckArgs, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    if args.schema {
        writeln!(out, "{}", schema_text())?;
        return Ok(0);
    }
    let sources = match sources::collect(&args.paths) {
        Ok(sources) => sources,
        Err(error) => {
            writeln!(err, "prefold check: {error}")?;
            return Ok(3);
        }
    };
    if sources.jobs.is_empty() && sources.configs.is_empty() && sources.problems.is_empty() {
        writeln!(err, "prefold check: no job (.json) or configuration (.yaml, .yml) there")?;
        return Ok(3);
    }
    let configs: Vec<CheckedConfig> = sources.configs.iter().map(|(file, text)| check_config(file, text)).collect();
    let config = configs.iter().find_map(|checked| checked.config.as_ref());
    let scrape_interval_ms = config.and_then(shortest_scrape_interval);
    let mut checked = check_jobs(&sources.jobs, &ReadOptions { scrape_interval_ms, ..ReadOptions::default() });
    let texts: Texts = sources.jobs.iter().chain(&sources.configs).map(|(f, t)| (f.as_path(), t.as_str())).collect();
    if let Some(config) = config {
        checked.problems.extend(beyond_the_log(&checked.jobs, config, &texts));
        checked.problems.extend(beyond_the_results(&checked.jobs, config, &texts));
    }
    checked.add(sources.problems);
    let problems = configs.iter().flat_map(|checked| &checked.problems).chain(&checked.problems);
    let mut refused = false;
    for problem in problems {
        refused |= problem.is_error();
        writeln!(err, "{problem}")?;
        let text = texts.get(problem.file.as_path()).copied().unwrap_or_default();
        err.write_all(snippet(problem, text).as_bytes())?;
    }
    if refused {
        return Ok(1);
    }
    for (file, _) in &sources.configs {
        writeln!(out, "{}: ok", file.display())?;
    }
    summaries(args, &checked, out)?;
    Ok(0)
}

/// The JSON Schema as it is published.
pub fn schema_text() -> String {
    format!("{:#}", schema())
}

fn summaries(args: &CheckArgs, checked: &Checked, out: &mut dyn Write) -> io::Result<()> {
    for (index, job) in checked.jobs.iter().enumerate() {
        if args.plan {
            let gap = if index == 0 { "" } else { "\n" };
            write!(out, "{gap}{}", plan_text(job))?;
        } else {
            summary(job, out)?;
        }
    }
    Ok(())
}

fn summary(job: &Job, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: job {}, rules: {}", job.file.display(), job.name, job.rules.len())?;
    for rule in &job.rules {
        let step = format_duration(rule.view.step_ms);
        writeln!(out, "  {} = {} every {step}", rule.name(), rule.view.shape)?;
    }
    Ok(())
}

/// Views whose values cannot be rebuilt after a restart, because the log forgets too early.
fn beyond_the_log(jobs: &[Job], config: &Config, texts: &Texts<'_>) -> Vec<Problem> {
    let bounds = log_bounds(config);
    let rules = jobs.iter().flat_map(|job| job.rules.iter().map(move |rule| (job, rule)));
    let mut problems = Vec::new();
    for (job, rule) in rules {
        let needed_ms = rule.view.resume_ms();
        let (needed, window) = (format_duration(needed_ms), format_duration(rule.view.reach_ms()));
        for bound in bounds.iter().filter(|bound| needed_ms > bound.held_ms()) {
            let message = format!("{bound}, and to rebuild a window of {window} after a restart takes {needed}");
            problems.push(warning(job, rule, message, bound.remedy(needed_ms), texts));
        }
    }
    problems
}

/// Rules whose results Kafka would forget before their retention ends, where results are in Kafka.
fn beyond_the_results(jobs: &[Job], config: &Config, texts: &Texts<'_>) -> Vec<Problem> {
    let Some(kept) = config.log.results_retention() else { return Vec::new() };
    let rules = jobs.iter().flat_map(|job| job.rules.iter().map(move |rule| (job, rule)));
    let beyond = rules.filter(|(_, rule)| rule.retention_ms > kept.0);
    let problem = |(job, rule): (&Job, &Rule)| {
        let wanted = format_duration(rule.retention_ms);
        let message = format!(
            "its results are to be kept for {wanted}, and Kafka keeps results for {kept}, which prefold worker refuses"
        );
        let remedy = format!("set log.kafka.results_retention to {wanted} or more");
        warning(job, rule, message, remedy, texts)
    };
    beyond.map(problem).collect()
}

fn warning(job: &Job, rule: &Rule, message: String, remedy: String, texts: &Texts<'_>) -> Problem {
    let place = rule_place(job, rule, texts);
    Problem {
        file: job.file.clone(),
        line: place.line,
        column: place.column,
        field: format!("rules[{}]", rule.index),
        severity: Severity::Warning,
        message,
        remedy,
    }
}

fn shortest_scrape_interval(config: &Config) -> Option<i64> {
    config.scrape_configs.iter().flatten().map(|scrape| scrape.interval_ms).min()
}

fn rule_place(job: &Job, rule: &Rule, texts: &Texts<'_>) -> Place {
    let tree = texts.get(job.file.as_path()).and_then(|text| parse_json(text).ok());
    let rule = tree.as_ref().and_then(|tree| tree.get("rules")).and_then(|rules| rules.items().get(rule.index));
    rule.map_or(Place::START, |node| node.place)
}

/// The line of a problem, with a mark under its place; long lines are cut around it.
fn snippet(problem: &Problem, text: &str) -> String {
    const AROUND: usize = 60;
    let Some(line) = text.lines().nth(problem.line as usize - 1) else { return String::new() };
    if problem.field.is_empty() && line.trim().is_empty() {
        return String::new();
    }
    let column = problem.column as usize - 1;
    let from = column.saturating_sub(AROUND);
    let shown: String = line.chars().skip(from).take(2 * AROUND).map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("    | {shown}\n    | {}^\n", " ".repeat(column - from))
}
