//! Topics of a test, and the log opened on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prefold::log::kafka::KafkaOpenError;
use prefold::log::{KafkaLog, KafkaOptions, Log, LogReader, LogRecord, NewRecord, ReadFrom};
use prefold::model::PartitionId;

/// How long anything may take on a busy machine before it counts as never.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A prefix that no other test of this process has.
pub fn prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Four partitions, quick batches, and no ticks unless a test wants them.
pub fn options(brokers: &str, prefix: &str) -> KafkaOptions {
    KafkaOptions {
        partitions: 4,
        linger: Duration::from_millis(1),
        tick_interval: Duration::from_secs(3600),
        open_timeout: PATIENCE,
        ..KafkaOptions::new(brokers.split(',').map(str::to_owned).collect(), prefix)
    }
}

pub fn open(options: KafkaOptions) -> Result<Arc<dyn Log>, KafkaOpenError> {
    KafkaLog::open(options).map(|log| Arc::new(log) as Arc<dyn Log>)
}

pub fn record(partition: u16, payload: impl Into<Bytes>) -> NewRecord {
    NewRecord { partition: PartitionId(partition), payload: payload.into(), newest: None }
}

#[track_caller]
pub fn append(log: &dyn Log, records: Vec<NewRecord>) {
    log.append(records).blocking_recv().unwrap().unwrap();
}

/// Reads so many records that are no ticks.
#[track_caller]
pub fn read_on(reader: &mut dyn LogReader, count: usize) -> Vec<LogRecord> {
    let (began, mut out) = (Instant::now(), Vec::new());
    while out.len() < count {
        reader.read(&mut out, 1 << 20, Duration::from_secs(1)).unwrap();
        out.retain(|record| !record.is_tick());
        assert!(began.elapsed() < PATIENCE, "read {} of {count}", out.len());
    }
    out
}

#[track_caller]
pub fn read(log: &dyn Log, from: ReadFrom, count: usize) -> Vec<LogRecord> {
    read_on(&mut *log.reader(from).unwrap(), count)
}

pub fn payloads(records: &[LogRecord]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.payload.to_vec()).unwrap()).collect()
}

/// Waits for a condition.
#[track_caller]
pub fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
