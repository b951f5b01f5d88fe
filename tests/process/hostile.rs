//! Queries, parameters, paths and files that are wrong or mean harm: each is refused with Prometheus' status and words,
//! and the process goes on.

use std::time::{Duration, Instant};

use super::processes::{Answer, COUNT_JOB, COUNT_QUERY, Home, Running, corpus, counted, finished, form, prefold};

/// An error answer of a status and type whose text holds the words.
#[track_caller]
fn check_error(case: &str, answer: &Answer, status: u16, error_type: &str, words: &str) {
    let case = &case[..case.floor_char_boundary(200)];
    assert_eq!(answer.status, status, "{case}: {answer:?}");
    assert_eq!(answer.header("content-type"), "application/json", "{case}: {answer:?}");
    let json = answer.json();
    let error = json["error"].as_str().unwrap_or_default();
    let found = (json["status"].as_str(), json["errorType"].as_str(), error.contains(words));
    assert_eq!(found, (Some("error"), Some(error_type), true), "{case}: {answer:?}, expected {words:?}");
}

async fn started() -> (Home, Running) {
    let home = Home::new(&[("count.json", COUNT_JOB)], "");
    let running = home.start().await;
    (home, running)
}

/// By POST, since no URL is that long: nested deeply, longer than is read, or costly to match.
#[tokio::test]
async fn queries_too_deep_or_too_long_are_refused_at_once() {
    let (_home, mut running) = started().await;
    let deep = 10_000;
    let nested = |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(deep), close.repeat(deep));
    let before = running.resident_bytes();
    for (query, words) in [
        (nested("(", "1", ")"), "nested deeper than the limit of 250"),
        (nested("-", "1", ""), "nested deeper than the limit of 250"),
        (nested("abs(", "vector(1)", ""), "nested deeper than the limit of 250"),
        (nested("sum(", "up", ")"), "nested deeper than the limit of 250"),
        (nested("", "1", "^1"), "nested deeper than the limit of 250"),
        (nested("", "1", "+1"), "the query's tree is deeper than the limit of 2500"),
        (nested("", "up", "[5m:1m]"), "limit"),
        (nested("", "1", " + 11"), "the query's tree is deeper than the limit of 2500"),
        ("1+".repeat(32_769), "the query has 65538 bytes, the limit is 65536"),
        ("{".repeat(100_000), "the query has 100000 bytes, the limit is 65536"),
        (format!("\"{}\"", "x".repeat(100_000)), "the query has 100002 bytes, the limit is 65536"),
        ("up{a=~\"((a{1000}){1000}){1000}\"}".to_owned(), "bad regular expression"),
        ("up{a=~\"(\"}".to_owned(), "bad regular expression"),
        (String::new(), "no expression found in input"),
        ("\0".to_owned(), "parse error"),
        ("up{a=\"\u{202e}\"".to_owned(), "parse error"),
        ("invalid][query".to_owned(), "1:8: parse error: unexpected right bracket ']'"),
    ] {
        for (path, rest) in [
            ("/api/v1/query", &[][..]),
            ("/api/v1/query_range", &[("start", "0"), ("end", "10"), ("step", "1")]),
            ("/prefix/api/v1/query", &[]),
        ] {
            let began = Instant::now();
            let pairs = [&[("query", query.as_str())], rest].concat();
            let answer = running.form(path, &pairs).await;
            check_error(&query, &answer, 400, "bad_data", words);
            assert!(answer.json()["error"].as_str().unwrap().starts_with("invalid parameter \"query\": "), "{answer:?}");
            assert!(began.elapsed() < Duration::from_secs(10), "{words}: took {:?}", began.elapsed());
        }
    }
    assert!(running.resident_bytes().saturating_sub(before) < 300 << 20);
    assert!(running.is_alive());
}

