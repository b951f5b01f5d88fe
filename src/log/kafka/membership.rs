//! This process in a consumer group: which partitions are ours, and how far the group has come.
//!
//! Nothing is read through it. What is ours is read by a reader of partitions, which does not know of groups; so a rebalance
//! moves what it has to and disturbs nothing else. Partitions come and go cooperatively: those that stay are not given up.
//! Committed offsets mean what Kafka's own tools take them for, and carry the log time in their metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use parking_lot::Mutex;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;

use super::bell::Bell;
use super::client::{self, Listener};
use super::error::KafkaOpenError;
use super::native::{self, Patience};
use super::options::KafkaOptions;
use crate::log::topics::{Assigned, Committed};
use crate::model::{Offset, PartitionId, Position, Timestamp};

/// How often what was handed over is committed.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// How long a commit may hold up whoever waits for it: a rebalance, or the next commit.
const COMMIT_WAIT: Duration = Duration::from_secs(3);

/// How long the group's offsets are asked for.
const COMMITTED_WAIT: Duration = Duration::from_secs(10);

/// How often it is tried to tell of a partition while as many events wait as may.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// How long leaving waits for the thread.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// Events that may wait: more than a few rebalances of the largest topic make.
const EVENTS_MAX: usize = 1 << 14;

/// This process in a consumer group. Dropping it leaves the group.
pub struct Membership {
    member: Arc<Member>,
    events: Receiver<Assigned>,
    /// For questions; until the group is left.
    consumer: Mutex<Option<Arc<BaseConsumer<Handle>>>>,
    /// What wakes the thread, and ends it when it is dropped, and what hears that it has; until the group is left.
    thread: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

/// What is shared with the thread that polls.
struct Member {
    topic: String,
    listener: Listener,
    events: Sender<Assigned>,
    /// Set on the thread that polls, read by everyone: held for a look-up.
    standing: Mutex<Standing>,
    /// Whether it wants no partitions for a while.
    aside: AtomicBool,
    /// Something has changed for the thread; the other end is dropped when the group is left.
    words: Receiver<()>,
}

#[derive(Default)]
struct Standing {
    owned: BTreeSet<PartitionId>,
    /// Handed over, not committed yet.
    pending: BTreeMap<PartitionId, Committed>,
}

/// What librdkafka calls on the thread that polls.
struct Handle(Arc<Member>);

impl Membership {
    /// Joins a group, for the partitions of a topic. What becomes ours is told by the events.
    ///
    /// # Errors
    /// When a client cannot be made.
    pub fn join(
        connection: &KafkaOptions,
        group: &str,
        topic: &str,
        session_timeout: Duration,
    ) -> Result<Membership, KafkaOpenError> {
        let unable = |error: String| KafkaOpenError::Options { error };
        let ((send, events), (words, heard)) = (bounded(EVENTS_MAX), bounded(1));
        let member = Arc::new(Member {
            topic: topic.to_owned(),
            listener: Listener::default(),
            events: send,
            standing: Mutex::default(),
            aside: AtomicBool::new(false),
            words: heard,
        });
        let consumer: BaseConsumer<Handle> = client::member(connection, group, session_timeout)
            // Nothing is to be fetched; what is on the way before a partition is paused is small.
            .set("auto.offset.reset", "latest")
            .set("fetch.message.max.bytes", "1024")
            .create_with_context(Handle(Arc::clone(&member)))
            .map_err(|error| unable(error.to_string()))?;
        consumer.subscribe(&[topic]).map_err(|error| unable(error.to_string()))?;
        let consumer = Arc::new(consumer);
        let bell = Bell::of_consumer(Arc::clone(&consumer)).map_err(unable)?;
        let (polling, (end, ended)) = (Arc::clone(&member), bounded(1));
        let run = move || {
            polling.run(&bell);
            // The last one: leaves the group.
            drop((bell, end));
        };
        let thread = std::thread::Builder::new().name("prefold-kafka-group".to_owned()).spawn(run);
        thread.map_err(|error| unable(format!("cannot start a thread: {error}")))?;
        let (consumer, thread) = (Mutex::new(Some(consumer)), Mutex::new(Some((words, ended))));
        Ok(Membership { member, events, consumer, thread })
    }

