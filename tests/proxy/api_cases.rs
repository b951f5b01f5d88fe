//! Prometheus' own table of API calls, run against a store that holds the views of its data.
//!
//! The table's series stand under views that keep all their labels, so that lists answer as Prometheus' do. What does not
//! apply is named with its reason; nothing is passed over in silence.

use std::collections::BTreeMap;

use prefold::proxy::ProxyOptions;
use prefold::proxy::upstream::encode_form;
use prefold::query::MemorySource;
use prefold::query::load::load_lines;
use serde_json::{Value, json};

use super::world::{Answer, World, options};
use crate::process::processes::corpus;
use crate::rewrite::world::TestView;

const DATA: &str = r#"
  test_metric1{foo="bar"} 0+100x100
  test_metric1{foo="boo"} 1+0x100
  test_metric2{foo="boo"} 1+0x100
  test_metric3{foo="bar", dup="1"} 1+0x100
  test_metric3{foo="boo", dup="1"} 1+0x100
  test_metric4{foo="bar", dup="1"} 1+0x100
  test_metric4{foo="boo", dup="1"} 1+0x100
  test_metric4{foo="boo"} 1+0x100
  test_metric5{"host.name"="localhost"} 1+0x100
  test_metric5{"junk\n{},=:  chars"="bar"} 1+0x100
"#;

const VIEWS: [(&str, &str); 5] = [
    ("1", "sum by (foo) (test_metric1)"),
    ("2", "sum by (foo) (test_metric2)"),
    ("3", "sum by (foo, dup) (test_metric3)"),
    ("4", "sum by (foo, dup) (test_metric4)"),
    ("5", r#"sum by ("host.name", "junk\n{},=:  chars") (test_metric5)"#),
];

/// Endpoints of the table that are not answered here, and why.
const NOT_HERE: [(&str, &str); 11] = [
    ("formatQuery", "only forwarded"),
    ("targets", "only forwarded: its targets are upstream's"),
    ("targetRelabelSteps", "only forwarded"),
    ("targetMetadata", "only forwarded"),
    ("alertmanagers", "only forwarded"),
    ("metricMetadata", "no metadata is kept: empty without an upstream"),
    ("serveConfig", "only forwarded"),
    ("serveFlags", "only forwarded"),
    ("alerts", "only forwarded: there are no alerts here"),
    ("rules", "the table's rules are fixtures with alerts; ours are recording rules"),
    ("queryExemplars", "exemplars are refused at ingest; only forwarded"),
];

#[tokio::test]
async fn prometheus_table_of_api_calls() {
    let Some(path) = corpus("api/prometheus_api_test_cases.jsonl") else { return };
    let world = world();
    let (mut ran, mut passed_over, mut wrong) = (0, BTreeMap::new(), Vec::new());
    let text = std::fs::read_to_string(path).unwrap();
    for case in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        if let Some(reason) = does_not_apply(&case) {
            *passed_over.entry(reason).or_insert(0) += 1;
            continue;
        }
        ran += 1;
        let url = url(&case);
        let answer = world.get(&url, &[]).await;
        if let Err(why) = judge(&case, &answer) {
            wrong.push(format!("{url}: {why}: {answer:?}"));
        }
    }
    println!("api cases: {ran} ran; not applying: {passed_over:#?}");
    assert_eq!(ran + passed_over.values().sum::<usize>(), text.lines().count());
    assert!(ran >= 70, "only {ran} cases ran");
    assert!(wrong.is_empty(), "of {ran} cases {} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn world() -> World {
    let mut samples = MemorySource::new();
    load_lines(&mut samples, 60_000, DATA).unwrap();
    let view = |(name, expr): &(&'static str, &str)| TestView {
        name,
        expr: (*expr).to_owned(),
        step_s: 60,
        tenant: "",
        record: None,
    };
    let views: Vec<TestView> = VIEWS.iter().map(view).collect();
    let world = World::new(views, samples, None, ProxyOptions { edge_omit: true, ..options() }).first(0);
    VIEWS.iter().for_each(|(name, _)| world.emit(name, 6000));
    world.now(6000);
    world
}

/// Why a case says nothing of us, if it does not.
fn does_not_apply(case: &Value) -> Option<&'static str> {
    let endpoint = case["endpoint"].as_str().unwrap();
    if let Some((_, reason)) = NOT_HERE.iter().find(|(name, _)| *name == endpoint) {
        return Some(reason);
    }
    let query = case["query"]["query"][0].as_str().unwrap_or_default();
    if query == "bottomk(2, notExists)" && case["err_type"].is_null() {
        return Some("without an upstream a metric that no view keeps is refused, not absent");
    }
    let name = case["path_params"]["name"].as_str().unwrap_or_default();
    name.contains("\\xff").then_some("a label name that is not UTF-8 cannot be told apart from its replacement")
}

