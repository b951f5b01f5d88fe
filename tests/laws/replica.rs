//! What a query replica takes from "results", and that whatever is missing there uncovers: coverage fails closed.
//!
//! The topic is in memory and the records are written by hand, so that every loss can be tried. These tests see grid points
//! that are taken for covered though nobody vouches for them, and a replica that stands still; they do not see combine.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use prefold::log::topics::Topic;
use prefold::model::{Labels, PartitionId, SpanReason, Timestamp, ViewId};
use prefold::node::replica::Replica;
use prefold::node::stream::StreamStatus;
use prefold::store::{Store, StoreOptions};
use prefold::wire::cluster::{Described, GridResults, GroupRow, ResultsRecord, ViewResults};

use super::memory_topics::MemoryTopic;

const STEP: i64 = 60_000;
const SETTLES: i64 = 5 * STEP;
const VIEW: ViewId = ViewId(3);
const HOME: PartitionId = PartitionId(0);

struct World {
    topic: MemoryTopic,
    store: Arc<Store>,
    status: Arc<StreamStatus>,
    replica: Replica,
    _dir: tempfile::TempDir,
}

impl World {
    fn new(topic: MemoryTopic) -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), StoreOptions::default()).unwrap());
        let status = Arc::new(StreamStatus::default());
        let replica = Replica::start(Arc::new(topic.clone()), Arc::clone(&store), Arc::clone(&status)).unwrap();
        World { topic, store, status, replica, _dir: dir }
    }

    fn restart(&mut self) {
        let topic: Arc<dyn Topic> = Arc::new(self.topic.clone());
        self.replica = Replica::start(topic, Arc::clone(&self.store), Arc::clone(&self.status)).unwrap();
    }

    fn follow(&mut self) {
        for _ in 0..5 {
            self.replica.step().unwrap();
        }
    }

    fn say(&mut self, record: &ResultsRecord) {
        self.say_bytes(record.encode());
    }

    fn say_bytes(&mut self, bytes: Vec<u8>) {
        self.topic.push(HOME, Timestamp(1), Bytes::from(bytes));
    }

    /// In grid points.
    fn final_to(&self) -> Option<i64> {
        self.store.view(VIEW)?.final_to.map(|t| t.0 / STEP)
    }

    /// The gaps, in grid points; an open one ends at 999.
    fn gaps(&self) -> Vec<(i64, i64)> {
        let spans = self.store.view(VIEW).unwrap().spans;
        let gaps = spans.iter().filter(|span| span.reason == SpanReason::Gap);
        gaps.map(|span| (span.from.0 / STEP, if span.to == Timestamp::MAX { 999 } else { span.to.0 / STEP })).collect()
    }
}

fn topic() -> MemoryTopic {
    MemoryTopic::new(1, 9)
}

/// Grid points from one to another, each with a group.
fn decided(from: i64, to: i64) -> ResultsRecord {
    let group = |t: i64| GroupRow { labels: Arc::new(Labels::from_pairs([("job", "a")])), values: [t as f64, 0.0, 0.0] };
    let point = |t: i64| GridResults { t: Timestamp(t * STEP), groups: vec![group(t)], ..GridResults::default() };
    let view = ViewResults {
        view: VIEW,
        decided: Some((Timestamp(from * STEP), Timestamp(to * STEP))),
        points: (from..=to).map(point).collect(),
        ..ViewResults::default()
    };
    ResultsRecord { log_incarnation: 7, set: 1, views: vec![view], ..ResultsRecord::default() }
}

fn described(mut record: ResultsRecord) -> ResultsRecord {
    let text = "{\"job\":\"one\"}".to_owned();
    let known = Described { step_ms: STEP, fields: 1, retention_ms: i64::MAX / 4, settles_ms: SETTLES, text };
    record.views[0].described = Some(known);
    record
}

/// A replica that has grid points 10 to 20.
fn begun() -> World {
    let mut world = World::new(topic());
    world.say(&described(decided(10, 20)));
    world.follow();
    assert_eq!((world.final_to(), world.gaps()), (Some(20), vec![]));
    world
}

#[test]
fn what_follows_without_a_break_is_covered_and_a_jump_is_a_gap() {
    let mut world = begun();
    world.say(&decided(21, 25));
    world.follow();
    assert_eq!((world.final_to(), world.gaps()), (Some(25), vec![]));
    world.say(&decided(30, 31));
    world.follow();
    assert_eq!((world.final_to(), world.gaps()), (Some(31), vec![(26, 30)]));
    assert!(world.status.caught_up.load(Ordering::Relaxed));
}

