//! The records that a request becomes, one per log partition it touches: its series, and what is refused of it.

use bytes::Bytes;
use smol_str::SmolStr;

use super::encoding::EncodeError;
use super::gateway::{Gateway, Origin, Written};
use super::limits::RefusalReason;
use super::series_cache::Known;
use crate::log::NewRecord;
use crate::model::{PartitionId, Sample, SeriesId, Timestamp};
use crate::wire::Histograms;
use crate::wire::record::{RecordWriter, RefusedSeries, SymbolId, SymbolTable};

/// What the records of one request may have together when labels name their senders, as many as those are: what the log
/// takes at once.
const RECORDS_BYTES_MAX: usize = 64 << 20;

/// What a series of a request carries beside its labels.
#[derive(Clone, Copy)]
pub(super) struct Content<'s> {
    pub samples: &'s [Sample],
    /// One for each sample; only 2.0 can have them.
    pub start_timestamps: Option<&'s [i64]>,
    pub histograms: Histograms,
    pub exemplars: usize,
}

impl Content<'_> {
    /// Samples and nothing else.
    #[inline]
    fn is_plain(&self) -> bool {
        !self.samples.is_empty() && self.histograms.count == 0 && self.exemplars == 0
    }

    /// The least and the greatest time; none of a series without samples and histograms.
    fn times(&self) -> Option<[i64; 2]> {
        let times = || self.samples.iter().map(|sample| sample.t);
        let least = times().fold(self.histograms.least, Timestamp::min);
        let greatest = times().fold(self.histograms.greatest, Timestamp::max);
        (least <= greatest).then_some([least.0, greatest.0])
    }
}

/// A request that was read: what is to be appended, what is to be answered, and who wrote.
pub(super) struct Encoded {
    pub records: Vec<NewRecord>,
    pub written: Written,
    pub senders: Vec<Origin>,
}

/// The records that a request becomes. Where labels name senders, those of the sender before are finished when a series of
/// another one comes: a relay that sends those of one sender together makes large records.
pub(super) struct Records<'g> {
    gateway: &'g Gateway,
    symbols: &'g SymbolTable,
    /// Whose request it is.
    origin: &'g Origin,
    /// Whether labels name the sender; else all series are the origin's.
    labelled: bool,
    /// Whom the labels of the series being taken name.
    sender: SymbolId,
    /// The origin of these.
    current: Origin,
    /// By partition.
    writers: Vec<Option<RecordWriter>>,
    newest: Vec<Timestamp>,
    encoded: Encoded,
    bytes: usize,
    failed: Option<EncodeError>,
}

