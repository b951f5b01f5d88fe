//! The embedded log: one journal on the local disk for all partitions, no other process needed.
//!
//! Appends of all threads meet in a queue; one thread takes all that wait, writes them as one checksummed frame, syncs once,
//! and answers. The journal is a row of files, segments, of which the oldest are deleted. Useful for: one process that keeps
//! hours of samples and survives any crash. Not useful for: surviving the loss of the disk; that is what Kafka is for.
//!
//! Reading order: frame and format say what is on the disk; journal how it becomes durable; recover how it is found again;
//! catalog what is known of it; writer and reader who use it.

mod catalog;
mod cursor;
mod disk;
mod error;
mod format;
mod frame;
mod frame_header;
mod journal;
mod log_time;
mod options;
mod queue;
mod rate;
mod reader;
mod recent;
mod recover;
mod retention;
mod writer;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod faulty_disk;

use std::collections::hash_map::RandomState;
use std::fs::{File, TryLockError};
use std::hash::BuildHasher;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::{AppendError, Appended, DiskStats, Extent, Log, LogReader, LogStats, NewRecord, ReadError, ReadFrom};
use crate::model::{PartitionBy, PartitionId};
use catalog::Shared;
use disk::{Disk, FileDisk};
use frame::{FrameBuffers, RECORD_OVERHEAD_BYTES};
use log_time::{AHEAD_MS_MAX, LogClock};
use queue::{Append, Queue};
use reader::JournalReader;
use recent::Recent;
use recover::{Recovered, recover};
use retention::Retention;
use writer::{Complaint, Writer};

pub use error::OpenError;
pub use options::EmbeddedOptions;
pub use rate::bytes_per_ms;

/// A log in a directory of its own. Dropping it closes it.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    batch_bytes_max: usize,
    partition_by: PartitionBy,
    /// The writer's thread until the log is closed.
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Keeps other processes away from the directory while it is open.
    _lock: Option<File>,
}

impl EmbeddedLog {
    /// Opens the log in a directory, or makes one there. Repairs what a crash left.
    ///
    /// # Errors
    /// When another process has it open, when it is damaged or not this program's, when its newest log time is more than 10
    /// minutes ahead of the clock, when the options do not fit. The message says what to do.
    pub fn open(dir: &Path, options: EmbeddedOptions) -> Result<EmbeddedLog, OpenError> {
        options.check()?;
        let io = |action, error| OpenError::Io { action, file: dir.display().to_string(), error };
        create_dir(dir).map_err(|error| io("create", error))?;
        let lock = lock(dir)?;
        EmbeddedLog::open_on(Arc::new(FileDisk::new(dir.to_owned())), Some(lock), options)
    }

    fn open_on(disk: Arc<dyn Disk>, lock: Option<File>, options: EmbeddedOptions) -> Result<EmbeddedLog, OpenError> {
        let Recovered { incarnation, mut catalog, journal } =
            recover(&disk, options.partitions, &options.partition_by, random_bits())?;
        let (newest, now) = (catalog.newest, options.clock.now());
        if newest - now > AHEAD_MS_MAX {
            return Err(OpenError::Ahead { dir: disk.describe(""), newest, now });
        }
        catalog.recent = Recent::new(options.recent_bytes_max);
        let shared = Arc::new(Shared {
            disk,
            incarnation,
            partitions: options.partitions,
            catalog: Mutex::new(catalog),
            grown: Condvar::new(),
        });
        let queue = Arc::new(Queue::new(options.queue_bytes_max));
        let writer = Writer {
            shared: shared.clone(),
            queue: queue.clone(),
            journal,
            log_clock: LogClock::new(options.log_time, newest, now),
            retention: Retention::new(options.retention_ms, options.retention_bytes),
            segment_bytes: options.effective_segment_bytes(),
            tick_interval: options.tick_interval,
            heard: vec![false; usize::from(options.partitions)],
            append_complaint: Complaint::new("the log refuses writes", "the log takes writes again"),
            segment_complaint: Complaint::new("the log cannot begin a new file", "the log has begun a new file"),
            clock: options.clock,
            observer: options.append_observer,
            buffers: FrameBuffers::default(),
        };
        let thread = std::thread::Builder::new().name("prefold-log".to_owned()).spawn(move || writer.run());
        let thread =
            thread.map_err(|error| OpenError::Io { action: "start the writer", file: shared.disk.describe(""), error })?;
        let EmbeddedOptions { batch_bytes_max, partition_by, .. } = options;
        Ok(EmbeddedLog { shared, queue, batch_bytes_max, partition_by, writer: Mutex::new(Some(thread)), _lock: lock })
    }

