//! The records that a request becomes, one per log partition it touches, and more where one would be larger than the log
//! takes: its series, and what is refused of it.

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

/// When a record is ended and another begun.
#[derive(Clone, Copy)]
pub(super) struct Split {
    /// A record is measured when so many series and refusals have come since the last time.
    measured_every: usize,
    /// It is ended when it is at least this long then.
    bytes: usize,
    /// No record may be longer.
    bytes_max: usize,
    /// So many samples of one series go into one record: with the longest times and values, a quarter of what fits.
    samples_max: usize,
}

/// A sample with its field's frame, its value, its time and its start timestamp.
const SAMPLE_BYTES_MAX: usize = 40;

impl Split {
    /// Records up to half of what the log takes: what comes between two measurements fits into the other half, or else
    /// the request is encoded again [apart](Split::apart).
    pub fn half(bytes_max: usize) -> Split {
        Split { measured_every: 32, bytes: (bytes_max / 2).max(1), ..Split::apart(bytes_max) }
    }

    /// Every series in a record of its own. One that is too large even so can never be taken.
    pub fn apart(bytes_max: usize) -> Split {
        Split { measured_every: 1, bytes: 1, bytes_max, samples_max: (bytes_max / 4 / SAMPLE_BYTES_MAX).max(1) }
    }

    pub fn is_apart(self) -> bool {
        self.measured_every == 1
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
    /// Whether it has a record.
    wrote: bool,
    split: Split,
    /// By partition.
    open: Vec<Open>,
    encoded: Encoded,
    bytes: usize,
    /// The first thing that was wrong: nothing of the request is taken then.
    failed: Option<EncodeError>,
}

/// The record of a partition that is being written.
struct Open {
    writer: Option<RecordWriter>,
    newest: Timestamp,
    /// Series and refusals since the record was last measured.
    unmeasured: usize,
}

impl<'g> Records<'g> {
    pub fn new(gateway: &'g Gateway, origin: &'g Origin, symbols: &'g SymbolTable, split: Split) -> Records<'g> {
        let open = (0..gateway.log.partitions()).map(|_| Open { writer: None, newest: Timestamp::MIN, unmeasured: 0 });
        Records {
            gateway,
            symbols,
            origin,
            labelled: gateway.is_labelled(origin),
            sender: SymbolId::EMPTY,
            current: origin.clone(),
            wrote: false,
            split,
            open: open.collect(),
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
                    self.measure_if_due(0);
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
                    self.measure_if_due(partition);
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
        if samples.len() > self.split.samples_max {
            return self.long_series((id, partition), labels, samples, start_timestamps);
        }
        let newest = &mut self.open[usize::from(partition)].newest;
        *newest = samples.iter().map(|sample| sample.t).fold(*newest, Timestamp::max);
        self.encoded.written.samples += samples.len() as u64;
        self.writer(partition).series(id, labels, samples, start_timestamps);
        self.measure_if_due(partition);
    }

    /// More samples than a record should have of one series.
    #[cold]
    fn long_series(
        &mut self,
        place: (SeriesId, u16),
        labels: &[SymbolId],
        samples: &[Sample],
        start_timestamps: Option<&[i64]>,
    ) {
        let every = self.split.samples_max;
        let mut starts = start_timestamps.unwrap_or_default().chunks(every);
        for samples in samples.chunks(every) {
            self.series(place, labels, samples, starts.next());
            self.measure(place.1);
        }
    }

    #[inline]
    fn writer(&mut self, partition: u16) -> &mut RecordWriter {
        self.wrote = true;
        let (origin, gateway, symbols) = (&self.current, self.gateway, self.symbols);
        self.open[usize::from(partition)].writer.get_or_insert_with(|| {
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
    }

    /// Ends the records of the current sender.
    fn end_sender(&mut self) {
        if !std::mem::take(&mut self.wrote) {
            return;
        }
        if self.labelled
            && let Err(error) = self.gateway.check_sender(&self.current)
        {
            self.failed.get_or_insert(EncodeError::NotAdmitted(error));
        }
        self.encoded.senders.push(self.current.clone());
        (0..self.open.len() as u16).for_each(|partition| self.end(partition));
        if self.labelled && self.bytes > RECORDS_BYTES_MAX {
            self.failed.get_or_insert(EncodeError::TooLarge { bytes: self.bytes, bytes_max: RECORDS_BYTES_MAX });
        }
    }

    #[inline]
    fn measure_if_due(&mut self, partition: u16) {
        let open = &mut self.open[usize::from(partition)];
        open.unmeasured += 1;
        if open.unmeasured >= self.split.measured_every {
            self.measure(partition);
        }
    }

    /// Ends a partition's record if it is long enough.
    #[cold]
    fn measure(&mut self, partition: u16) {
        let open = &mut self.open[usize::from(partition)];
        open.unmeasured = 0;
        let bytes = open.writer.as_mut().map_or(0, |writer| writer.len_bytes(self.symbols));
        if bytes >= self.split.bytes {
            self.end(partition);
        }
    }

    fn end(&mut self, partition: u16) {
        let open = &mut self.open[usize::from(partition)];
        let newest = std::mem::replace(&mut open.newest, Timestamp::MIN);
        let Some(mut writer) = open.writer.take() else { return };
        let finished = writer.finish(self.symbols);
        self.gateway.writers.give_back(self.symbols, writer);
        match finished {
            Ok(record) if record.len() > self.split.bytes_max && !self.split.is_apart() => {
                self.failed.get_or_insert(EncodeError::RecordTooLarge);
            }
            Ok(record) => {
                self.bytes += record.len();
                let (partition, payload) = (PartitionId(partition), Bytes::from(record));
                let newest = (newest != Timestamp::MIN).then_some(newest);
                self.encoded.records.push(NewRecord { partition, payload, newest });
            }
            Err(error) => {
                self.failed.get_or_insert(EncodeError::Wire(error));
            }
        }
    }

    pub fn finish(mut self) -> Result<Encoded, EncodeError> {
        self.end_sender();
        self.failed.map_or(Ok(self.encoded), Err)
    }
}
