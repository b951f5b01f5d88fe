//! The gateway: series of a request become records of the log, by partition.
//!
//! A sender writes the same labels in the same bytes every time, so a series seen before is found by the hash of those
//! bytes, with its id, partition and symbols; only a new one is decoded, checked and sorted. The cache is bounded: full, it
//! is emptied, and fills again with what is alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dashmap::DashMap;
use smol_str::SmolStr;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use super::limits::{RefusalReason, SeriesLimits, check_labels};
use crate::log::{AppendError, Log, NewRecord};
use crate::model::labels::SeriesIdBuild;
use crate::model::{Clock, Labels, PartitionId, Sample, SeriesId, Tenant, Timestamp};
use crate::wire::WireError;
use crate::wire::record::{InternedLabels, Interner, RecordWriter, SymbolTable, TableFull};
use crate::wire::remote_write_v1::{self, LabelBlock};
use crate::wire::remote_write_v2;

/// Label sets remembered; at about 200 bytes each.
const CACHED_SERIES_MAX: usize = 2_000_000;

/// What the symbol table may take; a full one is replaced by an empty one.
const SYMBOL_BYTES_MAX: usize = 512 << 20;

/// A sender's unreadable bodies uncover its tenant's views at most this often.
const UNREADABLE_PAUSE_MS: i64 = 60_000;

/// Record writers kept between requests.
const WRITERS_KEPT_MAX: usize = 64;

/// Senders remembered.
const SENDERS_MAX: usize = 100_000;

/// How the gateway treats what it is sent.
#[derive(Clone, Debug, Default)]
pub struct GatewayOptions {
    pub limits: SeriesLimits,
    /// Labels taken off every series: a sender's external labels that upstream does not have.
    pub drop_labels: Vec<String>,
    /// Labels whose values name the sender, when no header does.
    pub sender_labels: Vec<String>,
}

/// Turns requests into records and has them appended.
pub struct Gateway {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    options: GatewayOptions,
    cache: DashMap<u128, Cached, SeriesIdBuild>,
    interner: Interner,
    /// Record writers between requests: each has grown to the symbol table's size.
    writers: parking_lot::Mutex<Vec<RecordWriter>>,
    /// Senders that have written, with when their last unreadable body was noted.
    senders: DashMap<(Tenant, SmolStr), Timestamp>,
    counters: Counters,
}

/// A label set seen before.
enum Cached {
    Series { id: SeriesId, partition: u16, labels: InternedLabels },
    Refused(RefusalReason),
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
    Append(AppendError),
}

/// Why a request could not be turned into records.
enum EncodeError {
    Wire(WireError),
    /// Begin again with an empty symbol table.
    Full,
}

impl From<WireError> for EncodeError {
    fn from(error: WireError) -> EncodeError {
        EncodeError::Wire(error)
    }
}

impl From<TableFull> for EncodeError {
    fn from(_: TableFull) -> EncodeError {
        EncodeError::Full
    }
}

