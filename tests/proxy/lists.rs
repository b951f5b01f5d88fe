//! Series, labels, values and rules: upstream's, with what our record names stand for added.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use prefold::model::Labels;
use prefold::plan::{Job, Rule, RuleLimits};
use prefold::query::MemorySource;
use serde_json::{Value, json};

use super::upstream::FakeUpstream;
use super::world::{World, options};
use crate::rewrite::table::named;
use crate::rewrite::world::samples;

const RECORD: &str = "ab:m:rate2m";

/// Upstream's answers have spaces that no encoder of ours writes: what passes untouched keeps them.
const LISTS: [(&str, u16, &str); 5] = [
    ("/api/v1/series", 200, r#"{"status":"success",  "data":[{"job":"a","__name__":"up"}],"warnings":["w"]}"#),
    ("/api/v1/labels", 200, r#"{"status":"success",  "data":["__name__","job"]}"#),
    ("/api/v1/label/__name__/values", 200, r#"{"status":"success",  "data":["aa","ab:m:rate2m","up"]}"#),
    ("/api/v1/label/a/values", 422, r#"{"status":"error",  "errorType":"execution","error":"too many"}"#),
    ("/api/v1/rules", 200, r#"{"status":"success",  "data":{"groups":[{"name":"theirs","rules":[]}]}}"#),
];

async fn world() -> World {
    let lists = LISTS.iter().map(|(path, status, body)| (*path, StatusCode::from_u16(*status).unwrap(), (*body).to_owned()));
    let upstream = FakeUpstream::start(MemorySource::new(), lists.collect()).await;
    let world = World::new(named("avg rec"), samples(), Some(upstream), options());
    let view = world.catalog.get(world.id("rec")).unwrap().view.clone();
    let rule = |record: Option<&str>| Rule {
        index: 0,
        expr: "sum(x)".to_owned(),
        view: view.clone(),
        record: record.map(Into::into),
        labels: Labels::EMPTY,
        overdue_tolerance: 0.0,
        retention_ms: 0,
        limits: RuleLimits::default(),
    };
    let job = |name: &str, rules| Job {
        name: name.into(),
        description: String::new(),
        owner: String::new(),
        file: PathBuf::from("f"),
        rules,
    };
    world.proxy.jobs.store(Arc::new(vec![job("ours", vec![rule(None), rule(Some(RECORD))]), job("bare", vec![rule(None)])]));
    world.emit("rec", 1200);
    world.emit("avg", 1200);
    world
}

fn raw(path: &str) -> Value {
    let (_, _, body) = LISTS.iter().find(|(list, ..)| *list == path).unwrap();
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn recorded_names_are_among_upstreams() {
    let world = world().await;
    let data = async |path: &str| world.get(&format!("/api/v1/{path}"), &[]).await.body["data"].clone();
    assert_eq!(data("label/__name__/values").await, json!(["aa", RECORD, "up"])); // each once
    assert_eq!(data("labels").await, json!(["__name__", "a", "b", "job", "team"]));
    assert_eq!(data("labels?match[]=ab:m:rate2m").await, json!(["__name__", "a", "b", "job", "team"]));
    let series = world.get("/api/v1/series?match[]=ab:m:rate2m%7Ba=%221%22,b=%22x%22%7D&match[]=up", &[]).await.body;
    let ours = json!({"__name__": RECORD, "a": "1", "b": "x", "team": "core"});
    assert_eq!(series["data"], json!([ours, {"__name__": "up", "job": "a"}]));
    assert_eq!(series["warnings"], json!(["w"]));
    let cut = world.get("/api/v1/labels?limit=2", &[]).await.body;
    assert_eq!((&cut["data"], &cut["warnings"]), (&json!(["__name__", "a"]), &json!(["results truncated due to limit"])));
    let form = Bytes::from("match[]=ab:m:rate2m&match[]=up");
    let content_type = [("Content-Type", "application/x-www-form-urlencoded")];
    let posted = world.ask(Method::POST, "/api/v1/series?limit=1", &content_type, form).await.body;
    assert_eq!(posted["data"], json!([{"__name__": RECORD, "b": "x", "team": "core"}]));
}

/// Nothing of ours in it: not a byte is changed. An error of upstream is the answer.
#[tokio::test]
async fn what_is_only_upstreams_passes_untouched() {
    let world = world().await;
    for path in [
        "/api/v1/series?match[]=up",
        "/api/v1/labels?match[]=up",
        "/api/v1/labels?match[]=ab:m:rate2m&start=2000&end=3000",
        "/api/v1/labels?match[]=ab:m:rate2m&end=100",
        "/api/v1/label/a/values?match[]=ab:m:rate2m",
        "/api/v1/labels?match[]=%7B&limit=x",
    ] {
        let answer = world.get(path, &[]).await;
        let list = path.split('?').next().unwrap();
        assert_eq!(answer.body, raw(list), "{path}");
        assert_eq!(answer.status, LISTS.iter().find(|(path, ..)| *path == list).unwrap().1, "{path}");
        let questions = world.upstream.as_ref().unwrap().take_questions();
        assert_eq!(questions.iter().map(|question| question.path.as_str()).collect::<Vec<_>>(), [path]);
    }
    let tenant = world.get("/api/v1/labels", &[("X-Scope-OrgID", "other")]).await;
    assert_eq!(tenant.body, raw("/api/v1/labels"), "our record names are of another tenant");
    world.upstream.as_ref().unwrap().set_fails(true);
    let failed = world.get("/api/v1/labels", &[]).await;
    assert_eq!((failed.status, &failed.body["errorType"]), (503, &json!("timeout")));
}

#[tokio::test]
async fn recording_rules_stand_behind_upstreams() {
    let world = world().await;
    let names = async |path: &str| -> Vec<String> {
        let groups = world.get(path, &[]).await.body["data"]["groups"].as_array().unwrap().clone();
        groups.iter().map(|group| group["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("/api/v1/rules").await, ["theirs", "ours"]); // a job without a record name has nothing to show
    assert_eq!(names("/api/v1/rules?type=record").await, ["theirs", "ours"]);
    assert_eq!(names("/api/v1/rules?type=alert").await, ["theirs"]);
    assert_eq!(names("/api/v1/rules?rule_name[]=x").await, ["theirs"]);
    let groups = world.get("/api/v1/rules", &[]).await.body["data"]["groups"].clone();
    assert_eq!(groups[1]["rules"].as_array().unwrap().len(), 1);
    assert_eq!((&groups[1]["rules"][0]["name"], &groups[1]["rules"][0]["type"]), (&json!(RECORD), &json!("recording")));
}
