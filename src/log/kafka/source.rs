//! A partition being read: its queue in librdkafka, the record that is next in it, and how far it has come.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message, Timestamp as Stamp};

use super::client::Listener;
use crate::log::LogRecord;
use crate::model::{LogTime, Offset, PartitionId, Timestamp};

pub(super) struct Source {
    pub partition: PartitionId,
    /// `None` until the partition is assigned.
    pub queue: Option<PartitionQueue<Listener>>,
    /// Taken from the queue, not yet given out.
    pub head: Option<LogRecord>,
    /// The offset behind the last record given out.
    pub next: Offset,
    /// The running maximum of log times: brokers' clocks may go back, log time does not.
    pub passed: LogTime,
    /// Records of less are not wanted.
    pub from: LogTime,
    /// The place is not in the log: said once by librdkafka, which reads nothing more then.
    out_of_reach: bool,
}

/// What a queue had.
pub(super) enum Drawn {
    /// There is a record at the head.
    Record,
    Nothing,
    /// The place to read from is not in the log.
    OutOfReach,
    /// It may pass.
    Failed(KafkaError),
}

/// Whether some queue has got something since it was last looked at.
#[derive(Default)]
pub(super) struct Filled {
    /// Set on librdkafka's threads: held for an assignment.
    filled: Mutex<bool>,
    changed: Condvar,
}

impl Source {
    pub fn new(partition: u16, next: Offset, passed: LogTime, from: LogTime) -> Source {
        Source { partition: PartitionId(partition), queue: None, head: None, next, passed, from, out_of_reach: false }
    }

    /// It is being read anew, from `next`.
    pub fn begin(&mut self) {
        (self.head, self.out_of_reach) = (None, false);
    }

    /// Sees to it that the next record stands at the head, if it is there.
    pub fn draw(&mut self) -> Drawn {
        while self.head.is_none() {
            if self.out_of_reach {
                return Drawn::OutOfReach;
            }
            let Some(queue) = &self.queue else { return Drawn::Nothing };
            let polled = queue.poll(Duration::ZERO);
            match polled {
                None => return Drawn::Nothing,
                Some(Ok(message)) => {
                    let record = record(&message, self.partition, &mut self.passed);
                    // One that was given out before comes again when a partition is assigned anew.
                    self.head = record.filter(|record| record.offset >= self.next && record.log_time >= self.from);
                }
                Some(Err(error)) => {
                    self.out_of_reach = is_out_of_reach(&error);
                    return if self.out_of_reach { Drawn::OutOfReach } else { Drawn::Failed(error) };
                }
            }
        }
        Drawn::Record
    }

    /// Gives out the head.
    pub fn take(&mut self) -> Option<LogRecord> {
        let record = self.head.take()?;
        self.next = record.offset.next();
        Some(record)
    }
}

impl Filled {
    pub fn set(&self) {
        *self.filled.lock() = true;
        self.changed.notify_all();
    }

    pub fn clear(&self) {
        *self.filled.lock() = false;
    }

    pub fn wait(&self, patience: Duration) {
        let mut filled = self.filled.lock();
        if !*filled {
            self.changed.wait_for(&mut filled, patience);
        }
    }
}

fn record(message: &BorrowedMessage<'_>, partition: PartitionId, passed: &mut LogTime) -> Option<LogRecord> {
    let offset = Offset(u64::try_from(message.offset()).ok()?);
    if let Stamp::LogAppendTime(ms) = message.timestamp() {
        *passed = Timestamp(ms).max(*passed);
    }
    // What a topic took with times of its senders, before it was set right, has no time of its own.
    let log_time = (*passed).max(Timestamp(0));
    let payload = Bytes::copy_from_slice(message.payload().unwrap_or_default());
    Some(LogRecord { partition, offset, log_time, payload })
}

pub(super) fn is_out_of_reach(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AutoOffsetReset, LogTruncation, OffsetOutOfRange};
    matches!(error.rdkafka_error_code(), Some(AutoOffsetReset | OffsetOutOfRange | LogTruncation))
}
