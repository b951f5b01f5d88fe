//! Encoding: the series of one request become a record per log partition they touch, or several where one would be larger
//! than the log takes.
//!
//! A series is found by the hash of its labels' bytes, with its id, partition and symbols; only a new one is decoded,
//! checked and sorted.

use bytes::Bytes;
use parking_lot::RwLockReadGuard;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use super::gateway::{Gateway, Origin, Written};
use super::limits::{RefusalReason, check_labels};
use super::series_cache::{Cached, SeriesCache};
use crate::log::NewRecord;
use crate::model::{Labels, PartitionId, Sample, SeriesId, Timestamp};
use crate::wire::WireError;
use crate::wire::record::{InternedLabels, RecordWriter, SymbolTable, TableFull};
use crate::wire::remote_write_v1::{self, LabelBlock};
use crate::wire::remote_write_v2;

/// Why a request could not be turned into records.
pub(super) enum EncodeError {
    Wire(WireError),
    /// Begin again with an empty symbol table.
    Full,
    /// Begin again with records of one series each.
    TooLarge,
}

/// When a record is ended and another begun.
#[derive(Clone, Copy)]
pub(super) struct Split {
    /// A record is measured when so many series and refusals have come since the last time.
    measured_every: usize,
    /// It is ended when it is at least this long then.
    bytes: usize,
    /// No record may be longer.
    bytes_max: usize,
}

impl Split {
    /// Records up to half of what the log takes: what comes between two measurements fits into the other half, or else
    /// the request is encoded again [apart](Split::apart).
    pub(super) fn half(bytes_max: usize) -> Split {
        Split { measured_every: 32, bytes: bytes_max / 2, bytes_max }
    }

    /// Every series in a record of its own. One that is too large even so can never be taken.
    pub(super) fn apart(bytes_max: usize) -> Split {
        Split { measured_every: 1, bytes: 1, bytes_max }
    }

    /// So many samples of one series go into one record: with times and values of the longest, a quarter of what fits.
    fn samples(self) -> usize {
        (self.bytes_max / 4 / SAMPLE_BYTES_MAX).max(1)
    }
}

/// A sample with its field's frame, its value, its time and its start timestamp.
const SAMPLE_BYTES_MAX: usize = 40;

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

/// What a series of a request carries beside its labels.
#[derive(Clone, Copy)]
struct Content<'s> {
    samples: &'s [Sample],
    /// One for each sample; only 2.0 can have them.
    start_timestamps: Option<&'s [i64]>,
    histograms: usize,
    exemplars: usize,
}

/// A request being encoded: records of the partitions it touches.
pub(super) struct Encoding<'g> {
    gateway: &'g Gateway,
    symbols: &'g SymbolTable,
    origin: &'g Origin,
    split: Split,
    /// Seed of the label block's hash: tenants do not share cached series.
    seed: u64,
    /// By partition.
    open: Vec<Open>,
    /// Records that were ended.
    ended: Vec<NewRecord>,
    written: Written,
    buffer: Vec<u8>,
    /// The cache as the request found it.
    cache: RwLockReadGuard<'g, SeriesCache>,
    /// Where the next series probably stands in it.
    next: usize,
    /// Series it did not hold, or not with symbols of this table.
    fresh: Vec<(u128, Cached)>,
}

/// The record of a partition that is being written.
#[derive(Default)]
struct Open {
    writer: Option<RecordWriter>,
    newest: Option<Timestamp>,
    /// Series and refusals since the record was last measured.
    unmeasured: usize,
}

impl<'g> Encoding<'g> {
    pub(super) fn new(gateway: &'g Gateway, origin: &'g Origin, symbols: &'g SymbolTable, split: Split) -> Encoding<'g> {
        let partitions = usize::from(gateway.log.partitions());
        Encoding {
            gateway,
            symbols,
            origin,
            split,
            seed: xxh3_64(origin.tenant.as_bytes()),
            open: (0..partitions).map(|_| Open::default()).collect(),
            ended: Vec::new(),
            written: Written::default(),
            buffer: Vec::new(),
            cache: gateway.cache.read(),
            next: 0,
            fresh: Vec::new(),
        }
    }

    pub(super) fn request_v1(&mut self, body: &[u8]) -> Result<(), EncodeError> {
        let mut request = remote_write_v1::Request::new(body);
        while let Some(series) = request.next_series()? {
            let mut buffer = std::mem::take(&mut self.buffer);
            let block = series.labels.contiguous(&mut buffer)?;
            let key = xxh3_128_with_seed(block, self.seed);
            let labels = || remote_write_v1::decode_labels(LabelBlock::Contiguous(block)).ok();
            let remote_write_v1::Series { samples, histograms, exemplars, .. } = series;
            self.take(key, labels, Content { samples, start_timestamps: None, histograms, exemplars })?;
            self.buffer = buffer;
        }
        Ok(())
    }

    pub(super) fn request_v2(&mut self, body: &[u8]) -> Result<(), EncodeError> {
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
            let remote_write_v2::Series { samples, start_timestamps, histograms, exemplars, .. } = series;
            self.take(key, labels, Content { samples, start_timestamps, histograms, exemplars })?;
        }
        Ok(())
    }

