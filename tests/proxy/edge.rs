//! The newest steps, with `edge: upstream`: asked once per view and grid point, shared, and compared in the end.

use std::sync::atomic::Ordering;

use prefold::model::SpanReason;
use prefold::proxy::ProxyOptions;
use prefold::proxy::upstream::Purpose;

use super::upstream::FakeUpstream;
use super::world::{World, assert_equal, options};
use crate::rewrite::table::named;
use crate::rewrite::world::samples;

const SUM: &str = "sum by (a, b) (rate(m[2m]))";
const RANGE: (i64, i64, i64) = (900, 1200, 30);

/// `s` is final to 1140: of the steps to 1200 two are missing, and it is late enough for both to have settled.
async fn world(options: ProxyOptions) -> World {
    let upstream = FakeUpstream::start(samples(), Vec::new()).await;
    let world = World::new(named("s avg hist"), samples(), Some(upstream), options);
    ["s", "avg", "hist"].iter().for_each(|view| world.emit(view, 1140));
    world.now(1215);
    world
}

fn asked(world: &World) -> Vec<(String, i64, i64)> {
    world.upstream.as_ref().unwrap().take_asked()
}

fn at(query: &str, seconds: i64) -> (String, i64, i64) {
    (query.to_owned(), seconds * 1000, seconds * 1000)
}

#[tokio::test]
async fn many_queries_at_once_ask_upstream_once_per_view_and_grid_point() {
    let world = world(options()).await;
    let upstream = world.upstream.as_ref().unwrap();
    let queries = [
        SUM,
        "sum(rate(m[2m]))",
        "topk(1, sum by (a) (rate(m{b=\"x\"}[2m]))) * 100",
        "sum by (b) (rate(m[2m])) / ignoring (b) group_left sum(rate(m[2m]))",
    ];
    let mut raw = Vec::new();
    for query in queries {
        raw.push(world.raw(query, RANGE).await);
    }
    upstream.close();
    let many = (0..40).map(|place| world.range(queries[place % queries.len()], RANGE, &[]));
    let open = async {
        while upstream.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        upstream.open();
    };
    let (answers, ()) = futures_util::future::join(futures_util::future::join_all(many), open).await;
    for (place, answer) in answers.iter().enumerate() {
        let query = queries[place % queries.len()];
        assert_eq!((answer.status, answer.header("x-prefold-answer")), (200, "stitched"), "{query}: {answer:?}");
        assert_eq!(answer.header("x-prefold-fresh-to"), "1140", "{query}");
        assert_equal(&answer.points(), &raw[place % queries.len()], query);
    }
    assert_eq!(asked(&world), [at(SUM, 1170), at(SUM, 1200)]);
    let again = world.range(SUM, RANGE, &[]).await;
    assert_equal(&again.points(), &raw[0], "kept");
    assert_eq!(asked(&world), []);
    assert_eq!(world.proxy.upstream.as_ref().unwrap().contact().requests(Purpose::Edge), 2);
}

/// Values are upstream's until the view has its own; from then on upstream is not asked, and what it said is compared.
#[tokio::test]
async fn a_view_takes_over_when_it_is_final_and_is_compared() {
    let world = world(ProxyOptions { compare: true, ..options() }).await;
    world.proxy.compare().await;
    let record = || world.proxy.trust.record(world.id("s"));
    assert_eq!((record().equal, asked(&world).len()), (1, 8)); // an average with both its fields
    world.emit("s", 1170);
    let range = (1140, 1200, 30);
    assert_equal(&world.range(SUM, range, &[]).await.points(), &world.raw(SUM, range).await, "one at the edge");
    assert_eq!(asked(&world), [at(SUM, 1200)]);
    world.emit("s", 1200);
    let answer = world.range(SUM, range, &[]).await;
    assert_eq!((answer.header("x-prefold-answer"), answer.header("x-prefold-fresh-to")), ("rewritten", "1200"));
    world.proxy.compare().await;
    assert_eq!((record().equal, record().unequal, asked(&world)), (2, 0, vec![]));
    assert_eq!((record().last_equal().map(|t| t.0), world.proxy.edge.values()), (Some(1_200_000), 0));
}

/// An average is kept as sum and count; a query that needs one of them asks for that.
#[tokio::test]
async fn only_the_fields_read_are_asked_for() {
    let world = world(options()).await;
    let (sum, count) = ("sum by (a, b) (g)", "count by (a, b) (g)");
    let answer = world.range("count(g)", (1110, 1170, 30), &[]).await;
    assert_equal(&answer.points(), &world.raw("count(g)", (1110, 1170, 30)).await, "count");
    assert_eq!(asked(&world), [at(count, 1170)]);
    let answer = world.range("avg by (b) (g)", (1110, 1200, 30), &[]).await;
    assert_equal(&answer.points(), &world.raw("avg by (b) (g)", (1110, 1200, 30)).await, "avg");
    assert_eq!(asked(&world), [at(count, 1200), at(sum, 1170), at(sum, 1200)]);
}

