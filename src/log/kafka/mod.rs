//! The log in Kafka: a topic of Kafka's, written and read through librdkafka. The only door to it.
//!
//! Kafka gives what the embedded log cannot: several machines that write, several that read, and copies on other brokers.
//! Log time is the broker's append time. Useful for: surviving the loss of a machine, and for more than one process. Not
//! useful for: a single machine, where the embedded log needs nothing else.
//!
//! What several processes need besides is here, too: a reader of partitions that come and go, streams between processes, tables
//! that all of them hold, and membership in a consumer group. Topics that others write are read by members of a group, for
//! whoever appends what is in them: import.
//!
//! Reading order: topic says what is asked of Kafka and shared what is known of it; producer appends, reader reads; survey
//! asks the brokers, on the keeper's thread or on a reader's. Then partitions; stream with watch and writer; table with follow;
//! membership.

mod bell;
mod blocking;
mod client;
mod error;
mod follow;
mod import;
mod import_group;
mod keeper;
mod membership;
#[cfg(test)]
mod mock;
mod native;
mod options;
mod partitions;
mod producer;
mod reader;
mod shared;
mod silence;
mod source;
mod stream;
mod survey;
mod table;
mod topic;
mod topics;
mod watch;
mod writer;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{AppendError, Appended, Extent, Log, LogReader, LogStats, NewRecord, ReadError, ReadFrom};
use crate::model::{PartitionBy, PartitionId, Position};
use keeper::Keeper;
use producer::Appender;
use reader::KafkaReader;
use shared::Shared;
use survey::Survey;
use topic::Keeping;

pub use error::KafkaOpenError;
pub use import::{ImportBatch, ImportReader, ImportRecord};
pub use import_group::ImportLag;
pub use membership::Membership;
pub use options::{Compression, KafkaOptions, Mechanism, Sasl, Tls};
pub use partitions::PartitionsReader;
pub use stream::{KafkaStream, StreamOptions, StreamWriter};
pub use table::{KafkaTable, TableOptions};

/// How long closing waits for what was handed over, beyond what delivery may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// How long closing waits for the keeper.
const KEEPER_PATIENCE: Duration = Duration::from_secs(2);

/// A log in a topic of Kafka's. Dropping it closes it.
pub struct KafkaLog {
    shared: Arc<Shared>,
    appender: Arc<Appender>,
    survey: Survey,
    options: KafkaOptions,
    record_bytes_max: usize,
    /// The keeper's thread, and what ends it when it is dropped; until the log is closed.
    keeper: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl KafkaLog {
    /// Opens the log in a topic, which is made when it is not there. Waits for the brokers, and blocks meanwhile.
    ///
    /// # Errors
    /// When no broker answers in time, when the topic cannot be made, when its configuration does not keep what the log
    /// promises, when it is the known one with another partition count or labels. The message says what to do.
    pub fn open(options: KafkaOptions) -> Result<KafkaLog, KafkaOpenError> {
        let (survey, message_bytes_max) = survey::open(&options, Keeping::All)?;
        KafkaLog::over(options, survey, message_bytes_max)
    }

    /// The log in a topic that was found and checked.
    fn over(options: KafkaOptions, survey: Survey, message_bytes_max: usize) -> Result<KafkaLog, KafkaOpenError> {
        let shared = Arc::clone(&survey.shared);
        let appender = Appender::new(Arc::clone(&shared), options.clone(), message_bytes_max)
            .map_err(|error| KafkaOpenError::Options { error })?;
        let appender = Arc::new(appender);
        let (close, closed) = bounded(1);
        let keeper = Keeper {
            shared: Arc::clone(&shared),
            appender: Arc::clone(&appender),
            survey: survey.until_closed(),
            options: options.clone(),
            closed,
        };
        let thread = std::thread::Builder::new().name("prefold-kafka".to_owned()).spawn(move || keeper.run());
        let thread = thread.map_err(|error| KafkaOpenError::Options { error: format!("cannot start a thread: {error}") })?;
        let keeper = Mutex::new(Some((close, thread)));
        Ok(KafkaLog {
            shared,
            appender,
            survey,
            options,
            record_bytes_max: topic::record_bytes_max(message_bytes_max),
            keeper,
        })
    }

    /// A reader of partitions that come and go; it reads none yet.
    ///
    /// # Errors
    /// When a client cannot be made.
    pub fn partitions_reader(&self) -> Result<PartitionsReader, ReadError> {
        PartitionsReader::new(self.survey.until_closed(), &self.options)
    }

    /// Why records are not even tried, if so.
    fn admit(&self, records: &[NewRecord]) -> Result<(), AppendError> {
        if self.shared.is_closed() {
            return Err(AppendError::Closed);
        }
        if let Some(why) = self.shared.replaced.get() {
            return Err(AppendError::Replaced { why: why.clone() });
        }
        let partitions = self.shared.partitions;
        if let Some(stray) = records.iter().find(|record| record.partition.0 >= partitions) {
            return Err(AppendError::UnknownPartition { partition: stray.partition, partitions });
        }
        let (bytes, bytes_max) = (largest(records), self.record_bytes_max);
        if bytes > bytes_max { Err(AppendError::TooLarge { bytes, bytes_max }) } else { Ok(()) }
    }
}

fn largest(records: &[NewRecord]) -> usize {
    records.iter().map(|record| record.payload.len()).max().unwrap_or(0)
}

impl Log for KafkaLog {
    fn partitions(&self) -> u16 {
        self.shared.partitions
    }

    fn partition_by(&self) -> PartitionBy {
        self.shared.partition_by.clone()
    }

    fn incarnation(&self) -> u128 {
        self.shared.incarnation
    }

    fn record_bytes_max(&self) -> usize {
        self.record_bytes_max
    }

    fn append(&self, records: Vec<NewRecord>) -> Appended {
        let (answer, appended) = oneshot::channel();
        match self.admit(&records) {
            Ok(()) if records.is_empty() => drop(answer.send(Ok(()))),
            Ok(()) => self.appender.append(&records, answer),
            Err(error) => {
                self.shared.catalog.lock().stats.append_failures += 1;
                drop(answer.send(Err(error)));
            }
        }
        appended
    }

    fn extent(&self, partition: PartitionId) -> Extent {
        self.shared.catalog.lock().extent(partition)
    }

    fn reader(&self, from: ReadFrom) -> Result<Box<dyn LogReader>, ReadError> {
        Ok(Box::new(KafkaReader::new(self.survey.clone(), &self.options, &from)?))
    }

    fn note_committed(&self, positions: &[Position]) {
        self.shared.catalog.lock().committed = positions.to_vec();
    }

    fn stats(&self) -> LogStats {
        let queued_bytes = self.shared.queued_bytes.load(Ordering::Relaxed) as u64;
        let catalog = self.shared.catalog.lock();
        LogStats { queued_bytes, newest_log_time: catalog.newest_log_time(), ..catalog.stats }
    }

    fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        let Some((close, keeper)) = self.keeper.lock().take() else { return };
        drop(close);
        self.appender.finish(self.options.delivery_timeout + CLOSE_PATIENCE);
        let began = Instant::now();
        while !keeper.is_finished() {
            // It waits for brokers that do not answer its last commit, and ends by itself.
            if began.elapsed() >= KEEPER_PATIENCE {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        if keeper.join().is_err() {
            tracing::error!("the thread that keeps the log in Kafka has panicked; what was acknowledged before is safe");
        }
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.close();
    }
}
