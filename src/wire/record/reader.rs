//! Reads records of our log.
//!
//! Parsing checks a record's frame and all its samples, and so decides whether it can be used at all; iterating over it
//! then cannot fail. Strings and label references are left alone until someone asks for labels: per series of a known id,
//! only id, times and values are touched.
//!
//! What runs per series is inlined by force: left as calls, the readers pass through memory, and iterating costs three
//! times as much.

use std::cell::OnceCell;

use super::refusal::{RecordRefusal, RefusalFrame};
use super::{FORMAT, FORMAT_VERSION, REFUSAL, SENDER, SERIES_ID, TENANT};
use crate::model::{Labels, Sample, SeriesId};
use crate::wire::error::{Problem, WireError};
use crate::wire::reader::Reader;
use crate::wire::remote_write_v2::{
    REFERENCE, REFERENCES, SAMPLES, SERIES, SYMBOLS, check_references, push_reference, push_references, push_symbol,
};

/// The fields of a record that are ours to read.
const RECORD_FIELDS: [u32; 6] = [4, 5, 100, 101, 102, 103];
const SERIES_FIELDS: [u32; 3] = [1, 2, 100];

/// A record, parsed.
pub struct Record<'a> {
    whole: Reader<'a>,
    tenant: &'a str,
    sender: &'a str,
    /// Where the first series stands, and how many there are.
    first_series: Reader<'a>,
    series_count: usize,
    sample_count: usize,
    first_refusal: Reader<'a>,
    refusal_count: usize,
    /// Read when labels are first asked for.
    symbols: OnceCell<Result<Vec<&'a str>, WireError>>,
}

/// One series of a record.
#[derive(Clone, Copy)]
pub struct RecordSeries<'r, 'a> {
    pub id: SeriesId,
    pub sample_count: usize,
    record: &'r Record<'a>,
    body: Reader<'a>,
    /// The offset of the first sample.
    samples_at: usize,
}

/// The series of a record, in the order in which they were written.
#[derive(Clone)]
pub struct SeriesIter<'r, 'a> {
    record: &'r Record<'a>,
    fields: Reader<'a>,
    left: usize,
}

/// The samples of a series, each with its start timestamp in milliseconds since the epoch, 0 when not known.
#[derive(Clone)]
pub struct SampleIter<'a> {
    fields: Reader<'a>,
    left: usize,
}

impl<'a> Record<'a> {
    /// Parses a record.
    ///
    /// # Errors
    /// The bytes are not a record, or one of a newer format: nothing of it can be used. Not everything about labels is
    /// found wrong here; see [`RecordSeries::labels`].
    pub fn parse(bytes: &'a [u8]) -> Result<Record<'a>, WireError> {
        let mut reader = Reader::new(bytes);
        let mut record = Record {
            whole: reader,
            tenant: "",
            sender: "",
            first_series: reader,
            series_count: 0,
            sample_count: 0,
            first_refusal: reader,
            refusal_count: 0,
            symbols: OnceCell::new(),
        };
        let mut format = 0;
        while !reader.is_done() {
            let field_at = reader;
            match reader.key()? {
                SERIES => {
                    let samples = SeriesFrame::read(reader.message()?)?.sample_count;
                    record.add_series(field_at, samples);
                }
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

    fn add_series(&mut self, field_at: Reader<'a>, samples: usize) {
        if self.series_count == 0 {
            self.first_series = field_at;
        }
        self.series_count += 1;
        self.sample_count += samples;
    }

    fn add_refusal(&mut self, field_at: Reader<'a>) {
        if self.refusal_count == 0 {
            self.first_refusal = field_at;
        }
        self.refusal_count += 1;
    }

    pub fn tenant(&self) -> &'a str {
        self.tenant
    }

    pub fn sender(&self) -> &'a str {
        self.sender
    }

    /// How many samples all series hold together.
    pub fn sample_count(&self) -> usize {
        self.sample_count
    }

    /// The series, in the order in which they were written.
    #[inline]
    pub fn series(&self) -> SeriesIter<'_, 'a> {
        SeriesIter { record: self, fields: self.first_series, left: self.series_count }
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
}

impl<'a> RecordSeries<'_, 'a> {
    /// The samples, in the order in which they were sent.
    #[inline]
    pub fn samples(&self) -> impl Iterator<Item = Sample> + use<'a> {
        self.samples_with_start().map(|(sample, _)| sample)
    }

    /// The samples with their start timestamps.
    #[inline]
    pub fn samples_with_start(&self) -> SampleIter<'a> {
        SampleIter { fields: self.body.from(self.samples_at), left: self.sample_count }
    }

    /// The label set.
    ///
    /// # Errors
    /// A symbol of the record is malformed, or a reference is. No record of ours is like that: whoever meets one treats the
    /// record as unreadable.
    pub fn labels(&self) -> Result<Labels, WireError> {
        self.record.labels(self.body)
    }
}

impl<'r, 'a> Iterator for SeriesIter<'r, 'a> {
    type Item = RecordSeries<'r, 'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<RecordSeries<'r, 'a>> {
        self.left = self.left.checked_sub(1)?;
        let body = next_message(&mut self.fields, SERIES)?;
        let SeriesFrame { id, sample_count, samples_at } = SeriesFrame::read(body).ok()?;
        Some(RecordSeries { id, sample_count, record: self.record, body, samples_at })
    }
}

impl Iterator for SampleIter<'_> {
    type Item = (Sample, i64);

    #[inline(always)]
    fn next(&mut self) -> Option<(Sample, i64)> {
        self.left = self.left.checked_sub(1)?;
        next_message(&mut self.fields, SAMPLES)?.sample::<true>().ok()
    }
}

/// What a series is besides its labels.
struct SeriesFrame {
    id: SeriesId,
    sample_count: usize,
    samples_at: usize,
}

impl SeriesFrame {
    #[inline(always)]
    fn read(mut body: Reader<'_>) -> Result<SeriesFrame, WireError> {
        let whole = body;
        let (mut id, mut sample_count, mut samples_at) = (None, 0, body.at());
        while !body.is_done() {
            let field_at = body.at();
            match body.key()? {
                SERIES_ID => id = Some(read_id(body.message()?)?),
                SAMPLES => {
                    body.message()?.sample::<true>()?;
                    if sample_count == 0 {
                        samples_at = field_at;
                    }
                    sample_count += 1;
                }
                REFERENCES => drop(body.message()?),
                REFERENCE => drop(body.varint()?),
                other => body.skip(other, &SERIES_FIELDS)?,
            }
        }
        match id {
            Some(id) => Ok(SeriesFrame { id, sample_count, samples_at }),
            None => whole.error(Problem::SeriesIdMissing),
        }
    }
}

#[inline]
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
#[inline(always)]
fn next_message<'a>(fields: &mut Reader<'a>, wanted: u32) -> Option<Reader<'a>> {
    while !fields.is_done() {
        match fields.key().ok()? {
            found if found == wanted => return fields.message().ok(),
            other => fields.skip(other, &[]).ok()?,
        }
    }
    None
}
