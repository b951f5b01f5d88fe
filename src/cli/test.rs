//! `prefold test`: the .test beside each job, answered by the job's views.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::node::config::sources;
use crate::plan::Job;
use crate::plan::spec::{ReadOptions, check_jobs};

/// Runs the tests of jobs.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TestArgs {
    /// Job files (.json), or directories of them; NAME.test is found beside NAME.json
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
}

/// How one `eval` of a script went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalReport {
    /// Its line in the script, from 1.
    pub line: usize,
    pub passed: bool,
    /// What was expected and what came; for people. Empty when it passed.
    pub message: String,
}

/// Folds a script's series through the views of jobs and answers its evals from them.
pub trait JobTester {
    /// One report per eval, in the script's order.
    ///
    /// # Errors
    /// When the script is not one or its series cannot be folded: what, where, and what to do.
    fn run(&self, jobs: &[Job], script_text: &str) -> Result<Vec<EvalReport>, String>;
}

/// Reports to stdout, what kept a test from running to stderr. 0 when all passed, 1 when one failed or a job has errors
/// or no test, 3 when a file could not be read.
pub fn run(args: &TestArgs, tester: &dyn JobTester) -> ExitCode {
    let status = report(args, tester, &mut io::stdout().lock(), &mut io::stderr().lock());
    // Whoever reads us may have gone away: then nothing is left to say.
    ExitCode::from(status.unwrap_or(3))
}

/// As [`run`], to given outputs; the exit status.
///
/// # Errors
/// When an output cannot be written.
pub fn report(args: &TestArgs, tester: &dyn JobTester, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let sources = match sources::collect(&args.paths) {
        Ok(sources) => sources,
        Err(error) => {
            writeln!(err, "prefold test: {error}")?;
            return Ok(3);
        }
    };
    if sources.jobs.is_empty() && sources.problems.is_empty() {
        writeln!(err, "prefold test: no job (.json) there")?;
        return Ok(3);
    }
    let mut checked = check_jobs(&sources.jobs, &ReadOptions::default());
    checked.add(sources.problems);
    for problem in checked.problems.iter().filter(|problem| problem.is_error()) {
        writeln!(err, "{problem}")?;
    }
    let mut count = Count { failed: usize::from(checked.has_errors()), ..Count::default() };
    for job in &checked.jobs {
        let script = job.file.with_extension("test");
        match sources::read_if_present(&script) {
            Ok(Some(text)) => test_job(job, &script, &text, tester, out, &mut count)?,
            Ok(None) => {
                count.failed += 1;
                writeln!(out, "FAIL {}: no such file; a job carries its test beside it", script.display())?;
            }
            Err(error) => {
                writeln!(err, "prefold test: {error}")?;
                return Ok(3);
            }
        }
    }
    writeln!(out, "{} passed, {} failed", count.passed, count.failed)?;
    Ok(u8::from(count.failed > 0))
}

#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
}

fn test_job(
    job: &Job,
    script: &Path,
    text: &str,
    tester: &dyn JobTester,
    out: &mut dyn Write,
    count: &mut Count,
) -> io::Result<()> {
    let reports = match tester.run(std::slice::from_ref(job), text) {
        Ok(reports) if reports.is_empty() => Err("the script has no eval, so it tests nothing".to_owned()),
        other => other,
    };
    let reports = match reports {
        Ok(reports) => reports,
        Err(message) => {
            count.failed += 1;
            return writeln!(out, "FAIL {}: {message}", script.display());
        }
    };
    for EvalReport { line, passed, message } in reports {
        match passed {
            true => count.passed += 1,
            false => count.failed += 1,
        }
        let (word, colon) = (if passed { "PASS" } else { "FAIL" }, if message.is_empty() { "" } else { ": " });
        writeln!(out, "{word} {}:{line}{colon}{message}", script.display())?;
    }
    Ok(())
}
