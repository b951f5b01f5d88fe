//! The shipped jobs: valid, each with its test and its plan, and the schema beside them.

use std::fs;

use prefold::cli::check::schema_text;
use prefold::node::config::sources::job_files;
use prefold::plan::Job;
use prefold::plan::spec::{ReadOptions, check_jobs, plan_text};
use prefold::query::script::{self, EvalTime, Verdict};
use prefold::query::{EvalOptions, instant, range};

use super::jobs_dir;

fn shipped() -> Vec<Job> {
    let files = job_files(&jobs_dir()).expect("the shipped jobs");
    assert!(files.problems.is_empty(), "{:#?}", files.problems);
    let checked = check_jobs(&files.jobs, &ReadOptions::default());
    let problems: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{problems:#?}");
    checked.jobs
}

#[test]
fn shipped_jobs_are_valid_and_named_like_their_files() {
    let jobs = shipped();
    assert!(jobs.len() >= 3);
    for job in jobs {
        assert_eq!(job.file.file_stem().unwrap().to_str(), Some(job.name.as_str()));
        assert!(!job.description.is_empty() && !job.owner.is_empty(), "{}", job.name);
    }
}

#[test]
fn plans_are_what_check_prints() {
    for job in shipped() {
        let golden = fs::read_to_string(job.file.with_extension("plan")).unwrap_or_default();
        let name = &job.name;
        assert_eq!(golden, plan_text(&job), "review, then: prefold check --plan jobs/{name}.json > jobs/{name}.plan");
    }
}

#[test]
fn the_schema_is_what_check_prints() {
    let golden = fs::read_to_string(jobs_dir().join("job.schema.json")).unwrap_or_default();
    assert_eq!(golden.trim_end(), schema_text(), "review, then: prefold check --schema > jobs/job.schema.json");
}

/// The expected values are right for anyone who answers over all samples; that views do is tested with the dataflow.
#[test]
fn shipped_tests_hold_by_the_engine() {
    for job in shipped() {
        let path = job.file.with_extension("test");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let script = script::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let outcomes = script::run(&script, &mut |command, source| {
            let expr = prefold::promql::parse(&command.query).unwrap();
            match command.time {
                EvalTime::Instant(at) => instant(&expr, at, source, &EvalOptions::default()),
                EvalTime::Range { start, end, step_ms } => {
                    range(&expr, start, end, step_ms, source, &EvalOptions::default())
                }
            }
        });
        assert!(outcomes.len() >= job.rules.len(), "{}: a rule is not tested", path.display());
        for outcome in outcomes {
            assert_eq!(outcome.verdict, Verdict::Passed, "{}:{}", path.display(), outcome.line);
        }
    }
}