/// What is as deep and as long as allowed is evaluated; a form and a URL have their bounds.
#[tokio::test]
async fn requests_have_bounds_and_what_lies_within_is_answered() {
    let (_home, mut running) = started().await;
    for (query, value) in [
        (format!("{}1{}", "(".repeat(249), ")".repeat(249)), "1"),
        (format!("1{}", "+1".repeat(450)), "451"),
        (format!("{}1", " 1 *".repeat(450)), "1"),
    ] {
        let answer = running.form("/api/v1/query", &[("query", &query)]).await;
        assert_eq!(answer.json()["data"]["result"][1], value, "{:.100}", answer.text);
    }
    let long = "x".repeat(60_000);
    let answer = running.get(&format!("/api/v1/query?query=%22{long}%22")).await;
    assert_eq!((answer.status, answer.json()["data"]["result"][1].as_str()), (200, Some(long.as_str())));
    let large = "x".repeat((1 << 20) + 1);
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = running.request("POST", "/api/v1/query", &headers, format!("query={large}").into_bytes()).await;
    check_error("1 MiB", &answer, 413, "bad_data", "the form is larger than 1 MiB");
    let many = "a=&".repeat(300_000);
    let answer = running.request("POST", "/api/v1/query", &headers, format!("{many}query=1").into_bytes()).await;
    check_error("many parameters", &answer, 422, "execution", "parameter-not-known");
    assert!(running.is_alive());
}

const RANGE: [(&str, &str); 4] = [("query", COUNT_QUERY), ("start", "1000"), ("end", "2000"), ("step", "1")];

/// Parameters that replace those of a good range query or instant query; the words are Prometheus' own.
#[tokio::test]
async fn bad_parameters_are_refused_with_the_words_of_prometheus() {
    let (_home, mut running) = started().await;
    let zero = "zero or negative query resolution step widths are not accepted. Try a positive integer";
    let before = "invalid parameter \"end\": end timestamp must not be before start time";
    let resolution =
        "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
    for (changed, words) in [
        (&[("start", "")][..], "invalid parameter \"start\": cannot parse \"\" to a valid timestamp"),
        (&[("end", "")], "invalid parameter \"end\": cannot parse \"\" to a valid timestamp"),
        (&[("step", "")], "invalid parameter \"step\": cannot parse \"\" to a valid duration"),
        (&[("start", "yesterday")], "invalid parameter \"start\": cannot parse \"yesterday\" to a valid timestamp"),
        (&[("end", "NaN")], "invalid parameter \"end\": cannot parse \"NaN\" to a valid timestamp"),
        (&[("end", "Inf")], "invalid parameter \"end\": cannot parse \"Inf\" to a valid timestamp"),
        (&[("start", "-1e300")], "invalid parameter \"start\": cannot parse \"-1e300\" to a valid timestamp"),
        (&[("step", "NaN")], "invalid parameter \"step\": cannot parse \"NaN\" to a valid duration"),
        (&[("step", "1x")], "invalid parameter \"step\": cannot parse \"1x\" to a valid duration"),
        (&[("step", "1e300")], "invalid parameter \"step\": cannot parse \"1e300\" to a valid duration"),
        (&[("step", "0")], zero),
        (&[("step", "-1")], zero),
        (&[("start", "2000.001")], before),
        (&[("start", "148966367200.372"), ("end", "1489667272.372")], before),
        (&[("end", "12001")], resolution),
        (&[("start", "-9000000000000"), ("end", "9000000000000")], resolution),
        (&[("end", "1012"), ("step", "0.001")], resolution),
        (&[("limit", "-1")], "invalid parameter \"limit\""),
        (&[("limit", "x")], "invalid parameter \"limit\": cannot parse \"x\" to a number"),
        (&[("timeout", "x")], "invalid parameter \"timeout\": cannot parse \"x\" to a valid duration"),
    ] {
        let value = |name| changed.iter().find(|(changed, _)| *changed == name).map(|(_, value)| *value);
        let mut pairs: Vec<(&str, &str)> = RANGE.iter().map(|(name, had)| (*name, value(*name).unwrap_or(had))).collect();
        pairs.extend(changed.iter().filter(|(name, _)| RANGE.iter().all(|(had, _)| had != name)));
        check_error(&format!("{changed:?}"), &running.form("/api/v1/query_range", &pairs).await, 400, "bad_data", words);
        let got = running.get(&format!("/api/v1/query_range?{}", form(&pairs))).await;
        check_error(&format!("{changed:?} by GET"), &got, 400, "bad_data", words);
    }
    for (pairs, words) in [
        (&[("query", "1"), ("time", "x")][..], "invalid parameter \"time\": cannot parse \"x\" to a valid timestamp"),
        (&[("query", "1"), ("time", "1e400")], "invalid parameter \"time\": cannot parse \"1e400\" to a valid timestamp"),
        (&[("query", "1"), ("limit", "-1")], "invalid parameter \"limit\""),
        (&[("time", "1")], "invalid parameter \"query\""),
    ] {
        check_error(&format!("{pairs:?}"), &running.form("/api/v1/query", pairs).await, 400, "bad_data", words);
    }
    assert!(running.is_alive());
}

