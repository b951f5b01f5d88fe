//! Reads records of our log.
//!
//! Parsing checks a record's frame and all its samples, and so decides whether it can be used at all; it remembers what it
//! found, so that iterating over it cannot fail and decodes nothing again. Strings and label references are left alone until
//! someone asks for labels: per series of a known id, only id, times and values are touched.

use std::cell::OnceCell;
use std::ops::Range;

use super::refusal::{RecordRefusal, RefusalFrame};
use super::{FORMAT, FORMAT_VERSION, REFUSAL, SENDER, SERIES_ID, TENANT, UNTOLD, UNTOLD_ONE};
use crate::model::{Labels, Sample, SeriesId};
use crate::wire::error::{Problem, WireError};
use crate::wire::reader::{Reader, plain_sample};
use crate::wire::remote_write_v2::{
    REFERENCE, REFERENCES, SAMPLES, SERIES, SYMBOLS, check_references, push_reference, push_references, push_symbol,
};

/// The fields of a record that are ours to read.
const RECORD_FIELDS: [u32; 6] = [4, 5, 100, 101, 102, 103];
const SERIES_FIELDS: [u32; 3] = [1, 2, 100];

/// A longer record is refused; the log takes none nearly as long.
const RECORD_BYTES_MAX: usize = u32::MAX as usize;

/// A record, parsed.
pub struct Record<'a> {
    whole: Reader<'a>,
    tenant: &'a str,
    sender: &'a str,
    found: RecordBuffers,
    first_refusal: Reader<'a>,
    refusal_count: usize,
    /// Read when labels are first asked for.
    symbols: OnceCell<Result<Vec<&'a str>, WireError>>,
}

/// What was found in a record; kept by who parses many, so that its memory is used again. It is at most eight times the
/// longest record parsed, and of our own records about as long.
#[derive(Default)]
pub struct RecordBuffers {
    series: Vec<Found>,
    samples: Vec<Sample>,
    /// Beside `samples` if any sample has a start timestamp.
    starts: Vec<i64>,
}

/// A series of the record.
#[derive(Clone, Copy)]
struct Found {
    id: SeriesId,
    /// Where it stands in the record.
    from: u32,
    to: u32,
    /// Its samples are those from where the ones of the series before end.
    samples_end: u32,
}

/// One series of a record.
#[derive(Clone, Copy)]
pub struct RecordSeries<'r, 'a> {
    pub id: SeriesId,
    record: &'r Record<'a>,
    body: (u32, u32),
    samples: (u32, u32),
}

impl<'a> Record<'a> {
    /// Parses a record.
    ///
    /// # Errors
    /// The bytes are not a record, or one of a newer format: nothing of it can be used. Not everything about labels is
    /// found wrong here; see [`RecordSeries::labels`].
    pub fn parse(bytes: &'a [u8]) -> Result<Record<'a>, WireError> {
        Record::parse_with(bytes, RecordBuffers::default())
    }

    /// As [`Record::parse`], with the memory of a record parsed before.
    ///
    /// # Errors
    /// As [`Record::parse`]; the memory is freed then.
    pub fn parse_with(bytes: &'a [u8], mut found: RecordBuffers) -> Result<Record<'a>, WireError> {
        let mut reader = Reader::new(bytes);
        if bytes.len() > RECORD_BYTES_MAX {
            return reader.error(Problem::TooLarge { claimed: bytes.len() as u64, max: RECORD_BYTES_MAX });
        }
        found.clear();
        let (whole, symbols) = (reader, OnceCell::new());
        let mut record = Record { whole, tenant: "", sender: "", found, first_refusal: reader, refusal_count: 0, symbols };
        let mut format = 0;
        while !reader.is_done() {
            let field_at = reader;
            match reader.key()? {
                SERIES => record.found.series(reader.message()?)?,
                SYMBOLS => drop(reader.message()?),
                FORMAT => format = read_format(&mut reader)?,
                TENANT => record.tenant = reader.text()?,
                SENDER => record.sender = reader.text()?,
                REFUSAL => {
                    RefusalFrame::read(reader.message()?)?;
                    record.add_refusal(field_at);
                }
                other => reader.skip(other, &RECORD_FIELDS)?,
            }
        }
        if format == 0 { reader.error(Problem::FormatMissing) } else { Ok(record) }
    }

    fn add_refusal(&mut self, field_at: Reader<'a>) {
        if self.refusal_count == 0 {
            self.first_refusal = field_at;
        }
        self.refusal_count += 1;
    }

    /// The memory, for the next record.
    pub fn into_buffers(self) -> RecordBuffers {
        self.found
    }

    pub fn tenant(&self) -> &'a str {
        self.tenant
    }

    pub fn sender(&self) -> &'a str {
        self.sender
    }

