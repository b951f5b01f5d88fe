//! `prefold check` and `prefold test` as commands: what they print where, and their exit status.

use std::path::{Path, PathBuf};

use prefold::cli::check::{self, CheckArgs};
use prefold::cli::test::{self, EvalReport, JobTester, TestArgs};
use prefold::plan::Job;

const JOB: &str = r#"{"name":"a","rules":[{"expr":"sum(max_over_time(x[7d]))","step":"1m","record":"r"}]}"#;

fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).expect("a file in it");
    }
    dir
}

/// Exit status, stdout, stderr; the directory's name is left out.
fn run(path: &Path, args: CheckArgs) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = check::report(&args, &mut out, &mut err).expect("a Vec takes everything");
    (status, shown(path, out), shown(path, err))
}

fn run_with(files: &[(&str, &str)]) -> (u8, String, String) {
    let dir = dir(files);
    run(dir.path(), paths(dir.path()))
}

fn shown(path: &Path, bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text").replace(&format!("{}/", path.display()), "")
}

fn paths(path: &Path) -> CheckArgs {
    CheckArgs { paths: vec![path.to_owned()], ..CheckArgs::default() }
}

#[test]
fn check_says_what_is_there() {
    let dir = dir(&[("a.json", JOB), ("c.yaml", "log: { embedded: { retention: 30d } }")]);
    let (status, out, err) = run(dir.path(), paths(dir.path()));
    assert_eq!((status, err.as_str()), (0, ""));
    assert_eq!(out, "c.yaml: ok\na.json: job a, rules: 1\n  r = sum(max_over_time(x[1w])) every 1m\n");
}

#[test]
fn check_points_at_problems() {
    let dir = dir(&[("a.json", "{\n  \"name\": \"A\",\n\t\"rules\": []}"), ("c.yaml", "jbos: x")]);
    let (status, out, err) = run(dir.path(), paths(dir.path()));
    assert_eq!((status, out.as_str()), (1, ""));
    let expected = "c.yaml:1:1: jbos: is not a known key; did you mean `jobs`?\n    | jbos: x\n    | ^\n\
        a.json:2:11: name: \"A\" is not a job name; use 1 to 100 lower case letters, digits and hyphens\n\
        \x20   |   \"name\": \"A\",\n    |           ^\n\
        a.json:3:11: rules: must not be empty; add one, or more\n    |  \"rules\": []}\n    |           ^\n";
    assert_eq!(err, expected);
}

/// The default log keeps 6h; seven days, 30 s, a step and 10 minutes are needed.
#[test]
fn check_names_what_the_log_and_the_results_in_kafka_do_not_hold() {
    let dir = dir(&[("a.json", JOB), ("c.yaml", "jobs: .")]);
    let (status, _, err) = run(dir.path(), paths(dir.path()));
    assert_eq!(status, 0);
    let expected = "a.json:1:22: warning: rules[0]: the log keeps 6h, and to rebuild a window of 1w after a restart \
        takes 7d11m30s; set log.embedded.retention to 7d11m30s or more\n";
    assert!(err.starts_with(expected), "{err}");
    std::fs::write(dir.path().join("c.yaml"), "log: { kafka: { brokers: [a:1], retention: 1d } }").unwrap();
    let (status, _, err) = run(dir.path(), paths(dir.path()));
    assert_eq!(status, 0);
    assert!(err.contains("the log keeps 1d, ") && err.contains("set log.kafka.retention to 7d11m30s or more"), "{err}");
    assert!(!err.contains("results_retention"), "{err}");
    let config = "log: { kafka: { brokers: [a:1], results_retention: 29d } }";
    std::fs::write(dir.path().join("c.yaml"), config).unwrap();
    let (status, _, err) = run(dir.path(), paths(dir.path()));
    assert_eq!(status, 0);
    let expected = "a.json:1:22: warning: rules[0]: its results are to be kept for 30d, and Kafka keeps results for 29d, \
        which prefold worker refuses; set log.kafka.results_retention to 30d or more\n";
    assert!(err.contains(expected), "{err}");
}

/// A log that took a kilobyte a second holds 64 MiB for less than a day.
#[test]
fn check_names_views_that_the_logs_bytes_do_not_hold() {
    let dir = dir(&[("a.json", JOB), ("c.yaml", "log: { embedded: { retention: 30d, retention_bytes: 64MiB } }")]);
    let config = format!(
        "data_dir: {}\nlog: {{ embedded: {{ retention: 30d, retention_bytes: 64MiB }} }}",
        dir.path().join("data").display()
    );
    std::fs::write(dir.path().join("c.yaml"), config).unwrap();
    let (status, _, err) = run(dir.path(), paths(dir.path()));
    assert_eq!((status, err.as_str()), (0, ""), "without a log nothing is known");
    crate::log::fill(&dir.path().join("data/log"), 60, 1000);
    let (status, _, err) = run(dir.path(), paths(dir.path()));
    assert_eq!(status, 0);
    let (before, rest) = err.split_once("64MiB hold ").unwrap_or_else(|| panic!("{err}"));
    assert!(before.starts_with("a.json:1:22: warning: rules[0]: at the rate of the log in "), "{err}");
    let (held, rest) = rest.split_once(", and to rebuild a window of 1w after a restart takes 7d11m30s; ").unwrap();
    let held_ms = prefold::model::time::parse_duration(held).unwrap();
    assert!((10 * 3_600_000..20 * 3_600_000).contains(&held_ms), "{held}");
    assert!(rest.starts_with("set log.embedded.retention_bytes to "), "{err}");
}