    /// What becomes of partitions, in order. It must be listened to: rebalances wait for it.
    pub fn events(&self) -> &Receiver<Assigned> {
        &self.events
    }

    /// How far the group has come with a partition that is ours; `None` when nothing was ever committed. Blocks meanwhile.
    ///
    /// # Errors
    /// When the brokers do not answer in time, when the group was left.
    pub fn committed(&self, partition: PartitionId) -> Result<Option<Committed>, String> {
        let consumer = self.consumer.lock().clone();
        let consumer = consumer.ok_or_else(|| "the group was left".to_owned())?;
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition(&self.member.topic, i32::from(partition.0));
        let found = consumer.committed_offsets(wanted, COMMITTED_WAIT).map_err(|error| error.to_string())?;
        let metadata = native::metadata(&found).into_iter().next().unwrap_or_default();
        let elements = found.elements();
        let element = elements.first().ok_or_else(|| "an answer without the partition".to_owned())?;
        element.error().map_err(|error| error.to_string())?;
        let next = match element.offset() {
            rdkafka::Offset::Offset(next) => Offset(next.max(0).unsigned_abs()),
            _ => return Ok(None),
        };
        Ok(Some(Committed { next, log_time: metadata.parse().map_or(Timestamp::MIN, Timestamp) }))
    }

    /// Hands positions over. They are committed once a second, before their partitions are given up, and when the group is left.
    /// Those of partitions that are not ours, or not any more, are dropped.
    pub fn commit(&self, positions: &[Position]) {
        let mut standing = self.member.standing.lock();
        for Position { partition, next, log_time } in positions.iter().copied() {
            if standing.owned.contains(&partition) {
                standing.pending.insert(partition, Committed { next, log_time });
            }
        }
    }

    /// The partitions that are ours now.
    pub fn owned(&self) -> BTreeSet<PartitionId> {
        self.member.standing.lock().owned.clone()
    }

    /// Leaves the group, so that others get its partitions, or joins it again; soon.
    pub fn stand_aside(&self, aside: bool) {
        if self.member.aside.swap(aside, Ordering::Relaxed) != aside {
            let thread = self.thread.lock();
            let _ = thread.as_ref().map(|(words, _)| words.try_send(()));
        }
    }

