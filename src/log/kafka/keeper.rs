//! The keeper: a thread that sees to it that log time moves and that what is known of the topic stays true.
//!
//! Twice per tick interval it asks where the partitions end, appends a tick where nobody else appended, and looks whether the
//! topic is still the one that was opened. A process that appends nothing else leaves ticks to those that do, as long as there
//! are any. More rarely the keeper asks where partitions begin, and tells Kafka's own tools how far results have been
//! committed. It waits for brokers as long as it takes: nobody waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::client::{Listener, reading};
use super::options::KafkaOptions;
use super::producer::Appender;
use super::shared::Shared;
use super::survey::{Looks, Survey};

/// So many tick intervals a process that does not append waits for the ticks of others.
const OTHERS_TICKS: u32 = 5;

/// How often the group's offsets are committed.
const COMMIT_EVERY: Duration = Duration::from_secs(5);

/// How long the last commit may take.
const LAST_COMMIT: Duration = Duration::from_millis(500);

pub(super) struct Keeper {
    pub shared: Arc<Shared>,
    pub appender: Arc<Appender>,
    /// That waits for no answer once the log is closed.
    pub survey: Survey,
    pub options: KafkaOptions,
    /// Its other end is dropped when the log is closed.
    pub closed: Receiver<()>,
}

impl Keeper {
    pub fn run(self) {
        let mut group = None;
        let silence = self.options.tick_interval.saturating_mul(if self.options.appends { 1 } else { OTHERS_TICKS });
        let (mut looks, mut committed) = (Looks::begin(&self.options), Instant::now());
        while self.closed.recv_timeout(self.options.tick_interval / 2) == Err(RecvTimeoutError::Timeout) {
            self.appender.mend();
            // What the brokers say is true of when they were asked, or later.
            let at = Instant::now();
            self.survey.look(&mut looks);
            if self.shared.replaced.get().is_some() {
                self.appender.give_up();
                continue;
            }
            let idle = self.shared.catalog.lock().idle(silence, at);
            self.appender.tick(&idle);
            if committed.elapsed() >= COMMIT_EVERY {
                committed = Instant::now();
                self.commit(&mut group);
            }
        }
        self.commit(&mut group);
        // Brokers that do not answer must not keep us from closing.
        if let Some(group) = group {
            drop(group.poll(LAST_COMMIT));
        }
    }

    /// Tells Kafka how far we are. Nothing of ours reads it: what fails is tried again with the next positions.
    /// Who has no positions has no client for it.
    fn commit(&self, group: &mut Option<BaseConsumer<Listener>>) {
        // Serves what came meanwhile; there are no messages, for nothing is assigned.
        while group.as_ref().is_some_and(|group| group.poll(Duration::ZERO).is_some()) {}
        let positions = std::mem::take(&mut self.shared.catalog.lock().committed);
        if positions.is_empty() || self.shared.replaced.get().is_some() {
            return;
        }
        if group.is_none() {
            let made = reading(&self.options, self.shared.partitions).create_with_context(self.shared.listener.clone());
            *group = made.inspect_err(|error| tracing::debug!(%error, "positions cannot be told to Kafka")).ok();
        }
        let Some(group) = group else { return };
        let mut offsets = TopicPartitionList::new();
        for position in positions {
            let next = KafkaOffset::Offset(position.next.0 as i64);
            let added = offsets.add_partition_offset(&self.shared.topic, i32::from(position.partition.0), next);
            if let Err(error) = added {
                tracing::debug!(%error, "a position cannot be told to Kafka");
            }
        }
        if let Err(error) = group.commit(&offsets, CommitMode::Async) {
            tracing::debug!(%error, "Kafka did not take the group's offsets; lag is shown too large meanwhile");
        }
    }
}
