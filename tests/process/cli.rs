//! The commands from outside: options, what is printed where, exit status.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::processes::{COUNT_JOB, COUNT_QUERY, Home, finished, prefold};

const BAD_JOB: &str = "{\"name\":\"bad\",\"rules\":[\n  {\"expr\":\"sum(rate(x[1m])\",\"step\":\"2s\"}]}";

fn shipped_jobs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("jobs")
}

/// The options that interfaces.md promises for what is there.
#[test]
fn help_names_every_option() {
    let common = ["--help", "--log-format", "--log-level"];
    for (command, options) in [
        ("run", &["--config", "--jobs", "--data-dir", "--listen", "--upstream", "--threads", "--kafka"][..]),
        ("gateway", &["--config", "--data-dir", "--listen", "--kafka", "prefold gateway --kafka kafka-1:9092"]),
        ("worker", &["--config", "--data-dir", "--listen", "--kafka", "--jobs", "--threads", "--force", "PREFOLD_KAFKA"]),
        ("query", &["--config", "--data-dir", "--listen", "--kafka", "--upstream", "PREFOLD_UPSTREAM"]),
        ("check", &["PATHS", "--schema", "--plan"]),
        ("test", &["PATHS"]),
        ("explain", &["QUERY", "--jobs", "--server", "--start", "--end", "--step", "--time", "--json"]),
        ("eval", &["QUERY", "--data", "--time", "--start", "--end", "--step", "--lookback", "--json"]),
        ("demo", &["--series", "--minutes", "--json"]),
    ] {
        let (status, help, stderr) = finished(&mut prefold(&[command, "--help"]));
        assert_eq!((status, stderr.as_str()), (0, ""), "{command}");
        for option in options.iter().chain(&common) {
            assert!(help.contains(option), "{command} --help does not name {option}:\n{help}");
        }
        let (status, all, _) = finished(&mut prefold(&["--help"]));
        assert!(status == 0 && all.contains(&format!("  {command} ")), "{all}");
    }
    let (status, version, _) = finished(&mut prefold(&["--version"]));
    assert_eq!((status, version.trim_end()), (0, concat!("prefold ", env!("CARGO_PKG_VERSION"))));
}

/// A role is joined to the others by Kafka, and takes what it can use.
#[test]
fn roles_say_what_they_cannot_do_without_and_what_they_have_no_use_for() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("embedded.yaml"), "listen: 127.0.0.1:0\n").unwrap();
    let run = |arguments: &[&str]| finished(prefold(arguments).current_dir(dir.path()));
    for role in ["gateway", "worker", "query"] {
        for arguments in [&[role][..], &[role, "--config", "embedded.yaml"]] {
            let (status, stdout, stderr) = run(arguments);
            assert_eq!((status, stdout.as_str(), stderr.lines().count()), (2, "", 1), "{stderr}");
            for words in
                [&format!("prefold {role}: "), "--kafka HOST:PORT", "PREFOLD_KAFKA", "log.kafka.brokers", "prefold run"]
            {
                assert!(stderr.contains(words), "{words}: {stderr}");
            }
        }
    }
    for (role, option) in [
        ("gateway", "--jobs"),
        ("gateway", "--upstream"),
        ("gateway", "--threads"),
        ("worker", "--upstream"),
        ("query", "--jobs"),
        ("query", "--threads"),
        ("query", "--force"),
        ("run", "--force"),
    ] {
        let (status, _, stderr) = run(&[role, option, "x"]);
        assert!(status == 2 && stderr.contains(&format!("unexpected argument '{option}'")), "{role} {option}: {stderr}");
    }
    let (status, _, stderr) = run(&["gateway", "--kafka", "127.0.0.1:1,elsewhere"]);
    assert!(status == 2 && stderr.contains("prefold gateway: --kafka: \"elsewhere\" is not the address"), "{stderr}");
    let (status, _, stderr) = run(&["worker", "--kafka", "127.0.0.1:1", "--listen", "9480"]);
    assert!(status == 2 && stderr.contains("prefold worker: --listen: "), "{stderr}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was made");
}