/// Offsets, `@` and subqueries read other grid points than the steps; what of them is final is read here.
#[tokio::test]
async fn shifted_and_nested_reads_at_the_edge_equal_upstream() {
    let world = world(options()).await;
    for query in [
        "sum(rate(m[2m] offset 30s))",
        "sum(rate(m[2m])) - sum(rate(m[2m] offset 1m))",
        "sum(rate(m[2m] @ 1170))",
        "max_over_time(sum(rate(m[2m]))[2m:30s])",
        "sum_over_time(sum by (a) (rate(m[2m]))[2m:1m])",
        "histogram_quantile(0.9, sum by (le) (rate(b_bucket[2m])))",
        "sum by (a) (rate(m[2m])) and on (a) avg by (a) (g)",
        "absent(sum(rate(m{a=\"none\"}[2m])))",
    ] {
        let answer = world.range(query, RANGE, &[]).await;
        assert_eq!((answer.status, answer.header("x-prefold-answer")), (200, "stitched"), "{query}: {answer:?}");
        assert_equal(&answer.points(), &world.raw(query, RANGE).await, query);
        assert!(asked(&world).iter().all(|(query, from, to)| from == to && !query.contains("_over_time")), "{query}");
    }
}

/// Alert rules get the newest grid point whatever dashboards do without; off the grid there is no value to share.
#[tokio::test]
async fn queries_of_alert_rules_are_at_the_edge() {
    let world = world(ProxyOptions { edge_omit: true, ..options() }).await;
    let plain = world.range(SUM, RANGE, &[]).await;
    assert_eq!((plain.header("x-prefold-answer"), asked(&world)), ("rewritten", vec![]));
    let alert = [("FromAlert", "true")];
    let raw = world.raw("sum(rate(m[2m])) > 1", (1200, 1200, 30)).await;
    for _ in 0..3 {
        let answer = world.instant("sum(rate(m[2m])) > 1", "1200", &alert).await;
        assert_eq!((answer.status, answer.header("x-prefold-answer")), (200, "stitched"), "{answer:?}");
        assert_equal(&answer.points(), &raw, "instant");
    }
    assert_eq!(asked(&world), [at(SUM, 1200)]);
    let by_url = world.get("/api/v1/query_range?query=sum(rate(m%5B2m%5D))&start=1170&end=1200&step=30&edge=upstream", &[]);
    assert_eq!(by_url.await.header("x-prefold-answer"), "stitched");
    assert_eq!(asked(&world), [at(SUM, 1170)]);
    let off = world.instant("sum(rate(m[2m])) > 1", "1201.5", &alert).await;
    assert_eq!((off.header("x-prefold-answer"), off.header("x-prefold-reason")), ("forwarded", "step-off-grid"));
    assert_eq!(asked(&world), [("sum(rate(m[2m])) > 1".to_owned(), 1_201_500, 1_201_500)]);
}

/// An answer that came before the grid point had settled is shared till then, and replaced once.
#[tokio::test]
async fn an_early_answer_is_asked_for_once_more() {
    let world = world(options()).await;
    let ask = || world.instant("sum(rate(m[2m]))", "1200", &[]);
    for (now, asked_now) in [(1200, 1), (1203, 0), (1209, 0), (1210, 1), (1211, 0), (1239, 0)] {
        world.now(now);
        assert_eq!(ask().await.header("x-prefold-answer"), "stitched");
        assert_eq!(asked(&world).len(), asked_now, "at {now}");
    }
}

/// What is not asked per view: steps ahead of now, steps that a span uncovers, and those missing for too long.
#[tokio::test]
async fn other_missing_steps_are_asked_with_the_query_itself() {
    let world = world(options()).await;
    let query = "sum(rate(m[2m]))";
    let answer = world.range(query, (1140, 1260, 30), &[]).await;
    assert_equal(&answer.points(), &world.raw(query, (1140, 1260, 30)).await, "ahead");
    assert_eq!(asked(&world), [at(SUM, 1170), at(SUM, 1200), (query.to_owned(), 1_230_000, 1_260_000)]);
    world.now(1300);
    let answer = world.range(query, (1140, 1230, 30), &[]).await;
    assert_equal(&answer.points(), &world.raw(query, (1140, 1230, 30)).await, "overslept");
    assert_eq!(asked(&world), [at(SUM, 1230), (query.to_owned(), 1_170_000, 1_200_000)]);
    world.uncover("s", SpanReason::Overdue, 1100, None);
    let answer = world.range(query, (1080, 1230, 30), &[]).await;
    assert_equal(&answer.points(), &world.raw(query, (1080, 1230, 30)).await, "uncovered");
    assert_eq!(asked(&world), [(query.to_owned(), 1_110_000, 1_230_000)]);
}