fn url(case: &Value) -> String {
    let name = case["path_params"]["name"].as_str().unwrap_or_default();
    let path = match case["endpoint"].as_str().unwrap() {
        "query" => "query".to_owned(),
        "queryRange" => "query_range".to_owned(),
        "series" => "series".to_owned(),
        "labelNames" => "labels".to_owned(),
        "labelValues" => format!("label/{name}/values"),
        other => panic!("{other} has no path"),
    };
    let pairs = case["query"].as_object().unwrap().iter().flat_map(|(name, values)| {
        values.as_array().unwrap().iter().map(move |value| (name.as_str(), value.as_str().unwrap().to_owned()))
    });
    format!("/api/v1/{path}?{}", encode_form(&pairs.collect::<Vec<_>>()))
}

fn judge(case: &Value, answer: &Answer) -> Result<(), String> {
    if case["err_type"] == "errorBadData" {
        return same((answer.status, &answer.body["errorType"]), (400, &json!("bad_data")));
    }
    same((answer.status, &answer.body["status"]), (200, &json!("success")))?;
    let warnings = answer.body["warnings"].as_array().map_or(0, Vec::len);
    same(warnings as u64, case["warnings"].as_u64().unwrap())?;
    let data = &answer.body["data"];
    if let Some(expected) = case["response"].as_array() {
        same(data.as_array(), Some(expected))?;
    }
    if let Some(length) = case["response_len"].as_u64() {
        same(data.as_array().map_or(0, Vec::len) as u64, length)?;
    }
    if let Some(text) = case["response_json"].as_str() {
        same(data, &serde_json::from_str(text).unwrap())?;
    }
    match case["response_go"].as_str() {
        // The clock stands elsewhere than there.
        Some(text) => same((strings(data), numbers(data)), (go_strings(text), go_numbers(text))),
        None => Ok(()),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{found:?} instead of {expected:?}")) }
}

/// Label names and values in order.
fn strings(data: &Value) -> Vec<String> {
    let listed = data.as_array().or_else(|| data["result"].as_array()).cloned().unwrap_or_default();
    let labels = listed.iter().filter_map(|one| one.get("metric").unwrap_or(one).as_object());
    labels.flatten().flat_map(|(name, value)| [name.clone(), value.as_str().unwrap_or_default().to_owned()]).collect()
}

/// Sample values in order.
fn numbers(data: &Value) -> Vec<f64> {
    let value = |sample: &Value| sample[1].as_str().unwrap().parse().unwrap();
    match data["resultType"].as_str() {
        Some("scalar") => vec![value(&data["result"])],
        Some("matrix") => {
            data["result"].as_array().unwrap().iter().flat_map(|one| one["values"].as_array().unwrap()).map(value).collect()
        }
        _ => Vec::new(),
    }
}

/// What stands in quotes in Go source.
fn go_strings(text: &str) -> Vec<String> {
    text.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What stands behind `V:` and `F:`.
fn go_numbers(text: &str) -> Vec<f64> {
    let behind = text.split(['V', 'F']).filter_map(|rest| rest.strip_prefix(": "));
    behind.filter_map(|rest| rest.split(',').next()?.trim().parse().ok()).collect()
}
