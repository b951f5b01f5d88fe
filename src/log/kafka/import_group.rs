//! Membership in the group that imports: which partitions come and go, how far each was dealt with, and how much is left.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};

use super::client::Listener;

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

/// What librdkafka calls back, on the thread that polls.
pub(super) struct Member {
    topics: Arc<[String]>,
    listener: Listener,
    pub lag: Arc<ImportLag>,
    /// The offset behind what was dealt with and not yet told to the group.
    pub done: Mutex<HashMap<Place, i64>>,
    /// Partitions that have come and gone since somebody looked.
    changes: Mutex<(Vec<Place>, Vec<Place>)>,
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

    /// Partitions that have come, and that have gone, since the last time.
    pub fn take_changes(&self) -> (Vec<Place>, Vec<Place>) {
        std::mem::take(&mut self.changes.lock())
    }

    /// Tells the group how far partitions were dealt with: those listed, or all that are ours. What lies with others now is
    /// theirs to tell.
    pub fn commit(&self, consumer: &BaseConsumer<Member>, only: Option<&[Place]>, mode: CommitMode) {
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
        if offsets.count() > 0
            && let Err(error) = consumer.commit(&offsets, mode)
        {
            self.not_told(&error, &offsets);
        }
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
    /// Partitions that go are told of while they are ours.
    fn pre_rebalance(&self, consumer: &BaseConsumer<Member>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            let places = self.places(list);
            if !consumer.assignment_lost() {
                self.commit(consumer, Some(&places), CommitMode::Sync);
            }
            self.changes.lock().1.extend(places);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        if let Err(error) = result {
            self.not_told(&error, offsets);
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Member>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            self.changes.lock().0.extend(self.places(list));
        }
    }
}