/// Upstream may answer the query and not the view's expression: then the query is asked, and the failure believed a while.
#[tokio::test]
async fn where_upstream_fails_the_query_itself_is_asked() {
    let world = world(ProxyOptions { edge_values_max: 3, ..options() }).await;
    let query = "sum(rate(m[2m]))";
    for (now, per_view) in [(1215, 2), (1216, 0), (1221, 2)] {
        world.now(now);
        let answer = world.range(query, RANGE, &[]).await;
        assert_eq!((answer.status, answer.header("x-prefold-answer")), (200, "stitched"), "{answer:?}");
        assert_equal(&answer.points(), &world.raw(query, RANGE).await, "too many values");
        let questions = asked(&world);
        assert_eq!(questions.iter().filter(|(query, ..)| query == SUM).count(), per_view, "at {now}: {questions:?}");
        assert!(questions.contains(&(query.to_owned(), 1_170_000, 1_200_000)), "{questions:?}");
    }
    assert_eq!(world.proxy.counters.edge_given_up.load(Ordering::Relaxed), 3);
    world.upstream.as_ref().unwrap().set_fails(true);
    world.now(1227);
    assert_eq!(world.range(query, RANGE, &[]).await.status, 503); // forwarded as a whole, and so is the failure
    assert_eq!(world.instant(query, "1200", &[]).await.status, 503); // forwarded, and so is the failure
}

/// Whoever asked first may go away: those who wait get the answer, and it is not asked for twice.
#[tokio::test]
async fn a_client_that_goes_away_takes_no_answer_with_it() {
    let world = world(options()).await;
    let upstream = world.upstream.as_ref().unwrap();
    let raw = world.raw("sum(rate(m[2m]))", (1200, 1200, 30)).await;
    upstream.close();
    let first = world.instant("sum(rate(m[2m]))", "1200", &[]);
    let gone = async {
        while upstream.waiting() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { _ = first => panic!("upstream does not answer yet"), () = gone => {} }
    let second = world.instant("sum(rate(m[2m]))", "1200", &[]);
    let open = async { upstream.open() };
    let (answer, ()) = futures_util::future::join(second, open).await;
    assert_equal(&answer.points(), &raw, "the second");
    assert_eq!(asked(&world), [at(SUM, 1200)]);
}

/// What was said at the edge and differs from the final value is asked again in earnest, and only that judges the view.
#[tokio::test]
async fn a_difference_at_the_edge_is_looked_into() {
    let world = world(ProxyOptions { compare: true, ..options() }).await;
    let upstream = world.upstream.as_ref().unwrap();
    let record = || world.proxy.trust.record(world.id("s"));
    let served = async |to: i64| world.range("sum(rate(m[2m]))", (1140, to, 30), &[]).await;
    world.proxy.compare().await;
    assert_eq!(served(1140).await.header("x-prefold-answer"), "rewritten");
    asked(&world);
    // A lie at the edge alone: the comparison proper clears the view.
    upstream.set_lies(true);
    served(1170).await;
    upstream.set_lies(false);
    world.emit("s", 1170);
    world.now(1290);
    world.proxy.compare().await;
    assert_eq!((record().equal, record().unequal), (2, 0));
    assert_eq!(asked(&world), [at("count(rate(m[2m]))", 1170), at(SUM, 1170), at(SUM, 1170)]);
    assert_eq!(served(1170).await.header("x-prefold-answer"), "rewritten");
    // A lasting difference: everything after the last equal comparison is in doubt.
    upstream.set_lies(true);
    world.now(1295);
    world.emit("s", 1200);
    served(1230).await;
    world.emit("s", 1260);
    world.now(1360);
    world.proxy.compare().await;
    assert_eq!((record().equal, record().unequal), (2, 1));
    assert!(record().last_difference.unwrap().contains("upstream and"));
    let answer = served(1260).await;
    assert_eq!((answer.header("x-prefold-answer"), answer.header("x-prefold-fresh-to")), ("stitched", "1170"));
    // Equal again: served from there on, and what was in doubt stays so.
    upstream.set_lies(false);
    world.emit("s", 1320);
    world.now(1500);
    world.proxy.compare().await;
    assert_eq!((record().equal, record().unequal, record().last_difference), (3, 1, None));
    assert_eq!(world.range("sum(rate(m[2m]))", (1320, 1320, 30), &[]).await.header("x-prefold-answer"), "rewritten");
    assert_eq!(served(1320).await.header("x-prefold-answer"), "stitched");
}
