//! A gap in one partition, told while the others are already further: what it may have held is uncovered, by that partition's
//! own log time.
//!
//! Sees: a served grid point whose window the gap reaches into. Where the log is Kafka's, partitions are read side by side.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use prefold::log::{Appended, Extent, Log, LogReader, LogRecord, LogStats, NewRecord, ReadError, ReadFrom};
use prefold::model::{Labels, Offset, PartitionBy, PartitionId, Sample, SpanReason, Timestamp};
use prefold::node::stream::{Stream, StreamOptions};
use prefold::store::{Store, StoreOptions};
use prefold::wire::record::encode_record;

use super::streaming::catalog;
use crate::oracle::Rule;

const BEGIN: i64 = 1_700_000_000_000;
const SECONDS: i64 = 60;

/// Partition 1 has lost what lies between these seconds.
const LOST: (i64, i64) = (20, 30);

const WINDOW_MS: i64 = 5_000;
const MAX_DELAY_MS: i64 = 2_000;

/// What a reader gives, turn by turn.
struct Script(Vec<Result<Vec<LogRecord>, ReadError>>);

struct ScriptedLog(Arc<Mutex<Script>>);

struct ScriptedReader(Arc<Mutex<Script>>);

impl LogReader for ScriptedReader {
    fn read(&mut self, out: &mut Vec<LogRecord>, _: usize, wait: Duration) -> Result<u64, ReadError> {
        let mut script = self.0.lock();
        match script.0.first() {
            None => {
                drop(script);
                std::thread::park_timeout(wait);
                Ok(0)
            }
            // It stays until it is skipped.
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(_)) => {
                out.extend(script.0.remove(0)?);
                Ok(script.0.len() as u64)
            }
        }
    }
    fn skip_gap(&mut self) -> Result<(), ReadError> {
        let skipped = self.0.lock().0.remove(0);
        assert!(skipped.is_err(), "a gap is skipped where there is none");
        Ok(())
    }
}

impl Log for ScriptedLog {
    fn partitions(&self) -> u16 {
        2
    }
    fn partition_by(&self) -> PartitionBy {
        PartitionBy::default()
    }
    fn incarnation(&self) -> u128 {
        7
    }
    fn record_bytes_max(&self) -> usize {
        usize::MAX
    }
    fn append(&self, _: Vec<NewRecord>) -> Appended {
        panic!("this log is written by the test")
    }
    fn extent(&self, _: PartitionId) -> Extent {
        let (first, begin) = (Offset(0), Timestamp(BEGIN));
        Extent { first, next: Offset(1_000), first_log_time: begin, newest_log_time: begin, truncated: false }
    }
    fn reader(&self, _: ReadFrom) -> Result<Box<dyn LogReader>, ReadError> {
        Ok(Box::new(ScriptedReader(Arc::clone(&self.0))))
    }
    fn stats(&self) -> LogStats {
        LogStats::default()
    }
    fn close(&self) {}
}

/// The record of a second: a series of its partition's own.
fn record(partition: u16, second: i64) -> LogRecord {
    let labels = |n: u32| Labels::from_pairs([("__name__", "x"), ("g", "a"), ("n", n.to_string().as_str())]);
    let mine = (0..).map(labels).find(|labels| labels.series_id("").partition(2) == partition).unwrap();
    let t = Timestamp(BEGIN + second * 1_000);
    let payload = Bytes::from(encode_record("", "s", &[(mine, vec![Sample { t, v: 1.0 }])]));
    LogRecord { partition: PartitionId(partition), offset: Offset(second as u64), log_time: t + 100, payload }
}

#[test]
fn a_gap_of_one_partition_uncovers_from_where_that_partition_stood() {
    let (before, behind) = LOST;
    let all = |partition, seconds: std::ops::Range<i64>| seconds.map(move |second| record(partition, second));
    // Partition 0 is far ahead when the gap of partition 1 is found, and gives more before partition 1 goes on.
    let script = vec![
        Ok(all(1, 0..before).chain(all(0, 0..40)).collect()),
        Err(ReadError::Gone { partition: PartitionId(1), wanted: Offset(before as u64), first: Offset(behind as u64) }),
        Ok(all(0, 40..50).collect()),
        Ok(all(1, behind..SECONDS).chain(all(0, 50..SECONDS)).collect()),
    ];
    let rule = Rule::count(WINDOW_MS, MAX_DELAY_MS);
    let catalog = Arc::new(catalog(std::slice::from_ref(&rule)));
    let id = catalog.entries().next().unwrap().view.id;
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), StoreOptions::default()).unwrap());
    let options = StreamOptions { threads: 2, new_senders_uncover: false };
    let log: Arc<dyn Log> = Arc::new(ScriptedLog(Arc::new(Mutex::new(Script(script)))));
    let stream = Stream::start(log, Arc::clone(&store), catalog, options).unwrap();
    let last = Timestamp(BEGIN + (SECONDS - 4) * 1_000);
    let began = Instant::now();
    while store.view(id).and_then(|state| state.final_to).is_none_or(|final_to| final_to < last) {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", stream.status.failed.lock());
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let gaps: Vec<_> = store.view(id).unwrap().spans.into_iter().filter(|span| span.reason == SpanReason::Gap).collect();
    let uncovered = |t: Timestamp| gaps.iter().any(|span| span.from <= t && t < span.to);
    let mut served = BTreeMap::new();
    for second in 6..SECONDS - 4 {
        // A window of five seconds holds five samples of each partition's series.
        let reaches = second >= before && second - WINDOW_MS / 1_000 < behind - 1;
        let t = Timestamp(BEGIN + second * 1_000);
        assert!(!reaches || uncovered(t), "second {second} misses samples and is covered: {gaps:?}");
        served.insert(second, !uncovered(t));
    }
    assert!(served[&(before - 4)] && served[&(SECONDS - 10)], "no more is uncovered than must be: {gaps:?}");
}
