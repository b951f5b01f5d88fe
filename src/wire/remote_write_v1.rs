//! Remote write 1.0: every series carries its labels as text.
//!
//! A sender writes the same labels in the same bytes each time, so a receiver that has seen a series before need not read
//! them: it hashes the encoded block and looks the series up. [`Request`] therefore hands out the block as it stands, and
//! [`decode_labels`] reads it when the look-up misses.

use std::borrow::Borrow;

use super::encode::{put_bytes, put_sample, put_varint, sample_len, varint_len};
use super::error::{Problem, WireError};
use super::histograms::Histograms;
use super::reader::{DELIMITED, Reader, key};
use super::remote_write_v2::SAMPLES;
use super::{LABELS_PER_SERIES_MAX, SAMPLES_PER_SERIES_MAX};
use crate::model::{Labels, Sample};

const TIMESERIES: u32 = key(1, DELIMITED);
const METADATA: u32 = key(3, DELIMITED);
/// Fields of a 2.0 request, which a 1.0 one does not have.
const V2_SYMBOLS: u32 = key(4, DELIMITED);
const V2_TIMESERIES: u32 = key(5, DELIMITED);

const LABEL: u32 = key(1, DELIMITED);
const EXEMPLAR: u32 = key(3, DELIMITED);
const HISTOGRAM: u32 = key(4, DELIMITED);

const NAME: u32 = key(1, DELIMITED);
const VALUE: u32 = key(2, DELIMITED);

/// A decompressed `WriteRequest`, read series by series.
///
/// Nothing is known to be well formed beyond what has been read: whoever must take a request as a whole or not at all
/// reads it to the end before acting on any of it.
pub struct Request<'a> {
    reader: Reader<'a>,
    metadata: usize,
    /// Those of the series last read; at most [`SAMPLES_PER_SERIES_MAX`].
    samples: Vec<Sample>,
}

/// One series of a request. Its samples live until the next one is read, its labels as long as the body.
#[derive(Clone, Copy, Debug)]
pub struct Series<'r, 'a> {
    pub labels: LabelBlock<'a>,
    /// In the order in which they were sent.
    pub samples: &'r [Sample],
    pub exemplars: usize,
    pub histograms: Histograms,
}