#[test]
fn results_said_again_and_a_restart_double_nothing() {
    let mut world = begun();
    world.say(&decided(15, 22));
    world.follow();
    let points = world.store.view(VIEW).unwrap().points;
    assert_eq!((world.final_to(), world.gaps(), points), (Some(22), vec![], 13));
    world.restart();
    world.follow();
    world.say(&decided(23, 23));
    world.follow();
    let points = world.store.view(VIEW).unwrap().points;
    assert_eq!((world.final_to(), world.gaps(), points), (Some(23), vec![], 14));
    assert_eq!(world.replica.positions()[0].next.0, 3);
}

#[test]
fn a_replica_that_begins_where_the_topic_was_cut_does_not_trust_its_first_stretch() {
    let topic = topic();
    topic.push(HOME, Timestamp(1), Bytes::from(described(decided(1, 5)).encode()));
    topic.push(HOME, Timestamp(1), Bytes::from(described(decided(6, 20)).encode()));
    topic.delete(HOME, 1);
    let mut world = World::new(topic);
    world.follow();
    assert_eq!((world.final_to(), world.gaps()), (Some(20), vec![(6, 12)]), "a span told before may reach as far");
}

#[test]
fn records_lost_in_the_middle_uncover_what_the_store_has_until_the_view_is_heard_of_and_settled() {
    for restarted in [false, true] {
        let mut world = begun();
        world.say(&decided(21, 25));
        world.topic.delete(HOME, 2);
        world.follow();
        assert_eq!((world.final_to(), world.gaps()), (Some(20), vec![(10, 999)]));
        if restarted {
            world.restart();
        }
        // Told already: this says nothing of what was lost.
        world.say(&decided(18, 20));
        world.follow();
        assert_eq!(world.gaps(), [(10, 999)]);
        world.say(&decided(26, 40));
        world.follow();
        assert_eq!((world.final_to(), world.gaps()), (Some(40), vec![(10, 32)]), "restarted: {restarted}");
    }
}

#[test]
fn a_view_that_was_not_described_is_skipped_and_counted_and_covered_once_it_is() {
    let mut world = World::new(topic());
    world.say(&decided(1, 5));
    world.follow();
    assert_eq!((world.replica.skipped, world.store.view(VIEW).is_none()), (1, true));
    world.say(&described(decided(6, 9)));
    world.follow();
    let state = world.store.view(VIEW).unwrap();
    assert_eq!((state.covered_from, world.final_to(), world.replica.skipped), (Some(Timestamp(6 * STEP)), Some(9), 1));
}

#[test]
fn a_poisoned_record_is_skipped_and_counted_and_uncovers_what_it_may_have_spoken_of() {
    for restarted in [false, true] {
        let mut world = begun();
        if restarted {
            world.restart();
        }
        // In one round: what came just before is not in the store yet.
        world.say(&decided(21, 24));
        world.say_bytes(vec![1, 200, 3]);
        world.say(&decided(25, 40));
        world.follow();
        assert_eq!((world.final_to(), world.gaps()), (Some(40), vec![(19, 30)]), "restarted: {restarted}");
        assert_eq!(world.replica.skipped, 1);
    }
}

#[test]
fn a_record_that_no_store_can_take_is_skipped_and_does_not_stop_the_replica() {
    let mut off_grid = decided(21, 24);
    off_grid.views[0].points[1].t = Timestamp(22 * STEP + 1);
    let mut beyond = decided(21, 24);
    beyond.views[0].decided = Some((Timestamp(21 * STEP), Timestamp(22 * STEP)));
    let mut backwards = decided(21, 24);
    backwards.views[0].decided = Some((Timestamp(24 * STEP), Timestamp(21 * STEP)));
    for unsound in [off_grid, beyond, backwards] {
        let mut world = begun();
        world.say(&unsound);
        world.follow();
        assert_eq!((world.final_to(), world.gaps(), world.replica.skipped), (Some(20), vec![(15, 26)], 1));
        world.say(&decided(25, 40));
        world.follow();
        assert_eq!((world.final_to(), world.gaps()), (Some(40), vec![(15, 26)]));
    }
    let mut world = begun();
    let mut other = described(decided(21, 24));
    other.views[0].described.as_mut().unwrap().fields = 2;
    world.say(&other);
    world.follow();
    assert_eq!(world.replica.skipped, 1, "another shape of a known view");
}

#[test]
fn results_of_a_view_that_nobody_tells_of_any_more_stay() {
    let mut world = begun();
    let mut other = described(decided(10, 30));
    other.views[0].view = ViewId(4);
    other.set = 2;
    world.say(&other);
    world.follow();
    world.restart();
    world.follow();
    assert_eq!((world.final_to(), world.gaps(), world.store.view(VIEW).unwrap().points), (Some(20), vec![], 11));
}