    /// Commits what was handed over and leaves the group at once, so that others take over without waiting for the session to
    /// end. Waits for the brokers for a few seconds at most. Leaving twice is harmless.
    pub fn leave(&self) {
        let Some((words, ended)) = self.thread.lock().take() else { return };
        drop((self.consumer.lock().take(), words));
        let _ = ended.recv_timeout(LEAVE_PATIENCE);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Member {
    fn run(&self, bell: &Bell<BaseConsumer<Handle>>) {
        let consumer = bell.polled();
        let (mut committed, mut is_aside) = (Instant::now(), false);
        while bell.wait(&self.words, COMMIT_EVERY.saturating_sub(committed.elapsed())) {
            if let Some(Err(error)) = consumer.poll(Duration::ZERO) {
                tracing::debug!(%error, "the consumer group");
            }
            let aside = self.aside.load(Ordering::Relaxed);
            if aside != is_aside {
                let told = if aside {
                    consumer.unsubscribe();
                    Ok(())
                } else {
                    consumer.subscribe(&[&self.topic])
                };
                match told {
                    Ok(()) => is_aside = aside,
                    Err(error) => {
                        tracing::warn!(%error, topic = %self.topic, "cannot join the consumer group again, trying again")
                    }
                }
            }
            if committed.elapsed() >= COMMIT_EVERY {
                committed = Instant::now();
                let positions = std::mem::take(&mut self.standing.lock().pending);
                self.commit(consumer, positions);
            }
        }
    }

    /// Commits positions. Those that the coordinator did not take wait for the next time, while they are ours; it refuses them
    /// from a member that it has given up.
    fn commit(&self, consumer: &BaseConsumer<Handle>, positions: BTreeMap<PartitionId, Committed>) {
        if positions.is_empty() {
            return;
        }
        let mut offsets = TopicPartitionList::new();
        for (partition, Committed { next, log_time }) in &positions {
            let mut place = offsets.add_partition(&self.topic, i32::from(partition.0));
            let next = rdkafka::Offset::Offset(i64::try_from(next.0).unwrap_or(i64::MAX));
            if let Err(error) = place.set_offset(next) {
                tracing::debug!(%error, "a position cannot be told to Kafka");
            }
            place.set_metadata(log_time.0.to_string());
        }
        let patience = Patience { wait: COMMIT_WAIT, ended: None };
        let Err(error) = native::commit(consumer.client(), &offsets, patience) else { return };
        tracing::debug!(%error, "Kafka did not take the group's offsets; trying again while the partitions are ours");
        let mut standing = self.standing.lock();
        for (partition, position) in positions {
            if standing.owned.contains(&partition) {
                standing.pending.entry(partition).or_insert(position);
            }
        }
    }

    /// These are ours from now on.
    fn arrived(&self, partitions: &[PartitionId]) {
        self.standing.lock().owned.extend(partitions);
        partitions.iter().for_each(|partition| self.tell(Assigned::Arrived(*partition)));
    }

    /// These are given up, or lost.
    fn left(&self, consumer: &BaseConsumer<Handle>, partitions: &[PartitionId]) {
        let mut standing = self.standing.lock();
        let of = |partition: &PartitionId| Some((*partition, standing.pending.remove(partition)?));
        let positions: BTreeMap<PartitionId, Committed> = partitions.iter().filter_map(of).collect();
        standing.owned.retain(|partition| !partitions.contains(partition));
        drop(standing);
        // What was lost is another's by now.
        if !consumer.assignment_lost() {
            self.commit(consumer, positions);
        }
        partitions.iter().for_each(|partition| self.tell(Assigned::Left(*partition)));
    }

    /// Tells what became of a partition, unless nobody is going to listen.
    fn tell(&self, event: Assigned) {
        while let Err(TrySendError::Full(_)) = self.events.try_send(event) {
            if self.words.recv_timeout(FULL_PAUSE) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }
}

impl ClientContext for Handle {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.listener.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.listener.error(error, reason);
    }
}

impl ConsumerContext for Handle {
    fn rebalance(&self, consumer: &BaseConsumer<Handle>, what: RDKafkaRespErr, changed: &mut TopicPartitionList) {
        let partitions: Vec<PartitionId> = changed
            .elements_for_topic(&self.0.topic)
            .iter()
            .filter_map(|element| u16::try_from(element.partition()).ok().map(PartitionId))
            .collect();
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let done = match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                let done = take(consumer, changed, cooperative);
                self.0.arrived(&partitions);
                done
            }
            _ => {
                self.0.left(consumer, &partitions);
                if cooperative { consumer.incremental_unassign(changed) } else { consumer.unassign() }
            }
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the consumer group's partitions cannot be taken over as they are assigned");
        }
    }
}

/// Takes partitions over, and has nothing fetched of them.
fn take(consumer: &BaseConsumer<Handle>, changed: &mut TopicPartitionList, cooperative: bool) -> Result<(), KafkaError> {
    if changed.count() == 0 && cooperative {
        return consumer.incremental_assign(changed);
    }
    // From their ends: the group's offsets are not looked up for a place to read from.
    changed.set_all_offsets(rdkafka::Offset::End)?;
    if cooperative {
        consumer.incremental_assign(changed)?
    } else {
        consumer.assign(changed)?
    }
    consumer.pause(changed)
}
