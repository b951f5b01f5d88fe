//! Imports in the node: a thread that brings what others left in topics of Kafka into the log.
//!
//! It reads a batch, has it encoded by the gateway as requests would be, appends it at once, and only then tells the group
//! how far it is. Whatever may pass, a log that is overloaded or away, is waited for: nothing more is read meanwhile, and
//! nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::config::{Config, ImportFormatName, ImportTopicConfig};
use super::open_log::join_imports;
use crate::ingest::gateway::{Gateway, Origin};
use crate::ingest::import::{ImportBody, ImportFormat, Imported};
use crate::ingest::limits::RefusalReason;
use crate::log::{AppendError, ImportBatch, ImportLag, ImportReader, ImportRecord, NewRecord};

/// About so many bytes of records are appended at once, at most; and of the log's queue they are this share, so that they
/// find room beside requests.
const BATCH_BYTES_MAX: u64 = 4 << 20;
const QUEUE_SHARE: u64 = 8;

/// How long to wait for records before looking whether to stop.
const WAIT: Duration = Duration::from_millis(250);

/// How often the group hears of us while an append is waited for.
const SLICE: Duration = Duration::from_millis(200);

/// The pause before what failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Of each topic one complaint is said in this time.
const COMPLAINT_EVERY: Duration = Duration::from_secs(60);

/// How long an append that is under way is waited for when the node stops; and how long all of it may take.
const LAST_APPEND: Duration = Duration::from_secs(3);
const STOP: Duration = Duration::from_secs(10);

/// What is imported, if anything. Dropping it stops it.
pub struct Imports {
    pub topics: Arc<[Topic]>,
    lag: Option<Arc<ImportLag>>,
    stop: Arc<AtomicBool>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

/// A topic that is imported, and what came of it since the start.
pub struct Topic {
    pub name: String,
    origin: Origin,
    format: ImportFormat,
    pub records: AtomicU64,
    pub samples: AtomicU64,
    refused: [AtomicU64; RefusalReason::ALL.len()],
    /// When something was last said of it.
    complained: Mutex<Option<Instant>>,
}

impl Topic {
    fn new(config: &ImportTopicConfig) -> Topic {
        let sender = match config.sender.as_str() {
            "" => format!("import:{}", config.topic),
            named => named.to_owned(),
        };
        let format = match config.format {
            ImportFormatName::RemoteWrite => ImportFormat::RemoteWrite,
            ImportFormatName::Json => ImportFormat::Json,
        };
        Topic {
            name: config.topic.clone(),
            origin: Origin {
                tenant: config.tenant.as_str().into(),
                sender: sender.into(),
                named: !config.sender.is_empty(),
            },
            format,
            records: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            refused: std::array::from_fn(|_| AtomicU64::new(0)),
            complained: Mutex::default(),
        }
    }

    pub fn refused(&self, reason: RefusalReason) -> u64 {
        self.refused[reason as usize].load(Ordering::Relaxed)
    }

    fn is_complaint_due(&self) -> bool {
        let mut complained = self.complained.lock();
        let due = complained.is_none_or(|last| last.elapsed() >= COMPLAINT_EVERY);
        if due {
            *complained = Some(Instant::now());
        }
        due
    }

    fn count(&self, records: &[&ImportRecord], gone: bool, imported: &Imported) {
        self.records.fetch_add(records.len() as u64, Ordering::Relaxed);
        self.samples.fetch_add(imported.written.samples, Ordering::Relaxed);
        let whole = imported.refused.iter().map(|(_, reason, _)| (*reason, 1));
        let gone = gone.then_some((RefusalReason::RecordsGone, 1));
        for (reason, count) in imported.written.refused.iter().copied().chain(whole).chain(gone) {
            self.refused[reason as usize].fetch_add(count, Ordering::Relaxed);
        }
        if let Some((place, reason, error)) = imported.refused.first()
            && self.is_complaint_due()
        {
            tracing::warn!(
                topic = %self.name, partition = records[*place].partition, offset = records[*place].offset,
                reason = reason.slug(), records = imported.refused.len(), %error,
                "a record cannot be imported and is skipped; views of its tenant are uncovered around now"
            );
        }
    }
}

impl Imports {
    /// Joins the group of those that import, when topics are configured. Needs a tokio runtime.
    ///
    /// # Errors
    /// When there can be no client or no thread for it.
    pub fn start(config: &Config, gateway: &Arc<Gateway>) -> Result<Imports, String> {
        let topics: Arc<[Topic]> = config.log.import_topics().iter().map(Topic::new).collect();
        let (stop, (ends, ended)) = (Arc::<AtomicBool>::default(), bounded::<()>(1));
        let mut imports = Imports { topics, lag: None, stop, ended };
        let Some((reader, queue_bytes_max)) = join_imports(config)? else { return Ok(imports) };
        imports.lag = Some(reader.lag());
        let importer = Importer {
            reader,
            gateway: Arc::clone(gateway),
            runtime: Handle::current(),
            topics: Arc::clone(&imports.topics),
            batch_bytes: (queue_bytes_max / QUEUE_SHARE).min(BATCH_BYTES_MAX) as usize,
            body_bytes_max: config.ingest.body_bytes_max.0 as usize,
            stop: Arc::clone(&imports.stop),
        };
        let run = move || {
            importer.run();
            drop(ends);
        };
        let thread = std::thread::Builder::new().name("prefold-import".to_owned()).spawn(run);
        thread.map_err(|error| format!("cannot start the thread that imports: {error}"))?;
        Ok(imports)
    }

