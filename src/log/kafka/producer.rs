//! Appending: the records of an append go to their partitions, and it is answered when the last of them is acknowledged.
//!
//! The producer is idempotent and waits for all replicas in sync. Its thread calls back for each record; nothing there waits
//! for anything but a short lock. It is made where something is appended for the first time: a process that only reads has
//! none. One that has failed for good, because the brokers have lost what they had acknowledged to it, is replaced by a new
//! one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message, Timestamp as Stamp};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig};
use tokio::sync::oneshot;

use super::bell::Bell;
use super::client::appending;
use super::error::explained;
use super::options::KafkaOptions;
use super::shared::Shared;
use crate::log::{AppendError, AppendObserver, NewRecord};
use crate::model::{Offset, PartitionId, Timestamp};

/// What a record takes in the queue beside its payload.
const RECORD_OVERHEAD_BYTES: usize = 128;

/// How long the producer's thread sleeps at most; whatever it waits for wakes it at once.
const SLEEP: Duration = Duration::from_secs(10);

/// How long brokers that acknowledge nothing are waited for when the log is closed.
const SILENCE: Duration = Duration::from_secs(5);

/// One call of `append`, or a tick.
pub(super) struct Append {
    /// Records not yet answered by the brokers.
    left: AtomicUsize,
    /// What it takes in the queue until it is answered.
    bytes: usize,
    since: Instant,
    /// Held to move a value.
    outcome: Mutex<Outcome>,
}

#[derive(Default)]
struct Outcome {
    failed: Option<AppendError>,
    /// Taken when it is answered; ticks have none.
    answer: Option<oneshot::Sender<Result<(), AppendError>>>,
}

/// Hears from librdkafka what became of records.
pub(super) struct Deliveries {
    shared: Arc<Shared>,
    observer: Option<AppendObserver>,
}

/// Appends to the topic.
pub(super) struct Appender {
    shared: Arc<Shared>,
    options: KafkaOptions,
    message_bytes_max: usize,
    /// `None` until the first append. A mutex, because only one must be made: held to take it, and over its making.
    producer: Mutex<Option<Arc<Served>>>,
}

/// A producer, and the thread that serves it. Dropping it answers what waits with an error.
struct Served {
    producer: Arc<BaseProducer<Deliveries>>,
    /// What ends the thread when it is dropped, and the thread.
    serving: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Appender {
    /// # Errors
    /// When the options do not make a producer. It is made here to find that out, and kept by who appends.
    pub fn new(shared: Arc<Shared>, options: KafkaOptions, message_bytes_max: usize) -> Result<Appender, String> {
        let keep = options.appends;
        let appender = Appender { shared, options, message_bytes_max, producer: Mutex::new(None) };
        let made = appender.make()?;
        *appender.producer.lock() = keep.then_some(made);
        Ok(appender)
    }

    fn make(&self) -> Result<Arc<Served>, String> {
        let producer: BaseProducer<Deliveries> = appending(&self.options, self.message_bytes_max)
            .create_with_context(self.deliveries())
            .map_err(|error| error.to_string())?;
        let (producer, (close, closed)) = (Arc::new(producer), bounded(1));
        let bell = Bell::of_producer(Arc::clone(&producer))?;
        let serve = move || serve(&bell, &closed);
        let thread = std::thread::Builder::new().name("prefold-kafka-append".to_owned()).spawn(serve);
        let thread = thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Arc::new(Served { producer, serving: Some((close, thread)) }))
    }

    fn deliveries(&self) -> Deliveries {
        Deliveries { shared: Arc::clone(&self.shared), observer: self.options.append_observer.clone() }
    }

    #[cfg(test)]
    pub fn is_open(&self) -> bool {
        self.producer.lock().is_some()
    }

    /// The producer; made now where there is none yet.
    fn producer(&self) -> Result<Arc<Served>, String> {
        let mut current = self.producer.lock();
        if let Some(served) = &*current {
            return Ok(Arc::clone(served));
        }
        let made = self.make()?;
        Ok(Arc::clone(current.insert(made)))
    }

    /// Hands records over; their answer comes through the sender.
    pub fn append(&self, records: &[NewRecord], answer: oneshot::Sender<Result<(), AppendError>>) {
        let bytes = records.iter().map(|record| record.payload.len() + RECORD_OVERHEAD_BYTES).sum();
        if let Err(error) = self.admit(bytes) {
            self.shared.catalog.lock().stats.append_failures += 1;
            drop(answer.send(Err(error)));
            return;
        }
        self.send(records, bytes, Some(answer));
    }

    /// Records without samples, which nobody waits for.
    pub fn tick(&self, partitions: &[u16]) {
        for partition in partitions {
            let record = NewRecord { partition: PartitionId(*partition), payload: Bytes::new(), newest: None };
            self.send(&[record], 0, None);
        }
    }

