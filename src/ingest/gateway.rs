//! The gateway: series of a request become records of the log, by partition.
//!
//! A sender writes the same labels in the same bytes every time, so a series seen before is found by the hash of those
//! bytes, with its id, partition and symbols; only a new one is decoded, checked and sorted. The cache is bounded: full, it
//! is emptied, and fills again with what is alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use smol_str::SmolStr;

use super::buffers::Buffers;
use super::encoding::{EncodeError, Encoding};
use super::limits::{RefusalReason, SeriesLimits};
use super::records::Split;
use super::senders::{NotAdmitted, Senders};
use super::series_cache::SeriesCache;
use crate::log::{AppendError, Log, NewRecord};
use crate::model::{Clock, Labels, PartitionId, Sample, Tenant};
use crate::wire::record::{Interner, RecordWriter, RefusedSeries, SymbolTable};
use crate::wire::remote_write_v1;
use crate::wire::remote_write_v2;
use crate::wire::{WireError, snappy};

/// What the symbol table may take; a full one is replaced by an empty one.
const SYMBOL_BYTES_MAX: usize = 512 << 20;

/// Record writers kept between requests.
const WRITERS_KEPT_MAX: usize = 64;

/// How the gateway treats what it is sent.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    pub limits: SeriesLimits,
    /// Senders that may write beside those of the commit; one that has been idle for an hour makes room.
    pub senders_max: usize,
    /// Tenant and name of the senders in the commit.
    pub senders: Vec<(Tenant, SmolStr)>,
    /// Labels taken off every series: a sender's external labels that upstream does not have.
    pub drop_labels: Vec<String>,
    /// Labels whose values name the sender, when no header does.
    pub sender_labels: Vec<String>,
}

impl Default for GatewayOptions {
    fn default() -> GatewayOptions {
        let limits = SeriesLimits::default();
        GatewayOptions {
            limits,
            senders_max: 10_000,
            senders: Vec::new(),
            drop_labels: Vec::new(),
            sender_labels: Vec::new(),
        }
    }
}

/// Turns requests into records and has them appended.
pub struct Gateway {
    pub(super) log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    pub(super) options: GatewayOptions,
    /// Read once per request, written when one brought new series.
    pub(super) cache: RwLock<SeriesCache>,
    interner: Interner,
    /// Record writers between requests: each has grown to the symbol table's size.
    pub(super) writers: parking_lot::Mutex<Vec<RecordWriter>>,
    /// Memory of bodies, between requests.
    buffers: Buffers,
    senders: Senders,
    counters: Counters,
}

/// What was taken and refused since the start.
#[derive(Debug)]
pub struct Counters {
    pub samples: AtomicU64,
    pub requests: AtomicU64,
    refused: [AtomicU64; RefusalReason::ALL.len()],
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            samples: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            refused: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Counters {
    pub fn refuse(&self, reason: RefusalReason, count: u64) {
        self.refused[reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    pub fn refused(&self, reason: RefusalReason) -> u64 {
        self.refused[reason as usize].load(Ordering::Relaxed)
    }
}

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub tenant: Tenant,
    pub sender: SmolStr,
    /// Whether `sender` came from a header; else `sender_labels` of the request go first.
    pub named: bool,
}

/// Which remote write a body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    V1,
    V2,
}

/// What became of a request that could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub samples: u64,
    /// What was refused, with how often, in the order of first occurrence.
    pub refused: Vec<(RefusalReason, u64)>,
}

/// Why nothing of a request was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("body-malformed: {0}")]
    Malformed(WireError),
    #[error("{0}")]
    NotAdmitted(NotAdmitted),
    #[error("{0}")]
    Append(AppendError),
}