impl<'g> Records<'g> {
    pub fn new(gateway: &'g Gateway, origin: &'g Origin, symbols: &'g SymbolTable) -> Records<'g> {
        let partitions = usize::from(gateway.log.partitions());
        Records {
            gateway,
            symbols,
            origin,
            labelled: gateway.is_labelled(origin),
            sender: SymbolId::EMPTY,
            current: origin.clone(),
            writers: (0..partitions).map(|_| None).collect(),
            newest: vec![Timestamp::MIN; partitions],
            encoded: Encoded { records: Vec::new(), written: Written::default(), senders: Vec::new() },
            bytes: 0,
            failed: None,
        }
    }

    #[inline]
    pub fn take(&mut self, known: Known<'_>, content: Content<'_>) {
        match known {
            Known::Series { sender, id, partition, labels } if sender == self.sender && content.is_plain() => {
                self.series((id, partition), labels, content.samples, content.start_timestamps);
            }
            _ => self.take_unusual(known, content),
        }
    }

    /// What another sender sent than the series before, and what is to be refused, as a whole or in part.
    #[cold]
    fn take_unusual(&mut self, known: Known<'_>, content: Content<'_>) {
        if self.labelled && known.sender() != self.sender {
            self.begin_sender(known.sender());
        }
        self.refuse(RefusalReason::Exemplar, content.exemplars as u64);
        match known {
            Known::Refused { reason, told, untold, .. } => {
                self.refuse(reason, 1);
                if let Some(timestamps) = content.times().filter(|_| reason.upstream_may_have_it()) {
                    let reason = reason.slug();
                    self.writer(0).refusal(&RefusedSeries { labels: told, untold, timestamps: &timestamps, reason });
                }
            }
            Known::Series { id, partition, labels, .. } => {
                let Histograms { count, least, greatest } = content.histograms;
                if count > 0 {
                    let reason = RefusalReason::NativeHistogram;
                    self.refuse(reason, count as u64);
                    let timestamps = &[least.0, greatest.0];
                    self.writer(partition).refusal(&RefusedSeries {
                        labels,
                        untold: &[],
                        timestamps,
                        reason: reason.slug(),
                    });
                }
                match content.samples.is_empty() {
                    true if count == 0 => self.refuse(RefusalReason::NoSamples, 1),
                    true => {}
                    false => self.series((id, partition), labels, content.samples, content.start_timestamps),
                }
            }
        }
    }

    /// Adds a series whose labels are symbols of the table the records are written with.
    #[inline]
    fn series(
        &mut self,
        (id, partition): (SeriesId, u16),
        labels: &[SymbolId],
        samples: &[Sample],
        start_timestamps: Option<&[i64]>,
    ) {
        let newest = &mut self.newest[usize::from(partition)];
        *newest = samples.iter().map(|sample| sample.t).fold(*newest, Timestamp::max);
        self.encoded.written.samples += samples.len() as u64;
        self.writer(partition).series(id, labels, samples, start_timestamps);
    }

    #[inline]
    fn writer(&mut self, partition: u16) -> &mut RecordWriter {
        let (origin, gateway, symbols) = (&self.current, self.gateway, self.symbols);
        self.writers[usize::from(partition)].get_or_insert_with(|| {
            let mut writer = gateway.writers.take(symbols);
            writer.begin(&origin.tenant, &origin.sender);
            writer
        })
    }

    fn refuse(&mut self, reason: RefusalReason, count: u64) {
        if count == 0 {
            return;
        }
        let refused = &mut self.encoded.written.refused;
        match refused.iter_mut().find(|(had, _)| *had == reason) {
            Some((_, had)) => *had += count,
            None => refused.push((reason, count)),
        }
    }

    fn begin_sender(&mut self, sender: SymbolId) {
        self.end_sender();
        let named = Some(sender).filter(|sender| *sender != SymbolId::EMPTY);
        let name = named.and_then(|sender| self.symbols.read().get(sender).map(SmolStr::from));
        self.current.sender = name.unwrap_or_else(|| self.origin.sender.clone());
        self.sender = sender;
        for writer in self.writers.iter_mut().flatten() {
            writer.begin(&self.current.tenant, &self.current.sender);
        }
    }

    /// Finishes the records of the current sender; nothing more when something was wrong before.
    fn end_sender(&mut self) {
        let wrote = self.writers.iter().flatten().any(|writer| !writer.is_empty());
        if !wrote || self.failed.is_some() {
            return;
        }
        if self.labelled
            && let Err(error) = self.gateway.check_sender(&self.current)
        {
            self.failed = Some(EncodeError::NotAdmitted(error));
            return;
        }
        self.encoded.senders.push(self.current.clone());
        for (partition, (writer, newest)) in self.writers.iter_mut().zip(&mut self.newest).enumerate() {
            let Some(writer) = writer.as_mut().filter(|writer| !writer.is_empty()) else { continue };
            let newest = Some(std::mem::replace(newest, Timestamp::MIN)).filter(|newest| *newest != Timestamp::MIN);
            match writer.finish(self.symbols) {
                Ok(payload) => {
                    self.bytes += payload.len();
                    let (partition, payload) = (PartitionId(partition as u16), Bytes::from(payload));
                    self.encoded.records.push(NewRecord { partition, payload, newest });
                }
                Err(error) => self.failed = Some(EncodeError::Wire(error)),
            }
        }
        if self.labelled && self.bytes > RECORDS_BYTES_MAX {
            self.failed = Some(EncodeError::TooLarge { bytes: self.bytes, bytes_max: RECORDS_BYTES_MAX });
        }
    }

    pub fn finish(mut self) -> Result<Encoded, EncodeError> {
        self.end_sender();
        self.writers.into_iter().flatten().for_each(|writer| self.gateway.writers.give_back(self.symbols, writer));
        self.failed.map_or(Ok(self.encoded), Err)
    }
}
