//! Writing in order: within a partition, a record is never there without all records before it of the same writer.
//!
//! The brokers see to it for as long as one producer numbers its records, and librdkafka stops for good where it would have to
//! begin to number anew. What is left to do here is to stop as well: after the first record that was not taken no more are
//! handed over, and those that wait are thrown away. Whoever writes then begins with another writer from the last place
//! that is known to be there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message, Timestamp as Stamp};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig};
use tokio::sync::oneshot;

use super::bell::Bell;
use super::client::appending;
use super::error::{KafkaOpenError, explained};
use super::options::KafkaOptions;
use super::shared::Shared;
use super::topic;
use crate::log::AppendError;
use crate::log::topics::Written;
use crate::model::{Offset, PartitionId, Timestamp};

/// What a record takes in the queue beside its key and payload.
const RECORD_OVERHEAD_BYTES: usize = 128;

/// How often the writer's thread looks whether the topic is another one; what comes from librdkafka and failures wake it at once.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a writer that is dropped waits for its thread, and the thread for the answers of what was thrown away.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
const PURGE_PATIENCE: Duration = Duration::from_secs(2);

/// Dropping it throws away what waits: what is there of a partition then has no hole.
pub(super) struct Writer {
    /// Taken when it is dropped: its thread is the last to have it.
    producer: Option<Arc<BaseProducer<Standing>>>,
    record_bytes_max: usize,
    queue_bytes_max: usize,
    /// Tells the thread that something has failed; ends it when it is dropped.
    words: Option<Sender<()>>,
    /// Hears that the thread has ended.
    ended: Receiver<()>,
}

/// How the writer stands. It hears from librdkafka what became of records.
struct Standing {
    shared: Arc<Shared>,
    /// The first failure. Held while a record is handed over, so that none is behind a failure.
    failed: Mutex<Option<AppendError>>,
    queued_bytes: AtomicUsize,
}

/// A record on its way.
struct Waiting {
    answer: oneshot::Sender<Result<Offset, AppendError>>,
    bytes: usize,
}

impl Writer {
    /// A writer whose records wait for the brokers for so long; for ever with `None`.
    pub fn new(
        shared: &Arc<Shared>,
        options: &KafkaOptions,
        message_bytes_max: usize,
        delivery_timeout: Option<Duration>,
    ) -> Result<Writer, KafkaOpenError> {
        let mut config = appending(options, message_bytes_max);
        config
            .set("message.timeout.ms", delivery_timeout.unwrap_or_default().as_millis().to_string())
            .set("enable.gapless.guarantee", "true");
        let standing = Standing { shared: Arc::clone(shared), failed: Mutex::new(None), queued_bytes: AtomicUsize::new(0) };
        let unable = |error: String| KafkaOpenError::Options { error };
        let producer: BaseProducer<Standing> =
            config.create_with_context(standing).map_err(|error| unable(error.to_string()))?;
        let (producer, (words, heard), (end, ended)) = (Arc::new(producer), bounded(1), bounded(1));
        let bell = Bell::of_producer(Arc::clone(&producer)).map_err(unable)?;
        let run = move || {
            serve(&bell, &heard);
            drop((bell, end));
        };
        let thread = std::thread::Builder::new().name("prefold-kafka-writer".to_owned()).spawn(run);
        thread.map_err(|error| unable(format!("cannot start a thread: {error}")))?;
        Ok(Writer {
            producer: Some(producer),
            record_bytes_max: topic::record_bytes_max(message_bytes_max),
            queue_bytes_max: options.queue_bytes_max,
            words: Some(words),
            ended,
        })
    }

    /// Hands a record over; one without a value says that its key is gone.
    pub fn append(&self, partition: PartitionId, key: Option<&str>, value: Option<&[u8]>) -> Written {
        let (answer, written) = oneshot::channel();
        let Some(producer) = &self.producer else { return written };
        let standing = producer.context();
        let bytes = key.map_or(0, str::len) + value.map_or(0, <[u8]>::len);
        let mut failed = standing.failed.lock();
        if let Some(error) = failed.clone().or_else(|| self.refusal(partition, bytes)) {
            failed.get_or_insert_with(|| error.clone());
            drop(answer.send(Err(error)));
            self.wake();
            return written;
        }
        let bytes = bytes + RECORD_OVERHEAD_BYTES;
        standing.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut record = BaseRecord::with_opaque_to(&standing.shared.topic, Box::new(Waiting { answer, bytes }))
            .partition(i32::from(partition.0));
        (record.key, record.payload) = (key, value);
        if let Err((error, record)) = producer.send(record) {
            let error = AppendError::Kafka { error: error.to_string() };
            failed.get_or_insert_with(|| error.clone());
            standing.answer(*record.delivery_opaque, Err(error));
            self.wake();
        }
        written
    }

