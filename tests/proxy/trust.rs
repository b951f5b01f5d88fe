//! What a comparison with upstream vouches for: the values, and that no series stands behind them that is missing here.

use prefold::model::{Labels, METRIC_NAME, Sample, Timestamp};
use prefold::proxy::ProxyOptions;

use super::upstream::FakeUpstream;
use super::world::{World, options};
use crate::rewrite::table::named;
use crate::rewrite::world::samples;

const QUERY: &str = "sum by (a) (rate(m[2m]))";

#[tokio::test]
async fn a_series_that_changes_no_value_is_missed() {
    // Upstream has a counter that never arrived here and stands still.
    let mut upstream = samples();
    let labels = Labels::from_pairs([(METRIC_NAME, "m"), ("a", "2"), ("b", "y"), ("c", "idle")]);
    upstream.add(labels, (0..200).map(|n| Sample { t: Timestamp(n * 15_000), v: 5.0 }).collect());
    let upstream = FakeUpstream::start(upstream, Vec::new()).await;
    let world = World::new(named("s"), samples(), Some(upstream), ProxyOptions { compare: true, ..options() });
    world.emit("s", 1140);
    world.now(1215);
    world.proxy.compare().await;
    let record = world.proxy.trust.record(world.id("s"));
    assert_eq!((record.equal, record.unequal, record.failed), (0, 1, 0));
    let difference = record.last_difference.unwrap();
    assert!(difference.contains("series have a value upstream and"), "{difference}");
    let answer = world.range(QUERY, (1110, 1140, 30), &[]).await;
    assert_eq!(answer.header("x-prefold-answer"), "forwarded", "{answer:?}");
}