impl Gateway {
    pub fn new(log: Arc<dyn Log>, clock: Arc<dyn Clock>, options: GatewayOptions) -> Gateway {
        Gateway {
            log,
            clock,
            options,
            cache: DashMap::default(),
            interner: Interner::new(SYMBOL_BYTES_MAX),
            writers: parking_lot::Mutex::default(),
            senders: DashMap::new(),
            counters: Counters::default(),
        }
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Label sets remembered now.
    pub fn cached_series(&self) -> usize {
        self.cache.len()
    }

    /// Takes a decompressed request: what is valid is durable when this returns, and what is not is told.
    ///
    /// # Errors
    /// When the body cannot be read as a whole, or the log did not take it; nothing of it was written then.
    pub async fn write(&self, origin: &Origin, protocol: Protocol, body: &[u8]) -> Result<Written, WriteError> {
        let (records, written) = match self.encode(origin, protocol, body) {
            Ok(encoded) => encoded,
            Err(error) => {
                self.unreadable(origin).await;
                return Err(WriteError::Malformed(error));
            }
        };
        self.append(records).await.map_err(WriteError::Append)?;
        self.counters.samples.fetch_add(written.samples, Ordering::Relaxed);
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        for (reason, count) in &written.refused {
            self.counters.refuse(*reason, *count);
        }
        Ok(written)
    }

    /// Takes series whose labels are known good: our own scraper's.
    ///
    /// # Errors
    /// When the log did not take them.
    pub async fn deliver(&self, origin: &Origin, series: &[(Labels, Sample)]) -> Result<(), WriteError> {
        let (records, written) = self
            .with_table(|table| {
                let mut encoding = Encoding::new(self, origin, table);
                for (labels, sample) in series {
                    let id = labels.series_id(&origin.tenant);
                    let interned = table.intern_labels(labels)?;
                    encoding.series(id, id.partition(self.log.partitions()), &interned, &[*sample]);
                }
                Ok(encoding.finish()?)
            })
            .map_err(WriteError::Malformed)?;
        self.append(records).await.map_err(WriteError::Append)?;
        self.counters.samples.fetch_add(written.samples, Ordering::Relaxed);
        Ok(())
    }

    fn encode(&self, origin: &Origin, protocol: Protocol, body: &[u8]) -> Result<(Vec<NewRecord>, Written), WireError> {
        if self.cache.len() >= CACHED_SERIES_MAX {
            self.cache.clear();
        }
        let origin = self.named_origin(origin, protocol, body)?;
        let encoded = self.with_table(|table| {
            let mut encoding = Encoding::new(self, &origin, table);
            match protocol {
                Protocol::V1 => encoding.request_v1(body)?,
                Protocol::V2 => encoding.request_v2(body)?,
            }
            Ok(encoding.finish()?)
        })?;
        self.remember_sender(&origin);
        Ok(encoded)
    }

    /// Runs an encoding with the symbol table in use; once more with an empty one when it was full.
    fn with_table<T>(&self, encode: impl Fn(&SymbolTable) -> Result<T, EncodeError>) -> Result<T, WireError> {
        let mut table = self.interner.table();
        loop {
            match encode(&table) {
                Ok(encoded) => return Ok(encoded),
                Err(EncodeError::Wire(error)) => return Err(error),
                // A body is far smaller than a table, so an empty one has room.
                Err(EncodeError::Full) => table = self.interner.replace(&table),
            }
        }
    }

    fn give_back(&self, writer: RecordWriter) {
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
        if origin.named || self.options.sender_labels.is_empty() {
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

    fn remember_sender(&self, origin: &Origin) {
        let key = (origin.tenant.clone(), origin.sender.clone());
        if !self.senders.contains_key(&key) && self.senders.len() < SENDERS_MAX {
            self.senders.insert(key, Timestamp::MIN);
        }
    }

    /// A body that could not even be decompressed.
    ///
    /// # Errors
    /// Always the one given.
    pub async fn unreadable_body(&self, origin: &Origin, error: WireError) -> Result<Written, WriteError> {
        self.unreadable(origin).await;
        Err(WriteError::Malformed(error))
    }

    /// A body of a known sender that cannot be read may have held anything: its tenant's views are uncovered around now.
    async fn unreadable(&self, origin: &Origin) {
        self.counters.refuse(RefusalReason::BodyMalformed, 1);
        let now = self.clock.now();
        let due = match self.senders.get_mut(&(origin.tenant.clone(), origin.sender.clone())) {
            Some(mut noted) => now - *noted >= UNREADABLE_PAUSE_MS && std::mem::replace(&mut *noted, now) < now,
            None => false,
        };
        if due {
            let table = self.interner.table();
            let mut writer = RecordWriter::new();
            writer.begin(&origin.tenant, &origin.sender);
            writer.refusal(None, &[], RefusalReason::BodyMalformed.slug());
            let Ok(payload) = writer.finish(&table).map(Bytes::from) else { return };
            let record = NewRecord { partition: PartitionId(0), payload, newest: None };
            if let Err(error) = self.append(vec![record]).await {
                tracing::error!(sender = %origin.sender, %error, "cannot note an unreadable body in the log");
            }
        }
    }
}

/// What a series of a request carries beside its labels.
#[derive(Clone, Copy)]
struct Content<'s> {
    samples: &'s [Sample],
    histograms: usize,
    exemplars: usize,
}

impl Content<'_> {
    fn of(samples: &[Sample], histograms: usize, exemplars: usize) -> Content<'_> {
        Content { samples, histograms, exemplars }
    }
}

/// A request being encoded: one record per partition it touches.
struct Encoding<'g> {
    gateway: &'g Gateway,
    symbols: &'g SymbolTable,
    origin: &'g Origin,
    /// Seed of the label block's hash: tenants do not share cached series.
    seed: u64,
    writers: Vec<Option<RecordWriter>>,
    newest: Vec<Option<Timestamp>>,
    written: Written,
    buffer: Vec<u8>,
}

