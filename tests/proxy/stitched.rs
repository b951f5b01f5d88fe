//! Steps that views may not answer, asked of upstream by themselves, and what happens when that does not work out.

use std::sync::atomic::Ordering;

use prefold::model::SpanReason;
use prefold::proxy::ProxyOptions;

use super::upstream::FakeUpstream;
use super::world::{World, assert_equal, options};
use crate::rewrite::table::named;
use crate::rewrite::world::samples;

const QUERY: &str = "sum by (b) (rate(m[2m]))";
const RANGE: (i64, i64, i64) = (900, 1140, 30);

/// `s` is final to 1140, but for 960 to 1010.
async fn world() -> World {
    let upstream = FakeUpstream::start(samples(), Vec::new()).await;
    let world = World::new(named("s"), samples(), Some(upstream), ProxyOptions { edge_omit: true, ..options() });
    world.emit("s", 1140);
    world.uncover("s", SpanReason::Late, 960, Some(1010));
    world.now(1215);
    world
}

fn asked(world: &World) -> Vec<(i64, i64)> {
    world.upstream.as_ref().unwrap().take_asked().iter().map(|(_, from, to)| (from / 1000, to / 1000)).collect()
}

#[tokio::test]
async fn where_a_part_cannot_be_had_the_whole_query_is_forwarded() {
    let world = world().await;
    let raw = world.raw(QUERY, RANGE).await;
    let answer = world.range(QUERY, RANGE, &[]).await;
    assert_eq!((answer.status, answer.header("x-prefold-answer")), (200, "stitched"));
    assert_equal(&answer.points(), &raw, "stitched");
    assert_eq!(asked(&world), [(960, 990)]);
    *world.upstream.as_ref().unwrap().behaviour.only.lock().unwrap() = Some((900_000, 1_140_000));
    let answer = world.range(QUERY, RANGE, &[]).await;
    let said = (answer.status, answer.header("x-prefold-answer"), answer.header("x-prefold-reason"));
    assert_eq!(said, (200, "forwarded", "not-covered-yet"), "{answer:?}");
    assert_equal(&answer.points(), &raw, "forwarded");
    assert_eq!(asked(&world), [(900, 1140), (960, 990)]);
}

/// Nothing of upstream's answer is dropped: histograms are not stitched, and come as upstream sends them.
#[tokio::test]
async fn native_histograms_are_forwarded_and_never_left_out() {
    let world = world().await;
    world.upstream.as_ref().unwrap().behaviour.histograms.store(true, Ordering::Relaxed);
    let answer = world.range(QUERY, RANGE, &[]).await;
    assert_eq!((answer.status, answer.header("x-prefold-answer")), (200, "forwarded"), "{answer:?}");
    let series = answer.body["data"]["result"].as_array().unwrap();
    let points = |kind: &str| series.iter().map(|one| one[kind].as_array().map_or(0, Vec::len)).sum::<usize>();
    assert!(points("values") > 0 && points("histograms") > 0, "{answer:?}");
    assert_eq!(asked(&world), [(900, 1140), (960, 990)]);
}

/// What is left out is near now itself, whatever it reads; what reads ahead is asked of upstream.
#[tokio::test]
async fn only_steps_near_now_are_left_out() {
    let world = world().await;
    let query = "sum by (b) (rate(m[2m] offset -5m))";
    let answer = world.range(query, (690, 1200, 30), &[]).await;
    assert_eq!((answer.status, answer.header("x-prefold-answer")), (200, "stitched"), "{answer:?}");
    let raw = world.raw(query, (690, 1200, 30)).await;
    let to = raw.keys().map(|(_, t)| *t).max().unwrap();
    assert!(to >= 1_110_000, "upstream has samples for later steps");
    // max_delay, step and half a minute: 1125 and later are left out.
    let expected = raw.into_iter().filter(|((_, t), _)| *t < 1_125_000).collect();
    assert_equal(&answer.points(), &expected, query);
}