    /// What the records take, or why they are never taken.
    fn admit(&self, records: &[NewRecord]) -> Result<usize, AppendError> {
        let partitions = self.shared.partitions;
        if let Some(stray) = records.iter().find(|record| record.partition.0 >= partitions) {
            return Err(AppendError::UnknownPartition { partition: stray.partition, partitions });
        }
        let bytes = records.iter().map(|record| record.payload.len() + RECORD_OVERHEAD_BYTES).sum();
        let bytes_max = self.batch_bytes_max;
        if bytes > bytes_max { Err(AppendError::TooLarge { bytes, bytes_max }) } else { Ok(bytes) }
    }
}

impl Log for EmbeddedLog {
    fn partitions(&self) -> u16 {
        self.shared.partitions
    }

    fn partition_by(&self) -> PartitionBy {
        self.partition_by.clone()
    }

    fn incarnation(&self) -> u128 {
        self.shared.incarnation
    }

    fn record_bytes_max(&self) -> usize {
        self.batch_bytes_max.saturating_sub(RECORD_OVERHEAD_BYTES)
    }

    fn append(&self, records: Vec<NewRecord>) -> Appended {
        let (answer, appended) = oneshot::channel();
        let append = Append { bytes: 0, since: Instant::now(), records, answer };
        let refused = match self.admit(&append.records) {
            Ok(0) => return answer_now(append, Ok(()), appended),
            Ok(bytes) => self.queue.push(Append { bytes, ..append }),
            Err(error) => Err((append, error)),
        };
        match refused {
            Ok(()) => appended,
            Err((append, error)) => {
                self.shared.catalog.lock().stats.append_failures += 1;
                answer_now(append, Err(error), appended)
            }
        }
    }

    fn extent(&self, partition: PartitionId) -> Extent {
        self.shared.catalog.lock().extent(partition)
    }

    fn reader(&self, from: ReadFrom) -> Result<Box<dyn LogReader>, ReadError> {
        Ok(Box::new(JournalReader::new(self.shared.clone(), &from)?))
    }

    fn stats(&self) -> LogStats {
        let queued_bytes = self.queue.queued_bytes() as u64;
        let catalog = self.shared.catalog.lock();
        let disk = DiskStats { bytes: catalog.bytes(), segments: catalog.segments.len() as u64, ..catalog.disk };
        LogStats { newest_log_time: catalog.newest, queued_bytes, disk: Some(disk), ..catalog.stats }
    }

    fn close(&self) {
        self.queue.close();
        let writer = self.writer.lock().take();
        if writer.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the log's writer has panicked; what it acknowledged before is safe");
        }
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.close();
    }
}

fn answer_now(append: Append, result: Result<(), AppendError>, appended: Appended) -> Appended {
    append.answer(result);
    appended
}

/// Creates a directory so that a crash does not lose it with everything in it.
fn create_dir(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists()).collect();
    std::fs::create_dir_all(dir)?;
    for parent in missing.into_iter().filter_map(Path::parent) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let io = |error| OpenError::Io { action: "lock", file: path.display().to_string(), error };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

/// Random bits: the standard library's hash keys come from the operating system.
fn random_bits() -> u128 {
    let keys = RandomState::new();
    let half = |which: u8| u128::from(keys.hash_one((which, std::process::id())));
    half(0) << 64 | half(1)
}