#[test]
fn eval_answers_over_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let data = "load 30s\n  up{job=\"a\"} 0+1x10\n  up{job=\"b\"} 5 _ 7\n  h {{sum:1 count:1}}\n\neval instant at 0 up\n";
    fs::write(dir.path().join("up.test"), data).unwrap();
    let eval = |arguments: &[&str]| {
        let mut command = prefold(&["eval", "--data", "up.test"]);
        finished(command.args(arguments).current_dir(dir.path()))
    };
    for (arguments, status, stdout, stderr) in [
        (&["up", "--time", "60"][..], 0, "up{job=\"a\"} 2\nup{job=\"b\"} 7\n", ""),
        (&["sum(up)", "--start", "0", "--end", "1970-01-01T00:01:00Z", "--step", "30s"], 0, "{} 5@0 6@30 9@60\n", ""),
        (&["up[1m]", "--time", "30.5"], 0, "up{job=\"a\"} 0@0 1@30\nup{job=\"b\"} 5@0\n", ""),
        (&["1 + 1", "--time", "0"], 0, "2\n", ""),
        (&["-up{job=\"a\"}", "--start", "-30", "--end", "30", "--step", "30"], 0, "{job=\"a\"} -0@0 -1@30\n", ""),
        (&["--time", "60", "-1"], 0, "-1\n", ""),
        (&["'text'", "--time", "0"], 0, "text\n", ""),
        (&["up", "--time", "59.999", "--lookback", "30s"], 0, "up{job=\"a\"} 1\n", ""),
        (&["count(h)", "--time", "0"], 0, "{} 1\n", ""),
        (&["absent_metric", "--time", "0"], 0, "", ""),
        (
            &["rate(up{job=\"a\"}[1m])", "--time", "60"],
            0,
            "{job=\"a\"} 0.03333333333333333\n",
            "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"up\" (1:6)\n",
        ),
        (
            &["scalar(up{job=\"b\"})", "--time", "0", "--json"],
            0,
            "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[0,\"5\"]}}\n",
            "",
        ),
        (
            &["up + on() up", "--time", "0", "--json"],
            1,
            "{\"error\":\"found duplicate series for the match group {} on the right hand-side of the operation: \
             [{__name__=\\\"up\\\", job=\\\"a\\\"}, {__name__=\\\"up\\\", job=\\\"b\\\"}]\
             ;many-to-many matching not allowed: matching labels must be unique on one side\",\
             \"errorType\":\"execution\",\"status\":\"error\"}\n",
            "",
        ),
        (&["h", "--time", "0"], 1, "", "prefold eval: native-histogram is not evaluated here: ask the upstream database\n"),
        (&["sum(", "--time", "0"], 2, "", "prefold eval: 1:5: parse error: unclosed left parenthesis\n"),
        (&["up", "--time", "0", "--lookback", "x"], 2, "", "prefold eval: cannot parse \"x\" to a valid duration\n"),
        (&["up", "--time", "yesterday"], 2, "", "prefold eval: cannot parse \"yesterday\" to a valid timestamp\n"),
    ] {
        let expected = (status, stdout.to_owned(), stderr.to_owned());
        assert_eq!(eval(arguments), expected, "{arguments:?}");
    }
    for arguments in [&["up"][..], &["up", "--start", "0"], &["up", "--time", "0", "--step", "1s"]] {
        assert_eq!(eval(arguments).0, 2, "{arguments:?}");
    }
    let mut command = prefold(&["eval", "up", "--data", "absent.test", "--time", "0"]);
    let (status, _, stderr) = finished(command.current_dir(dir.path()));
    assert!(status == 3 && stderr.contains("absent.test"), "{stderr}");
}

#[test]
fn check_says_what_is_wrong_and_where() {
    let dir = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str]| {
        let mut command = prefold(&["check"]);
        finished(command.args(arguments).current_dir(dir.path()))
    };
    fs::write(dir.path().join("good.json"), COUNT_JOB).unwrap();
    let (status, stdout, stderr) = check(&["good.json"]);
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert_eq!(stdout, format!("good.json: job count, rules: 1\n  0 = {COUNT_QUERY} every 1s\n"));
    let (status, plan, _) = check(&["--plan", "."]);
    assert!(status == 0 && plan.contains("view "), "{plan}");
    fs::write(dir.path().join("bad.json"), BAD_JOB).unwrap();
    fs::write(dir.path().join("c.yaml"), "jbos: x\n").unwrap();
    let (status, stdout, stderr) = check(&["."]);
    assert_eq!((status, stdout.as_str()), (1, ""));
    for words in
        ["c.yaml:1:1: jbos: is not a known key; did you mean `jobs`?", "bad.json:2:27: rules[0].expr: unclosed left"]
    {
        assert!(stderr.contains(words), "{stderr}");
    }
    let (status, _, stderr) = check(&["absent.json"]);
    assert!(status == 3 && stderr.contains("absent.json"), "{stderr}");
    assert_eq!(check(&[]).0, 2);
    let (status, schema, _) = check(&["--schema"]);
    let schema: Value = serde_json::from_str(&schema).unwrap();
    assert!(status == 0 && schema["properties"]["rules"].is_object());
}

