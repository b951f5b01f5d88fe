//! A topic between our own processes: "partials" from workers to workers, "results" from workers to query replicas.
//!
//! It is made and checked as the samples' topic is, but nobody ticks in it: what log time has passed is said in its records.
//! Useful for: handing on what can be computed again from the samples, in order and without holes. Not useful for:
//! anything that must outlive the retention.

use std::sync::Arc;

use bytes::Bytes;

use super::error::KafkaOpenError;
use super::options::KafkaOptions;
use super::partitions::PartitionsReader;
use super::topic::{self, Keeping};
use super::watch::Watch;
use super::writer::Writer;
use crate::log::topics::Written;
use crate::log::{Extent, ReadError};
use crate::model::{PartitionBy, PartitionId};

/// What a stream is opened with.
#[derive(Clone)]
pub struct StreamOptions {
    /// Brokers, TLS, SASL, compression, batches, replication and timeouts. Topic, partitions and retention are those below; labels decide nothing here.
    pub connection: KafkaOptions,
    pub topic: String,
    /// Of a topic that does not exist yet; an existing one keeps its own.
    pub partitions: u16,
    /// A new topic keeps records this long; an existing one must keep them at least as long.
    pub retention_ms: i64,
}

/// A topic between our own processes. Dropping it closes it.
pub struct KafkaStream {
    watch: Watch,
    message_bytes_max: usize,
}

impl KafkaStream {
    /// Opens a topic, which is made when it is not there. Waits for the brokers, and blocks meanwhile.
    ///
    /// # Errors
    /// When no broker answers in time, when the topic cannot be made, when its configuration does not keep what is promised.
    /// The message says what to do.
    pub fn open(options: StreamOptions) -> Result<KafkaStream, KafkaOpenError> {
        let StreamOptions { connection, topic, partitions, retention_ms } = options;
        let options = KafkaOptions {
            topic,
            partitions,
            partition_by: PartitionBy::default(),
            retention_ms,
            known_incarnation: None,
            append_observer: None,
            ..connection
        };
        let (watch, message_bytes_max) = Watch::open(options, Keeping::Stream)?;
        Ok(KafkaStream::over(watch, message_bytes_max))
    }

    /// The stream in a topic that was found and checked.
    pub(super) fn over(watch: Watch, message_bytes_max: usize) -> KafkaStream {
        KafkaStream { watch, message_bytes_max }
    }

    /// How many partitions there are; fixed when the topic was made.
    pub fn partitions(&self) -> u16 {
        self.watch.survey.shared.partitions
    }

    /// 16 bytes that tell this topic from every other: positions mean something only together with them.
    pub fn incarnation(&self) -> u128 {
        self.watch.survey.shared.incarnation
    }

    /// The largest payload that a record may have; a larger one is refused as too large.
    pub fn record_bytes_max(&self) -> usize {
        topic::record_bytes_max(self.message_bytes_max)
    }

    /// What a partition holds, as was known half a second ago. A partition that does not exist is empty.
    pub fn extent(&self, partition: PartitionId) -> Extent {
        self.watch.survey.shared.catalog.lock().extent(partition)
    }

    /// A reader of partitions that come and go; it reads none yet.
    ///
    /// # Errors
    /// When a client cannot be made.
    pub fn partitions_reader(&self) -> Result<PartitionsReader, ReadError> {
        PartitionsReader::new(self.watch.survey.until_closed(), &self.watch.options)
    }

    /// A writer that keeps order.
    ///
    /// # Errors
    /// When a client cannot be made.
    pub fn writer(&self) -> Result<StreamWriter, KafkaOpenError> {
        let shared = Arc::clone(&self.watch.survey.shared);
        Writer::new(&shared, &self.watch.options, self.message_bytes_max, None).map(StreamWriter)
    }

    /// Ends what is behind the stream: readers get [`ReadError::Closed`], writers take no more. Closing twice is harmless.
    pub fn close(&self) {
        self.watch.close();
    }
}

/// Ordered writing: within a partition, a record is never there without all records before it of this writer.
///
/// Records wait for the brokers as long as it takes. Dropping the writer throws away what waits, and waits itself for a few
/// seconds at most.
pub struct StreamWriter(Writer);

impl StreamWriter {
    /// Appends a record. Answer: its offset, once all replicas in sync have it.
    ///
    /// A record that is not taken, whatever the reason, is the last: every later one is answered with an error, and so are those
    /// that wait. Whoever appends looks at [`StreamWriter::queued_bytes`] first.
    pub fn append(&self, partition: PartitionId, payload: Bytes) -> Written {
        self.0.append(partition, None, Some(&payload))
    }

    /// Bytes that wait to be acknowledged, frames included.
    pub fn queued_bytes(&self) -> usize {
        self.0.queued_bytes()
    }

    /// Set once anything failed: nothing more is appended by this writer. Make another, and begin from the last position.
    pub fn failed(&self) -> Option<String> {
        self.0.failed().map(|error| error.to_string())
    }
}
