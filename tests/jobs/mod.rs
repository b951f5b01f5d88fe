//! Job files and configuration: what is refused, where and with which words; what is shipped.
//!
//! Sees: a problem that is missed, reported at the wrong place or reported twice; a shipped job that is not valid, has no
//! test or plan beside it, or whose test is wrong by the engine. Cannot see: whether views answer those tests; that is for
//! the tests of the dataflow.

mod bad_configs;
mod bad_jobs;
mod commands;
mod log_configs;
mod shipped;

use std::path::PathBuf;

use prefold::plan::spec::Problem;

/// The shipped jobs' directory.
pub fn jobs_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("jobs")
}

/// `line:column field: message; remedy`, the file left out.
pub fn brief(problem: &Problem) -> String {
    let text = problem.to_string();
    text.strip_prefix("f:").map_or(text.clone(), str::to_owned)
}

/// Every expected text must begin one of the problems, in their order, and there must be no other.
#[track_caller]
pub fn check_problems(problems: &[Problem], expected: &[&str], input: &str) {
    let found: Vec<String> = problems.iter().map(brief).collect();
    let same = found.len() == expected.len() && found.iter().zip(expected).all(|(found, wanted)| found.starts_with(wanted));
    let idle: Vec<&Problem> = problems.iter().filter(|problem| problem.is_error() && problem.remedy.is_empty()).collect();
    assert!(idle.is_empty(), "errors that do not say what to do: {idle:?}");
    assert!(same, "{input}\nfound:\n  {}\nexpected:\n  {}", found.join("\n  "), expected.join("\n  "));
}
