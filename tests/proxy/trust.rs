//! What a comparison with upstream vouches for: the values, and that no series stands behind them that is missing here.

use prefold::model::{Labels, METRIC_NAME, Sample, SpanReason, Timestamp};
use prefold::proxy::ProxyOptions;
use prefold::proxy::trust::TrustRecord;
use prefold::query::MemorySource;
use prefold::store::ViewDescription;

use super::upstream::FakeUpstream;
use super::world::{World, assert_equal, options};
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

/// Samples every 15 seconds between two times in seconds: each series with its value, or a counter that grows by it.
fn made(name: &str, (from_s, to_s): (i64, i64), series: &[(&[(&str, &str)], f64)], counter: bool) -> MemorySource {
    let mut source = MemorySource::new();
    for (labels, v) in series {
        let labels = Labels::from_pairs([(METRIC_NAME, name)].iter().chain(labels.iter()).copied());
        let value = |t: i64| if counter { *v * (t - from_s) as f64 } else { *v };
        let times = (from_s..to_s).step_by(15);
        source.add(labels, times.map(|t| Sample { t: Timestamp(t * 1000), v: value(t) }).collect());
    }
    source
}

async fn compared(view: &'static str, ours: MemorySource, theirs: MemorySource) -> World {
    let upstream = FakeUpstream::start(theirs, Vec::new()).await;
    World::new(named(view), ours, Some(upstream), ProxyOptions { compare: true, ..options() })
}

fn record(world: &World, view: &str) -> TrustRecord {
    world.proxy.trust.record(world.id(view))
}

/// A view that is empty on both sides is asked about ever more seldom; once it has a series, soon.
#[tokio::test]
async fn a_comparison_of_nothing_with_nothing_vouches_for_nothing() {
    let times = (12_000, 12_600);
    for (theirs, unequal) in [(&[("a", "1")][..], 1), (&[("a", "1"), ("b", "eu")][..], 0)] {
        let ours = made("m", times, &[(&[("a", "1"), ("b", "eu")], 1.0)], true);
        let world = compared("s", ours, made("m", times, &[(theirs, 1.0)], true)).await;
        world.emit("s", 900);
        for minute in 0..180 {
            world.now(960 + minute * 60);
            world.proxy.compare().await;
        }
        let asked = world.upstream.as_ref().unwrap().take_questions().len();
        assert!((4..=24).contains(&asked), "asked {asked} questions in three hours");
        let nothing = record(&world, "s");
        assert_eq!((nothing.equal, nothing.unequal, nothing.failed), (0, 0, 0));
        assert!(nothing.nothing >= 2, "{nothing:?}");
        assert!(nothing.last_difference.unwrap().contains("no series has a value"));
        assert_eq!(world.range(QUERY, (870, 900, 30), &[]).await.header("x-prefold-answer"), "forwarded");
        world.emit("s", 12_180);
        assert_eq!(world.range(QUERY, (12_150, 12_180, 30), &[]).await.header("x-prefold-answer"), "forwarded");
        world.now(12_240);
        world.proxy.compare().await;
        assert_eq!((record(&world, "s").equal, record(&world, "s").unequal), (1 - unequal, unequal));
        let how = if unequal == 0 { "rewritten" } else { "forwarded" };
        assert_eq!(world.range(QUERY, (12_180, 12_180, 30), &[]).await.header("x-prefold-answer"), how);
    }
}

/// The minute between comparisons, and the growing of pauses, begin with the first that finds something.
#[tokio::test]
async fn a_view_is_compared_as_soon_as_it_has_a_series() {
    let counters = |b| made("m", (1005, 2000), &[(&[("a", "1"), ("b", b)], 1.0)], true);
    for theirs_b in ["x", "y"] {
        let world = compared("s", counters("x"), counters(theirs_b)).await;
        let counts = async |final_to: i64, now: i64| {
            world.emit("s", final_to);
            world.now(now);
            world.proxy.compare().await;
            let record = record(&world, "s");
            (record.nothing, record.equal + record.unequal)
        };
        for (final_to, now, expected) in [
            (900, 960, (1, 0)),
            (930, 990, (1, 0)), // still without a series
            (960, 1020, (2, 0)),
            (990, 1035, (2, 0)),
            (1020, 1050, (2, 1)),
        ] {
            assert_eq!(counts(final_to, now).await, expected, "at {now}");
        }
        let again = u64::from(theirs_b == "y");
        assert_eq!(record(&world, "s").unequal, again);
        assert_eq!(counts(1050, 1109).await, (2, 1), "the minute is not over");
        assert_eq!(
            counts(1080, 1110).await,
            (2, 1 + again),
            "what was unequal is tried after a minute, what was equal never"
        );
    }
}

