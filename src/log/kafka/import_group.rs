//! Membership in the group that imports: which partitions come and go, how far each was dealt with, and how much is left.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::client::Listener;
use super::native::{self, Patience};

/// How long a commit that is waited for may take: where partitions go, which holds up a rebalance, and where the group is left.
const LAST_COMMIT: Duration = Duration::from_secs(3);

/// A topic, by its place among those that are read, and a partition of it.
pub(super) type Place = (usize, i32);

/// What is left to be imported.
#[derive(Debug)]
pub struct ImportLag(Vec<AtomicU64>);

impl ImportLag {
    /// Records of a topic in the partitions that are ours, as of the last few seconds.
    pub fn records(&self, topic: usize) -> u64 {
        self.0.get(topic).map_or(0, |records| records.load(Ordering::Relaxed))
    }
}

/// What becomes of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is ours, and is to be read once the group has said from where on.
    Came,
    Left,
}

/// What librdkafka calls back, on the thread that polls.
pub(super) struct Member {
    topics: Arc<[String]>,
    listener: Listener,
    pub lag: Arc<ImportLag>,
    /// The offset behind what was dealt with and not yet told to the group.
    pub done: Mutex<HashMap<Place, i64>>,
    /// What became of partitions since somebody looked, in order.
    changes: Mutex<Vec<(Place, Change)>>,
}

impl Member {
    pub fn new(topics: &Arc<[String]>) -> Member {
        Member {
            lag: Arc::new(ImportLag(topics.iter().map(|_| AtomicU64::new(0)).collect())),
            topics: Arc::clone(topics),
            listener: Listener::default(),
            done: Mutex::default(),
            changes: Mutex::default(),
        }
    }

    /// What became of partitions since the last time.
    pub fn take_changes(&self) -> Vec<(Place, Change)> {
        std::mem::take(&mut self.changes.lock())
    }

    /// Tells the group how far the partitions that are ours were dealt with, without waiting for it. What lies with others now
    /// is theirs to tell.
    pub fn commit(&self, consumer: &BaseConsumer<Member>) {
        let offsets = self.take_done(consumer, None);
        if offsets.count() > 0
            && let Err(error) = consumer.commit(&offsets, CommitMode::Async)
        {
            self.not_told(&error, &offsets);
        }
    }

    /// The same of those listed, or of all that are ours, for the last time. Brokers that do not answer are not waited for
    /// longer than [`LAST_COMMIT`]: whoever reads on reads a few records again.
    pub fn commit_last(&self, consumer: &BaseConsumer<Member>, only: Option<&[Place]>) {
        let offsets = self.take_done(consumer, only);
        if offsets.count() == 0 {
            return;
        }
        if let Err(error) = native::commit(consumer.client(), &offsets, Patience { wait: LAST_COMMIT, ended: None }) {
            tracing::info!(%error, "Kafka did not take how far topics were imported; what is not told is imported again");
        }
    }

    /// What is to be told of partitions: of those listed, or of all that are ours.
    fn take_done(&self, consumer: &BaseConsumer<Member>, only: Option<&[Place]>) -> TopicPartitionList {
        let mut done = std::mem::take(&mut *self.done.lock());
        let ours = match only {
            Some(places) => places.to_vec(),
            None => self.places(&consumer.assignment().unwrap_or_default()),
        };
        let mut offsets = TopicPartitionList::new();
        for place in ours {
            let Some(next) = done.remove(&place) else { continue };
            let added = offsets.add_partition_offset(&self.topics[place.0], place.1, Offset::Offset(next));
            added.unwrap_or_else(|error| self.complain(&error));
        }
        if only.is_some() {
            // The others are told later.
            *self.done.lock() = done;
        }
        offsets
    }

    /// Positions that the group did not take are told again, unless there are newer ones by then.
    fn not_told(&self, error: &KafkaError, offsets: &TopicPartitionList) {
        self.complain(error);
        let mut done = self.done.lock();
        for (place, element) in self.places(offsets).into_iter().zip(offsets.elements()) {
            if let Offset::Offset(next) = element.offset() {
                done.entry(place).or_insert(next);
            }
        }
    }

    /// What passes, or comes again with the next attempt.
    pub fn complain(&self, error: &KafkaError) {
        match error.rdkafka_error_code() {
            // Said by name where topics are looked for.
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {}
            _ => self.listener.error(error.clone(), "reading the topics of log.kafka.import_topics"),
        }
    }

    fn places(&self, list: &TopicPartitionList) -> Vec<Place> {
        let elements = list.elements();
        let place = |topic: &str, partition| Some((self.topics.iter().position(|known| known == topic)?, partition));
        elements.iter().filter_map(|element| place(element.topic(), element.partition())).collect()
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.listener.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.listener.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        for (name, lag) in self.topics.iter().zip(&self.lag.0) {
            let partitions = statistics.topics.get(name).map(|topic| topic.partitions.values());
            let ours = partitions.into_iter().flatten().filter(|one| one.partition >= 0 && one.fetch_state == "active");
            lag.store(ours.map(|one| one.consumer_lag.max(0).unsigned_abs()).sum(), Ordering::Relaxed);
        }
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Member>, what: RDKafkaRespErr, changed: &mut TopicPartitionList) {
        let places = self.places(changed);
        let done = match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.take(consumer, &places),
            _ => self.give_up(consumer, &places),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "partitions of topics to import cannot be taken over as they are assigned");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        if let Err(error) = result {
            self.not_told(&error, offsets);
        }
    }
}

impl Member {
    /// The rebalance ends with nothing assigned. Whoever reads asks where the group stands, until it is told, and assigns the
    /// partitions from there. librdkafka would ask once, and read nothing of a partition whose coordinator was no coordinator at
    /// that moment; and a partition that is assigned first and moved later goes to its end when the first place is looked up
    /// slowly: the answer that came too late is asked for anew.
    fn take(&self, consumer: &BaseConsumer<Member>, places: &[Place]) -> KafkaResult<()> {
        self.changes.lock().extend(places.iter().map(|place| (*place, Change::Came)));
        consumer.incremental_assign(&TopicPartitionList::new())
    }

    /// Partitions that go are told of while they are ours. Those that are not assigned yet are only forgotten.
    fn give_up(&self, consumer: &BaseConsumer<Member>, places: &[Place]) -> KafkaResult<()> {
        if !consumer.assignment_lost() {
            self.commit_last(consumer, Some(places));
        }
        self.changes.lock().extend(places.iter().map(|place| (*place, Change::Left)));
        let assigned = consumer.assignment().map_or_else(|_| places.to_vec(), |all| self.places(&all));
        let mut left = TopicPartitionList::new();
        for (topic, partition) in assigned.into_iter().filter(|place| places.contains(place)) {
            left.add_partition(&self.topics[topic], partition);
        }
        consumer.incremental_unassign(&left)
    }
}
