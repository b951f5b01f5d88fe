//! Queries whose values depend on where the query starts and ends, when views answer only some of its steps.

use prefold::model::SpanReason;
use prefold::proxy::ProxyOptions;

use super::upstream::FakeUpstream;
use super::world::{Points, World, assert_equal, options};
use crate::rewrite::table::named;
use crate::rewrite::world::samples;

const QUERIES: [&str; 7] = [
    "sum(rate(m[2m])) * end()",
    "sum(rate(m[2m])) - start()",
    "sum(rate(m[2m])) + range()",
    "sum(rate(m[2m])) + step()",
    "sum by (a) (rate(m[2m])) - sum by (a) (rate(m[2m] @ end() offset 4m))",
    "sum by (a) (rate(m[2m])) - sum by (a) (rate(m[2m] @ start()))",
    "max_over_time(sum(rate(m[2m]))[2m:30s] @ end() offset 2m) + 0 * sum(rate(m[2m]))",
];

/// `s` is final to 1140, and it is 1215: the steps behind that are left out.
async fn world(edge_omit: bool) -> World {
    let upstream = FakeUpstream::start(samples(), Vec::new()).await;
    let world = World::new(named("s"), samples(), Some(upstream), ProxyOptions { edge_omit, ..options() });
    world.emit("s", 1140);
    world.now(1215);
    world
}

fn until(points: Points, seconds: i64) -> Points {
    points.into_iter().filter(|((_, t), _)| *t <= seconds * 1000).collect()
}

#[tokio::test]
async fn start_and_end_are_the_querys_where_steps_are_left_out() {
    let world = world(true).await;
    for (query, range) in QUERIES.into_iter().flat_map(|query| [(query, (900, 1200, 30)), (query, (1140, 1200, 30))]) {
        let answer = world.range(query, range, &[]).await;
        let said = (answer.status, answer.header("x-prefold-answer"), answer.header("x-prefold-fresh-to"));
        assert_eq!(said, (200, "rewritten", "1140"), "{query} {range:?}: {answer:?}");
        assert_equal(&answer.points(), &until(world.raw(query, range).await, 1140), query);
    }
}

#[tokio::test]
async fn start_and_end_are_the_querys_at_the_edge_and_alone() {
    let world = world(false).await;
    for (query, range) in QUERIES.into_iter().flat_map(|query| [(query, (900, 1200, 30)), (query, (1200, 1200, 30))]) {
        let answer = world.range(query, range, &[]).await;
        assert_eq!((answer.status, answer.header("x-prefold-answer")), (200, "stitched"), "{query} {range:?}: {answer:?}");
        assert_equal(&answer.points(), &world.raw(query, range).await, query);
    }
}

/// Upstream would take the stretch it is asked for for the whole query.
#[tokio::test]
async fn such_a_query_is_never_asked_in_pieces() {
    let world = world(true).await;
    world.uncover("s", SpanReason::Late, 960, Some(970));
    for query in QUERIES {
        let range = (900, 1140, 30);
        let answer = world.range(query, range, &[]).await;
        assert_eq!((answer.status, answer.header("x-prefold-answer")), (200, "forwarded"), "{query}: {answer:?}");
        assert_equal(&answer.points(), &world.raw(query, range).await, query);
    }
}
