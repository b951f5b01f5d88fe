//! What is upstream's to answer goes there as it came: odd parameters, doubters' requests, other read paths, what is larger
//! than a query may be here.

use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use prefold::model::SpanReason;
use prefold::proxy::ProxyOptions;
use prefold::query::QueryLimits;

use super::upstream::FakeUpstream;
use super::world::{Answer, World, assert_equal, options};
use crate::rewrite::table::named;
use crate::rewrite::world::samples;

const QUERY: &str = "sum by (a) (rate(m[2m]))";

/// Upstream answers every list and page with its own path.
async fn world(pages: &[&'static str], options: ProxyOptions) -> World {
    let page = |path: &&'static str| (*path, StatusCode::OK, format!(r#"{{"status":"success","data":["{path}"]}}"#));
    let upstream = FakeUpstream::start(samples(), pages.iter().map(page).collect()).await;
    let world = World::new(named("rec"), samples(), Some(upstream), ProxyOptions { edge_omit: true, ..options });
    world.emit("rec", 1140);
    world.now(1215);
    world
}

fn asked(world: &World) -> Vec<String> {
    world.upstream.as_ref().unwrap().take_questions().into_iter().map(|question| question.path).collect()
}

fn said(answer: &Answer) -> (u16, &str, &str) {
    (answer.status, answer.header("x-prefold-answer"), answer.header("x-prefold-reason"))
}

/// VictoriaMetrics reads relative times, defaults the end, and has other bounds; what is wrong is said by upstream.
#[tokio::test]
async fn parameters_that_are_not_read_here_are_upstreams() {
    let pages = ["/api/v1/query_range", "/api/v1/query"];
    let world = world(&pages, options()).await;
    for (path, reason) in [
        ("/api/v1/query_range?query=sum(rate(m%5B2m%5D))&start=-1h&end=now&step=30", "parameter-not-known"),
        ("/api/v1/query_range?query=sum(rate(m%5B2m%5D))&start=900&step=30", "parameter-not-known"),
        ("/api/v1/query_range?query=sum(rate(m%5B2m%5D))&start=900&end=1140&step=1i", "parameter-not-known"),
        ("/api/v1/query_range?query=sum(rate(m%5B2m%5D))&start=1140&end=900&step=30", "parameter-not-known"),
        ("/api/v1/query_range?query=sum(rate(m%5B2m%5D))&start=0&end=1200000&step=30", "query-too-large"),
        ("/api/v1/query_range?query=sum(rate(m%5B2m%5D))&start=900&end=1140&step=30&limit=x", "parameter-not-known"),
        ("/api/v1/query?query=sum(rate(m%5B2m%5D))&time=-5m", "parameter-not-known"),
        ("/api/v1/query?query=sum(rate(m%5B2m%5D))&time=900&timeout=x", "parameter-not-known"),
    ] {
        let answer = world.get(path, &[]).await;
        assert_eq!(said(&answer), (200, "forwarded", reason), "{path}: {answer:?}");
        assert_eq!(asked(&world), [path]);
        let off = format!("{path}&prefold_rewrite=off");
        let answer = world.get(&off, &[]).await;
        assert_eq!(said(&answer), (200, "forwarded", ""), "{off}: {answer:?}");
        assert_eq!(asked(&world), [off]);
    }
}

#[tokio::test]
async fn who_wants_upstreams_own_answer_gets_it_on_every_path() {
    let pages = ["/api/v1/series", "/api/v1/labels", "/api/v1/label/__name__/values", "/api/v1/rules"];
    let world = world(&pages, options()).await;
    for path in pages {
        let plain = format!("{path}?match[]=ab:m:rate2m");
        let off = format!("{plain}&prefold_rewrite=off");
        for (path, headers) in [(&plain, &[("X-Prefold-Rewrite", "off")][..]), (&off, &[])] {
            let answer = world.get(path, headers).await;
            assert_eq!(answer.body["data"].as_array().unwrap().len(), 1, "{path}: {answer:?}");
            assert_eq!(asked(&world), [path.as_str()]);
        }
    }
}

#[tokio::test]
async fn other_read_paths_are_forwarded_and_nothing_else_is() {
    let read = ["/api/v1/status/tsdb", "/api/v1/targets/metadata", "/api/v1/scrape_pools", "/api/v1/status/walreplay"];
    let world = world(&read, options()).await;
    for path in read {
        let answer = world.get(path, &[]).await;
        assert_eq!((answer.status, asked(&world)), (200, vec![path.to_owned()]), "{answer:?}");
    }
    for path in ["/api/v1/admin/tsdb/snapshot", "/api/v1/otlp/v1/metrics", "/api/v1/status/../admin/tsdb/snapshot"] {
        assert_eq!((world.get(path, &[]).await.status, asked(&world)), (404, vec![]), "{path}");
    }
}

/// Remote read is a read path whose question is no form.
#[tokio::test]
async fn remote_read_is_forwarded_byte_for_byte() {
    let world = world(&["/api/v1/read"], options()).await;
    let body = Bytes::from_static(b"\x07\x18&=%\xff\x00 no text");
    let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "snappy")];
    let answer = world.ask(Method::POST, "/api/v1/read", &headers, body.clone()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let questions = world.upstream.as_ref().unwrap().take_questions();
    assert_eq!((questions.len(), questions[0].path.as_str(), &questions[0].body), (1, "/api/v1/read", &body));
    for header in headers {
        let (name, value) = (header.0.to_owned(), header.1.to_owned());
        assert!(questions[0].headers.contains(&(name, value)), "{:?}", questions[0].headers);
    }
    let alone = World::new(named("rec"), samples(), None, options());
    let answer = alone.ask(Method::POST, "/api/v1/read", &headers, body).await;
    assert!(answer.status == 404 && answer.body["error"].as_str().unwrap().contains("set upstream.url"), "{answer:?}");
}

