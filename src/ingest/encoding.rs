//! Encoding: the series of one request become a record per log partition they touch, or several where one would be larger
//! than the log takes.
//!
//! A series is found by the hash of its labels' bytes, with its id, partition and symbols; only a new one is decoded,
//! checked and sorted.

use parking_lot::RwLockReadGuard;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::gateway::{Gateway, Origin};
use super::limits::{RefusalReason, RefusedLabels, check_labels};
use super::records::{Content, Encoded, Records, Split};
use super::senders::NotAdmitted;
use super::series_cache::{Fresh, Known, LabelsKey, SeriesCache};
use crate::model::labels::push_prefixed;
use crate::model::{Labels, Sample};
use crate::wire::record::{SymbolId, SymbolTable, TableFull};
use crate::wire::remote_write_v1::{self, LabelBlock};
use crate::wire::remote_write_v2;
use crate::wire::{Histograms, Problem, WireError};

/// Why a request could not be turned into records.
pub(super) enum EncodeError {
    Wire(WireError),
    /// Begin again with an empty symbol table.
    Full(TableFull),
    /// Begin again with every series in a record of its own.
    RecordTooLarge,
    NotAdmitted(NotAdmitted),
    /// The records are more than the log takes at once.
    TooLarge {
        bytes: usize,
        bytes_max: usize,
    },
}

impl From<WireError> for EncodeError {
    fn from(error: WireError) -> EncodeError {
        EncodeError::Wire(error)
    }
}

impl From<TableFull> for EncodeError {
    fn from(full: TableFull) -> EncodeError {
        EncodeError::Full(full)
    }
}

/// A request being encoded: one record per partition it touches.
pub(super) struct Encoding<'g> {
    gateway: &'g Gateway,
    symbols: &'g SymbolTable,
    origin: &'g Origin,
    /// Mixed into the hash of a label block: tenants do not share cached series.
    seed: u128,
    buffer: Vec<u8>,
    /// The cache as the request found it, unless that is of another symbol table.
    cache: Option<RwLockReadGuard<'g, SeriesCache>>,
    /// Where the next series probably stands in it.
    next: usize,
    /// Series it did not hold.
    fresh: Vec<(LabelsKey, Fresh)>,
    pub(super) records: Records<'g>,
}

impl<'g> Encoding<'g> {
    pub(super) fn new(gateway: &'g Gateway, origin: &'g Origin, symbols: &'g SymbolTable, split: Split) -> Encoding<'g> {
        let cache = gateway.cache.read();
        Encoding {
            gateway,
            symbols,
            origin,
            seed: xxh3_128(origin.tenant.as_bytes()),
            buffer: Vec::new(),
            cache: cache.is_of(symbols).then_some(cache),
            next: 0,
            fresh: Vec::new(),
            records: Records::new(gateway, origin, symbols, split),
        }
    }

    pub(super) fn request_v1(&mut self, body: &[u8]) -> Result<(), EncodeError> {
        let mut request = remote_write_v1::Request::new(body);
        loop {
            if self.take_expected(&mut request) {
                continue;
            }
            let Some(series) = request.next_series()? else { return Ok(()) };
            let mut buffer = std::mem::take(&mut self.buffer);
            let block = series.labels.contiguous(&mut buffer)?;
            let key = LabelsKey { hash: xxh3_128(block) ^ self.seed, bytes: block.len() as u32 };
            let labels = || labels_v1(block);
            let remote_write_v1::Series { samples, histograms, exemplars, .. } = series;
            self.take(key, labels, Content { samples, start_timestamps: None, histograms, exemplars })?;
            self.buffer = buffer;
        }
    }

    /// Takes the next series if it is the one that followed the last one before.
    #[inline]
    fn take_expected(&mut self, request: &mut remote_write_v1::Request<'_>) -> bool {
        let Some((key, known)) = self.cache.as_ref().and_then(|cache| cache.at(self.next)) else { return false };
        let seed = self.seed;
        match request.next_series_of(key.bytes as usize, |block| xxh3_128(block) ^ seed == key.hash) {
            None => false,
            Some(remote_write_v1::Series { samples, .. }) => {
                self.next += 1;
                self.records
                    .take(known, Content { samples, start_timestamps: None, histograms: Histograms::NONE, exemplars: 0 });
                true
            }
        }
    }

    pub(super) fn request_v2(&mut self, body: &[u8]) -> Result<(), EncodeError> {
        let mut request = remote_write_v2::Request::new(body)?;
        let hashes: Vec<u64> = request.symbols().iter().map(|symbol| xxh3_64(symbol)).collect();
        while let Some(series) = request.next_series()? {
            let remote_write_v2::Series { samples, start_timestamps, histograms, exemplars, .. } = series;
            let content = Content { samples, start_timestamps, histograms, exemplars };
            if !series.references_fit {
                self.records.take(Known::MALFORMED, content);
                continue;
            }
            self.buffer.clear();
            for reference in series.label_references {
                self.buffer.extend_from_slice(&hashes[*reference as usize].to_le_bytes());
            }
            // One bit apart from the keys of 1.0: the same bytes mean other labels there.
            let key = LabelsKey { hash: xxh3_128(&self.buffer) ^ self.seed ^ 1, bytes: self.buffer.len() as u32 };
            let labels = || series.labels().map_err(|_| RefusedLabels::unknown(RefusalReason::LabelsMalformed));
            self.take(key, labels, content)?;
        }
        Ok(())
    }

    /// Takes a series, from the cache by its key or by looking at its labels.
    fn take<'a>(
        &mut self,
        key: LabelsKey,
        labels: impl FnOnce() -> Result<Vec<(&'a str, &'a str)>, RefusedLabels<'a>>,
        content: Content<'_>,
    ) -> Result<(), TableFull> {
        if let Some(cache) = &self.cache {
            let expected = cache.at(self.next).filter(|(expected, _)| expected.hash == key.hash);
            let place = if expected.is_some() { Some(self.next) } else { cache.find(key.hash) };
            if let Some((place, (_, known))) = place.and_then(|place| Some((place, cache.at(place)?))) {
                self.next = place + 1;
                self.records.take(known, content);
                return Ok(());
            }
        }
        let fresh = self.look_at(labels())?;
        self.records.take(fresh.known(self.symbols), content);
        self.fresh.push((key, fresh));
        Ok(())
    }