    /// How many samples all series hold together.
    pub fn sample_count(&self) -> usize {
        self.found.samples.len()
    }

    /// The series, in the order in which they were written.
    #[inline]
    pub fn series(&self) -> impl Iterator<Item = RecordSeries<'_, 'a>> {
        let mut samples_from = 0;
        self.found.series.iter().map(move |&Found { id, from, to, samples_end }| {
            let samples = (std::mem::replace(&mut samples_from, samples_end), samples_end);
            RecordSeries { id, record: self, body: (from, to), samples }
        })
    }

    /// The refusals, in the order in which they were written.
    pub fn refusals(&self) -> impl Iterator<Item = RecordRefusal<'_, 'a>> {
        let mut fields = self.first_refusal;
        (0..self.refusal_count).map_while(move |_| RecordRefusal::read(self, next_message(&mut fields, REFUSAL)?).ok())
    }

    fn symbols(&self) -> Result<&[&'a str], WireError> {
        match self.symbols.get_or_init(|| read_symbols(self.whole)) {
            Ok(symbols) => Ok(symbols),
            Err(error) => Err(error.clone()),
        }
    }

    /// The labels that the references in a series or refusal stand for.
    pub(super) fn labels(&self, mut body: Reader<'a>) -> Result<Labels, WireError> {
        let offset = body.at();
        let mut references = Vec::with_capacity(32);
        while !body.is_done() {
            match body.key()? {
                REFERENCES => push_references(&mut references, body.message()?)?,
                REFERENCE => push_reference(&mut references, &mut body)?,
                other => body.skip(other, &[])?,
            }
        }
        let symbols = self.symbols()?;
        check_references(&references, symbols.len(), offset)?;
        let text = |reference: u32| symbols[reference as usize];
        Ok(Labels::from_pairs(references.chunks_exact(2).map(|pair| (text(pair[0]), text(pair[1])))))
    }

    /// The names that the untold references in a refusal stand for.
    pub(super) fn untold(&self, mut body: Reader<'a>) -> Result<Vec<&'a str>, WireError> {
        let offset = body.at();
        let mut references = Vec::new();
        while !body.is_done() {
            match body.key()? {
                UNTOLD => push_references(&mut references, body.message()?)?,
                UNTOLD_ONE => push_reference(&mut references, &mut body)?,
                other => body.skip(other, &[])?,
            }
        }
        let symbols = self.symbols()?;
        let text = |reference: u32| symbols.get(reference as usize).copied();
        let out_of_range =
            |reference| WireError::new(offset, Problem::ReferenceOutOfRange { reference, symbols: symbols.len() });
        references.into_iter().map(|reference| text(reference).ok_or_else(|| out_of_range(reference))).collect()
    }
}

impl<'r> RecordSeries<'r, '_> {
    /// The samples, in the order in which they were sent.
    #[inline]
    pub fn samples(&self) -> &'r [Sample] {
        self.record.found.samples.get(self.range()).unwrap_or_default()
    }

    /// The samples, each with its start timestamp in milliseconds since the epoch, 0 when not known.
    pub fn samples_with_start(&self) -> impl Iterator<Item = (Sample, i64)> + use<'r> {
        let starts = self.record.found.starts.get(self.range()).unwrap_or_default();
        self.samples().iter().copied().zip(starts.iter().copied().chain(std::iter::repeat(0)))
    }

    fn range(&self) -> Range<usize> {
        self.samples.0 as usize..self.samples.1 as usize
    }

    /// The label set.
    ///
    /// # Errors
    /// A symbol of the record is malformed, or a reference is. No record of ours is like that: whoever meets one treats the
    /// record as unreadable.
    pub fn labels(&self) -> Result<Labels, WireError> {
        self.record.labels(self.record.whole.within(self.body.0 as usize, self.body.1 as usize))
    }
}

