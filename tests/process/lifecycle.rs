//! A process from start to end: health, metrics, what it answers without an upstream, reloads, a clean stop, a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::processes::{COUNT_JOB, COUNT_QUERY, Home, Running, counted, form, labels, now_ms, sample, until};

/// Another view, which a reload brings.
const OTHER_JOB: &str = r#"{"name":"other","rules":[
  {"expr":"sum by (g) (sum_over_time(c_total[10s]))","step":"1s","max_delay":"2s","record":"g:c:sum","labels":{"team":"a"}}]}"#;

const OTHER_QUERY: &str = "sum by (g) (sum_over_time(c_total[10s]))";

const BAD_JOB: &str = "{\"name\":\"bad\",\"rules\":[\n  {\"expr\":\"sum(rate(x[1m])\",\"step\":\"2s\"}]}";

#[tokio::test]
async fn health_readiness_and_metrics_are_told() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "");
    let running = home.start().await;
    assert_eq!(running.write(&counted("a")).await.status, 204);
    running.final_to(1, now_ms()).await;
    for (path, words) in [("/-/healthy", "healthy"), ("/-/ready", "ready")] {
        let answer = running.get(path).await;
        assert_eq!((answer.status, answer.text.contains(words)), (200, true), "{path}: {answer:?}");
    }
    let answer = running.get("/metrics").await;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"), "{answer:?}");
    let families = open_metrics(&answer.text);
    for (name, kind) in [
        ("prefold_build_info", "gauge"),
        ("prefold_ingest_samples", "counter"),
        ("prefold_ingest_refused", "counter"),
        ("prefold_log_append_duration_seconds", "histogram"),
        ("prefold_view_final_timestamp_seconds", "gauge"),
        ("prefold_query_answers", "counter"),
    ] {
        assert_eq!(families.get(name).map(String::as_str), Some(kind), "{name}");
    }
    assert_eq!(running.metric("prefold_ingest_samples_total").await, 1.0);
    assert!(running.metric("prefold_view_final_timestamp_seconds{job=\"count\",rule=\"0\"}").await > 1e9);
}

/// The families of an OpenMetrics text with their types, after the rules that can be seen line by line.
fn open_metrics(text: &str) -> BTreeMap<String, String> {
    let body = text.strip_suffix("# EOF\n").expect("an end");
    let (mut types, mut helps, mut seen) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(name.starts_with("prefold_"), "{line}");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.ends_with('.') && helps.insert(name.to_owned()), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(!line.starts_with('#') && value.parse::<f64>().is_ok(), "{line}");
            assert!(seen.insert(series.to_owned()), "twice: {line}");
            let name = series.split('{').next().unwrap();
            let suffixes = ["_total", "_bucket", "_sum", "_count", ""];
            let family = suffixes.iter().find_map(|suffix| types.get_key_value(name.strip_suffix(suffix)?)).expect(line);
            assert_eq!(family.1 == "counter", name.ends_with("_total"), "{line}");
        }
    }
    assert!(types.keys().all(|name| helps.contains(name)), "without help");
    types
}

#[tokio::test]
async fn without_an_upstream_series_labels_and_rules_come_from_the_views() {
    let home = Home::new(&[("count.json", COUNT_JOB), ("other.json", OTHER_JOB)], "");
    let running = home.start().await;
    let series = |g: &str| (labels(&[("__name__", "c_total"), ("g", g), ("i", "1")]), vec![sample(now_ms(), 1.0)]);
    assert_eq!(running.write(&[series("one"), series("two")]).await.status, 204);
    running.final_to(2, now_ms() + 1000).await;
    let listed = |answer: super::processes::Answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["data"].clone()
    };
    let one = form(&[("match[]", "c_total{g=\"one\"}")]);
    for (path, expected) in [
        (format!("series?{one}"), serde_json::json!([{"__name__": "c_total", "g": "one"}])),
        (
            format!("series?{}", form(&[("match[]", "g:c:sum")])),
            serde_json::json!([
                {"__name__": "g:c:sum", "g": "one", "team": "a"}, {"__name__": "g:c:sum", "g": "two", "team": "a"}
            ]),
        ),
        (format!("series?{}", form(&[("match[]", "absent")])), serde_json::json!([])),
        ("labels".to_owned(), serde_json::json!(["__name__", "g", "team"])),
        (format!("labels?{one}"), serde_json::json!(["__name__", "g"])),
        ("label/__name__/values".to_owned(), serde_json::json!(["c_total", "g:c:sum"])),
        ("label/g/values".to_owned(), serde_json::json!(["one", "two"])),
        (format!("label/g/values?{one}"), serde_json::json!(["one"])),
        ("label/g/values?limit=1".to_owned(), serde_json::json!(["one"])),
        ("label/absent/values".to_owned(), serde_json::json!([])),
        ("metadata".to_owned(), serde_json::json!({})),
    ] {
        assert_eq!(listed(running.get(&format!("/api/v1/{path}")).await), expected, "{path}");
    }
    let posted = running.form("/api/v1/series", &[("match[]", "c_total"), ("limit", "1")]).await;
    assert_eq!(posted.json()["warnings"], serde_json::json!(["results truncated due to limit"]));
    let rules = listed(running.get("/api/v1/rules").await);
    let recorded: Vec<_> =
        rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert_eq!(recorded.len(), 1);
    assert_eq!((&recorded[0]["name"], &recorded[0]["type"]), (&"g:c:sum".into(), &"recording".into()));
    let info = listed(running.get("/api/v1/status/buildinfo").await);
    assert!(info["version"].is_string() && info.get("features").is_none(), "{info}");
    // Grafana's health check.
    let two = running.form("/api/v1/query", &[("query", "1+1"), ("time", "4")]).await;
    assert_eq!(two.json()["data"], serde_json::json!({"resultType": "scalar", "result": [4, "2"]}));
    assert_eq!(two.header("x-prefold-answer"), "local");
}