#[test]
fn the_shipped_jobs_are_good_and_pass_their_tests() {
    let jobs = shipped_jobs();
    let (status, stdout, stderr) = finished(prefold(&["test"]).arg(&jobs));
    assert_eq!(status, 0, "{stdout}{stderr}");
    let count = stdout.lines().filter(|line| line.starts_with("PASS ")).count();
    assert!(count >= 3 && stdout.ends_with(&format!("{count} passed, 0 failed\n")), "{stdout}");
    assert_eq!(finished(prefold(&["check"]).arg(&jobs)).0, 0);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("count.json"), COUNT_JOB).unwrap();
    let tested = |script: &str| {
        fs::write(dir.path().join("count.test"), script).unwrap();
        finished(prefold(&["test"]).arg(dir.path()))
    };
    let script =
        "load 1s\n  c_total{g=\"a\"} 0+1x30\n\neval instant at 20s sum by (g) (count_over_time(c_total[10s]))\n  {g=\"a\"} ";
    let (status, stdout, _) = tested(&format!("{script}10\n"));
    assert!(status == 0 && stdout.ends_with("1 passed, 0 failed\n"), "{stdout}");
    let (status, stdout, _) = tested(&format!("{script}11\n"));
    assert!(status == 1 && stdout.contains("FAIL") && stdout.contains("count.test:4"), "{stdout}");
    let (status, stdout, _) = tested("nonsense\n");
    assert!(status == 1 && stdout.contains("FAIL"), "{stdout}");
}

#[tokio::test]
async fn explain_names_the_view_or_the_reason() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "");
    let running = home.start().await;
    let (jobs, server) = (home.jobs().display().to_string(), running.base().to_owned());
    let explain = |query: &str, arguments: &[&str]| {
        let mut command = prefold(&["explain", query]);
        finished(command.args(arguments))
    };
    let narrower = "sum by (g) (count_over_time(c_total{g=\"a\"}[10s])) * 2";
    for (query, status, whole, slug) in [
        (COUNT_QUERY, 0, true, ""),
        (narrower, 0, true, ""),
        ("sum by (g) (count_over_time(c_total[11s]))", 1, false, "window-differs"),
        ("sum by (h) (count_over_time(c_total[10s]))", 1, false, "grouping-too-coarse"),
        ("up", 1, false, "no-view-for-metric"),
    ] {
        let (found, stdout, stderr) = explain(query, &["--jobs", &jobs, "--json"]);
        assert_eq!(found, status, "{query}: {stdout}{stderr}");
        assert_eq!(stdout.lines().count(), 1, "{stdout}");
        let json: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(json["whole"], whole, "{query}: {json}");
        assert_eq!(json["refusals"][0]["slug"].as_str().unwrap_or_default(), slug, "{query}: {json}");
        let (found, stdout, _) = explain(query, &["--jobs", &jobs]);
        assert!(found == status && stdout.contains(query), "{stdout}");
        let (found, asked, stderr) = explain(query, &["--server", &server, "--json", "--time", "0"]);
        assert_eq!(found, status, "the same question to a server: {asked}{stderr}");
        let asked: Value = serde_json::from_str(&asked).unwrap();
        let asked = asked.get("data").unwrap_or(&asked);
        assert_eq!(asked["whole"], whole, "{query}: {asked}");
    }
    let off_grid = explain(COUNT_QUERY, &["--jobs", &jobs, "--json", "--time", "0.5"]);
    assert!(off_grid.0 == 1 && off_grid.1.contains("step-off-grid"), "{off_grid:?}");
    let range = explain(COUNT_QUERY, &["--jobs", &jobs, "--start", "0", "--end", "60", "--step", "10s"]);
    assert_eq!(range.0, 0, "{range:?}");
    for (query, arguments, status) in [
        ("sum(", &["--jobs", jobs.as_str()][..], 2),
        ("up", &["--time", "yesterday"], 2),
        ("up", &["--start", "0"], 2),
        ("up", &["--jobs", "x", "--server", "y"], 2),
        ("up", &["--server", "http://127.0.0.1:1"], 3),
    ] {
        let (found, stdout, stderr) = explain(query, arguments);
        assert_eq!((found, stdout.as_str(), stderr.is_empty()), (status, "", false), "{query} {arguments:?}: {stderr}");
    }
    fs::write(home.jobs().join("bad.json"), BAD_JOB).unwrap();
    let (found, _, stderr) = explain("up", &["--jobs", &jobs]);
    assert!(found == 3 && stderr.contains("bad.json:2:27"), "{stderr}");
}