impl RecordBuffers {
    fn clear(&mut self) {
        self.series.clear();
        self.samples.clear();
        self.starts.clear();
    }

    #[inline(always)]
    fn series(&mut self, body: Reader<'_>) -> Result<(), WireError> {
        let samples_before = self.samples.len();
        let id = match self.plain_series(body.rest()) {
            Some(id) => id,
            None => {
                self.samples.truncate(samples_before);
                self.any_series(body)?
            }
        };
        let (from, to) = (body.at() as u32, (body.at() + body.left()) as u32);
        self.series.push(Found { id, from, to, samples_end: self.samples.len() as u32 });
        Ok(())
    }

    /// A series as our writer lays it out: its id, samples without start timestamps, the packed label references.
    #[inline]
    fn plain_series(&mut self, body: &[u8]) -> Option<SeriesId> {
        const ID: [u8; 3] = [SERIES_ID as u8 | 0x80, (SERIES_ID >> 7) as u8, 16];
        const SAMPLE: u8 = SAMPLES as u8;
        const PACKED: u8 = REFERENCES as u8;
        if !self.starts.is_empty() {
            return None;
        }
        let (head, body) = body.split_first_chunk::<3>()?;
        let (id, mut rest) = body.split_first_chunk::<16>()?;
        if *head != ID {
            return None;
        }
        while let &[SAMPLE, len, ref fields @ ..] = rest {
            let (sample, read) = plain_sample(fields.first_chunk()?)?;
            if read != usize::from(len) {
                return None;
            }
            self.samples.push(sample);
            rest = &fields[read..];
        }
        match *rest {
            [PACKED, len, ref references @ ..] if len < 0x80 && references.len() == usize::from(len) => {
                Some(SeriesId(u128::from_le_bytes(*id)))
            }
            _ => None,
        }
    }

    #[cold]
    fn any_series(&mut self, mut body: Reader<'_>) -> Result<SeriesId, WireError> {
        let (whole, mut id) = (body, None);
        while !body.is_done() {
            match body.key()? {
                SERIES_ID => id = Some(read_id(body.message()?)?),
                SAMPLES => self.sample(body.message()?.sample::<true>()?),
                REFERENCES => drop(body.message()?),
                REFERENCE => drop(body.varint()?),
                other => body.skip(other, &SERIES_FIELDS)?,
            }
        }
        match id {
            Some(id) => Ok(id),
            None => whole.error(Problem::SeriesIdMissing),
        }
    }

    fn sample(&mut self, (sample, start): (Sample, i64)) {
        if start != 0 && self.starts.is_empty() {
            self.starts.resize(self.samples.len(), 0);
        }
        self.samples.push(sample);
        if start != 0 || !self.starts.is_empty() {
            self.starts.push(start);
        }
    }
}

fn read_id(body: Reader<'_>) -> Result<SeriesId, WireError> {
    match body.rest().try_into() {
        Ok(bytes) => Ok(SeriesId(u128::from_le_bytes(bytes))),
        Err(_) => body.error(Problem::SeriesIdLength { len: body.left() }),
    }
}

fn read_format(reader: &mut Reader<'_>) -> Result<u32, WireError> {
    let at = *reader;
    match reader.varint()? as u32 {
        found if found > FORMAT_VERSION => at.error(Problem::FormatNewer { found, known: FORMAT_VERSION }),
        found => Ok(found),
    }
}

fn read_symbols(mut reader: Reader<'_>) -> Result<Vec<&str>, WireError> {
    let mut symbols = Vec::new();
    while !reader.is_done() {
        match reader.key()? {
            SYMBOLS => push_symbol(&mut symbols, &mut reader)?,
            other => reader.skip(other, &[])?,
        }
    }
    Ok(symbols)
}

/// The next field of a key, passing over others. Errors read as the end: the bytes were checked when the record was
/// parsed.
fn next_message<'a>(fields: &mut Reader<'a>, wanted: u32) -> Option<Reader<'a>> {
    while !fields.is_done() {
        match fields.key().ok()? {
            found if found == wanted => return fields.message().ok(),
            other => fields.skip(other, &[]).ok()?,
        }
    }
    None
}