    /// Why a record is not even tried, if so.
    pub fn refusal(&self, partition: PartitionId, bytes: usize) -> Option<AppendError> {
        let shared = &self.standing()?.shared;
        let (partitions, queued_bytes) = (shared.partitions, self.queued_bytes());
        let Writer { record_bytes_max, queue_bytes_max, .. } = *self;
        if let Some(why) = shared.replaced.get() {
            return Some(AppendError::Replaced { why: why.clone() });
        }
        if shared.is_closed() {
            return Some(AppendError::Closed);
        }
        if partition.0 >= partitions {
            return Some(AppendError::UnknownPartition { partition, partitions });
        }
        if bytes > record_bytes_max {
            return Some(AppendError::TooLarge { bytes, bytes_max: record_bytes_max });
        }
        let full = queued_bytes > 0 && queued_bytes + bytes > queue_bytes_max;
        full.then_some(AppendError::Overloaded { queued_bytes, queue_bytes_max })
    }

    /// Bytes that wait to be acknowledged.
    pub fn queued_bytes(&self) -> usize {
        self.standing().map_or(0, |standing| standing.queued_bytes.load(Ordering::Relaxed))
    }

    /// The first failure.
    pub fn failed(&self) -> Option<AppendError> {
        self.standing()?.failed.lock().clone()
    }

    /// Has the thread look what has failed.
    fn wake(&self) {
        let _ = self.words.as_ref().map(|words| words.try_send(()));
    }

    fn standing(&self) -> Option<&Standing> {
        Some(self.producer.as_ref()?.context())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(standing) = self.standing() {
            standing.fail(AppendError::Closed);
        }
        drop((self.producer.take(), self.words.take()));
        // Brokers that do not answer must not keep us: the thread ends by itself.
        let _ = self.ended.recv_timeout(CLOSE_PATIENCE);
    }
}

/// Serves the producer until the writer is dropped, and throws away what waits as soon as something has failed.
fn serve(bell: &Bell<BaseProducer<Standing>>, words: &Receiver<()>) {
    let producer = bell.polled();
    let standing = producer.context();
    let mut purged = false;
    while bell.wait(words, LOOK_EVERY) {
        producer.poll(Duration::ZERO);
        standing.look();
        if !purged && standing.failed.lock().is_some() {
            purged = true;
            producer.purge(PurgeConfig::default().queue().inflight());
        }
    }
    producer.purge(PurgeConfig::default().queue().inflight());
    let began = Instant::now();
    while producer.in_flight_count() > 0 && began.elapsed() < PURGE_PATIENCE {
        producer.poll(Duration::from_millis(1));
    }
}

impl Standing {
    fn fail(&self, error: AppendError) -> AppendError {
        self.failed.lock().get_or_insert(error).clone()
    }

    /// Another topic is not written to by mistake.
    fn look(&self) {
        if let Some(why) = self.shared.replaced.get() {
            self.fail(AppendError::Replaced { why: why.clone() });
        }
    }

    fn answer(&self, waiting: Waiting, outcome: Result<Offset, AppendError>) {
        self.queued_bytes.fetch_sub(waiting.bytes, Ordering::Relaxed);
        drop(waiting.answer.send(outcome));
    }
}

impl ClientContext for Standing {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.shared.listener.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.fail(AppendError::Kafka { error: reason.to_owned() });
        }
        self.shared.listener.error(error, reason);
    }
}

impl ProducerContext for Standing {
    type DeliveryOpaque = Box<Waiting>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Box<Waiting>) {
        let outcome = match result {
            Ok(message) => match u64::try_from(message.offset()) {
                Ok(offset) => {
                    if let Stamp::LogAppendTime(ms) = message.timestamp() {
                        let (partition, bytes) = (message.partition() as u16, message.payload_len());
                        self.shared.catalog.lock().acknowledged(partition, Offset(offset), Timestamp(ms), bytes);
                    }
                    Ok(Offset(offset))
                }
                Err(_) => {
                    let error = "the brokers have the record and do not say under which offset".to_owned();
                    Err(self.fail(AppendError::Kafka { error }))
                }
            },
            // What is thrown away is so because of the first failure.
            Err((error, _)) => Err(self.fail(AppendError::Kafka { error: explained(error, &self.shared.topic) })),
        };
        self.answer(*waiting, outcome);
    }
}
