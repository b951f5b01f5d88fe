//! What one query may cost: each bound has Prometheus' status, type and words.

use std::sync::atomic::Ordering;
use std::time::Duration;

use prefold::proxy::ProxyOptions;
use prefold::query::QueryLimits;

use super::upstream::FakeUpstream;
use super::world::{Answer, World, options};
use crate::process::processes::until;
use crate::rewrite::table::named;
use crate::rewrite::world::samples;

/// Takes minutes when nothing stops it: hundreds of terms, each a sum over hours at every one of thousands of steps.
pub fn slow_query() -> String {
    vec!["sum_over_time(vector(1)[1h:1s])"; 440].join("+")
}

const SLOW_RANGE: (i64, i64, i64) = (0, 10_000, 1);

fn world(limits: QueryLimits, change: impl FnOnce(&mut ProxyOptions)) -> World {
    let mut options = ProxyOptions { limits, edge_omit: true, ..options() };
    change(&mut options);
    let world = World::new(named("s"), samples(), None, options);
    world.emit("s", 1200);
    world.now(1300);
    world
}

#[track_caller]
fn check(answer: &Answer, status: u16, error_type: &str, words: &str) {
    let error = answer.body["error"].as_str().unwrap_or_default();
    let found = (answer.status, answer.body["errorType"].as_str().unwrap_or_default(), error.contains(words));
    assert_eq!(found, (status, error_type, true), "{answer:?}, expected {words:?}");
}

#[tokio::test]
async fn samples_series_and_steps_have_bounds() {
    let query = "sum by (a) (rate(m[2m]))";
    let (range, few) = ((600, 1200, 30), QueryLimits { samples_max: 30, ..QueryLimits::default() });
    assert_eq!(world(QueryLimits::default(), |_| {}).range(query, range, &[]).await.status, 200);
    let answer = world(few.clone(), |_| {}).range(query, range, &[]).await;
    check(&answer, 422, "execution", "");
    check(
        &world(few, |_| {}).range("sum_over_time(vector(1)[1h:1s])", (0, 10, 1), &[]).await,
        422,
        "execution",
        "query processing would load too many samples into memory in query execution",
    );
    // Grid points between the steps are not read, and so not counted.
    let few = QueryLimits { samples_max: 150, ..QueryLimits::default() };
    check(&world(few.clone(), |_| {}).range(query, range, &[]).await, 422, "execution", "points");
    let coarse = world(few, |_| {}).range(query, (600, 1200, 300), &[]).await;
    assert!(coarse.status == 200 && coarse.points().len() > 3, "{coarse:?}");
    let few = QueryLimits { series_max: 3, ..QueryLimits::default() };
    check(&world(few, |_| {}).range(query, range, &[]).await, 422, "execution", "3");
    let few = QueryLimits { steps_max: 10, ..QueryLimits::default() };
    check(
        &world(few, |_| {}).range("1", (0, 11, 1), &[]).await,
        400,
        "bad_data",
        "exceeded maximum resolution of 10 points per timeseries. Try decreasing the query resolution (?step=XX)",
    );
}

/// Both as a parameter and as configured; what is not positive has passed already.
#[tokio::test]
async fn a_query_that_takes_too_long_is_stopped() {
    let evaluation = "query timed out in expression evaluation";
    let configured = world(QueryLimits::default(), |options| options.query_timeout = Duration::from_millis(200));
    check(&configured.range(&slow_query(), SLOW_RANGE, &[]).await, 503, "timeout", evaluation);
    let asked = world(QueryLimits::default(), |_| {});
    for timeout in ["200ms", "0", "-1", "0.2"] {
        let form = [
            ("query", slow_query()),
            ("start", "0".to_owned()),
            ("end", "10000".to_owned()),
            ("step", "1".to_owned()),
            ("timeout", timeout.to_owned()),
        ];
        let path = format!("/api/v1/query_range?{}", prefold::proxy::upstream::encode_form(&form));
        check(&asked.get(&path, &[]).await, 503, "timeout", "query timed out in");
    }
    check(&asked.get("/api/v1/query?query=1&timeout=x", &[]).await, 400, "bad_data", "invalid parameter \"timeout\"");
    assert_eq!(asked.proxy.counters.timed_out.load(Ordering::Relaxed), 4);
    assert_eq!(asked.get("/api/v1/query?query=1&timeout=1m", &[]).await.status, 200);
}

/// Others wait for their turn, and the wait counts too. A client that goes away stops the work and gives its turn on.
#[tokio::test]
async fn evaluations_take_turns_and_end_with_their_client() {
    let world = world(QueryLimits::default(), |options| options.query_concurrency_max = 1);
    let slow = slow_query();
    let first = world.range(&slow, SLOW_RANGE, &[]);
    let second = async {
        until("the first to run", async || (world.proxy.evaluations_running() == 1).then_some(())).await;
        world.get("/api/v1/query?query=1&timeout=100ms", &[]).await
    };
    tokio::select! {
        answer = first => panic!("ended by itself: {answer:?}"),
        answer = second => check(&answer, 503, "timeout", "query timed out in query queue"),
    }
    // The first one's future is gone, as when a connection breaks.
    until("the evaluation to end", async || (world.proxy.evaluations_running() == 0).then_some(())).await;
    assert_eq!(world.proxy.counters.canceled.load(Ordering::Relaxed), 1);
    assert_eq!(world.get("/api/v1/query?query=1", &[]).await.status, 200);
}

/// A parameter that changes what a selector sees is upstream's; ours is no approximation of it.
#[tokio::test]
async fn lookback_delta_is_not_known_here() {
    let alone = world(QueryLimits::default(), |_| {});
    let path = "/api/v1/query?query=sum(rate(m%5B2m%5D))&time=1200&lookback_delta=1m";
    check(&alone.get(path, &[]).await, 422, "execution", "parameter-not-known");
    let upstream = FakeUpstream::start(samples(), Vec::new()).await;
    let world = World::new(named("s"), samples(), Some(upstream), options());
    world.emit("s", 1200);
    world.now(1300);
    let answer = world.get(path, &[]).await;
    let headers = (answer.header("x-prefold-answer"), answer.header("x-prefold-reason"));
    assert_eq!(headers, ("forwarded", "parameter-not-known"));
    assert_eq!(world.upstream.as_ref().unwrap().take_questions()[0].path, path);
}
