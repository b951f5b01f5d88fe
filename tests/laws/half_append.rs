//! An append that fails half-way: some partitions have their records and others do not. The sender has a 503 and sends the
//! body again, at once or after max_delay (semantics.md S7).
//!
//! The embedded log never does this: its appends are whole. A log over several brokers does. Sees: a sample that counts
//! twice, one that is missing and not uncovered, an answer after which the body would not come again.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::HeaderMap;
use prefold::ingest::gateway::{Gateway, GatewayOptions};
use prefold::ingest::remote_write::{Receiver, ReceiverOptions};
use prefold::log::{
    AppendError, Appended, EmbeddedLog, EmbeddedOptions, Extent, Log, LogReader, LogStats, NewRecord, ReadError, ReadFrom,
};
use prefold::model::{Clock, Labels, PartitionBy, PartitionId, Sample, SpanReason, Timestamp};
use prefold::node::stream::{Stream, StreamOptions};
use prefold::store::{ReadLimits, Store, StoreOptions};
use prefold::wire::{remote_write_v1, snappy};

use super::streaming::catalog;
use crate::oracle::Rule;

const BEGIN: i64 = 1_700_000_000_000;

const MAX_DELAY_MS: i64 = 5_000;

const WINDOW_MS: i64 = 10_000;

/// The second whose body is halved, and the last one.
const HALVED: i64 = 30;
const LAST: i64 = 60;

const SERIES: usize = 12;

struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Appends to even partitions alone and says that it failed, while it is told to.
struct HalfLog {
    log: EmbeddedLog,
    halves: AtomicBool,
}

impl Log for HalfLog {
    fn append(&self, mut records: Vec<NewRecord>) -> Appended {
        if !self.halves.load(Ordering::SeqCst) {
            return self.log.append(records);
        }
        records.retain(|record| record.partition.0 % 2 == 0);
        assert!(!records.is_empty(), "nothing to append half of");
        let (answer, answered) = tokio::sync::oneshot::channel();
        let half = self.log.append(records);
        std::thread::spawn(move || {
            half.blocking_recv().unwrap().unwrap();
            let error = Arc::new(io::Error::from(io::ErrorKind::ConnectionReset));
            answer.send(Err(AppendError::Io { action: "append to", file: "partition 1".to_owned(), error })).unwrap();
        });
        answered
    }
    fn partitions(&self) -> u16 {
        self.log.partitions()
    }
    fn record_bytes_max(&self) -> usize {
        self.log.record_bytes_max()
    }
    fn partition_by(&self) -> PartitionBy {
        self.log.partition_by()
    }
    fn incarnation(&self) -> u128 {
        self.log.incarnation()
    }
    fn extent(&self, partition: PartitionId) -> Extent {
        self.log.extent(partition)
    }
    fn reader(&self, from: ReadFrom) -> Result<Box<dyn LogReader>, ReadError> {
        self.log.reader(from)
    }
    fn stats(&self) -> LogStats {
        self.log.stats()
    }
    fn close(&self) {
        self.log.close();
    }
}

/// A gateway, a stream and a store over one such log.
struct World {
    clock: Arc<ManualClock>,
    log: Arc<HalfLog>,
    receiver: Receiver,
    store: Arc<Store>,
    rule: Rule,
    _stream: Stream,
    _dir: tempfile::TempDir,
}