    /// Records of a topic not imported yet, in the partitions that are ours.
    pub fn lag_records(&self, topic: usize) -> u64 {
        self.lag.as_ref().map_or(0, |lag| lag.records(topic))
    }

    /// Ends importing; what was read and not appended is read again by the next that imports. Stopping twice is harmless.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.ended.recv_timeout(STOP) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("Kafka does not let the group that imports be left; the others notice it within ten seconds");
        }
    }
}

impl Drop for Imports {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread's own.
struct Importer {
    reader: ImportReader,
    gateway: Arc<Gateway>,
    runtime: Handle,
    topics: Arc<[Topic]>,
    batch_bytes: usize,
    body_bytes_max: usize,
    stop: Arc<AtomicBool>,
}

impl Importer {
    fn run(mut self) {
        while !self.stopping() {
            let batch = self.reader.read(self.batch_bytes, WAIT);
            if batch.is_empty() {
                continue;
            }
            if self.import(&batch).is_none() {
                return;
            }
            self.reader.done(&batch);
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// `None` when the node stopped before the batch was appended.
    fn import(&mut self, batch: &ImportBatch) -> Option<()> {
        let topics = Arc::clone(&self.topics);
        let mut all = Vec::new();
        for (place, topic) in topics.iter().enumerate() {
            let records: Vec<&ImportRecord> = batch.records.iter().filter(|record| record.topic == place).collect();
            let gone = batch.gone.contains(&place);
            if gone || !records.is_empty() {
                let imported = self.encode(topic, &records, gone)?;
                all.push((topic, records, gone, imported));
            }
        }
        self.append(all.iter().flat_map(|(.., imported)| imported.records.iter().cloned()).collect())?;
        for (topic, records, gone, imported) in &all {
            self.gateway.count_import(imported);
            topic.count(records, *gone, imported);
        }
        Some(())
    }

    /// Encodes the records of a topic, as soon as there is room for them.
    fn encode(&mut self, topic: &Topic, records: &[&ImportRecord], gone: bool) -> Option<Imported> {
        let mut bodies = Vec::with_capacity(records.len());
        for record in records {
            bodies.push(ImportBody { payload: &record.payload, content_type: record.content_type.as_deref() });
        }
        loop {
            let (origin, format, bytes_max) = (&topic.origin, topic.format, self.body_bytes_max);
            match self.gateway.encode_import(origin, format, &bodies, bytes_max, gone) {
                Ok(imported) => return Some(imported),
                Err(error) if topic.is_complaint_due() => {
                    tracing::warn!(topic = %topic.name, %error, "importing waits, and tries again");
                }
                Err(_) => {}
            }
            self.pause()?;
        }
    }

    fn append(&mut self, records: Vec<NewRecord>) -> Option<()> {
        let mut complained: Option<Instant> = None;
        loop {
            match self.answer(records.clone())? {
                Ok(()) => return Some(()),
                Err(AppendError::Closed) => return None,
                Err(error) if complained.is_none_or(|last| last.elapsed() >= COMPLAINT_EVERY) => {
                    complained = Some(Instant::now());
                    tracing::warn!(%error, "what was imported cannot be appended now; importing waits, and tries again");
                }
                Err(_) => {}
            }
            self.pause()?;
        }
    }

    /// The log's answer to an append. The group hears of us while it is waited for.
    fn answer(&mut self, records: Vec<NewRecord>) -> Option<Result<(), AppendError>> {
        let (gateway, runtime) = (Arc::clone(&self.gateway), self.runtime.clone());
        let mut appending = Box::pin(gateway.append_import(records));
        let mut stopped: Option<Instant> = None;
        loop {
            let slice = async { tokio::time::timeout(SLICE, appending.as_mut()).await };
            if let Ok(answer) = runtime.block_on(slice) {
                return Some(answer);
            }
            self.reader.idle(Duration::from_millis(1));
            if self.stopping() && stopped.get_or_insert_with(Instant::now).elapsed() >= LAST_APPEND {
                return None;
            }
        }
    }

    /// `None` when the node stops.
    fn pause(&mut self) -> Option<()> {
        self.reader.idle(RETRY_PAUSE);
        (!self.stopping()).then_some(())
    }
}
