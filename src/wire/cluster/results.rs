//! A record of "results": what combine says of views, for every store that follows.
//!
//! It tells of each view which grid points it decides, so that a store that finds others before them missing knows it; and
//! the spans that are open, so that one which begins to read in the middle does not take them for covered.

use super::groups::{self, GroupRow};
use super::strings::{Strings, StringsOf};
use super::{
    SpanOf, ended, opened, put_senders, put_spans, put_time, put_time_after, put_u128, read_bool, read_count, read_senders,
    read_spans, read_time, read_time_after, read_u128, read_view, sealed, within,
};
use crate::model::{SenderSeen, Timestamp, ViewId};
use crate::wire::encode::put_varint;
use crate::wire::error::{Problem, WireError};
use crate::wire::reader::Reader;

/// Numbers told of a view at a grid point, for status pages and metrics.
pub const TOLD_NUMBERS: usize = 8;

/// What combine says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultsRecord {
    /// The log of the samples that the results are of.
    pub log_incarnation: u128,
    /// The number of the job set.
    pub set: u64,
    pub senders: Vec<SenderSeen>,
    pub views: Vec<ViewResults>,
}

/// What is said of one view.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ViewResults {
    pub view: ViewId,
    /// What the view is; said now and then.
    pub described: Option<Described>,
    /// The first and the last of the grid points that are decided here, all between them included.
    pub decided: Option<(Timestamp, Timestamp)>,
    /// Spans open at the last of them are among these.
    pub spans: Vec<SpanOf>,
    /// Those of the decided ones that there is something to tell of.
    pub points: Vec<GridResults>,
}

/// What a store must know of a view to keep it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    pub step_ms: i64,
    /// How many values each group has.
    pub fields: u8,
    pub retention_ms: i64,
    /// How long after a grid point a span that began before it may still cover it.
    pub settles_ms: i64,
    /// JSON for people.
    pub text: String,
}

/// A view at a grid point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GridResults {
    pub t: Timestamp,
    pub told: [u64; TOLD_NUMBERS],
    pub groups: Vec<GroupRow>,
}

impl ResultsRecord {
    pub fn encode(&self) -> Vec<u8> {
        let (mut strings, mut out) = (Strings::default(), Vec::new());
        put_u128(&mut out, self.log_incarnation);
        put_varint(&mut out, self.set);
        put_senders(&mut out, &mut strings, &self.senders);
        put_varint(&mut out, self.views.len() as u64);
        self.views.iter().for_each(|view| view.put(&mut out, &mut strings));
        sealed(strings, &out)
    }

    /// As records of at most so many bytes, in the order in which they must be written. A grid point of a view is never
    /// split, for a store takes it whole: one that alone is larger stays so.
    pub fn encode_within(self, bytes_max: usize) -> Vec<Vec<u8>> {
        within(&self, bytes_max, ResultsRecord::encode, ResultsRecord::halves)
    }

    /// Senders first, then view by view.
    fn halves(&self) -> Option<(ResultsRecord, ResultsRecord)> {
        let (mut first, mut second) = (self.clone(), ResultsRecord { senders: Vec::new(), ..self.clone() });
        match self.views.as_slice() {
            [] if self.senders.len() > 1 => second.senders = first.senders.split_off(self.senders.len() / 2),
            [] => return None,
            _ if !self.senders.is_empty() => first.views = Vec::new(),
            [view] => {
                let (one, other) = view.halves()?;
                (first.views, second.views) = (vec![one], vec![other]);
            }
            views => {
                let (some, others) = views.split_at(views.len() / 2);
                (first.views, second.views) = (some.to_vec(), others.to_vec());
            }
        }
        Some((first, second))
    }

    /// # Errors
    /// When the bytes are no such record, or of a newer version.
    pub fn decode(bytes: &[u8]) -> Result<ResultsRecord, WireError> {
        let (strings, mut reader) = opened(bytes)?;
        let reader = &mut reader;
        let log_incarnation = read_u128(reader)?;
        let set = reader.varint()?;
        let senders = read_senders(reader, &strings)?;
        let count = read_count(reader, 20)?;
        let views = (0..count).map(|_| ViewResults::read(reader, &strings)).collect::<Result<Vec<_>, _>>()?;
        ended(reader)?;
        Ok(ResultsRecord { log_incarnation, set, senders, views })
    }
}