impl World {
    fn start() -> World {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock(AtomicI64::new(BEGIN)));
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let tick_interval = Duration::from_millis(5);
        let options = EmbeddedOptions { tick_interval, ..EmbeddedOptions::new(Arc::clone(&shared)) };
        let log = EmbeddedLog::open(&dir.path().join("log"), options).unwrap();
        let log = Arc::new(HalfLog { log, halves: AtomicBool::new(false) });
        let store = Arc::new(Store::open(&dir.path().join("store"), StoreOptions::default()).unwrap());
        let rule = Rule::count(WINDOW_MS, MAX_DELAY_MS);
        let options = StreamOptions { threads: 2, new_senders_uncover: false };
        let catalog = Arc::new(catalog(std::slice::from_ref(&rule)));
        let dyn_log: Arc<dyn Log> = Arc::clone(&log) as Arc<dyn Log>;
        let stream = Stream::start(Arc::clone(&dyn_log), Arc::clone(&store), catalog, options).unwrap();
        let gateway = Arc::new(Gateway::new(dyn_log, shared, GatewayOptions::default()));
        let options = ReceiverOptions {
            body_bytes_max: 1 << 20,
            sender_header: "X-Prefold-Sender".to_owned(),
            body_timeout: Duration::from_secs(60),
        };
        World { clock, log, receiver: Receiver { gateway, options }, store, rule, _stream: stream, _dir: dir }
    }

    /// The clock moves on, and every partition has heard of it.
    fn advance_to(&self, second: i64) {
        let now = Timestamp(BEGIN + second * 1_000 + 400);
        self.clock.0.store(now.0, Ordering::SeqCst);
        let heard = |partition| self.log.extent(PartitionId(partition)).newest_log_time >= now;
        wait("ticks", || (0..self.log.partitions()).all(heard));
    }

    /// Sends a second's body; the status and whether it is to be sent again later.
    async fn send(&self, second: i64) -> (u16, bool) {
        let body = snappy::compress(&remote_write_v1::encode(&body(second)));
        let response = self.receiver.write(&HeaderMap::new(), "192.0.2.1", Body::from(body)).await;
        (response.status().as_u16(), response.headers().contains_key("retry-after"))
    }

    /// Sends bodies in order, one a second; the halved one again so many seconds later, and those behind it then.
    async fn run(&self, again_after: i64) {
        // Beyond the last one that is judged, or the series would be overdue there.
        for second in 0..=LAST + MAX_DELAY_MS / 1_000 {
            self.advance_to(second);
            if second == HALVED {
                self.log.halves.store(true, Ordering::SeqCst);
                assert_eq!(self.send(second).await, (503, true));
                self.log.halves.store(false, Ordering::SeqCst);
            }
            let waits = second >= HALVED && second < HALVED + again_after;
            let due = if second == HALVED + again_after { HALVED..=second } else { second..=second };
            for body in due.filter(|_| !waits) {
                assert_eq!(self.send(body).await, (204, false));
            }
        }
        self.advance_to(LAST + MAX_DELAY_MS / 1_000 + 1);
        let final_to = || self.state().final_to.unwrap_or(Timestamp::MIN);
        wait("the last second to be final", || final_to() >= Timestamp(BEGIN + LAST * 1_000));
    }

    fn state(&self) -> prefold::store::ViewState {
        let catalog = catalog(std::slice::from_ref(&self.rule));
        self.store.view(catalog.entries().next().unwrap().view.id).unwrap()
    }

    /// The seconds that are uncovered; all others must show every sample once.
    fn uncovered(&self) -> BTreeMap<i64, Vec<SpanReason>> {
        let catalog = catalog(std::slice::from_ref(&self.rule));
        let (id, state) = (catalog.entries().next().unwrap().view.id, self.state());
        let limits = ReadLimits { series_max: usize::MAX, points_max: usize::MAX };
        let mut uncovered = BTreeMap::new();
        for second in 1..=LAST {
            let t = Timestamp(BEGIN + second * 1_000);
            let holding = state.spans.iter().filter(|span| span.from <= t && t < span.to && span.reason != SpanReason::Gone);
            let reasons: Vec<SpanReason> = holding.map(|span| span.reason).collect();
            if !reasons.is_empty() {
                uncovered.insert(second, reasons);
                continue;
            }
            let groups = self.store.read(id, &[], t, t, limits).unwrap();
            let ours: f64 = groups.iter().flat_map(|group| group.fields[0].first()).sum();
            // Samples lie a little before the full second.
            let expected = SERIES as i64 * WINDOW_MS / 1_000;
            assert_eq!(ours, expected as f64, "at second {second}");
        }
        uncovered
    }
}

/// One sample of each series, 100 ms before the second.
fn body(second: i64) -> Vec<(Labels, Vec<Sample>)> {
    let series = |n: usize| {
        let labels = Labels::from_pairs([("__name__", "x"), ("g", "a"), ("n", n.to_string().as_str())]);
        (labels, vec![Sample { t: Timestamp(BEGIN + second * 1_000 - 100), v: second as f64 }])
    };
    (0..SERIES).map(series).collect()
}

fn wait(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(90), "waited for {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[tokio::test]
async fn s7_a_body_half_appended_and_sent_again_at_once_counts_once() {
    let world = World::start();
    world.run(0).await;
    let uncovered = world.uncovered();
    assert!(uncovered.keys().all(|second| *second < WINDOW_MS / 1_000 + 1), "{uncovered:?}");
}

#[tokio::test]
async fn s7_a_body_half_appended_and_sent_again_after_max_delay_is_uncovered() {
    let world = World::start();
    world.run(MAX_DELAY_MS / 1_000 + 2).await;
    let uncovered = world.uncovered();
    let late: Vec<i64> =
        uncovered.iter().filter(|(_, reasons)| reasons.contains(&SpanReason::Late)).map(|(t, _)| *t).collect();
    // Windows that hold the body's samples, both halves: the first copy of one counted, the second of all came too late.
    assert!((HALVED..HALVED + WINDOW_MS / 1_000).all(|second| late.contains(&second)), "{uncovered:?}");
    let again = HALVED + MAX_DELAY_MS / 1_000 + 2;
    let last = again + (MAX_DELAY_MS + WINDOW_MS) / 1_000 + 1;
    assert!(uncovered.keys().all(|second| *second < last), "{uncovered:?}");
}
