//! Remote write 2.0: every string of a request stands once, in a symbol table, and series refer to it by number.
//!
//! Protobuf promises no order of fields, so the symbols may come after the series that need them: a request is walked
//! once for the symbols, then once for the series.

use std::borrow::Borrow;

use super::encode::{MessageSymbols, put_bytes, put_sample};
use super::error::{Problem, WireError};
use super::histograms::Histograms;
use super::reader::{DELIMITED, Reader, VARINT, key};
use super::{LABELS_PER_SERIES_MAX, SAMPLES_PER_SERIES_MAX, SYMBOLS_MAX};
use crate::model::{Labels, Sample};

/// `symbols`, here and in the records of our log, which extend this message.
pub(super) const SYMBOLS: u32 = key(4, DELIMITED);
/// `timeseries`.
pub(super) const SERIES: u32 = key(5, DELIMITED);
/// `labels_refs` of a series, packed.
pub(super) const REFERENCES: u32 = key(1, DELIMITED);
/// `labels_refs` of a series, one by one.
pub(super) const REFERENCE: u32 = key(1, VARINT);
/// `samples` of a series, in both versions.
pub(super) const SAMPLES: u32 = key(2, DELIMITED);

/// Fields of a 1.0 request, which are reserved in a 2.0 one.
const V1_TIMESERIES: u32 = key(1, DELIMITED);
const V1_METADATA: u32 = key(3, DELIMITED);

const HISTOGRAM: u32 = key(3, DELIMITED);
const EXEMPLAR: u32 = key(4, DELIMITED);
const METADATA: u32 = key(5, DELIMITED);

/// A field of metadata, and the type it gives what may go up and down.
const METRIC_TYPE: u32 = key(1, VARINT);
const GAUGE: u8 = 2;

/// A decompressed `Request`, its symbols read, read on series by series.
///
/// Series are known to be well formed only once read: whoever must take a request as a whole or not at all reads it to
/// the end before acting on any of it.
pub struct Request<'a> {
    symbols: Vec<&'a [u8]>,
    reader: Reader<'a>,
    /// The label references, samples and start timestamps of the series last read, within the bounds of [`wire`](super).
    references: Vec<u32>,
    samples: Vec<Sample>,
    starts: Vec<i64>,
}

/// One series of a request; lives until the next one is read.
#[derive(Clone, Copy, Debug)]
pub struct Series<'r, 'a> {
    symbols: &'r [&'a [u8]],
    /// Symbol numbers, name and value by turns.
    pub label_references: &'r [u32],
    /// Whether they come in pairs and name symbols there are; else the series has no labels that can be read.
    pub references_fit: bool,
    /// In the order in which they were sent.
    pub samples: &'r [Sample],
    /// One for each sample, in milliseconds since the epoch, 0 when not known; none when no sample has one.
    pub start_timestamps: Option<&'r [i64]>,
    pub exemplars: usize,
    pub histograms: Histograms,
}

impl<'a> Request<'a> {
    /// Reads a decompressed body's symbols.
    ///
    /// # Errors
    /// The request is malformed between its series, has too many symbols, or its first symbol is not empty.
    pub fn new(body: &'a [u8]) -> Result<Request<'a>, WireError> {
        let mut reader = Reader::new(body);
        let mut symbols = Vec::new();
        let mut first_series = None;
        while !reader.is_done() {
            let field_at = reader;
            match reader.key()? {
                SYMBOLS => push_symbol(&mut symbols, &mut reader, |symbol| Ok(symbol.rest()))?,
                SERIES => {
                    first_series.get_or_insert(field_at);
                    reader.message()?;
                }
                other @ (V1_TIMESERIES | V1_METADATA) => {
                    let problem = Problem::OtherProtocol { field: other >> 3, belongs_to: "remote write 1.0" };
                    return field_at.error(problem);
                }
                other => reader.skip(other, &[4, 5])?,
            }
        }
        let reader = first_series.unwrap_or(reader);
        Ok(Request { symbols, reader, references: Vec::new(), samples: Vec::new(), starts: Vec::new() })
    }

    /// The symbol table; its first entry, if it has any, is the empty string. Others need not be UTF-8.
    pub fn symbols(&self) -> &[&'a [u8]] {
        &self.symbols
    }

    /// The next series, or none at the end of the request.
    ///
    /// # Errors
    /// The series is malformed or exceeds a bound of [`wire`](super).
    pub fn next_series(&mut self) -> Result<Option<Series<'_, 'a>>, WireError> {
        while !self.reader.is_done() {
            match self.reader.key()? {
                SERIES => {
                    let body = self.reader.message()?;
                    return self.series(body).map(Some);
                }
                SYMBOLS => drop(self.reader.message()?),
                other => self.reader.skip(other, &[])?,
            }
        }
        Ok(None)
    }

    fn series(&mut self, mut body: Reader<'a>) -> Result<Series<'_, 'a>, WireError> {
        self.references.clear();
        self.samples.clear();
        self.starts.clear();
        let (mut exemplars, mut histograms, mut any_start) = (0, Histograms::NONE, 0);
        while !body.is_done() {
            match body.key()? {
                REFERENCES => push_references(&mut self.references, body.message()?)?,
                REFERENCE => push_reference(&mut self.references, &mut body)?,
                SAMPLES => {
                    if self.samples.len() == SAMPLES_PER_SERIES_MAX {
                        return body.error(Problem::TooMany { what: "samples in a series", max: SAMPLES_PER_SERIES_MAX });
                    }
                    let (sample, start) = body.message()?.sample::<true>()?;
                    self.samples.push(sample);
                    self.starts.push(start);
                    any_start |= start;
                }
                EXEMPLAR => {
                    body.message()?;
                    exemplars += 1;
                }
                HISTOGRAM => histograms.see(body.message()?)?,
                METADATA => drop(body.message()?),
                other => body.skip(other, &[1, 2, 3, 4, 5])?,
            }
        }
        Ok(Series {
            symbols: &self.symbols,
            label_references: &self.references,
            references_fit: check_references(&self.references, self.symbols.len(), 0).is_ok(),
            samples: &self.samples,
            start_timestamps: (any_start != 0).then_some(&self.starts),
            exemplars,
            histograms,
        })
    }
}

impl<'a> Series<'_, 'a> {
    /// Names and values in the order in which they were sent; they may be unsorted, doubled or empty.
    ///
    /// # Errors
    /// The references are odd in number or point beyond the symbols, or one of theirs is not UTF-8.
    pub fn labels(&self) -> Result<Vec<(&'a str, &'a str)>, WireError> {
        check_references(self.label_references, self.symbols.len(), 0)?;
        let text = |reference: u32| Reader::new(self.symbols[reference as usize]).as_text();
        self.label_references.chunks_exact(2).map(|pair| Ok((text(pair[0])?, text(pair[1])?))).collect()
    }
}

