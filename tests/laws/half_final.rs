//! Killed while a grid point is final in some partitions and not in others (semantics.md S3, S7).
//!
//! A log is cut behind each record of some seconds in turn, so that one partition has been told of a time and the next one
//! has not; what was read till then is committed, the process is another one, and the rest follows. Results, final grid
//! points and spans must be those of a process that read it in one go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use prefold::log::Log;
use prefold::model::{Labels, Matcher, Sample, Selector, Timestamp};
use prefold::node::stream::{Stream, StreamOptions};
use prefold::plan::Catalog;
use prefold::store::{Store, StoreOptions};

use super::memory_log::MemoryLog;
use super::resume::{is_at_the_end, run};
use super::streaming::{catalog, raw};
use crate::oracle::{Record, Rule};

const BEGIN: i64 = 1_700_000_000_000;

const PARTITIONS: u16 = 3;

const MAX_DELAY_MS: i64 = 4_000;

/// Seconds of the log, and those whose records it is cut behind.
const SECONDS: i64 = 1_000;
const CUT: std::ops::Range<i64> = 979..983;

fn rule(function: &'static str, window_ms: i64) -> Rule {
    Rule {
        aggregation: "sum",
        by: Some(vec!["g"]),
        without: None,
        function,
        selector: Selector::new(vec![Matcher::equal("__name__", "x")]),
        window_ms,
        step_ms: 2_000,
        max_delay_ms: MAX_DELAY_MS,
        tolerance: 0.0,
    }
}

/// Each second a tick in each partition, then the samples of every series, one record each. One series falls silent shortly
/// before the cuts, so that it becomes overdue at a grid point of theirs.
fn records() -> Vec<Record> {
    let mut records = Vec::new();
    for second in 0..SECONDS {
        let log_time = |ms: i64| BEGIN + second * 1_000 + ms;
        for partition in 0..PARTITIONS {
            records.push(Record {
                partition,
                log_time: log_time(partition.into()),
                sender: String::new(),
                series: Vec::new(),
            });
        }
        for n in 0..6 {
            if n == 5 && second > 972 {
                continue;
            }
            let labels = Labels::from_pairs([("__name__", "x"), ("g", ["a", "b"][n % 2]), ("n", n.to_string().as_str())]);
            let partition = labels.series_id("").partition(PARTITIONS);
            let sample = Sample { t: Timestamp(log_time(100)), v: (second * (n as i64 + 3)) as f64 };
            let sender = format!("s{}", n % 2);
            records.push(Record {
                partition,
                log_time: log_time(300 + n as i64),
                sender,
                series: vec![(labels, vec![sample])],
            });
        }
    }
    records
}

/// Reads and commits all that can be read, and ends.
fn read_to_the_cut(log: &Arc<MemoryLog>, catalog: &Arc<Catalog>, store: &Arc<Store>) {
    let options = StreamOptions { threads: 2, new_senders_uncover: true };
    let shared: Arc<dyn Log> = Arc::clone(log) as Arc<dyn Log>;
    let _stream = Stream::start(shared, Arc::clone(store), Arc::clone(catalog), options).unwrap();
    let began = Instant::now();
    while !is_at_the_end(store, log) {
        assert!(began.elapsed() < Duration::from_secs(60), "the cut was never committed");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn s3_s7_killed_between_finality_in_partitions() {
    let records = records();
    let rules = [rule("count_over_time", 10_000), rule("rate", 20_000), rule("", crate::oracle::LOOKBACK_MS)];
    let catalog = Arc::new(catalog(&rules));
    let memory = Arc::new(MemoryLog::new(records.iter().map(raw), PARTITIONS));
    memory.readable.store(memory.len(), Ordering::Release);
    let unbroken = tempfile::tempdir().unwrap();
    let expected = run(&memory, &catalog, unbroken.path(), 1, None);

    let broken = tempfile::tempdir().unwrap();
    let at_seconds = |second: i64| records.partition_point(|record| record.log_time < BEGIN + second * 1_000);
    let mut cuts = 0;
    for readable in at_seconds(CUT.start)..at_seconds(CUT.end) {
        memory.readable.store(readable, Ordering::Release);
        let store = Arc::new(Store::open(broken.path(), StoreOptions::default()).unwrap());
        read_to_the_cut(&memory, &catalog, &store);
        cuts += 1;
    }
    memory.readable.store(memory.len(), Ordering::Release);
    let resumed = run(&memory, &catalog, broken.path(), 2, None);
    assert!(cuts > 30 && expected.final_to.values().all(Option::is_some));
    assert_eq!(resumed.final_to, expected.final_to);
    assert_eq!(resumed.results, expected.results);
    assert_eq!(resumed.uncovered, expected.uncovered);
}
