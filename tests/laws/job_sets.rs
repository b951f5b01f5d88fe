//! Which jobs a cluster keeps: proposed once, followed by all, replaced only on purpose.
//!
//! The table is in memory and shared by processes that see it as their own. These tests see jobs that come back, that are
//! dropped without being asked for, and a process that stands still at a set it cannot read; they do not see Kafka.

use std::sync::Arc;

use bytes::Bytes;
use prefold::log::topics::Table;
use prefold::node::in_force::JobsInForce;
use prefold::node::job_sets::Sets;
use prefold::node::jobs::{LoadedJobs, load_set};

use super::memory_topics::MemoryTable;

struct Process {
    sets: Sets,
    jobs: Arc<JobsInForce>,
}

impl Process {
    fn new(table: &MemoryTable) -> Process {
        let jobs = Arc::new(JobsInForce::new(LoadedJobs::default(), None));
        let sets = Sets::new(Arc::new(table.clone()), Arc::clone(&jobs));
        sets.follow();
        Process { sets, jobs }
    }

    /// Number and views of what is folded; pages must show the same.
    fn in_force(&self) -> (u64, usize) {
        let views = self.sets.in_force.load();
        let shown = self.jobs.sets().map(|sets| sets.in_force.number).unwrap_or_default();
        assert_eq!((views.set, views.catalog.len()), (shown, self.jobs.loaded().catalog.len()));
        (views.set, views.catalog.len())
    }

    /// The number of the set that waits, and why.
    fn waiting(&self) -> Option<(u64, String)> {
        self.jobs.sets()?.waiting.as_ref().map(|(set, why)| (set.number, why.clone()))
    }
}

/// Jobs of so many views, beginning with one.
fn jobs(views: std::ops::Range<usize>) -> LoadedJobs {
    let rules: Vec<_> = views.map(|n| format!("{{\"expr\":\"sum(rate(m{n}[5m]))\",\"step\":\"1m\"}}")).collect();
    let text = format!("{{\"name\":\"one\",\"rules\":[{}]}}", rules.join(","));
    load_set(&[("one.json".to_owned(), text)]).unwrap()
}

#[test]
fn the_first_worker_proposes_and_everybody_follows() {
    let table = MemoryTable::new();
    let (first, second) = (Process::new(&table), Process::new(&table));
    assert_eq!((first.in_force(), second.in_force()), ((0, 0), (0, 0)), "none yet");
    first.sets.propose_first(&jobs(0..3), "first", false).unwrap();
    let (number, views) = first.in_force();
    assert_eq!(views, 3);
    // Its own files differ, and are old for all it knows.
    second.sets.propose_first(&jobs(0..1), "second", false).unwrap();
    second.sets.follow();
    assert_eq!(second.in_force(), (number, 3));
    let set = second.jobs.sets().unwrap();
    assert_eq!((set.in_force.proposed_by.as_str(), &set.waiting), ("first", &None));
    assert_eq!(Process::new(&table).in_force(), (number, 3), "one that comes later");
}

#[test]
fn the_same_files_are_no_new_set_and_others_are_a_greater_one() {
    let table = MemoryTable::new();
    let worker = Process::new(&table);
    worker.sets.propose_first(&jobs(0..3), "w", false).unwrap();
    let (number, _) = worker.in_force();
    worker.sets.propose(&jobs(0..3), "w", false).unwrap();
    assert_eq!(worker.in_force(), (number, 3));
    worker.sets.propose(&jobs(0..4), "w", false).unwrap();
    let (next, views) = worker.in_force();
    assert!(next > number && views == 4, "{next} after {number}");
}

#[test]
fn more_than_a_fifth_of_the_views_is_dropped_only_by_force() {
    let table = MemoryTable::new();
    let worker = Process::new(&table);
    worker.sets.propose_first(&jobs(0..10), "w", false).unwrap();
    worker.sets.propose(&jobs(2..10), "w", false).unwrap();
    let (number, views) = worker.in_force();
    assert_eq!(views, 8, "a fifth may go");
    let error = worker.sets.propose(&jobs(4..10), "w", false).unwrap_err();
    assert!(error.contains("drop 2 of the 8 views") && error.contains("--force"), "{error}");
    // Others in their place make up for nothing.
    worker.sets.propose(&jobs(4..30), "w", false).unwrap_err();
    assert_eq!(worker.in_force(), (number, 8));
    worker.sets.propose(&jobs(4..10), "w", true).unwrap();
    assert_eq!(worker.in_force().1, 6);
    let other = Process::new(&table);
    other.sets.propose_first(&jobs(9..10), "w", true).unwrap();
    assert_eq!(other.in_force().1, 1, "a worker started with --force proposes");
}

#[test]
fn a_set_that_cannot_be_read_waits_with_its_reason_until_a_good_one_comes() {
    let table = MemoryTable::new();
    let worker = Process::new(&table);
    worker.sets.propose_first(&jobs(0..3), "w", false).unwrap();
    let (number, _) = worker.in_force();
    let file = r#"{"name":"one","rules":[{"expr":"zum(x)","step":"1m"}]}"#;
    let unknown = serde_json::json!({"proposed_by": "newer", "files": [["one.json", file]]}).to_string();
    for (value, reason) in [("not JSON", "what was proposed cannot be read"), (&unknown, "zum")] {
        drop(table.put("set", Some(Bytes::copy_from_slice(value.as_bytes()))));
        worker.sets.follow();
        assert_eq!(worker.in_force(), (number, 3), "the one before stays");
        let (waiting, why) = worker.waiting().unwrap();
        assert!(waiting > number && why.contains(reason), "{why}");
        let shown = worker.jobs.sets().unwrap().json();
        assert!(shown["waiting"]["why"].as_str().unwrap().contains(reason), "{shown}");
        // A process that has none yet says so, too.
        let fresh = Process::new(&table);
        assert_eq!((fresh.in_force(), fresh.waiting().map(|(set, _)| set)), ((0, 0), Some(waiting)));
    }
    worker.sets.propose(&jobs(0..4), "w", false).unwrap();
    let (next, views) = worker.in_force();
    assert!(next > number && views == 4 && worker.waiting().is_none());
}