/// Our limits are no answer where there is somebody else to ask.
#[tokio::test]
async fn what_is_too_large_here_is_forwarded() {
    let range = (600, 1140, 30);
    for limits in [
        QueryLimits { samples_max: 30, ..QueryLimits::default() },
        QueryLimits { series_max: 2, ..QueryLimits::default() },
        QueryLimits { steps_max: 5, ..QueryLimits::default() },
    ] {
        let world = world(&[], ProxyOptions { limits, ..options() }).await;
        let answer = world.range(QUERY, range, &[]).await;
        assert_eq!(said(&answer), (200, "forwarded", "query-too-large"), "{answer:?}");
        assert_equal(&answer.points(), &world.raw(QUERY, range).await, QUERY);
    }
}

/// Upstream does not know a recorded name: that it answers nothing does not go unsaid.
#[tokio::test]
async fn uncovered_steps_of_recorded_names_are_told() {
    let world = world(&[], options()).await;
    let warnings = async |query: &str, range: (i64, i64, i64)| {
        let answer = world.range(query, range, &[]).await;
        let warnings = answer.body["warnings"].as_array().cloned().unwrap_or_default();
        (answer.header("x-prefold-answer").to_owned(), warnings.iter().map(|w| w.as_str().unwrap().to_owned()).collect())
    };
    let text = "prefold: ab:m:rate2m is recorded by a job, and its view may not be served at some of these steps: \
                upstream was asked, which may not know it"
        .to_owned();
    let (told, nothing) = (vec![text], Vec::<String>::new());
    assert_eq!(warnings("sum(ab:m:rate2m)", (900, 1140, 30)).await, ("rewritten".to_owned(), nothing.clone()));
    world.uncover("rec", SpanReason::Late, 960, Some(1010));
    assert_eq!(warnings("sum(ab:m:rate2m)", (900, 1140, 30)).await, ("stitched".to_owned(), told.clone()));
    assert_eq!(warnings("sum(ab:m:rate2m)", (960, 990, 30)).await, ("forwarded".to_owned(), told.clone()));
    assert_eq!(warnings(QUERY, (960, 990, 30)).await.1, nothing);
    let instant = world.instant("ab:m:rate2m", "960", &[]).await;
    assert_eq!((said(&instant).1, &instant.body["warnings"]), ("forwarded", &serde_json::json!(told)));
    // With anything in it, upstream's answer is passed on as it is.
    let answer = world.range("sum(ab:m:rate2m) or vector(1)", (960, 990, 30), &[]).await;
    assert_eq!((answer.header("x-prefold-answer"), answer.body.get("warnings")), ("forwarded", None));
}
