//! The thread that follows the topic of a table.
//!
//! It goes on for as long as the table is open: errors that may pass are tried again, and what is no entry is skipped. The end
//! of the topic may be something that is no record; librdkafka says only that it has come to the end, not where that is. So
//! who wants to know whether a certain place was reached has reading begin anew there: the end that is told next lies behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message, Timestamp as Stamp};

use super::bell::Bell;
use super::client::Listener;
use super::source::is_out_of_reach;
use super::survey::Survey;
use super::table::{Held, PARTITION};
use crate::model::{Offset, Timestamp};

/// How often it is looked whether reading stands still, while more is wanted; and whether the topic is another one, while not.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOK_IDLY_EVERY: Duration = Duration::from_millis(500);

/// How long reading may stand still short of a place that is wanted before it begins anew; and once it has, because the end is
/// told only after the brokers have waited for more.
const STANDSTILL: Duration = Duration::from_millis(500);
const STANDSTILL_AGAIN: Duration = Duration::from_secs(5);

/// How often at most it begins anew for another reason.
const AGAIN_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Follower {
    bell: Bell<BaseConsumer<Listener>>,
    survey: Survey,
    held: Arc<Held>,
    /// More is wanted; the other end is dropped when the table is closed.
    words: Receiver<()>,
    /// When something was last read, or nothing more was wanted.
    heard: Instant,
    /// Where the end lies at least that will be told next.
    behind: Option<Offset>,
    /// Reading has to begin anew: it never began, or the place is not there.
    astray: bool,
}

impl Follower {
    pub fn new(bell: Bell<BaseConsumer<Listener>>, survey: Survey, held: Arc<Held>, words: Receiver<()>) -> Follower {
        Follower { bell, survey, held, words, heard: Instant::now(), behind: None, astray: true }
    }

    pub fn run(&mut self) {
        let mut tried: Option<Instant> = None;
        loop {
            if self.astray && tried.is_none_or(|at| at.elapsed() >= AGAIN_EVERY) {
                tried = Some(Instant::now());
                if let Err(error) = self.begin() {
                    self.complain(&error);
                }
            }
            let done = if self.is_replaced() { Ok(()) } else { self.go_on() };
            if let Err(error) = done {
                self.complain(&error.to_string());
            }
            if !self.wait() {
                return;
            }
        }
    }

    /// Whether the topic is another one, whose records would be taken for this one's.
    fn is_replaced(&self) -> bool {
        self.survey.shared.replaced.get().is_some()
    }

    /// Waits until there may be something to do. False when the table is closed.
    fn wait(&mut self) -> bool {
        if self.is_replaced() {
            return self.words.recv_timeout(LOOK_IDLY_EVERY) != Err(RecvTimeoutError::Disconnected);
        }
        let (next, wanted) = self.held.progress();
        let idle = wanted <= next && !self.astray;
        let open = self.bell.wait(&self.words, if idle { LOOK_IDLY_EVERY } else { LOOK_EVERY });
        if idle {
            self.heard = Instant::now();
        }
        open
    }

    /// Has reading begin anew where it stands still, and takes what has come.
    fn go_on(&mut self) -> Result<(), KafkaError> {
        let (next, wanted) = self.held.progress();
        if wanted > next && !self.astray && self.heard.elapsed() >= self.standstill() {
            self.heard = Instant::now();
            self.behind = Some(wanted);
            self.assign(next)?;
        }
        self.poll()
    }

    /// Says that the table is not read, now and then: while brokers are away it is so several times a second, for one reason or
    /// another.
    fn complain(&self, error: &str) {
        let shared = &self.survey.shared;
        match shared.listener.is_due("a table is not read") {
            true => tracing::warn!(topic = %shared.topic, %error, "a table cannot be read from Kafka; trying again"),
            false => tracing::debug!(topic = %shared.topic, %error, "a table cannot be read from Kafka; trying again"),
        }
    }

    fn standstill(&self) -> Duration {
        if self.behind.is_some() { STANDSTILL_AGAIN } else { STANDSTILL }
    }

    /// Reads from where we are, or from the beginning where that is not in the topic.
    fn begin(&mut self) -> Result<(), String> {
        let (first, end) = (self.survey.first_of(PARTITION)?, self.survey.next_of(PARTITION)?);
        let (next, _) = self.held.progress();
        // Compaction deletes what is not needed, and leaves the beginning where it is.
        let lost = next != Offset(0) && (next < first || next > end);
        if lost {
            tracing::warn!(topic = %self.survey.shared.topic, "records were deleted before they were read; reading all again");
            self.held.restart(first);
        }
        let from = if lost { first } else { next.max(first) };
        self.assign(from).map_err(|error| error.to_string())?;
        (self.astray, self.heard) = (false, Instant::now());
        Ok(())
    }

    fn assign(&self, next: Offset) -> Result<(), KafkaError> {
        let mut places = TopicPartitionList::new();
        let next = rdkafka::Offset::Offset(i64::try_from(next.0).unwrap_or(i64::MAX));
        places.add_partition_offset(&self.survey.shared.topic, i32::from(PARTITION.0), next)?;
        self.bell.polled().assign(&places)
    }

    fn poll(&mut self) -> Result<(), KafkaError> {
        match self.bell.polled().poll(Duration::ZERO) {
            None => return Ok(()),
            Some(Ok(message)) => take(&self.survey, &self.held, &message),
            Some(Err(KafkaError::PartitionEOF(_))) => {
                if let Some(next) = self.behind.take() {
                    self.held.reached(next);
                }
            }
            Some(Err(error)) => {
                self.astray |= is_out_of_reach(&error);
                return Err(error);
            }
        }
        self.heard = Instant::now();
        Ok(())
    }
}

fn take(survey: &Survey, held: &Held, message: &BorrowedMessage<'_>) {
    let Ok(offset) = u64::try_from(message.offset()).map(Offset) else { return };
    let log_time = match message.timestamp() {
        Stamp::LogAppendTime(ms) => Timestamp(ms),
        _ => Timestamp(0),
    };
    let key = message.key().and_then(|key| std::str::from_utf8(key).ok());
    if key.is_none() {
        let topic = &survey.shared.topic;
        tracing::warn!(%topic, offset = offset.0, "a record without a key that is text is skipped: it is none of Prefold's");
    }
    survey.shared.catalog.lock().seen(PARTITION.0, offset, log_time);
    held.apply(key, message.payload().map(Bytes::copy_from_slice), offset, log_time);
}