    /// Takes a series, from the cache by its key or by looking at its labels.
    fn take<'a>(
        &mut self,
        key: u128,
        labels: impl FnOnce() -> Option<Vec<(&'a str, &'a str)>>,
        content: Content<'_>,
    ) -> Result<(), EncodeError> {
        let mut next = self.next;
        let known = self.cache.find(key, &mut next).filter(|cached| cached.is_of(self.symbols)).cloned();
        self.next = next;
        match known {
            Some(known) => self.take_known(&known, content),
            None => {
                let cached = self.look_at(labels())?;
                self.take_known(&cached, content)?;
                self.fresh.push((key, cached));
                Ok(())
            }
        }
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

    fn take_known(&mut self, known: &Cached, content: Content<'_>) -> Result<(), EncodeError> {
        self.refuse(RefusalReason::Exemplar, content.exemplars as u64);
        match known {
            Cached::Refused(reason) => {
                self.refuse(*reason, 1);
                if reason.upstream_may_have_it() {
                    self.writer(0).refusal(None, &[], reason.slug());
                    self.measure(0)?;
                }
            }
            Cached::Series { id, partition, labels } => {
                if content.histograms > 0 {
                    self.refuse(RefusalReason::NativeHistogram, content.histograms as u64);
                    let ids = labels.ids(self.symbols).unwrap_or_default();
                    self.writer(*partition).refusal(Some(ids), &[], RefusalReason::NativeHistogram.slug());
                    self.measure(*partition)?;
                }
                match content.samples.is_empty() {
                    true if content.histograms == 0 => self.refuse(RefusalReason::NoSamples, 1),
                    true => {}
                    false => self.series((*id, *partition), labels, content.samples, content.start_timestamps)?,
                }
            }
        }
        Ok(())
    }

    pub(super) fn series(
        &mut self,
        (id, partition): (SeriesId, u16),
        labels: &InternedLabels,
        samples: &[Sample],
        start_timestamps: Option<&[i64]>,
    ) -> Result<(), EncodeError> {
        self.written.samples += samples.len() as u64;
        // Interned in this very table; labels of another would make the record fail as a whole.
        let ids = labels.ids(self.symbols).unwrap_or_default();
        let (every, mut starts) = (self.split.samples(), start_timestamps.unwrap_or_default().chunks(self.split.samples()));
        for samples in samples.chunks(every) {
            let newest = samples.iter().map(|sample| sample.t).max();
            let open = &mut self.open[usize::from(partition)];
            open.newest = newest.max(open.newest);
            self.writer(partition).series(id, ids, samples, starts.next());
            self.measure(partition)?;
        }
        Ok(())
    }

    /// Ends a partition's record when it is due.
    fn measure(&mut self, partition: u16) -> Result<(), EncodeError> {
        let open = &mut self.open[usize::from(partition)];
        open.unmeasured += 1;
        if open.unmeasured < self.split.measured_every {
            return Ok(());
        }
        open.unmeasured = 0;
        let bytes = open.writer.as_mut().map_or(0, |writer| writer.len_bytes(self.symbols));
        if bytes >= self.split.bytes { self.end(partition) } else { Ok(()) }
    }

    fn end(&mut self, partition: u16) -> Result<(), EncodeError> {
        let Open { writer, newest, .. } = std::mem::take(&mut self.open[usize::from(partition)]);
        let Some(mut writer) = writer else { return Ok(()) };
        let payload = Bytes::from(writer.finish(self.symbols)?);
        self.gateway.give_back(writer);
        if payload.len() > self.split.bytes_max && self.split.measured_every > 1 {
            return Err(EncodeError::TooLarge);
        }
        self.ended.push(NewRecord { partition: PartitionId(partition), payload, newest });
        Ok(())
    }

    fn writer(&mut self, partition: u16) -> &mut RecordWriter {
        let (origin, gateway) = (self.origin, self.gateway);
        self.open[usize::from(partition)].writer.get_or_insert_with(|| {
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

    pub(super) fn finish(mut self) -> Result<(Vec<NewRecord>, Written), EncodeError> {
        (0..self.open.len() as u16).try_for_each(|partition| self.end(partition))?;
        let gateway = self.gateway;
        drop(self.cache);
        if !self.fresh.is_empty() {
            let mut cache = gateway.cache.write();
            self.fresh.into_iter().for_each(|(key, cached)| cache.insert(key, cached));
        }
        Ok((self.ended, self.written))
    }
}
