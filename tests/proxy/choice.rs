//! Of several views that answer, one that may be served.

use prefold::model::SpanReason;

use super::upstream::FakeUpstream;
use super::world::{World, assert_equal, options};
use crate::rewrite::table::named;
use crate::rewrite::world::samples;

const QUERY: &str = "sum by (b) (rate(m[2m]))";

/// `s` (by a, b) is cheaper than `all` (by a, b, c).
async fn world() -> World {
    let upstream = FakeUpstream::start(samples(), Vec::new()).await;
    let options = prefold::proxy::ProxyOptions { edge_omit: true, ..options() };
    World::new(named("s all"), samples(), Some(upstream), options)
}

async fn check(world: &World, range: (i64, i64, i64), how: &str, view: &str) {
    let answer = world.range(QUERY, range, &[]).await;
    assert_eq!((answer.status, answer.header("x-prefold-answer")), (200, how), "{range:?}: {answer:?}");
    assert_eq!(answer.header("x-prefold-views"), world.id(view).to_string(), "{range:?}: not from {view}");
    assert_equal(&answer.points(), &world.raw(QUERY, range).await, &format!("{range:?}"));
}

#[tokio::test]
async fn a_dearer_view_answers_where_the_cheapest_may_not() {
    let world = world().await;
    world.now(1300);
    world.emit("all", 1200);
    check(&world, (600, 1200, 30), "rewritten", "all").await; // the cheaper one has nothing at all
    world.emit("s", 1200);
    check(&world, (600, 1200, 30), "rewritten", "s").await;
    world.uncover("s", SpanReason::Late, 900, Some(1000));
    check(&world, (600, 1200, 30), "rewritten", "all").await;
    check(&world, (600, 870, 30), "rewritten", "s").await; // the span lies elsewhere
    check(&world, (1020, 1200, 30), "rewritten", "s").await;
    world.uncover("all", SpanReason::Late, 600, Some(800));
    check(&world, (600, 1200, 30), "stitched", "s").await; // fewer steps are missing
    check(&world, (900, 900, 30), "rewritten", "all").await;
}

/// What only has not come yet is no reason to read a dearer view, unless there is nothing else.
#[tokio::test]
async fn the_edge_alone_does_not_make_a_view_dear() {
    let world = world().await;
    world.emit("s", 1170);
    world.emit("all", 1200);
    world.now(1230);
    let answer = world.range(QUERY, (600, 1200, 30), &[]).await;
    assert_eq!((answer.header("x-prefold-answer"), answer.header("x-prefold-fresh-to")), ("rewritten", "1170"));
    assert_eq!(answer.header("x-prefold-views"), world.id("s").to_string());
    check(&world, (1200, 1200, 30), "rewritten", "all").await;
    let answer = world.instant(QUERY, "1200", &[]).await;
    assert_eq!(answer.header("x-prefold-views"), world.id("all").to_string());
}

/// Trust is coverage too: a view that nothing vouches for does not stand in the way of one that is vouched for.
#[tokio::test]
async fn a_view_that_is_not_trusted_is_passed_over() {
    let upstream = FakeUpstream::start(samples(), Vec::new()).await;
    let options = prefold::proxy::ProxyOptions { edge_omit: true, compare: true, ..options() };
    let world = World::new(named("s all"), samples(), Some(upstream), options);
    world.now(1230);
    world.emit("all", 900);
    world.proxy.compare().await;
    world.emit("all", 1200);
    world.emit("s", 1200);
    check(&world, (900, 1200, 30), "rewritten", "all").await;
    world.proxy.compare().await;
    assert_eq!(world.proxy.trust.record(world.id("s")).equal, 1);
    check(&world, (1200, 1200, 30), "rewritten", "s").await;
    check(&world, (900, 1200, 30), "rewritten", "all").await; // vouched for from 1200 on only
}

/// A name that is no counter's is noted when the view gives values, whatever the query makes of them.
#[tokio::test]
async fn names_are_noted_when_a_view_gives_values() {
    let world = world().await;
    world.now(1300);
    world.emit("all", 1200);
    let noted = async |query: &str| {
        let answer = world.instant(query, "1200", &[]).await;
        assert_eq!(answer.header("x-prefold-answer"), "rewritten", "{query}: {answer:?}");
        answer.body["infos"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(noted(QUERY).await, 1);
    assert_eq!(noted("sum(rate(m[2m])) > 1e300").await, 1); // nothing is left, but there were values
    assert_eq!(noted(r#"sum(rate(m{a="nothing"}[2m])) or vector(0)"#).await, 0);
}
