//! Importing: the records of topics that others write, read as one member of a consumer group.
//!
//! The group shares out the topics' partitions, and keeps how far each was dealt with. What was read counts as dealt with
//! when the caller says so, and no earlier: whoever reads a partition next, this process or another, begins there, so that a
//! record may be read twice and none is passed over. A partition that has gone to another member is left to it: our position
//! in it is not told any more.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::client;
use super::error::KafkaOpenError;
use super::import_group::{Change, ImportLag, Member, Place};
use super::native::{self, Patience};
use super::options::KafkaOptions;

/// A member that is not heard of for so long is taken for dead, and its partitions go to others: soon enough that their
/// samples are not late.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

/// What is fetched ahead, over all partitions.
const PREFETCH_KIB: &str = "16384";

/// How often positions are told to the group, and how often topics that are missing are looked for.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How long a question to the brokers may take.
const WAIT: Duration = Duration::from_secs(5);

/// How soon it is asked again where the group stands.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// librdkafka is not told to pause or resume partitions for so long after some came or went. It numbers what it is told and what
/// it does by itself: in between, a partition that it just begins can be left with a number older than its records must have, and
/// all of them are thrown away.
const SETTLED: Duration = Duration::from_secs(1);

/// The pause after an error: some come again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// What a record counts beside its payload.
const RECORD_BYTES: usize = 64;

/// A record that somebody else wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportRecord {
    /// The topic's place among those that are read.
    pub topic: usize,
    pub partition: i32,
    pub offset: i64,
    /// The header of this name, in any case.
    pub content_type: Option<String>,
    pub payload: Bytes,
}

/// What was read at once.
#[derive(Clone, Debug, Default)]
pub struct ImportBatch {
    /// Those of a partition in their order.
    pub records: Vec<ImportRecord>,
    /// Topics of which records were deleted before they were read.
    pub gone: Vec<usize>,
}

impl ImportBatch {
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.gone.is_empty()
    }
}

/// Reads topics that others write. Dropping it leaves the group.
pub struct ImportReader {
    consumer: BaseConsumer<Member>,
    topics: Arc<[String]>,
    /// Where reading of our partitions goes on; none where nobody has read yet.
    next: HashMap<Place, Option<i64>>,
    /// Partitions that are ours and are not read yet, because it is not known from where on; and when that was asked last.
    waiting: BTreeSet<Place>,
    asked: Option<Instant>,
    /// Read while nothing was wanted.
    held: VecDeque<ImportRecord>,
    /// Whether our partitions are told to bring nothing.
    paused: bool,
    /// When partitions came or went last.
    moved: Instant,
    committed: Instant,
    /// When topics are looked for again; never when all are there.
    look: Option<Instant>,
    missing: Vec<bool>,
}

