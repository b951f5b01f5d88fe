//! Job texts and the problems they have, each at its place.

use std::path::PathBuf;

use prefold::plan::spec::{ReadOptions, check_jobs, read_jobs};

use super::{brief, check_problems};

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let checked = check_jobs(&[(PathBuf::from("f"), text.to_owned())], &ReadOptions::default());
    check_problems(&checked.problems, expected, text);
    assert_eq!(checked.jobs.is_empty(), checked.has_errors(), "a job is there unless there are errors");
}

/// A job on one line whose single rule begins in column 23.
fn rule(keys: &str) -> String {
    format!("{{\"name\":\"a\",\"rules\":[{{{keys}}}]}}")
}

#[track_caller]
fn check_rule(keys: &str, expected: &[&str]) {
    check(&rule(keys), expected);
}

const GOOD: &str = r#""step":"30s","expr":"sum by (a) (rate(x_total[1m]))""#;

#[test]
fn good_rules_have_no_problems() {
    check_rule(GOOD, &[]);
    for keys in [
        r#""keep_labels":["env"],"max_delay":"1m","overdue_tolerance":0.05,"semantics":"prometheus""#,
        r#""record":"a:x:rate1m","labels":{"team":"t"},"retention":"7d","limits":{"input_series":5,"output_series":1}"#,
        r#""overdue_tolerance":1,"keep_labels":[],"labels":{}"#,
    ] {
        check_rule(&format!("{GOOD},{keys}"), &[]);
    }
    for expr in ["avg(x)", "max without (pod) (x)", "count by (a) (count_over_time(x[5m]))", "(sum((rate(x_total[1m]))))"] {
        check_rule(&format!(r#""step":"1s","expr":"{expr}""#), &[]);
    }
    check(r#"{"name":"a","defaults":{"step":"1d","keep_labels":["b"]},"rules":[{"expr":["sum(","x",")"]}]}"#, &[]);
}

#[test]
fn syntax_errors_name_their_place() {
    check(
        "{\n  \"name\": \"a\",\n}",
        &["3:1: not JSON: trailing comma; names and texts stand in double quotes, commas between"],
    );
    check("", &["1:1: not JSON: EOF"]);
    check("name: a", &["1:2: not JSON: expected"]);
    check(
        "{\"name\":\"a\",\n \"name\":\"b\",\"rules\":[]}",
        &["2:2: not JSON: duplicate mapping key: name; leave one of the two out"],
    );
    check("[]", &["1:1: must be an object, not a list; write an object there"]);
    let deep = format!("{{\"name\":{}{}}}", "[".repeat(200), "]".repeat(200));
    check(&deep, &["1:135: not JSON: recursion limit exceeded; nest lists and objects less deep"]);
}

#[test]
fn keys_are_known_or_refused_by_name() {
    check("{}", &["1:1: name: is missing; add it: The job's name", "1:1: rules: is missing; add it"]);
    check(r#"{"name":"a","rules":[]}"#, &["1:21: rules: must not be empty"]);
    check(
        r#"{"name":"A b","rules":[{}]}"#,
        &[
            "1:9: name: \"A b\" is not a job name; use 1 to 100 lower case letters",
            "1:24: rules[0].expr: is missing; add it: The PromQL to keep",
        ],
    );
    check_rule(
        &format!(r#"{GOOD},"keep_label":["a"]"#),
        &["1:76: rules[0].keep_label: is not a known key; did you mean `keep_labels`?"],
    );
    check_rule(
        &format!(r#"{GOOD},"interval":"1m""#),
        &["1:76: rules[0].interval: is not a known key; known here are expr, "],
    );
    for (key, remedy) in [
        ("windows", "write one rule per window"),
        ("grafana_interval", "write one rule per window"),
        ("max_window", "leave it out"),
        ("align", "leave it out"),
    ] {
        let expected = format!("1:76: rules[0].{key}: this version does not support `{key}` yet; {remedy}");
        check_rule(&format!(r#"{GOOD},"{key}":"x""#), &[&expected]);
    }
    check_rule(
        &format!(r#"{GOOD},"semantics":"metricsql""#),
        &["1:88: rules[0].semantics: this version does not support \"metricsql\" yet; use prometheus"],
    );
    check(
        r#"{"name":"a","defaults":{"expr":"x","steps":"1m"},"rules":[{"expr":"sum(x)","step":"1m"}]}"#,
        &["1:25: defaults.expr: is not a known key", "1:36: defaults.steps: is not a known key; did you mean `step`?"],
    );
}

#[test]
fn what_a_terminal_would_obey_is_not_printed() {
    check(
        r#"{"name":"a\n","rules":[{"expr":"sum(x)","step":"1m","\u001b[2J":1}]}"#,
        &["1:9: name: \"a\\n\" is not a job name", "1:53: rules[0].\\u{1b}[2J: is not a known key"],
    );
}

#[test]
fn values_have_types_and_bounds() {
    check_rule(
        r#""expr":5,"step":30"#,
        &[
            "1:30: rules[0].expr: must be a string or a list, not a number; write it like \"sum by",
            "1:39: rules[0].step: must be a string, not a number; write it like \"30s\"",
        ],
    );
    check_rule(r#""expr":"sum(x)""#, &["1:22: rules[0].step: is missing; add it here or in defaults"]);
    check_rule(r#""expr":"sum(x)","step":null"#, &["1:46: rules[0].step: must be a string, not null; write it like"]);
    for (step, expected) in [
        ("30", "1:46: rules[0].step: not a valid duration: \"30\"; write it like 30s"),
        ("500ms", "1:46: rules[0].step: must be between 1s and 1d, not 500ms; make it 1s or longer"),
        ("2d", "1:46: rules[0].step: must be between 1s and 1d, not 2d; make it 1d or shorter"),
        ("0", "1:46: rules[0].step: must be between 1s and 1d, not 0"),
    ] {
        check_rule(&format!(r#""expr":"sum(x)","step":"{step}""#), &[expected]);
    }
    for (keys, expected) in [
        (r#""max_delay":"2h""#, "1:88: rules[0].max_delay: must be between 1s and 1h, not 2h"),
        (r#""overdue_tolerance":1.5"#, "1:96: rules[0].overdue_tolerance: must be between 0 and 1, not 1.5"),
        (r#""overdue_tolerance":-0.1"#, "1:96: rules[0].overdue_tolerance: must be between 0 and 1"),
        (r#""retention":"30s""#, "1:88: rules[0].retention: must be longer than the step of 30s, not 30s"),
        (r#""limits":{"input_series":0}"#, "1:101: rules[0].limits.input_series: must be at least 1, not 0"),
        (r#""limits":{"output_series":1.5}"#, "1:102: rules[0].limits.output_series: must be a whole number"),
        (r#""limits":{"series":1}"#, "1:86: rules[0].limits.series: is not a known key; known here are input_series"),
        (r#""record":"a-b""#, "1:85: rules[0].record: \"a-b\" is not a metric name; use letters"),
        (r#""record":"x_total""#, "1:85: rules[0].record: is the metric that the rule itself reads"),
        (r#""keep_labels":["__name__"]"#, "1:91: rules[0].keep_labels[0]: the metric's name is not a label to keep"),
        (r#""keep_labels":["b","c d"]"#, "1:95: rules[0].keep_labels[1]: \"c d\" is not a label name"),
        (r#""keep_labels":"b""#, "1:90: rules[0].keep_labels: must be a list, not a string"),
        (
            r#""record":"r","labels":{"__name__":"b"}"#,
            "1:99: rules[0].labels.__name__: the metric's name is not a label to set; use record",
        ),
        (r#""record":"r","labels":{"b-c":"b"}"#, "1:99: rules[0].labels.b-c: \"b-c\" is not a label name"),
        (r#""record":"r","labels":{"a":"b"}"#, "1:99: rules[0].labels.a: would overwrite a label by which the rule groups"),
        (r#""record":"r","labels":{"b":1}"#, "1:103: rules[0].labels.b: must be a string, not a number"),
    ] {
        check_rule(&format!("{GOOD},{keys}"), &[expected]);
    }
    check(
        r#"{"name":"a","defaults":{"step":"2d"},"rules":[{"expr":"sum(x)"}]}"#,
        &["1:32: defaults.step: must be between 1s and 1d"],
    );
}

#[track_caller]
fn check_expr(expr: &str, expected: &str) {
    check_rule(&format!(r#""step":"30s","expr":{expr}"#), &[expected]);
}

/// A string that stands alone after `expr` begins in column 43, its first character in 44.
#[test]
fn expressions_are_judged_at_the_place_inside_the_string() {
    check_expr(r#""sum(x{)""#, "1:50: rules[0].expr: unexpected ");
    let deep = format!("\"{}x{}\"", "(".repeat(300), ")".repeat(300));
    let problem =
        check_jobs(&[(PathBuf::from("f"), rule(&format!(r#""step":"30s","expr":{deep}"#)))], &ReadOptions::default());
    let said = problem.problems[0].to_string();
    assert!(said.contains("nested deeper than the limit of 250; keep its parts as rules of their own"), "{said}");
    check_expr(r#""sum by (a) (rate(x_total{b=\"c\"}[1m]) +)""#, "1:84: rules[0].expr: ");
    check_expr(r#""""#, "1:44: rules[0].expr: no expression found");
    check_expr(r#""rate(x_total[1m])""#, "1:44: rules[0].expr: only an aggregation can be kept; wrap it in one");
    check_expr(
        r#""topk(3, x)""#,
        "1:44: rules[0].expr: topk is not an aggregation that can be kept; use one of avg, count, group, max, min, sum",
    );
    check_expr(
        r#""sum(deriv(x[5m]))""#,
        "1:48: rules[0].expr: deriv() is not a function that can be kept under an aggregation; use one of avg_over_time, ",
    );
    check_expr(r#""sum(x + y)""#, "1:48: rules[0].expr: an aggregation is kept over a selector");
    check_expr(r#""sum(x offset 5m)""#, "1:48: rules[0].expr: a rule's selector has no offset and no @; leave it out");
    check_expr(r#""sum(rate(x_total[1m] @ 0))""#, "1:48: rules[0].expr: a rule's selector has no offset and no @");
    check_expr(r#""sum(avg_over_time(x[8d]))""#, "1:48: rules[0].expr: the window must be between 1ms and 1w, not 8d");
    check_expr(r#"["sum(",7]"#, "1:51: rules[0].expr[1]: must be a string, not a number");
    check_expr("[]", "1:43: rules[0].expr: must not be empty");
    check_expr("[\"sum by (a) (\",\n  \"  rate(x_total[1m])\",\n  \"  +\",\n  \"é )\"]", "4:4: rules[0].expr: ");
    check_rule(
        r#""step":"30s","keep_labels":["b"],"expr":"sum without (a) (x)""#,
        &["1:50: rules[0].keep_labels: cannot be used with `without`"],
    );
}

#[test]
fn what_is_only_doubtful_is_said_and_accepted() {
    check_expr(
        r#""sum(rate(x_seconds[1m]))""#,
        "1:48: warning: rules[0].expr: rate() is for counters, and x_seconds is not named",
    );
    check_expr(
        r#""sum(rate(x_total[8s]))""#,
        "1:48: note: rules[0].expr: a window of 8s is shorter than two scrape intervals",
    );
    check_rule(&format!(r#"{GOOD},"keep_labels":["a"]"#), &["1:90: note: rules[0].keep_labels: a is already in `by (...)`"]);
    check_rule(
        &format!(r#"{GOOD},"labels":{{"b":"c"}}"#),
        &["1:85: warning: rules[0].labels: has no effect without record"],
    );
    for counter in ["x_total", "x_sum", "x_count", "x_bucket"] {
        check_rule(&format!(r#""step":"30s","expr":"sum(rate({counter}[1m]))""#), &[]);
    }
}

#[test]
fn all_problems_of_all_files_are_reported() {
    let file = |name: &str, text: &str| (PathBuf::from(name), text.to_owned());
    let files = [
        file("a.json", r#"{"name":"n","rules":[{"expr":"sum(","step":"x"},{"expr":"sum(y)","step":"1m","record":"r"}]}"#),
        file("b.json", "{"),
        file("c.json", r#"{"name":"n","rules":[{"expr":"sum(z)","step":"1m","record":"r"}]}"#),
        file("d.json", r#"{"name":"d","rules":[{"expr":"sum(z)","step":"1m"}]}"#),
    ];
    let problems = read_jobs(&files, &ReadOptions::default()).unwrap_err();
    let found: Vec<String> = problems.iter().map(brief).collect();
    let expected = [
        "a.json:1:35: rules[0].expr: ",
        "a.json:1:44: rules[0].step: not a valid duration",
        "b.json:1:1: not JSON: EOF",
        "c.json:1:9: name: the job name \"n\" is taken by a.json:1:9; choose another name",
        "c.json:1:60: rules[0].record: the record name \"r\" is taken by a.json:1:87; choose another name",
    ];
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| f.starts_with(e)), "{found:#?}");
    let kept: Vec<String> =
        check_jobs(&files, &ReadOptions::default()).jobs.iter().map(|job| job.name.to_string()).collect();
    assert_eq!(kept, ["d"]);
}

#[test]
fn defaults_are_replaced_as_a_whole_and_kept_labels_join_the_grouping() {
    let text = r#"{"name":"a","defaults":{"step":"1m","max_delay":"10s","keep_labels":["env"],"limits":{"input_series":7}},
        "rules":[{"expr":"sum by (le) (x)"},
        {"expr":"avg by (le) (x)","step":"30s","keep_labels":[],"limits":{"output_series":9}}]}"#;
    let jobs = read_jobs(&[(PathBuf::from("f"), text.to_owned())], &ReadOptions::default()).unwrap();
    let [first, second] = jobs[0].rules.as_slice() else { panic!("two rules") };
    assert_eq!(first.view.shape.to_string(), "sum by (env, le) (x)");
    assert_eq!((first.view.step_ms, first.view.max_delay_ms), (60_000, 10_000));
    assert_eq!((first.limits.input_series, first.limits.output_series), (7, 50_000));
    assert_eq!(second.view.shape.to_string(), "avg by (le) (x)");
    assert_eq!((second.view.step_ms, second.view.max_delay_ms), (30_000, 10_000));
    assert_eq!((second.limits.input_series, second.limits.output_series), (1_000_000, 9));
    assert_eq!((first.index, second.index, first.overdue_tolerance, first.retention_ms), (0, 1, 0.0, 2_592_000_000));
}

#[test]
fn a_file_too_large_is_refused_unread() {
    let text = " ".repeat(2 << 20);
    check(&text, &["1:1: the file has 2097152 bytes and the limit is 1048576; split it"]);
}

/// Whatever is cut off or damaged: an answer, never a panic, and never a job from a text that is not JSON.
#[test]
fn no_text_makes_reading_panic() {
    let whole = std::fs::read_to_string(super::jobs_dir().join("node-cpu.json")).unwrap();
    let read = |text: String| check_jobs(&[(PathBuf::from("f"), text)], &ReadOptions::default());
    for end in (0..whole.trim_end().len()).filter(|end| whole.is_char_boundary(*end)) {
        assert!(read(whole[..end].to_owned()).jobs.is_empty(), "cut at {end}");
    }
    for at in (0..whole.len()).filter(|at| whole.is_char_boundary(*at) && whole.is_char_boundary(at + 1)) {
        for damage in ["", "\"", "\\", "{", "]", "0", "ü"] {
            read(format!("{}{damage}{}", &whole[..at], &whole[at + 1..]));
        }
    }
}