impl ViewResults {
    /// What the view is comes first, then spans: no store takes a grid point for covered that one of them uncovers. Open spans stay
    /// with what is decided: alone, they may be of a writer that was cut off.
    fn halves(&self) -> Option<(ViewResults, ViewResults)> {
        let (mut first, mut second) = (ViewResults { view: self.view, ..ViewResults::default() }, self.clone());
        let is_open = |(_, _, to): &SpanOf| *to == Timestamp::MAX;
        match (self.decided, self.points.as_slice()) {
            _ if self.described.is_some() && (self.decided.is_some() || !self.spans.is_empty()) => {
                first.described = second.described.take();
            }
            (Some((from, to)), points) if points.len() > 1 => {
                let middle = points.len() / 2;
                (first.decided, second.decided) = (Some((from, points[middle - 1].t)), Some((points[middle].t, to)));
                first.spans = std::mem::take(&mut second.spans);
                second.points = points[middle..].to_vec();
                first.points = points[..middle].to_vec();
            }
            (Some(_), _) if !self.spans.iter().all(is_open) => {
                (second.spans, first.spans) = self.spans.iter().partition(|span| is_open(span));
            }
            (None, _) if self.spans.len() > 1 => {
                first.spans = second.spans.drain(..self.spans.len() / 2).collect();
            }
            _ => return None,
        }
        Some((first, second))
    }

    fn put(&self, out: &mut Vec<u8>, strings: &mut Strings) {
        put_u128(out, self.view.0);
        put_varint(out, u64::from(self.described.is_some()));
        if let Some(described) = &self.described {
            put_varint(out, described.step_ms.max(0).unsigned_abs());
            put_varint(out, u64::from(described.fields));
            put_varint(out, described.retention_ms.max(0).unsigned_abs());
            put_varint(out, described.settles_ms.max(0).unsigned_abs());
            put_varint(out, strings.number(&described.text));
        }
        put_varint(out, u64::from(self.decided.is_some()));
        if let Some((from, to)) = self.decided {
            put_time(out, from);
            put_time_after(out, from, to);
        }
        put_spans(out, &self.spans);
        put_varint(out, self.points.len() as u64);
        for point in &self.points {
            put_time(out, point.t);
            point.told.iter().for_each(|number| put_varint(out, *number));
            groups::put(out, strings, &point.groups);
        }
    }

    fn read(reader: &mut Reader<'_>, strings: &StringsOf<'_>) -> Result<ViewResults, WireError> {
        let view = read_view(reader)?;
        let mut described = None;
        if read_bool(reader)? {
            let known = described.insert(Described::default());
            known.step_ms = positive(reader.varint()?);
            known.fields = read_fields(reader)?;
            known.retention_ms = positive(reader.varint()?);
            known.settles_ms = positive(reader.varint()?);
            known.text = strings.read_one(reader)?.to_string();
        }
        let mut decided = None;
        if read_bool(reader)? {
            let from = read_time(reader)?;
            decided = Some((from, read_time_after(reader, from)?));
        }
        let spans = read_spans(reader)?;
        let count = read_count(reader, 2 + TOLD_NUMBERS)?;
        let mut points = Vec::with_capacity(count);
        for _ in 0..count {
            let mut point = GridResults { t: read_time(reader)?, ..GridResults::default() };
            for number in &mut point.told {
                *number = reader.varint()?;
            }
            point.groups = groups::read(reader, strings)?;
            points.push(point);
        }
        Ok(ViewResults { view, described, decided, spans, points })
    }
}

fn read_fields(reader: &mut Reader<'_>) -> Result<u8, WireError> {
    match reader.varint()? {
        fields if fields <= groups::VALUES_MAX as u64 => Ok(fields as u8),
        found => reader.error(Problem::NumberOutOfRange { what: "the values of a group", found }),
    }
}

fn positive(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
