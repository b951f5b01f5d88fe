//! A partition being read: its queue in librdkafka, the record that is next in it, and how far it has come.

use bytes::Bytes;
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

impl Source {
    pub fn new(partition: u16, next: Offset, passed: LogTime, from: LogTime) -> Source {
        Source { partition: PartitionId(partition), queue: None, head: None, next, passed, from }
    }

    /// Sees to it that the next record stands at the head, if it is there.
    pub fn draw(&mut self) -> Drawn {
        while self.head.is_none() {
            let Some(queue) = &self.queue else { return Drawn::Nothing };
            let polled = queue.poll(std::time::Duration::ZERO);
            match polled {
                None => return Drawn::Nothing,
                Some(Ok(message)) => {
                    let record = record(&message, self.partition, &mut self.passed);
                    // One that was given out before comes again when a partition is assigned anew.
                    self.head = record.filter(|record| record.offset >= self.next && record.log_time >= self.from);
                }
                Some(Err(error)) => return failure(error),
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

fn failure(error: KafkaError) -> Drawn {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::LogTruncation) => {
            Drawn::OutOfReach
        }
        _ => Drawn::Failed(error),
    }
}