    fn admit(&self, bytes: usize) -> Result<(), AppendError> {
        let queue_bytes_max = self.options.queue_bytes_max;
        let admitted = |queued: usize| (queued == 0 || queued + bytes <= queue_bytes_max).then_some(queued + bytes);
        let queued = self.shared.queued_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admitted);
        queued.map_err(|queued_bytes| AppendError::Overloaded { queued_bytes, queue_bytes_max }).map(|_| ())
    }

    fn send(&self, records: &[NewRecord], bytes: usize, answer: Option<oneshot::Sender<Result<(), AppendError>>>) {
        let outcome = Mutex::new(Outcome { failed: None, answer });
        let append = Arc::new(Append { left: AtomicUsize::new(records.len()), bytes, since: Instant::now(), outcome });
        let served = match self.producer() {
            Ok(served) => served,
            Err(error) => {
                self.not_handed_over(records);
                self.deliveries().answer(&append, records.len(), Some(AppendError::Kafka { error }));
                return;
            }
        };
        let (producer, deliveries) = (&served.producer, served.producer.context());
        for (index, record) in records.iter().enumerate() {
            let message = BaseRecord::<(), [u8], Arc<Append>>::with_opaque_to(&self.shared.topic, Arc::clone(&append))
                .partition(i32::from(record.partition.0))
                .payload(&record.payload);
            if let Err((error, _)) = producer.send(message) {
                self.not_handed_over(&records[index..]);
                // What was handed over before stays on its way: a failed append may be there in part.
                deliveries.answer(&append, records.len() - index, Some(deliveries.append_error(&error)));
                return;
            }
        }
    }

    /// Ticks among them are not under way.
    fn not_handed_over(&self, records: &[NewRecord]) {
        let mut catalog = self.shared.catalog.lock();
        let ticks = records.iter().filter(|record| record.payload.is_empty());
        ticks.for_each(|record| catalog.ticked(record.partition.0));
    }

    /// Replaces a producer that has failed for good. What waited in it is answered with an error.
    pub fn mend(&self) {
        let mut current = self.producer.lock();
        let failed = current.as_ref().and_then(|served| served.producer.client().fatal_error());
        let Some((code, reason)) = failed else { return };
        tracing::error!(%code, "Kafka refuses all further records of this producer, beginning with a new one: {reason}");
        match self.make() {
            Ok(new) => {
                let old = current.replace(new);
                // Its end takes a moment.
                drop((current, old));
            }
            Err(error) => tracing::error!(%error, "cannot begin with a new producer; trying again"),
        }
    }

    /// Answers what waits with an error: the topic is not the one it was meant for.
    pub fn give_up(&self) {
        if let Some(served) = &*self.producer.lock() {
            served.producer.purge(PurgeConfig::default().queue().inflight());
        }
    }

    /// Waits for what somebody waits for, as long as the brokers take any of it; what they have not is answered with an error.
    pub fn finish(&self, patience: Duration) {
        let began = Instant::now();
        let mut heard = (0, began);
        while self.shared.queued_bytes.load(Ordering::Relaxed) > 0 {
            let appended = self.shared.catalog.lock().stats.appended_records;
            if appended != heard.0 {
                heard = (appended, Instant::now());
            }
            if heard.1.elapsed() >= SILENCE || began.elapsed() >= patience {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.give_up();
        // The answers of what was thrown away come at once.
        let served = self.producer.lock().clone();
        let _ = served.map(|served| served.producer.flush(Duration::from_secs(2)));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let Some((close, thread)) = self.serving.take() else { return };
        drop(close);
        if thread.join().is_err() {
            tracing::error!("the thread that appends to Kafka has panicked; what was acknowledged before is safe");
        }
    }
}

/// Serves a producer until it is dropped.
fn serve(bell: &Bell<BaseProducer<Deliveries>>, closed: &Receiver<()>) {
    while bell.wait(closed, SLEEP) {
        bell.polled().poll(Duration::ZERO);
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.shared.listener.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.shared.listener.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Append>;

    fn delivery(&self, result: &DeliveryResult<'_>, append: Arc<Append>) {
        let (message, error) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (message, Some(error)),
        };
        self.note_delivery(message, error.is_none());
        self.answer(&append, 1, error.map(|error| self.append_error(error)));
    }
}

impl Deliveries {
    fn note_delivery(&self, message: &BorrowedMessage<'_>, acknowledged: bool) {
        let (partition, bytes) = (message.partition() as u16, message.payload_len());
        let mut catalog = self.shared.catalog.lock();
        if acknowledged {
            let log_time = match message.timestamp() {
                Stamp::LogAppendTime(ms) => Timestamp(ms),
                _ => Timestamp::MIN,
            };
            catalog.acknowledged(partition, Offset(message.offset().max(0).unsigned_abs()), log_time, bytes);
        }
        if bytes == 0 {
            catalog.ticked(partition);
        }
    }

    fn append_error(&self, error: &KafkaError) -> AppendError {
        if let Some(why) = self.shared.replaced.get() {
            return AppendError::Replaced { why: why.clone() };
        }
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) if self.shared.is_closed() => {
                AppendError::Closed
            }
            _ => AppendError::Kafka { error: explained(error, &self.shared.topic) },
        }
    }

    /// So many records of an append are dealt with. The last one answers it.
    fn answer(&self, append: &Append, records: usize, error: Option<AppendError>) {
        if let Some(error) = error {
            append.outcome.lock().failed.get_or_insert(error);
        }
        if append.left.fetch_sub(records, Ordering::AcqRel) > records {
            return;
        }
        self.shared.queued_bytes.fetch_sub(append.bytes, Ordering::Relaxed);
        let Outcome { failed, answer } = std::mem::take(&mut *append.outcome.lock());
        let Some(answer) = answer else { return };
        match (&failed, &self.observer) {
            (None, Some(observer)) => observer(append.since.elapsed()),
            (None, None) => {}
            (Some(_), _) => self.shared.catalog.lock().stats.append_failures += 1,
        }
        drop(answer.send(failed.map_or(Ok(()), Err)));
    }
}
