//! Refusals in records of our log: what ingest did not take, so that the views it belongs to are uncovered there.

use super::reader::Record;
use super::symbols::SymbolId;
use super::{REASON, TIMESTAMP, TIMESTAMPS, UNTOLD, UNTOLD_ONE};
use crate::model::{Labels, Timestamp};
use crate::wire::error::WireError;
use crate::wire::reader::Reader;
use crate::wire::remote_write_v2::{REFERENCE, REFERENCES};

const REFUSAL_FIELDS: [u32; 4] = [1, 2, 3, 4];

/// What a record tells of samples that ingest did not take, to be written. With neither labels nor timestamps it says that
/// a whole body from the record's sender could not be read.
#[derive(Clone, Copy, Default, Debug)]
pub struct RefusedSeries<'r> {
    /// Names and values by turns, sorted by name.
    pub labels: &'r [SymbolId],
    /// Names of labels whose values are not told; the empty name stands for every label that is not among `labels`.
    pub untold: &'r [SymbolId],
    /// The least and the greatest of the samples' times at least.
    pub timestamps: &'r [i64],
    /// The refusal's slug.
    pub reason: &'r str,
}

/// Samples that ingest did not take.
#[derive(Clone, Copy)]
pub struct RecordRefusal<'r, 'a> {
    record: &'r Record<'a>,
    body: Reader<'a>,
    frame: RefusalFrame<'a>,
}

impl<'r, 'a> RecordRefusal<'r, 'a> {
    pub(super) fn read(record: &'r Record<'a>, body: Reader<'a>) -> Result<RecordRefusal<'r, 'a>, WireError> {
        Ok(RecordRefusal { record, body, frame: RefusalFrame::read(body)? })
    }

    /// The refusal's slug.
    pub fn reason(&self) -> &'a str {
        self.frame.reason
    }

    /// Whether a whole body from this sender could not be read: then there are neither labels nor timestamps.
    pub fn is_whole_body(&self) -> bool {
        !self.frame.has_labels && !self.frame.has_untold && self.frame.timestamp_count == 0
    }

    /// The labels of the refused samples as far as they are told, none when they could not be read.
    ///
    /// # Errors
    /// As [`RecordSeries::labels`](super::RecordSeries::labels).
    pub fn labels(&self) -> Result<Labels, WireError> {
        self.record.labels(self.body)
    }

    /// Names of labels that may have any value; the empty name stands for every label that [`labels`](Self::labels) does
    /// not have.
    ///
    /// # Errors
    /// As [`RecordSeries::labels`](super::RecordSeries::labels).
    pub fn untold(&self) -> Result<Vec<&'a str>, WireError> {
        self.record.untold(self.body)
    }

    /// Times of the refused samples, the least and the greatest among them.
    pub fn timestamps(&self) -> impl Iterator<Item = Timestamp> + use<'a> {
        let mut fields = self.body;
        let mut packed = Reader::new(&[]);
        (0..self.frame.timestamp_count).map_while(move |_| {
            while packed.is_done() {
                match fields.key().ok()? {
                    TIMESTAMPS => packed = fields.message().ok()?,
                    TIMESTAMP => return fields.varint().ok().map(|t| Timestamp(t as i64)),
                    other => fields.skip(other, &[]).ok()?,
                }
            }
            packed.varint().ok().map(|t| Timestamp(t as i64))
        })
    }
}

/// What a refusal is besides its labels and times.
#[derive(Clone, Copy)]
pub(super) struct RefusalFrame<'a> {
    reason: &'a str,
    timestamp_count: usize,
    has_labels: bool,
    has_untold: bool,
}

impl<'a> RefusalFrame<'a> {
    pub(super) fn read(mut body: Reader<'a>) -> Result<RefusalFrame<'a>, WireError> {
        let mut frame = RefusalFrame { reason: "", timestamp_count: 0, has_labels: false, has_untold: false };
        while !body.is_done() {
            match body.key()? {
                REFERENCES => frame.has_labels |= body.message()?.left() > 0,
                REFERENCE => {
                    body.varint()?;
                    frame.has_labels = true;
                }
                TIMESTAMPS => {
                    let mut packed = body.message()?;
                    while !packed.is_done() {
                        packed.varint()?;
                        frame.timestamp_count += 1;
                    }
                }
                TIMESTAMP => {
                    body.varint()?;
                    frame.timestamp_count += 1;
                }
                UNTOLD => frame.has_untold |= body.message()?.left() > 0,
                UNTOLD_ONE => {
                    body.varint()?;
                    frame.has_untold = true;
                }
                REASON => frame.reason = body.text()?,
                other => body.skip(other, &REFUSAL_FIELDS)?,
            }
        }
        Ok(frame)
    }
}
