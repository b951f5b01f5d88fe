//! Brokers that answer what a test wants: librdkafka's mock cluster, within this process.
//!
//! Sees: where each error that a broker may answer leads to, one at a time and for as long as a test likes, which real brokers
//! do not show on demand. Does not see: what the brokers do besides, for an error that is asked for is all that happens; nor
//! topics' configurations and log times, which the mock has not. tests/kafka has real brokers for those.

mod appends;
mod groups;
mod reading;
mod streams;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::client::{Listener, asking};
use super::native::{self, Patience};
use super::survey::{self, Survey};
use super::topic::{Topic, incarnation};
use super::watch::Watch;
use super::{KafkaLog, KafkaOptions, KafkaStream};
use crate::log::{AppendError, Log, LogReader, LogRecord, NewRecord, ReadFrom};
use crate::model::PartitionId;

/// How long anything may take on a busy machine before it counts as never.
const PATIENCE: Duration = Duration::from_secs(90);

/// So many times an error is answered that is to stay.
const ALWAYS: usize = 10_000;

/// The topic of all tests: each has brokers of its own.
const TOPIC: &str = "t";

/// Errors of brokers, and how librdkafka names them.
macro_rules! code {
    ($name:ident) => {
        rdkafka::types::RDKafkaRespErr::$name
    };
}
use code;

/// A cluster of brokers, gone when it is dropped.
struct Brokers(MockCluster<'static, DefaultProducerContext>);

impl Brokers {
    /// Some brokers, and a topic.
    fn start(brokers: i32, partitions: i32) -> Brokers {
        let cluster = MockCluster::new(brokers).unwrap();
        cluster.create_topic(TOPIC, partitions, brokers).unwrap();
        Brokers(cluster)
    }

    /// Quick batches, and quick ticks in a log: what has failed is looked after as often as they are.
    fn options(&self) -> KafkaOptions {
        KafkaOptions {
            topic: TOPIC.to_owned(),
            linger: Duration::from_millis(1),
            tick_interval: Duration::from_millis(200),
            open_timeout: PATIENCE,
            delivery_timeout: PATIENCE,
            ..KafkaOptions::new(vec![self.0.bootstrap_servers()], "unused")
        }
    }

    /// The next requests of a kind are answered with these, each with one.
    fn answer(&self, request: RDKafkaApiKey, errors: &[RDKafkaRespErr]) {
        self.0.request_errors(request, errors);
    }

    /// All further ones, until they are cleared.
    fn always_answer(&self, request: RDKafkaApiKey, error: RDKafkaRespErr) {
        self.0.request_errors(request, &vec![error; ALWAYS]);
    }

    /// What is known of the topic. Its configuration is not looked at: the mock has none.
    fn survey(&self, options: &KafkaOptions) -> (Survey, usize) {
        let listener = Listener::default();
        let admin = asking(options, &listener).unwrap();
        let found = native::describe(admin.inner(), TOPIC, Patience { wait: PATIENCE, ended: None }).unwrap().unwrap();
        let incarnation = incarnation(found.id, found.partitions, &options.partition_by);
        let topic = Topic { admin, incarnation, partitions: found.partitions as u16, message_bytes_max: 1_000_000 };
        survey::of(options, topic, listener).unwrap()
    }

    fn log(&self, options: KafkaOptions) -> KafkaLog {
        let (survey, message_bytes_max) = self.survey(&options);
        KafkaLog::over(options, survey, message_bytes_max).unwrap()
    }

    fn stream(&self, options: KafkaOptions) -> KafkaStream {
        let (survey, message_bytes_max) = self.survey(&options);
        KafkaStream::over(Watch::over(options, survey).unwrap(), message_bytes_max)
    }
}

fn record(partition: u16, payload: &str) -> NewRecord {
    NewRecord { partition: PartitionId(partition), payload: Bytes::copy_from_slice(payload.as_bytes()), newest: None }
}

/// Appends one record to the first partition.
fn append(log: &KafkaLog, payload: &str) -> Result<(), AppendError> {
    log.append(vec![record(0, payload)]).blocking_recv().unwrap()
}

/// Payloads by partition, ticks aside.
type Read = BTreeMap<u16, Vec<String>>;

fn payloads(records: &[LogRecord]) -> Read {
    let mut read = Read::new();
    for record in records.iter().filter(|record| !record.is_tick()) {
        let payload = String::from_utf8(record.payload.to_vec()).unwrap();
        read.entry(record.partition.0).or_default().push(payload);
    }
    read
}

/// Reads until so many records came that are no ticks. What may pass is tried again.
#[track_caller]
fn read_on(reader: &mut dyn LogReader, count: usize) -> Read {
    let mut out = Vec::new();
    wait("records", || {
        let _ = reader.read(&mut out, 1 << 20, Duration::from_millis(50));
        out.iter().filter(|record| !record.is_tick()).count() >= count
    });
    payloads(&out)
}

/// What the first partition holds, once a last record is appended to it.
#[track_caller]
fn all(log: &KafkaLog) -> Vec<String> {
    append(log, "end").unwrap();
    let mut reader = log.reader(ReadFrom::Beginning).unwrap();
    let mut out = Vec::new();
    wait("the last record", || {
        let _ = reader.read(&mut out, 1 << 20, Duration::from_millis(50));
        out.iter().any(|record| &record.payload[..] == b"end")
    });
    let mut read = payloads(&out).remove(&0).unwrap();
    assert_eq!(read.pop().as_deref(), Some("end"));
    read
}

/// Waits for a condition.
#[track_caller]
fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