    /// Takes a series whose labels are read, sorted and each there once: our own scraper's.
    pub(super) fn scraped(&mut self, labels: &Labels, sample: Sample) -> Result<(), TableFull> {
        let options = &self.gateway.options;
        let fresh = if options.drop_labels.is_empty() && options.limits.fit(labels) {
            self.series(labels, SymbolId::EMPTY)?
        } else {
            self.look_at(Ok(labels.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect()))?
        };
        let (start_timestamps, histograms) = (None, Histograms::NONE);
        let content = Content { samples: &[sample], start_timestamps, histograms, exemplars: 0 };
        self.records.take(fresh.known(self.symbols), content);
        Ok(())
    }

    /// Takes a sample whose labels are read, as they were sent.
    pub(super) fn sample(&mut self, labels: Vec<(&str, &str)>, sample: Sample) -> Result<(), TableFull> {
        self.buffer.clear();
        for (name, value) in &labels {
            push_prefixed(&mut self.buffer, name.as_bytes());
            push_prefixed(&mut self.buffer, value.as_bytes());
        }
        // Another bit apart from the keys of 1.0 and 2.0.
        let key = LabelsKey { hash: xxh3_128(&self.buffer) ^ self.seed ^ 2, bytes: self.buffer.len() as u32 };
        let (samples, histograms) = (&[sample], Histograms::NONE);
        self.take(key, || Ok(labels), Content { samples, start_timestamps: None, histograms, exemplars: 0 })
    }

    fn look_at<'a>(&self, labels: Result<Vec<(&'a str, &'a str)>, RefusedLabels<'a>>) -> Result<Fresh, TableFull> {
        let options = &self.gateway.options;
        let sender = labels.as_ref().map_or(Ok(SymbolId::EMPTY), |labels| self.sender(labels))?;
        let checked = labels.and_then(|labels| check_labels(labels, &options.drop_labels, &options.limits));
        Ok(match checked {
            Ok(labels) => self.series(&Labels::from_pairs(labels), sender)?,
            Err(RefusedLabels { reason, told, untold }) => Fresh::Refused {
                sender,
                reason,
                told: self.symbols.intern_labels(&Labels::from_pairs(told))?,
                untold: untold.into_iter().map(|name| self.symbols.intern(name)).collect::<Result<_, _>>()?,
            },
        })
    }

    fn series(&self, labels: &Labels, sender: SymbolId) -> Result<Fresh, TableFull> {
        let id = labels.series_id(&self.origin.tenant);
        let partition = self.gateway.partitioner.partition(&self.origin.tenant, id, labels);
        Ok(Fresh::Series { sender, id, partition, labels: self.symbols.intern_labels(labels)? })
    }

    /// Whom labels name as the sender; the empty text when they do not.
    fn sender(&self, labels: &[(&str, &str)]) -> Result<SymbolId, TableFull> {
        let value = |name: &String| labels.iter().find(|(label, value)| label == name && !value.is_empty());
        let values: Vec<&str> =
            self.gateway.options.sender_labels.iter().filter_map(value).map(|(_, value)| *value).collect();
        self.symbols.intern(&values.join("/"))
    }

    pub(super) fn finish(self) -> Result<Encoded, EncodeError> {
        let encoded = self.records.finish()?;
        drop(self.cache);
        if !self.fresh.is_empty() {
            self.gateway.cache.write().take(self.symbols, self.fresh);
        }
        Ok(encoded)
    }
}

/// The labels of a series of 1.0, unless they cannot be read.
fn labels_v1(block: &[u8]) -> Result<Vec<(&str, &str)>, RefusedLabels<'_>> {
    remote_write_v1::decode_labels(LabelBlock::Contiguous(block)).map_err(|error| {
        RefusedLabels::unknown(match error.problem() {
            Problem::TooMany { .. } => RefusalReason::TooManyLabels,
            _ => RefusalReason::LabelsMalformed,
        })
    })
}