impl<'g> Encoding<'g> {
    fn new(gateway: &'g Gateway, origin: &'g Origin, symbols: &'g SymbolTable) -> Encoding<'g> {
        let partitions = usize::from(gateway.log.partitions());
        Encoding {
            gateway,
            symbols,
            origin,
            seed: xxh3_64(origin.tenant.as_bytes()),
            writers: (0..partitions).map(|_| None).collect(),
            newest: vec![None; partitions],
            written: Written::default(),
            buffer: Vec::new(),
        }
    }

    fn request_v1(&mut self, body: &[u8]) -> Result<(), EncodeError> {
        let mut request = remote_write_v1::Request::new(body);
        while let Some(series) = request.next_series()? {
            let mut buffer = std::mem::take(&mut self.buffer);
            let block = series.labels.contiguous(&mut buffer)?;
            let key = xxh3_128_with_seed(block, self.seed);
            let labels = || remote_write_v1::decode_labels(LabelBlock::Contiguous(block)).ok();
            self.take(key, labels, Content::of(series.samples, series.histograms, series.exemplars))?;
            self.buffer = buffer;
        }
        Ok(())
    }

    fn request_v2(&mut self, body: &[u8]) -> Result<(), EncodeError> {
        let mut request = remote_write_v2::Request::new(body)?;
        let hashes: Vec<u64> = request.symbols().iter().map(|symbol| xxh3_64(symbol.as_bytes())).collect();
        while let Some(series) = request.next_series()? {
            self.buffer.clear();
            for reference in series.label_references {
                self.buffer.extend_from_slice(&hashes[*reference as usize].to_le_bytes());
            }
            // One bit apart from the keys of 1.0: the same bytes mean other labels there.
            let key = xxh3_128_with_seed(&self.buffer, self.seed ^ 1);
            let labels = || Some(series.labels().collect());
            self.take(key, labels, Content::of(series.samples, series.histograms, series.exemplars))?;
        }
        Ok(())
    }

    /// Takes a series, from the cache by its key or by looking at its labels.
    fn take<'a>(
        &mut self,
        key: u128,
        labels: impl FnOnce() -> Option<Vec<(&'a str, &'a str)>>,
        content: Content<'_>,
    ) -> Result<(), TableFull> {
        let gateway = self.gateway;
        if let Some(cached) = gateway.cache.get(&key) {
            let usable = match &*cached {
                Cached::Series { labels, .. } => labels.ids(self.symbols).is_some(),
                Cached::Refused(_) => true,
            };
            if usable {
                self.take_known(&cached, content);
                return Ok(());
            }
        }
        let known = self.look_at(labels())?;
        self.take_known(&known, content);
        gateway.cache.insert(key, known);
        Ok(())
    }

    fn look_at(&self, labels: Option<Vec<(&str, &str)>>) -> Result<Cached, TableFull> {
        let options = &self.gateway.options;
        let checked = match labels {
            Some(labels) => check_labels(labels, &options.drop_labels, &options.limits),
            None => Err(RefusalReason::LabelsMalformed),
        };
        Ok(match checked {
            Ok(labels) => {
                let labels = Labels::from_pairs(labels);
                let id = labels.series_id(&self.origin.tenant);
                let partition = id.partition(self.gateway.log.partitions());
                Cached::Series { id, partition, labels: self.symbols.intern_labels(&labels)? }
            }
            Err(reason) => Cached::Refused(reason),
        })
    }

    fn take_known(&mut self, cached: &Cached, content: Content<'_>) {
        self.refuse(RefusalReason::Exemplar, content.exemplars as u64);
        match cached {
            Cached::Refused(reason) => {
                self.refuse(*reason, 1);
                if reason.upstream_may_have_it() {
                    self.writer(0).refusal(None, &[], reason.slug());
                }
            }
            Cached::Series { id, partition, labels } => {
                if content.histograms > 0 {
                    self.refuse(RefusalReason::NativeHistogram, content.histograms as u64);
                    let ids = labels.ids(self.symbols).unwrap_or_default();
                    self.writer(*partition).refusal(Some(ids), &[], RefusalReason::NativeHistogram.slug());
                }
                match content.samples.is_empty() {
                    true if content.histograms == 0 => self.refuse(RefusalReason::NoSamples, 1),
                    true => {}
                    false => self.series(*id, *partition, labels, content.samples),
                }
            }
        }
    }

    fn series(&mut self, id: SeriesId, partition: u16, labels: &InternedLabels, samples: &[Sample]) {
        let newest = samples.iter().map(|sample| sample.t).max();
        let place = &mut self.newest[usize::from(partition)];
        *place = newest.max(*place);
        self.written.samples += samples.len() as u64;
        // Interned in this very table; labels of another would make the record fail as a whole.
        let ids = labels.ids(self.symbols).unwrap_or_default();
        self.writer(partition).series(id, ids, samples, None);
    }

    fn writer(&mut self, partition: u16) -> &mut RecordWriter {
        let (origin, gateway) = (self.origin, self.gateway);
        self.writers[usize::from(partition)].get_or_insert_with(|| {
            let mut writer = gateway.writers.lock().pop().unwrap_or_default();
            writer.begin(&origin.tenant, &origin.sender);
            writer
        })
    }

    fn refuse(&mut self, reason: RefusalReason, count: u64) {
        if count == 0 {
            return;
        }
        match self.written.refused.iter_mut().find(|(had, _)| *had == reason) {
            Some((_, had)) => *had += count,
            None => self.written.refused.push((reason, count)),
        }
    }

    fn finish(self) -> Result<(Vec<NewRecord>, Written), WireError> {
        let mut records = Vec::new();
        for (partition, (writer, newest)) in self.writers.into_iter().zip(self.newest).enumerate() {
            if let Some(mut writer) = writer {
                let payload = Bytes::from(writer.finish(self.symbols)?);
                self.gateway.give_back(writer);
                records.push(NewRecord { partition: PartitionId(partition as u16), payload, newest });
            }
        }
        Ok((records, self.written))
    }
}