#[test]
fn check_knows_the_scrape_interval_of_a_configuration() {
    let job = r#"{"name":"a","rules":[{"expr":"sum(rate(x_total[1m]))","step":"1m"}]}"#;
    let (status, _, err) =
        run_with(&[("a.json", job), ("c.yaml", "scrape_configs: [{ job_name: s, scrape_interval: 1m }]")]);
    assert_eq!(status, 0);
    assert!(
        err.starts_with("a.json:1:35: note: rules[0].expr: a window of 1m is shorter than two scrape intervals of 1m"),
        "{err}"
    );
    let often = run_with(&[("a.json", job), ("c.yaml", "scrape_configs: [{ job_name: s, scrape_interval: 30s }]")]);
    assert_eq!(often.2, "");
}

#[test]
fn check_names_what_it_cannot_read() {
    let dir = dir(&[]);
    assert_eq!(run(dir.path(), paths(dir.path())).0, 3);
    let (status, _, err) = run(dir.path(), paths(&dir.path().join("absent.json")));
    assert!(status == 3 && err.contains("absent.json"), "{err}");
}

/// A file of Latin-1 beside a bad one and a good one: all of them are judged.
#[test]
fn a_file_that_is_no_text_hides_no_other() {
    let dir = dir(&[("b.json", "{"), ("c.json", JOB)]);
    std::fs::write(dir.path().join("a.json"), b"{\n  \"name\": \"\xe4\"}").unwrap();
    let (status, _, err) = run(dir.path(), paths(dir.path()));
    assert_eq!(status, 1);
    let lines: Vec<&str> = err.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(lines[0], "a.json:2:12: is not UTF-8 from here on; save the file as UTF-8");
    assert!(lines.len() == 2 && lines[1].starts_with("b.json:1:1: not JSON: EOF"), "{err}");
    let problems = prefold::node::jobs::load(dir.path()).unwrap_err();
    assert!(problems.contains("a.json:2:12: ") && problems.contains("b.json:1:1: "), "{problems}");
}

/// Answers what it is told to, after looking at what it is given.
struct Told(Result<Vec<EvalReport>, String>);

impl JobTester for Told {
    fn run(&self, jobs: &[Job], script: &str) -> Result<Vec<EvalReport>, String> {
        assert_eq!((jobs.len(), script), (1, "the script"));
        self.0.clone()
    }
}

#[track_caller]
fn check_test(files: &[(&str, &str)], told: Result<Vec<EvalReport>, String>, expected: (u8, &str)) {
    let dir = dir(files);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = TestArgs { paths: vec![PathBuf::from(dir.path())] };
    let status = test::report(&args, &Told(told), &mut out, &mut err).expect("a Vec takes everything");
    assert_eq!((status, shown(dir.path(), out).as_str()), expected, "{}", shown(dir.path(), err));
}

#[test]
fn test_reports_every_eval() {
    let report = |line, passed, message: &str| EvalReport { line, passed, message: message.to_owned() };
    let both = [("a.json", JOB), ("a.test", "the script")];
    check_test(&both, Ok(vec![report(3, true, "")]), (0, "PASS a.test:3\n1 passed, 0 failed\n"));
    check_test(
        &both,
        Ok(vec![report(3, true, ""), report(5, false, "expected 1, got 2")]),
        (1, "PASS a.test:3\nFAIL a.test:5: expected 1, got 2\n1 passed, 1 failed\n"),
    );
    check_test(&both, Ok(vec![]), (1, "FAIL a.test: the script has no eval, so it tests nothing\n0 passed, 1 failed\n"));
    check_test(&both, Err("line 1: no".to_owned()), (1, "FAIL a.test: line 1: no\n0 passed, 1 failed\n"));
    let alone = "FAIL a.test: no such file; a job carries its test beside it\n0 passed, 1 failed\n";
    check_test(&[("a.json", JOB)], Ok(vec![]), (1, alone));
    check_test(&[("a.json", "{"), ("a.test", "the script")], Ok(vec![]), (1, "0 passed, 1 failed\n"));
    check_test(&[("c.yaml", "")], Ok(vec![]), (3, ""));
}