impl WriteError {
    /// Why the sender will not come again with what it sent, if so.
    fn lost(&self) -> Option<RefusalReason> {
        match self {
            WriteError::Malformed(_) => Some(RefusalReason::BodyMalformed),
            WriteError::NotAdmitted(NotAdmitted::TooLong { .. }) => Some(RefusalReason::OriginTooLong),
            WriteError::Append(error) if !error.retryable() => Some(RefusalReason::BodyTooLarge),
            WriteError::NotAdmitted(NotAdmitted::TooMany { .. }) | WriteError::Append(_) => None,
        }
    }
}

impl Gateway {
    pub fn new(log: Arc<dyn Log>, clock: Arc<dyn Clock>, options: GatewayOptions) -> Gateway {
        Gateway {
            log,
            clock,
            senders: Senders::new(options.senders_max, &options.senders),
            options,
            cache: RwLock::default(),
            interner: Interner::new(SYMBOL_BYTES_MAX),
            writers: parking_lot::Mutex::default(),
            buffers: Buffers::default(),
            counters: Counters::default(),
        }
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Label sets remembered now.
    pub fn cached_series(&self) -> usize {
        self.cache.read().len()
    }

    /// Takes a request as it was sent, of at most so many bytes when decompressed: what is valid is durable when this
    /// returns, and what is not is told.
    ///
    /// # Errors
    /// When the body cannot be read as a whole, or the log did not take it; nothing of it was written then.
    pub async fn write(
        &self,
        origin: &Origin,
        protocol: Protocol,
        compressed: &[u8],
        body_bytes_max: usize,
    ) -> Result<Written, WriteError> {
        let written = match self.decode(origin, protocol, compressed, body_bytes_max) {
            Ok((records, written)) => self.append(records).await.map(|()| written).map_err(WriteError::Append),
            Err(error) => Err(error),
        };
        if let Some(reason) = written.as_ref().err().and_then(WriteError::lost) {
            self.note_unreadable(origin, reason).await;
        }
        let written = written?;
        self.counters.samples.fetch_add(written.samples, Ordering::Relaxed);
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        for (reason, count) in &written.refused {
            self.counters.refuse(*reason, *count);
        }
        Ok(written)
    }

    /// Decompresses a body and encodes it; its memory is free again before the records are durable.
    fn decode(
        &self,
        origin: &Origin,
        protocol: Protocol,
        compressed: &[u8],
        body_bytes_max: usize,
    ) -> Result<(Vec<NewRecord>, Written), WriteError> {
        if !self.is_labelled(origin) {
            self.senders.check(origin, self.clock.now()).map_err(WriteError::NotAdmitted)?;
        }
        let mut body = self.buffers.take();
        let decompressed = snappy::decompress_into(compressed, body_bytes_max, &mut body).map_err(WriteError::Malformed);
        let encoded = decompressed.and_then(|()| self.encode(origin, protocol, &body));
        self.buffers.give_back(body);
        encoded
    }

    /// Takes series whose labels are known good: our own scraper's.
    ///
    /// # Errors
    /// When the log did not take them.
    pub async fn deliver(&self, origin: &Origin, series: &[(Labels, Sample)]) -> Result<(), WriteError> {
        let (records, written) = self
            .with_table(|table, split| {
                let mut encoding = Encoding::new(self, origin, table, split);
                for (labels, sample) in series {
                    let id = labels.series_id(&origin.tenant);
                    let interned = table.intern_labels(labels)?;
                    let (place, ids) = ((id, id.partition(self.log.partitions())), interned.ids(table).unwrap_or_default());
                    encoding.records.series(place, ids, &[*sample], None);
                }
                encoding.finish()
            })
            .map_err(WriteError::Malformed)?;
        self.append(records).await.map_err(WriteError::Append)?;
        self.counters.samples.fetch_add(written.samples, Ordering::Relaxed);
        Ok(())
    }

    fn encode(&self, origin: &Origin, protocol: Protocol, body: &[u8]) -> Result<(Vec<NewRecord>, Written), WriteError> {
        let address = origin;
        let origin = self.named_origin(origin, protocol, body).map_err(WriteError::Malformed)?;
        if self.is_labelled(address) {
            self.senders.check(&origin, self.clock.now()).map_err(WriteError::NotAdmitted)?;
        }
        let encoded = self.with_table(|table, split| {
            let mut encoding = Encoding::new(self, &origin, table, split);
            match protocol {
                Protocol::V1 => encoding.request_v1(body)?,
                Protocol::V2 => encoding.request_v2(body)?,
            }
            encoding.finish()
        });
        let encoded = encoded.map_err(WriteError::Malformed)?;
        if !encoded.0.is_empty() {
            self.senders.remember(&origin, self.clock.now());
            if self.is_labelled(address) {
                self.senders.remember_address(address, self.clock.now());
            }
        }
        Ok(encoded)
    }

    /// Whether the sender of a request is named by its series' labels.
    fn is_labelled(&self, origin: &Origin) -> bool {
        !origin.named && !self.options.sender_labels.is_empty()
    }

    /// Runs an encoding with the symbol table in use; once more with an empty one when it was full, and once more with
    /// small records when one became too large.
    fn with_table<T>(&self, encode: impl Fn(&SymbolTable, Split) -> Result<T, EncodeError>) -> Result<T, WireError> {
        let bytes_max = self.log.record_bytes_max();
        let (mut table, mut split) = (self.interner.table(), Split::half(bytes_max));
        loop {
            match encode(&table, split) {
                Ok(encoded) => return Ok(encoded),
                Err(EncodeError::Wire(error)) => return Err(error),
                // A body is far smaller than a table, so an empty one has room.
                Err(EncodeError::Full) => table = self.interner.replace(&table),
                Err(EncodeError::TooLarge) => split = Split::apart(bytes_max),
            }
        }
    }

    pub(super) fn give_back(&self, writer: RecordWriter) {
        let mut writers = self.writers.lock();
        if writers.len() < WRITERS_KEPT_MAX {
            writers.push(writer);
        }
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<(), AppendError> {
        if records.is_empty() {
            return Ok(());
        }
        self.log.append(records).await.unwrap_or(Err(AppendError::Closed))
    }

    /// The origin with the sender that the first series' labels name, if they do and no header did.
    fn named_origin(&self, origin: &Origin, protocol: Protocol, body: &[u8]) -> Result<Origin, WireError> {
        if !self.is_labelled(origin) {
            return Ok(origin.clone());
        }
        let labels = match protocol {
            Protocol::V1 => match remote_write_v1::Request::new(body).next_series()? {
                Some(series) => remote_write_v1::decode_labels(series.labels)?,
                None => Vec::new(),
            },
            Protocol::V2 => match remote_write_v2::Request::new(body)?.next_series()? {
                Some(series) => series.labels().collect(),
                None => Vec::new(),
            },
        };
        let value = |name: &String| labels.iter().find(|(label, _)| label == name).map(|(_, value)| *value);
        let values: Vec<&str> = self.options.sender_labels.iter().filter_map(value).collect();
        let sender = if values.is_empty() { origin.sender.clone() } else { values.join("/").into() };
        Ok(Origin { sender, ..origin.clone() })
    }

    /// A body of a known sender that was not read may have held anything: its tenant's views are uncovered around now.
    pub async fn note_unreadable(&self, origin: &Origin, reason: RefusalReason) {
        if self.senders.is_unreadable_due(origin, self.is_labelled(origin), self.clock.now()) {
            let table = self.interner.table();
            let mut writer = RecordWriter::new();
            writer.begin(&origin.tenant, &origin.sender);
            writer.refusal(&RefusedSeries { reason: reason.slug(), ..RefusedSeries::default() });
            let Ok(payload) = writer.finish(&table).map(Bytes::from) else { return };
            let record = NewRecord { partition: PartitionId(0), payload, newest: None };
            if let Err(error) = self.append(vec![record]).await {
                tracing::error!(sender = %origin.sender, %error, "cannot note an unreadable body in the log");
            }
        }
    }
}