/// Reads a field `symbols` whose key was just read.
#[inline]
pub(super) fn push_symbol<'a, T>(
    symbols: &mut Vec<T>,
    reader: &mut Reader<'a>,
    read: impl Fn(Reader<'a>) -> Result<T, WireError>,
) -> Result<(), WireError> {
    if symbols.len() == SYMBOLS_MAX {
        return reader.error(Problem::TooMany { what: "symbols", max: SYMBOLS_MAX });
    }
    let symbol = reader.message()?;
    if symbols.is_empty() && !symbol.is_done() {
        return reader.error(Problem::FirstSymbolNotEmpty);
    }
    symbols.push(read(symbol)?);
    Ok(())
}

/// Reads packed label references.
pub(super) fn push_references(references: &mut Vec<u32>, mut packed: Reader<'_>) -> Result<(), WireError> {
    while !packed.is_done() {
        push_reference(references, &mut packed)?;
    }
    Ok(())
}

#[inline]
pub(super) fn push_reference(references: &mut Vec<u32>, reader: &mut Reader<'_>) -> Result<(), WireError> {
    if references.len() == 2 * LABELS_PER_SERIES_MAX {
        return reader.error(Problem::TooMany { what: "labels in a series", max: LABELS_PER_SERIES_MAX });
    }
    // Protobuf reads a uint32 as the low half of what stands there.
    references.push(reader.varint()? as u32);
    Ok(())
}

/// Whether label references come in pairs and name symbols there are; `offset` is for the error.
pub(super) fn check_references(references: &[u32], symbols: usize, offset: usize) -> Result<(), WireError> {
    if !references.len().is_multiple_of(2) {
        return Err(WireError::new(offset, Problem::ReferencesOdd { count: references.len() }));
    }
    match references.iter().copied().max() {
        Some(reference) if reference as usize >= symbols => {
            Err(WireError::new(offset, Problem::ReferenceOutOfRange { reference, symbols }))
        }
        _ => Ok(()),
    }
}

/// A `Request` of these series, not compressed, without metadata.
pub fn encode<L: Borrow<Labels>>(series: &[(L, Vec<Sample>)]) -> Vec<u8> {
    encode_with(series, &[])
}

/// The same of series that are gauges, which their metadata says.
pub fn encode_gauges<L: Borrow<Labels>>(series: &[(L, Vec<Sample>)]) -> Vec<u8> {
    let mut metadata = Vec::new();
    put_bytes(&mut metadata, METADATA, &[METRIC_TYPE as u8, GAUGE]);
    encode_with(series, &metadata)
}

fn encode_with<L: Borrow<Labels>>(series: &[(L, Vec<Sample>)], metadata: &[u8]) -> Vec<u8> {
    let mut symbols = MessageSymbols::new();
    let (mut encoded, mut body) = (Vec::new(), Vec::new());
    for (labels, samples) in series {
        body.clear();
        put_bytes(&mut body, REFERENCES, &symbols.references(labels.borrow()));
        for sample in samples {
            put_sample(&mut body, sample, 0);
        }
        body.extend_from_slice(metadata);
        put_bytes(&mut encoded, SERIES, &body);
    }
    let mut out = symbols.encoded;
    out.append(&mut encoded);
    out
}