/// Prometheus' own table of API calls: what is bad data there is bad data here.
#[tokio::test]
async fn what_prometheus_calls_bad_data_is_bad_data() {
    let Some(cases) = corpus("api/prometheus_api_test_cases.jsonl") else { return };
    let (_home, running) = started().await;
    let text = std::fs::read_to_string(cases).unwrap();
    let (mut checked, mut wrong) = (0, Vec::new());
    for case in text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()) {
        let name = case["path_params"]["name"].as_str().unwrap_or_default();
        let path = match case["endpoint"].as_str().unwrap() {
            "query" => "query".to_owned(),
            "queryRange" => "query_range".to_owned(),
            "series" => "series".to_owned(),
            "labelNames" => "labels".to_owned(),
            // The other label name of the table is not UTF-8, which JSON cannot hold.
            "labelValues" if name == "foo" => "label/foo/values".to_owned(),
            _ => continue,
        };
        if case["err_type"] != "errorBadData" {
            continue;
        }
        let pairs: Vec<(&str, &str)> = case["query"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(name, values)| {
                values.as_array().unwrap().iter().map(move |value| (name.as_str(), value.as_str().unwrap()))
            })
            .collect();
        let answer = running.get(&format!("/api/v1/{path}?{}", form(&pairs))).await;
        checked += 1;
        if answer.status != 400 || answer.json()["errorType"] != "bad_data" {
            wrong.push(format!("{path} {pairs:?}: {} {}", answer.status, answer.text));
        }
    }
    assert!(checked >= 15, "only {checked} cases apply");
    assert!(wrong.is_empty(), "of {checked} cases:\n{}", wrong.join("\n"));
}

/// Writes, deletes, administration and what nobody knows: refused, whatever the method.
#[tokio::test]
async fn paths_that_are_not_served_say_so() {
    let (_home, mut running) = started().await;
    for path in [
        "/nope",
        "/api/v1/nope",
        "/api/v1/admin/tsdb/delete_series?match[]=up",
        "/api/v1/admin/tsdb/snapshot",
        "/api/v1/admin/tsdb/clean_tombstones",
        "/api/v1/read",
        "/api/v1/otlp/v1/metrics",
        "/prefix/api/v1/admin/tsdb/delete_series",
        "/api/v1/query/../admin/tsdb/snapshot",
        "/api/v1/query_exemplars?query=up",
        "/api/v1/alerts",
        "/federate?match[]=up",
        "/prefold/api/v1/nope",
    ] {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let answer = running.request(method, path, &[], Vec::new()).await;
            let expected: &[u16] = if matches!(method, "GET" | "POST") { &[404] } else { &[404, 405] };
            assert!(expected.contains(&answer.status), "{method} {path}: {answer:?}");
            assert_eq!(answer.json()["status"], "error", "{method} {path}: {answer:?}");
        }
    }
    for path in ["/-/quit", "/-/reload"] {
        for method in ["GET", "POST", "PUT"] {
            let answer = running.request(method, path, &[], Vec::new()).await;
            assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
            assert!(answer.text.contains("web.enable_lifecycle"), "{answer:?}");
        }
    }
    for method in ["PUT", "DELETE", "PATCH"] {
        let answer = running.request(method, "/api/v1/query?query=1", &[], Vec::new()).await;
        check_error(method, &answer, 405, "bad_data", "only GET and POST");
    }
    assert!(running.is_alive());
    assert_eq!(running.write(&counted("after")).await.status, 204);
}