#[test]
fn the_demo_is_equal_and_one_line_of_json() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = prefold(&["demo", "--series", "1000", "--minutes", "2", "--json"]);
    let (status, stdout, stderr) = finished(command.current_dir(dir.path()));
    assert_eq!((status, stdout.lines().count()), (0, 1), "{stdout}{stderr}");
    let outcome: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(outcome["equal"], true, "{outcome}");
    assert!(outcome["points"].as_u64().unwrap() > 0 && outcome["raw"]["samples"].as_u64().unwrap() > 1000, "{outcome}");
    assert!(outcome["raw"]["series"].as_u64() > outcome["preaggregated"]["series"].as_u64(), "{outcome}");
    assert!(outcome["speedup"].is_number());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "the demo leaves nothing behind");
    assert_eq!(finished(&mut prefold(&["demo", "--series", "1"])).0, 2);
}

/// The table and the charts that people see.
#[test]
fn the_demo_shows_both_answers_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let (status, stdout, stderr) =
        finished(prefold(&["demo", "--series", "1000", "--minutes", "2"]).current_dir(dir.path()));
    assert_eq!(status, 0, "{stdout}{stderr}");
    let lines: Vec<&str> = stdout.lines().filter(|line| !line.is_empty()).collect();
    let [query, over, head, raw, preaggregated, faster, how, charts @ ..] = lines.as_slice() else { panic!("{stdout}") };
    assert!(query.starts_with("histogram_quantile(0.99, sum by (le, method, code) (rate("), "{query}");
    assert_eq!(*over, "over 2 minutes, every 30s, of 1000 series");
    let columns = ["series read", "samples read", "seconds"].map(|name| head.find(name).unwrap_or_else(|| panic!("{head}")));
    let cost = |line: &str, name: &str| -> Vec<f64> {
        let rest = line.strip_prefix(name).unwrap_or_else(|| panic!("{line}"));
        let numbers: Vec<f64> = rest.split_whitespace().map(|word| word.parse().unwrap()).collect();
        assert_eq!((numbers.len(), line.chars().count() > columns[2]), (3, true), "a number under each column: {line}");
        numbers
    };
    let (raw, preaggregated) = (cost(raw, "raw"), cost(preaggregated, "pre-aggregated"));
    assert!(raw[0] > preaggregated[0] && raw[1] > preaggregated[1] && preaggregated[0] > 0.0, "{stdout}");
    assert!(faster.contains("x faster, ") && faster.ends_with(" points, every value is equal"), "{faster}");
    assert!(how.starts_with("(raw: once"), "{how}");
    assert_eq!(charts.len(), 5, "{stdout}");
    for line in charts {
        let (chart, labels) = line.split_once("  ").unwrap_or_else(|| panic!("{line}"));
        assert_eq!(chart.chars().count(), 5, "a block for each step: {line}");
        let flat = chart == "▄▄▄▄▄";
        assert!(flat || (chart.contains('▁') && chart.contains('█')), "{line}");
        assert!(labels.starts_with("{code=") && labels.contains("method="), "{line}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "the demo leaves nothing behind");
}

#[test]
fn logs_are_lines_of_json_where_that_is_asked() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "");
    let mut command = home.command();
    let mut child = command.args(["--log-format", "json"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut logged = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if line["fields"]["message"].as_str().is_some_and(|text| text.starts_with("prefold runs")) {
            let told = Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status().unwrap();
            assert!(told.success());
        }
        logged.push(line);
    }
    assert_eq!(child.wait().unwrap().code(), Some(0), "{logged:?}");
    for line in &logged {
        let time = line["timestamp"].as_str().unwrap_or_default();
        assert!(prefold::model::time::parse_instant(time).is_ok(), "{line}");
        assert!(line["level"].is_string() && line["target"].as_str().unwrap().starts_with("prefold"), "{line}");
    }
    let said = |message: &str| {
        let is = |line: &&Value| line["fields"]["message"].as_str().is_some_and(|text| text.starts_with(message));
        logged.iter().find(is).unwrap_or_else(|| panic!("{message} is not said: {logged:?}"))
    };
    let runs = said("prefold runs");
    assert_eq!((&runs["level"], &runs["fields"]["views"]), (&Value::from("INFO"), &Value::from(1)));
    said("stopped");
    let (status, _, stderr) = finished(&mut prefold(&["--log-format", "xml", "check", "."]));
    assert!(status == 2 && stderr.contains("[possible values: text, json]"), "{stderr}");
}