/// Waits until a view of a query is listed, or until it is not.
async fn listed(running: &Running, query: &str, there: bool) {
    until(&format!("the view of {query} to be listed: {there}"), async || {
        (running.views().await.iter().any(|view| view["expr"] == query) == there).then_some(())
    })
    .await;
}

/// Samples now, final in one view; the grid point that shows them.
async fn written(running: &Running, views: usize, group: &str) -> i64 {
    let t = now_ms();
    let samples = vec![sample(t - 2, 5.0), sample(t - 1, 6.0), sample(t, 7.0)];
    assert_eq!(running.write(&[(labels(&[("__name__", "c_total"), ("g", group)]), samples)]).await.status, 204);
    let at = (t / 1000 + 1) * 1000;
    running.final_to(views, at).await;
    at
}

/// A new view catches up with what the log holds from before it.
async fn caught_up(running: &Running, at: i64) {
    listed(running, OTHER_QUERY, true).await;
    running.final_to(2, now_ms() - 10_000).await;
    running.final_to(2, at).await;
    assert_eq!(running.results(OTHER_QUERY, at, at, 1000).await[r#"{"g":"old"}"#][&at], "18");
    assert_eq!(running.results(COUNT_QUERY, at, at, 1000).await[r#"{"g":"old"}"#][&at], "3");
}

#[tokio::test]
async fn changed_files_are_read_and_bad_ones_change_nothing() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "");
    let mut running = home.start().await;
    let at = written(&running, 1, "old").await;
    home.put_job("bad.json", BAD_JOB);
    until("the bad file to be told", async || {
        running.logs().contains("bad.json:2:27: rules[0].expr: unclosed left parenthesis").then_some(())
    })
    .await;
    assert_eq!(running.views().await.len(), 1);
    home.put_job("other.json", OTHER_JOB);
    until("it to be told again", async || (running.logs().matches("nothing was changed").count() >= 2).then_some(())).await;
    assert_eq!(running.views().await.len(), 1, "a good file beside a bad one");
    std::fs::remove_file(home.jobs().join("bad.json")).unwrap();
    caught_up(&running, at).await;
    std::fs::remove_file(home.jobs().join("other.json")).unwrap();
    listed(&running, OTHER_QUERY, false).await;
    let later = written(&running, 1, "old").await;
    // What the job left is still read, and nothing is added to it; after a restart, too.
    let left = running.results(OTHER_QUERY, at, later, 1000).await;
    assert_eq!((&left[r#"{"g":"old"}"#][&at], left[r#"{"g":"old"}"#].contains_key(&later)), (&"18".to_owned(), false));
    assert!(running.is_alive());
    drop(running);
    let resumed = home.start().await;
    resumed.final_to(1, later).await;
    assert_eq!(resumed.results(OTHER_QUERY, at, later, 1000).await, left);
}

/// Made after the start, taken away and put back: a directory that is gone changes nothing, and is told.
#[tokio::test]
async fn the_directory_of_jobs_may_come_and_go() {
    let home = Home::new(&[], "");
    std::fs::remove_dir(home.jobs()).unwrap();
    let mut running = home.start().await;
    std::fs::create_dir(home.jobs()).unwrap();
    home.put_job("other.json", OTHER_JOB);
    listed(&running, OTHER_QUERY, true).await;
    std::fs::rename(home.jobs(), home.data().join("away")).unwrap();
    until("its absence to be told", async || running.logs().contains("no such directory any more").then_some(())).await;
    assert_eq!(running.views().await.len(), 1);
    std::fs::create_dir(home.jobs()).unwrap();
    home.put_job("count.json", COUNT_JOB);
    listed(&running, COUNT_QUERY, true).await;
    assert!(running.is_alive());
}

#[tokio::test]
async fn a_hangup_reads_the_jobs_again() {
    let home = Home::new(&[], "");
    std::fs::remove_dir(home.jobs()).unwrap();
    let mut running = home.start().await;
    let t = now_ms();
    let one = vec![(labels(&[("__name__", "c_total"), ("g", "old")]), vec![sample(t, 18.0)])];
    assert_eq!(running.write(&one).await.status, 204);
    std::fs::create_dir(home.jobs()).unwrap();
    home.put_job("other.json", OTHER_JOB);
    running.signal("HUP");
    listed(&running, OTHER_QUERY, true).await;
    let at = (t / 1000 + 1) * 1000;
    running.final_to(1, at).await;
    assert_eq!(running.results(OTHER_QUERY, at, at, 1000).await[r#"{"g":"old"}"#][&at], "18");
    home.put_job("bad.json", BAD_JOB);
    running.signal("HUP");
    until("the bad file to be told", async || running.logs().contains("nothing was changed").then_some(())).await;
    assert_eq!(running.views().await.len(), 1);
    assert!(running.is_alive());
}

#[tokio::test]
async fn lifecycle_requests_reload_and_stop_when_they_are_on() {
    let home = Home::new(&[("count.json", COUNT_JOB)], "web: { enable_lifecycle: true }");
    let mut running = home.start().await;
    assert_eq!(running.get("/-/reload").await.status, 405);
    let answer = running.request("POST", "/-/reload", &[], Vec::new()).await;
    assert_eq!((answer.status, answer.text.contains("1 views")), (200, true), "{answer:?}");
    home.put_job("bad.json", BAD_JOB);
    let answer = running.request("PUT", "/-/reload", &[], Vec::new()).await;
    assert_eq!((answer.status, answer.text.contains("bad.json:2:27")), (400, true), "{answer:?}");
    assert_eq!(running.request("POST", "/-/quit", &[], Vec::new()).await.status, 200);
    assert_eq!(running.ended().await.code(), Some(0));
}

/// Stopped in the middle of writes: exit 0 within seconds, and everything taken is there after the restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_process_ends_cleanly_and_resumes() {
    for signal in ["TERM", "INT"] {
        let home = Home::new(&[("count.json", COUNT_JOB)], "");
        let mut running = home.start().await;
        let at = written(&running, 1, "old").await;
        let before = running.results(COUNT_QUERY, at, at, 1000).await;
        let (url, t) = (format!("{}/api/v1/write", running.base()), now_ms());
        let writing = tokio::spawn(async move {
            let client = reqwest::Client::new();
            let mut taken = 0;
            loop {
                let one = vec![(labels(&[("__name__", "c_total"), ("g", "late")]), vec![sample(t + taken, 1.0)])];
                let sent = client.post(&url).body(super::processes::body_v1(&one)).send().await;
                match sent {
                    Ok(response) if response.status() == 204 => taken += 1,
                    _ => return taken,
                }
            }
        });
        until("some to be taken", async || (running.metric("prefold_ingest_samples_total").await > 13.0).then_some(()))
            .await;
        let began = Instant::now();
        running.signal(signal);
        assert_eq!(running.ended().await.code(), Some(0), "{}", running.logs());
        assert!(began.elapsed() < Duration::from_secs(20), "SIG{signal} took {:?}", began.elapsed());
        assert!(running.logs().contains("stopped") && !running.logs().contains("ERROR"), "{}", running.logs());
        let taken = writing.await.unwrap();
        assert!(taken >= 10);

        let resumed = home.start().await;
        let all = ((t + taken) / 1000 + 1) * 1000;
        resumed.final_to(1, all).await;
        assert_eq!(resumed.results(COUNT_QUERY, at, at, 1000).await, before);
        let found = &resumed.results(COUNT_QUERY, all, all, 1000).await[r#"{"g":"late"}"#][&all];
        // One more may have been taken without its sender being told.
        assert!([taken.to_string(), (taken + 1).to_string()].contains(found), "{taken} taken, {found} counted");
        let later = written(&resumed, 1, "new").await;
        assert_eq!(resumed.results(COUNT_QUERY, later, later, 1000).await[r#"{"g":"new"}"#][&later], "3");
    }
}