/// Equal averages over as many series in all, and yet another number of them in each group.
#[tokio::test]
async fn every_stored_field_is_compared() {
    let (p, q) = (("c", "p"), ("c", "q"));
    let ours = [(&[("a", "1"), p][..], 7.0), (&[("a", "1"), q][..], 7.0), (&[("a", "2"), p][..], 7.0)];
    let theirs = [(&[("a", "1"), p][..], 7.0), (&[("a", "2"), q][..], 7.0), (&[("a", "2"), p][..], 7.0)];
    let made = |series: &[(&[(&str, &str)], f64)]| made("g", (0, 1500), series, false);
    let world = compared("avg", made(&ours), made(&theirs)).await;
    world.emit("avg", 1140);
    world.now(1215);
    world.proxy.compare().await;
    let found = record(&world, "avg");
    assert_eq!((found.equal, found.unequal, found.failed), (0, 1, 0));
    let difference = found.last_difference.unwrap();
    assert!(difference.contains("sum by (a, b) (g): {a=\"1\"} is 7 upstream and 14 here"), "{difference}");
    assert_eq!(world.range("sum(g)", (1110, 1140, 30), &[]).await.header("x-prefold-answer"), "forwarded");
}

/// What a sender brings, labels that upstream does not have say, nothing has vouched for before.
#[tokio::test]
async fn what_a_new_sender_brings_is_compared() {
    for reason in [SpanReason::SenderNew, SpanReason::TwoSenders] {
        let world = compared("s", samples(), samples()).await;
        world.emit("s", 900);
        world.now(960);
        world.proxy.compare().await;
        assert_eq!(record(&world, "s").equal, 1);
        world.uncover("s", reason, 930, Some(1050));
        world.emit("s", 1140);
        let how = async |from: i64| world.range(QUERY, (from, 1140, 30), &[]).await.header("x-prefold-answer").to_owned();
        assert_eq!((how(1050).await, how(1140).await), ("forwarded".to_owned(), "forwarded".to_owned()), "{reason:?}");
        world.now(1215);
        world.proxy.compare().await;
        assert_eq!(record(&world, "s").equal, 2);
        assert_eq!((how(1110).await, how(1140).await), ("stitched".to_owned(), "rewritten".to_owned()), "{reason:?}");
    }
}

/// What retention passes vouched for what it leaves, and what it leaves unvouched for stays so.
#[tokio::test]
async fn retention_takes_no_trust_away_and_gives_none() {
    for (event, how) in [(None, "rewritten"), (Some(SpanReason::SenderNew), "forwarded")] {
        let world = compared("s", samples(), samples()).await;
        world.emit("s", 900);
        world.now(960);
        world.proxy.compare().await;
        event.into_iter().for_each(|reason| world.uncover("s", reason, 930, Some(960)));
        world.emit("s", 1140);
        let (store, id) = (&world.proxy.store, world.id("s"));
        let description = ViewDescription { step_ms: 30_000, fields: 1, retention_ms: 150_000, text: String::new() };
        store.describe(id, description).unwrap();
        store.enforce_retention(Timestamp(1_140_000)).unwrap();
        assert_eq!(store.view(id).unwrap().covered_from, Some(Timestamp(990_000)));
        let answer = world.range(QUERY, (990, 1140, 30), &[]).await;
        assert_eq!(answer.header("x-prefold-answer"), how, "{answer:?}");
        assert_equal(&answer.points(), &world.raw(QUERY, (990, 1140, 30)).await, how);
    }
}