/// A query that nothing here answers is refused by name; its tenant sees nothing of another's.
#[tokio::test]
async fn what_no_view_answers_is_refused_by_name() {
    let (_home, running) = started().await;
    for (query, slug) in [
        ("up", "no-view-for-metric"),
        ("sum by (g) (count_over_time(c_total[11s]))", "window-differs"),
        ("sum by (g) (rate(c_total[10s]))", "function-differs"),
        ("sum by (h) (count_over_time(c_total[10s]))", "grouping-too-coarse"),
        ("sum by (g) (count_over_time(c_total{h=\"1\"}[10s]))", "residual-label-missing"),
    ] {
        let answer = running.form("/api/v1/query", &[("query", query), ("time", "1000")]).await;
        check_error(query, &answer, 422, "execution", slug);
        assert_eq!((answer.header("x-prefold-answer"), answer.header("x-prefold-reason")), ("refused", slug));
    }
    let answer = running.form("/api/v1/query", &[("query", COUNT_QUERY), ("time", "1000.5")]).await;
    check_error("off the grid", &answer, 422, "execution", "step-off-grid");
    let pairs = form(&[("query", COUNT_QUERY), ("time", "1000")]);
    let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("X-Scope-OrgID", "other")];
    let answer = running.request("POST", "/api/v1/query", &headers, pairs.into_bytes()).await;
    check_error("another tenant", &answer, 422, "execution", "no-view-for-metric");
}

/// Exit status 3, or 2 for a configuration, and the place of what is wrong; nothing is left running.
#[test]
fn a_process_does_not_start_on_what_is_wrong() {
    let unclosed = "{\"name\":\"a\",\"rules\":[\n  {\"expr\":\"sum(rate(x[1m])\",\"step\":\"2s\"}]}";
    for (job, config, status, words) in [
        (unclosed, "", 3, "a.json:2:27: rules[0].expr: unclosed left parenthesis"),
        ("{", "", 3, "a.json:1:"),
        (
            "{\"name\":\"a\",\"rules\":[],\"ruels\":1}",
            "",
            3,
            "a.json:1:24: ruels: is not a known key; did you mean `rules`?",
        ),
        (COUNT_JOB, "\nupstraem: {}", 2, "config.yaml:3:1: upstraem: is not a known key; did you mean `upstream`?"),
        (COUNT_JOB, "limits: { http_connections_max: 0 }", 2, "config.yaml:2:33: limits.http_connections_max: "),
        (COUNT_JOB, "log: { embedded: { retention: soon } }", 2, "config.yaml:2:31: log.embedded.retention: "),
        (COUNT_JOB, "listen: \"nowhere\"\nlog: [", 2, "config.yaml:"),
    ] {
        let home = Home::new(&[("a.json", job)], config);
        let (code, stdout, stderr) = finished(&mut home.command());
        assert_eq!(code, status, "{words}: {stderr}");
        assert!(stdout.is_empty() && stderr.starts_with("prefold run: ") && stderr.contains(words), "{words}: {stderr}");
    }
    for (arguments, status, words) in [
        (&["run", "--listen", "nowhere"][..], 2, "--listen: \"nowhere\" is not an address; write it like 127.0.0.1:9480"),
        (&["run", "--upstream", "db:9090"], 2, "http://127.0.0.1:9090"),
        (&["run", "--config", "/absent.yaml"], 2, "/absent.yaml: No such file"),
        (&["run", "--threads", "many"], 2, "--threads"),
        (&["run", "--nope"], 2, "--nope"),
        (&["nope"], 2, "nope"),
        (&[], 2, "Usage"),
    ] {
        let (code, _, stderr) = finished(&mut prefold(arguments));
        assert_eq!((code, stderr.contains(words)), (status, true), "{arguments:?}: {stderr}");
    }
}

/// Two processes over one folder, or at one address: the second says why it cannot, and the first is not disturbed.
#[tokio::test]
async fn a_folder_and_an_address_belong_to_one_process() {
    let (home, mut running) = started().await;
    let (code, _, stderr) = finished(&mut home.command());
    assert_eq!((code, stderr.contains("is open in another process")), (3, true), "{stderr}");
    let other = Home::new(&[], "");
    let taken = running.base().trim_start_matches("http://");
    let mut command = prefold(&["run", "--listen", taken, "--data-dir"]);
    let (code, _, stderr) = finished(command.arg(other.data()).arg("--jobs").arg(other.jobs()));
    assert_eq!((code, stderr.contains(&format!("cannot listen on {taken}"))), (3, true), "{stderr}");
    assert!(running.is_alive());
    assert_eq!(running.write(&counted("after")).await.status, 204);
}
