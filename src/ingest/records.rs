//! The records that a request becomes, one per log partition it touches: its series, and what is refused of it.

use bytes::Bytes;

use super::gateway::{Gateway, Origin, Written};
use super::limits::RefusalReason;
use super::series_cache::Known;
use crate::log::NewRecord;
use crate::model::{PartitionId, Sample, SeriesId, Timestamp};
use crate::wire::record::{RecordWriter, RefusedSeries, SymbolId, SymbolTable};
use crate::wire::{Histograms, WireError};

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

/// The records that a request becomes.
pub(super) struct Records<'g> {
    gateway: &'g Gateway,
    symbols: &'g SymbolTable,
    origin: &'g Origin,
    /// By partition.
    writers: Vec<Option<RecordWriter>>,
    newest: Vec<Timestamp>,
    written: Written,
}

impl<'g> Records<'g> {
    pub fn new(gateway: &'g Gateway, origin: &'g Origin, symbols: &'g SymbolTable) -> Records<'g> {
        let partitions = usize::from(gateway.log.partitions());
        Records {
            gateway,
            symbols,
            origin,
            writers: (0..partitions).map(|_| None).collect(),
            newest: vec![Timestamp::MIN; partitions],
            written: Written::default(),
        }
    }

    #[inline]
    pub fn take(&mut self, known: Known<'_>, content: Content<'_>) {
        match known {
            Known::Series { id, partition, labels } if content.is_plain() => {
                self.series((id, partition), labels, content.samples, content.start_timestamps);
            }
            _ => self.take_unusual(known, content),
        }
    }

    /// What is to be refused, as a whole or in part.
    #[cold]
    fn take_unusual(&mut self, known: Known<'_>, content: Content<'_>) {
        self.refuse(RefusalReason::Exemplar, content.exemplars as u64);
        match known {
            Known::Refused { reason, told, untold } => {
                self.refuse(reason, 1);
                if let Some(timestamps) = content.times().filter(|_| reason.upstream_may_have_it()) {
                    let reason = reason.slug();
                    self.writer(0).refusal(&RefusedSeries { labels: told, untold, timestamps: &timestamps, reason });
                }
            }
            Known::Series { id, partition, labels } => {
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
    pub fn series(
        &mut self,
        (id, partition): (SeriesId, u16),
        labels: &[SymbolId],
        samples: &[Sample],
        start_timestamps: Option<&[i64]>,
    ) {
        let newest = &mut self.newest[usize::from(partition)];
        *newest = samples.iter().map(|sample| sample.t).fold(*newest, Timestamp::max);
        self.written.samples += samples.len() as u64;
        self.writer(partition).series(id, labels, samples, start_timestamps);
    }

    #[inline]
    fn writer(&mut self, partition: u16) -> &mut RecordWriter {
        let (origin, gateway, symbols) = (self.origin, self.gateway, self.symbols);
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
        match self.written.refused.iter_mut().find(|(had, _)| *had == reason) {
            Some((_, had)) => *had += count,
            None => self.written.refused.push((reason, count)),
        }
    }

    pub fn finish(self) -> Result<(Vec<NewRecord>, Written), WireError> {
        let mut records = Vec::new();
        for (partition, (writer, newest)) in self.writers.into_iter().zip(self.newest).enumerate() {
            if let Some(mut writer) = writer {
                let payload = Bytes::from(writer.finish(self.symbols)?);
                self.gateway.writers.give_back(self.symbols, writer);
                let newest = (newest != Timestamp::MIN).then_some(newest);
                records.push(NewRecord { partition: PartitionId(partition as u16), payload, newest });
            }
        }
        Ok((records, self.written))
    }
}