impl ImportReader {
    /// Joins the group. Topics that are not there yet are read once they are.
    ///
    /// # Errors
    /// When the options do not make a client.
    pub fn join(options: &KafkaOptions, group: &str, topics: Vec<String>) -> Result<ImportReader, KafkaOpenError> {
        let wrong = |error: KafkaError| KafkaOpenError::Options { error: error.to_string() };
        let topics: Arc<[String]> = topics.into();
        let consumer: BaseConsumer<Member> =
            config(options, group).create_with_context(Member::new(&topics)).map_err(wrong)?;
        consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>()).map_err(wrong)?;
        Ok(ImportReader {
            consumer,
            missing: vec![false; topics.len()],
            topics,
            next: HashMap::new(),
            waiting: BTreeSet::new(),
            asked: None,
            held: VecDeque::new(),
            paused: false,
            moved: Instant::now(),
            committed: Instant::now(),
            look: Some(Instant::now()),
        })
    }

    /// How many records of each topic are not dealt with yet, in the partitions that are ours.
    pub fn lag(&self) -> Arc<ImportLag> {
        Arc::clone(&self.consumer.context().lag)
    }

    /// Reads about so many bytes, and at least one record if there is one within `wait`.
    pub fn read(&mut self, bytes_max: usize, wait: Duration) -> ImportBatch {
        self.look_for_topics();
        self.commit_if_due();
        self.pause(false);
        let (mut batch, mut bytes, began) = (ImportBatch::default(), 0, Instant::now());
        while bytes < bytes_max {
            let patience = if batch.records.is_empty() { wait.saturating_sub(began.elapsed()) } else { Duration::ZERO };
            match self.held.pop_front().or_else(|| self.poll(patience)) {
                Some(record) => {
                    bytes += record.payload.len() + RECORD_BYTES;
                    self.pass(&record, &mut batch.gone);
                    batch.records.push(record);
                }
                None if patience.is_zero() => break,
                None => {}
            }
        }
        batch
    }

    /// Stays a member for a while without reading anything.
    pub fn idle(&mut self, wait: Duration) {
        let began = Instant::now();
        while began.elapsed() < wait {
            self.pause(true);
            if !self.paused {
                std::thread::park_timeout(PAUSE);
                continue;
            }
            if let Some(record) = self.poll(wait.saturating_sub(began.elapsed())) {
                // Of a partition that came meanwhile.
                self.held.push_back(record);
                self.paused = false;
            }
        }
        self.commit_if_due();
    }

    /// What was read is dealt with.
    pub fn done(&mut self, batch: &ImportBatch) {
        let mut done = self.consumer.context().done.lock();
        for record in &batch.records {
            done.insert((record.topic, record.partition), record.offset + 1);
        }
    }

    fn commit_if_due(&mut self) {
        if self.committed.elapsed() >= COMMIT_EVERY {
            self.committed = Instant::now();
            self.consumer.context().commit(&self.consumer);
        }
    }

    /// The next record, if one comes in time.
    fn poll(&mut self, wait: Duration) -> Option<ImportRecord> {
        let polled = self.consumer.poll(client::whole_ms(wait));
        let record = match polled {
            Some(Ok(message)) => record(&self.topics, &message),
            Some(Err(error)) => {
                self.consumer.context().complain(&error);
                std::thread::park_timeout(PAUSE);
                None
            }
            None => None,
        };
        self.arrive();
        record
    }

    /// Has partitions that have come to us read from where the group stands, once it says so.
    fn arrive(&mut self) {
        for (place, change) in self.consumer.context().take_changes() {
            self.next.remove(&place);
            match change {
                Change::Came => self.waiting.insert(place),
                Change::Left => self.waiting.remove(&place),
            };
            (self.asked, self.moved) = (None, Instant::now());
        }
        if self.waiting.is_empty() || self.asked.is_some_and(|asked| asked.elapsed() < ASK_AGAIN) {
            return;
        }
        if let Err(error) = self.begin() {
            self.consumer.context().complain(&error);
        }
        self.asked = Some(Instant::now());
    }

    fn begin(&mut self) -> Result<(), KafkaError> {
        let mut wanted = TopicPartitionList::new();
        for (topic, partition) in &self.waiting {
            wanted.add_partition(&self.topics[*topic], *partition);
        }
        let (mut known, mut places) = (Vec::new(), TopicPartitionList::new());
        for element in self.consumer.committed_offsets(wanted, WAIT)?.elements() {
            element.error()?;
            let Some(topic) = self.topics.iter().position(|topic| topic == element.topic()) else { continue };
            let next = element.offset().to_raw().filter(|offset| *offset >= 0);
            let from = next.map_or(Offset::Beginning, Offset::Offset);
            places.add_partition_offset(element.topic(), element.partition(), from)?;
            known.push(((topic, element.partition()), next));
        }
        self.consumer.incremental_assign(&places)?;
        self.moved = Instant::now();
        for (place, next) in known {
            self.waiting.remove(&place);
            self.next.insert(place, next);
        }
        Ok(())
    }

    /// Notes a record as read. Offsets have holes where there never was a record; what retention deleted is missing.
    fn pass(&mut self, record: &ImportRecord, gone: &mut Vec<usize>) {
        let next = self.next.entry((record.topic, record.partition)).or_default();
        let expected = next.replace(record.offset + 1);
        let Some(expected) = expected.filter(|expected| *expected < record.offset) else { return };
        let topic = &self.topics[record.topic];
        let first = self.consumer.fetch_watermarks(topic, record.partition, WAIT).map_or(i64::MAX, |(first, _)| first);
        if expected < first && !gone.contains(&record.topic) {
            tracing::error!(
                %topic, partition = record.partition, from = expected, to = record.offset,
                "records were deleted before they were imported; views are uncovered around now: let the topic keep them longer"
            );
            gone.push(record.topic);
        }
    }

    /// Has our partitions bring nothing, or something again, once that may be told.
    fn pause(&mut self, paused: bool) {
        if self.paused == paused || self.moved.elapsed() < SETTLED {
            return;
        }
        self.paused = paused;
        let ours = self.consumer.assignment().unwrap_or_default();
        let told = if paused { self.consumer.pause(&ours) } else { self.consumer.resume(&ours) };
        if let Err(error) = told {
            self.consumer.context().complain(&error);
        }
    }

    /// Says which topics are missing, and which are no more.
    fn look_for_topics(&mut self) {
        if self.look.is_none_or(|look| look > Instant::now()) {
            return;
        }
        for (topic, was_missing) in self.topics.iter().zip(&mut self.missing) {
            match native::describe(self.consumer.client(), topic, Patience { wait: WAIT, ended: None }) {
                Ok(None) if !*was_missing => {
                    tracing::warn!(%topic, "a topic to import is missing: make it, or take it out of log.kafka.import_topics");
                    *was_missing = true;
                }
                Ok(Some(_)) if *was_missing => {
                    tracing::info!(%topic, "the topic to import is there");
                    *was_missing = false;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%topic, %error, "the brokers do not say whether a topic is there; asking again");
                    self.look = Some(Instant::now() + LOOK_EVERY);
                    return;
                }
            }
        }
        self.look = self.missing.contains(&true).then(|| Instant::now() + LOOK_EVERY);
    }
}

/// What is dealt with is told before the group is left, if the brokers answer.
impl Drop for ImportReader {
    fn drop(&mut self) {
        self.consumer.context().commit_last(&self.consumer, None);
    }
}

fn config(options: &KafkaOptions, group: &str) -> ClientConfig {
    let mut config = client::member(options, group, SESSION_TIMEOUT);
    config
        // Of a partition that nobody has read yet, and of one whose next record was deleted: that is found out by its
        // offset.
        .set("auto.offset.reset", "earliest")
        .set("check.crcs", "true")
        .set("queued.max.messages.kbytes", PREFETCH_KIB)
        // A record of any size can be passed over; how large they are is the topic's own limit.
        .set("receive.message.max.bytes", "2147483647")
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("statistics.interval.ms", "5000");
    config
}

fn record(topics: &[String], message: &BorrowedMessage<'_>) -> Option<ImportRecord> {
    let is_named = |key: &str| key.eq_ignore_ascii_case("content-type");
    let content_type = message.headers().and_then(|headers| {
        let named = headers.iter().find(|header| is_named(header.key))?;
        Some(String::from_utf8_lossy(named.value?).into_owned())
    });
    Some(ImportRecord {
        topic: topics.iter().position(|topic| topic == message.topic())?,
        partition: message.partition(),
        offset: message.offset(),
        content_type,
        payload: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
    })
}