/// The labels of a series as they are encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LabelBlock<'a> {
    /// All of them in one piece, as every known sender writes them. Equal bytes are equal labels.
    Contiguous(&'a [u8]),
    /// The whole series, because other fields stand between the labels.
    Scattered(&'a [u8]),
}

impl<'a> Request<'a> {
    /// Begins to read a decompressed body.
    pub fn new(body: &'a [u8]) -> Request<'a> {
        Request { reader: Reader::new(body), metadata: 0, samples: Vec::new() }
    }

    /// The next series, or none at the end of the request.
    ///
    /// # Errors
    /// The request is malformed or holds more than the bounds of [`wire`](super); what was read before stays valid.
    pub fn next_series(&mut self) -> Result<Option<Series<'_, 'a>>, WireError> {
        while !self.reader.is_done() {
            match self.reader.key()? {
                TIMESERIES => {
                    let body = self.reader.message()?;
                    return series(body, &mut self.samples).map(Some);
                }
                METADATA => {
                    self.reader.message()?;
                    self.metadata += 1;
                }
                other @ (V2_SYMBOLS | V2_TIMESERIES) => {
                    let problem = Problem::OtherProtocol { field: other >> 3, belongs_to: "remote write 2.0" };
                    return self.reader.error(problem);
                }
                other => self.reader.skip(other, &[1, 3])?,
            }
        }
        Ok(None)
    }

    /// The next series if it begins with so many bytes of labels, `is_known` says of them that they are a known label block,
    /// and only samples follow: what nearly every series of a steady sender is, read without a look at its labels. `None`
    /// for any other, which [`Request::next_series`] reads: nothing has happened then.
    #[inline]
    pub fn next_series_of(&mut self, labels_len: usize, is_known: impl FnOnce(&'a [u8]) -> bool) -> Option<Series<'_, 'a>> {
        let mut reader = self.reader;
        if reader.is_done() || reader.key().ok()? != TIMESERIES {
            return None;
        }
        let mut body = reader.message().ok()?;
        let block = body.rest().get(..labels_len).filter(|block| is_known(block))?;
        body.pass(labels_len);
        self.samples.clear();
        while !body.is_done() {
            if body.key().ok()? != SAMPLES || self.samples.len() == SAMPLES_PER_SERIES_MAX {
                return None;
            }
            self.samples.push(body.message().ok()?.sample::<false>().ok()?.0);
        }
        self.reader = reader;
        let labels = LabelBlock::Contiguous(block);
        Some(Series { labels, samples: &self.samples, exemplars: 0, histograms: Histograms::NONE })
    }

    /// How many metadata entries stood before where reading has come to.
    pub fn metadata(&self) -> usize {
        self.metadata
    }
}

fn series<'r, 'a>(mut body: Reader<'a>, samples: &'r mut Vec<Sample>) -> Result<Series<'r, 'a>, WireError> {
    samples.clear();
    let whole = body;
    let (mut labels_from, mut labels_to, mut scattered) = (body.at(), body.at(), false);
    let (mut exemplars, mut histograms) = (0, Histograms::NONE);
    while !body.is_done() {
        let field_at = body.at();
        match body.key()? {
            LABEL => {
                body.message()?;
                if labels_from == labels_to {
                    labels_from = field_at;
                } else if labels_to != field_at {
                    scattered = true;
                }
                labels_to = body.at();
            }
            SAMPLES => {
                if samples.len() == SAMPLES_PER_SERIES_MAX {
                    return body.error(Problem::TooMany { what: "samples in a series", max: SAMPLES_PER_SERIES_MAX });
                }
                samples.push(body.message()?.sample::<false>()?.0);
            }
            EXEMPLAR => {
                body.message()?;
                exemplars += 1;
            }
            HISTOGRAM => histograms.see(body.message()?)?,
            other => body.skip(other, &[1, 2, 3, 4])?,
        }
    }
    let labels = match scattered {
        false => LabelBlock::Contiguous(whole.between(labels_from, labels_to)),
        true => LabelBlock::Scattered(whole.rest()),
    };
    Ok(Series { labels, samples, exemplars, histograms })
}

impl<'a> LabelBlock<'a> {
    /// The labels in one piece, from the buffer if they were scattered: the bytes that identify a series to a sender's
    /// own. May be given to [`decode_labels`] as [`LabelBlock::Contiguous`].
    ///
    /// # Errors
    /// As [`decode_labels`], for scattered labels.
    pub fn contiguous<'b>(self, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], WireError>
    where
        'a: 'b,
    {
        let body = match self {
            LabelBlock::Contiguous(block) => return Ok(block),
            LabelBlock::Scattered(body) => body,
        };
        buffer.clear();
        let mut body = Reader::new(body);
        while !body.is_done() {
            match body.key()? {
                LABEL => put_bytes(buffer, LABEL, body.message()?.rest()),
                other => body.skip(other, &[1])?,
            }
        }
        Ok(buffer)
    }
}

/// The labels of a series in the order in which they were sent, checked to be UTF-8 and nothing else: they may be
/// unsorted, doubled or empty.
///
/// # Errors
/// Malformed bytes, or more than [`LABELS_PER_SERIES_MAX`] labels. Offsets count from the beginning of the block.
pub fn decode_labels(block: LabelBlock<'_>) -> Result<Vec<(&str, &str)>, WireError> {
    let (LabelBlock::Contiguous(bytes) | LabelBlock::Scattered(bytes)) = block;
    let mut reader = Reader::new(bytes);
    let mut labels = Vec::with_capacity(16);
    while !reader.is_done() {
        match reader.key()? {
            LABEL if labels.len() == LABELS_PER_SERIES_MAX => {
                return reader.error(Problem::TooMany { what: "labels in a series", max: LABELS_PER_SERIES_MAX });
            }
            LABEL => labels.push(label(reader.message()?)?),
            other => reader.skip(other, &[1])?,
        }
    }
    Ok(labels)
}

fn label(mut body: Reader<'_>) -> Result<(&str, &str), WireError> {
    let (mut name, mut value) = ("", "");
    while !body.is_done() {
        match body.key()? {
            NAME => name = body.text()?,
            VALUE => value = body.text()?,
            other => body.skip(other, &[1, 2])?,
        }
    }
    Ok((name, value))
}

/// A `WriteRequest` of these series, not compressed.
pub fn encode<L: Borrow<Labels>>(series: &[(L, Vec<Sample>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut body = Vec::new();
    for (labels, samples) in series {
        body.clear();
        for label in labels.borrow() {
            put_varint(&mut body, u64::from(LABEL));
            put_varint(&mut body, (text_len(&label.name) + text_len(&label.value)) as u64);
            put_bytes(&mut body, NAME, label.name.as_bytes());
            put_bytes(&mut body, VALUE, label.value.as_bytes());
        }
        body.reserve(samples.iter().map(|sample| sample_len(sample, 0)).sum());
        for sample in samples {
            put_sample(&mut body, sample, 0);
        }
        put_bytes(&mut out, TIMESERIES, &body);
    }
    out
}

/// How many bytes a text field with a one-byte key takes.
fn text_len(text: &str) -> usize {
    1 + varint_len(text.len() as u64) + text.len()
}
