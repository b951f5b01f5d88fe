//! Views that join together and are taken over at different grid points: nothing of any of them is lost in between.
//!
//! Log time jumps, as in an import or after a pause, so that one record is past the end of one view's catching up and past
//! the first grid points that the main lane gives of it, while another view still catches up. It sees results that are held
//! back and never given; it does not see the moment of the join, which is awaited.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use prefold::log::Log;
use prefold::model::{Labels, Matcher, Sample, Selector, Timestamp};
use prefold::node::stream::{Stream, StreamOptions};
use prefold::plan::Catalog;
use prefold::store::{Store, StoreOptions};

use super::memory_log::MemoryLog;
use super::resume::{held, run};
use super::streaming::{catalog, raw};
use crate::oracle::{Record, Rule};

const BEGIN_MS: i64 = 1_700_000_000_000;

const PARTITIONS: u16 = 2;

/// Before the reload, and how long after it log time jumps and by how much.
const BEFORE_S: i64 = 900;
const UNTIL_JUMP_S: i64 = 930;
const JUMP_S: i64 = 60;
const AFTER_S: i64 = 400;

fn rule(window_s: i64, step_s: i64, max_delay_s: i64) -> Rule {
    Rule {
        aggregation: "sum",
        by: None,
        without: None,
        function: "count_over_time",
        selector: Selector::new(vec![Matcher::equal("__name__", "x")]),
        window_ms: window_s * 1000,
        step_ms: step_s * 1000,
        max_delay_ms: max_delay_s * 1000,
        tolerance: 0.0,
    }
}

/// A sample a second of eight series, of which a stretch is missing.
fn records() -> Vec<Record> {
    let seconds =
        (0..BEFORE_S + UNTIL_JUMP_S).chain(BEFORE_S + UNTIL_JUMP_S + JUMP_S..BEFORE_S + UNTIL_JUMP_S + JUMP_S + AFTER_S);
    let mut records = Vec::new();
    for second in seconds {
        let log_time = BEGIN_MS + second * 1000;
        let mut by_partition = vec![Vec::new(); usize::from(PARTITIONS)];
        for n in 0..8 {
            let labels = Labels::from_pairs([("__name__", "x"), ("n", n.to_string().as_str())]);
            let partition = labels.series_id("").partition(PARTITIONS);
            by_partition[usize::from(partition)].push((labels, vec![Sample { t: Timestamp(log_time - 300), v: 1.0 }]));
        }
        for (partition, series) in (0..).zip(by_partition) {
            records.push(Record { partition, log_time, sender: "s".to_owned(), series });
        }
    }
    records
}

/// Waits until what is readable is folded, and a little longer, in which views that have caught up are taken over.
fn settle(store: &Store, all: &Catalog, newest: Timestamp) {
    let began = Instant::now();
    let due = |entry: &prefold::plan::CatalogEntry| {
        let due = entry.view.grid().before(newest - entry.view.max_delay_ms);
        store.view(entry.view.id).and_then(|state| state.final_to).is_some_and(|to| to >= due)
    };
    while !all.entries().all(|entry| due(entry)) {
        assert!(began.elapsed() < Duration::from_secs(60), "the views do not come to {newest}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    std::thread::park_timeout(Duration::from_millis(200));
}

#[test]
fn s7_views_that_join_at_different_grid_points_lose_nothing() {
    let rules = [rule(10, 10, 40), rule(20, 5, 50), rule(30, 60, 40), rule(40, 20, 120)];
    let (all, first) = (Arc::new(catalog(&rules)), Arc::new(catalog(&rules[..1])));
    let records = records();
    let memory = Arc::new(MemoryLog::new(records.iter().map(raw), PARTITIONS));
    memory.readable.store(memory.len(), Ordering::Release);
    let unbroken = tempfile::tempdir().unwrap();
    let expected = run(&memory, &all, unbroken.path(), 1, None);

    let changed = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(changed.path(), StoreOptions::default()).unwrap());
    let shared: Arc<dyn Log> = Arc::clone(&memory) as Arc<dyn Log>;
    let readable = |seconds: i64| {
        memory.readable.store((seconds * i64::from(PARTITIONS)) as usize, Ordering::Release);
        Timestamp(BEGIN_MS + (seconds - 1) * 1000)
    };
    let before = readable(BEFORE_S);
    let options = StreamOptions { threads: 2, new_senders_uncover: true };
    let stream = Stream::start(shared, Arc::clone(&store), Arc::clone(&first), options).unwrap();
    settle(&store, &first, before);
    stream.reload(Arc::clone(&all)).unwrap();
    settle(&store, &all, before);
    // Up to the jump second by second, so that the views are taken over long before it.
    let at_jump = readable(BEFORE_S + UNTIL_JUMP_S);
    settle(&store, &all, at_jump);
    for seconds in BEFORE_S + UNTIL_JUMP_S..=(memory.len() as i64 / i64::from(PARTITIONS)) {
        readable(seconds);
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let newest = Timestamp(records[records.len() - 1].log_time);
    settle(&store, &all, newest);
    let began = Instant::now();
    while held(&store, &all) != expected && began.elapsed() < Duration::from_secs(20) {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    drop(stream);
    let joined = held(&store, &all);
    assert_eq!(joined.final_to, expected.final_to);
    let lost: Vec<_> = expected.results.keys().filter(|key| !joined.results.contains_key(key)).collect();
    assert_eq!(lost, Vec::<&_>::new(), "lost where a view was taken over");
    assert!(joined.results == expected.results && joined.uncovered == expected.uncovered);
}
