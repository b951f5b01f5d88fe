//! A record of "partials": what one fold says of one partition of the samples.
//!
//! Everything in it is a fact of the log, true whoever says it and however often: the partials of a group at a grid point,
//! and that all partials up to a log time have been said before this. So a process that was paused and wakes up changes
//! nothing, and nobody needs to be fenced.

use super::groups::{self, GroupRow};
use super::strings::{Strings, StringsOf};
use super::{
    SenderOf, SpanOf, ended, opened, put_senders, put_signed, put_spans, put_time, put_time_after, put_u128, read_bool,
    read_count, read_partition, read_senders, read_signed, read_spans, read_time, read_time_after, read_u32, read_u128,
    read_view, sealed, within,
};
use crate::model::{LogTime, Offset, PartitionId, SenderSeen, Timestamp, ViewId};
use crate::wire::encode::put_varint;
use crate::wire::error::WireError;
use crate::wire::reader::Reader;

/// Numbers of a view's status at a grid point.
pub const STATUS_NUMBERS: usize = 12;

/// What a fold says of a partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartialsRecord {
    /// The log that the partition is of.
    pub log_incarnation: u128,
    pub partition: PartitionId,
    /// The offset behind the last record of samples this speaks of.
    pub next: Offset,
    /// Which views `mark` speaks of: those of the scope's keyframe. Made by a fold, unlike any other.
    pub scope: u64,
    /// The number of the job set that the scope is of.
    pub set: u64,
    /// Of the scope's views, every grid point that is final by this log time has been said.
    pub mark: Option<LogTime>,
    /// This is a part of the scope's keyframe: its views and who feeds them.
    pub keyframe: Option<KeyframePart>,
    pub seen: Vec<SenderSeen>,
    /// A view may stand here more than once.
    pub views: Vec<ViewPartials>,
}

/// Part `part`, counted from 0, of `parts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyframePart {
    pub part: u32,
    pub parts: u32,
}

/// What is said of one view.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ViewPartials {
    pub view: ViewId,
    /// Its place in the scope; in keyframes alone.
    pub entry: Option<ScopeEntry>,
    pub feeds: Vec<SenderOf>,
    pub uncovers: Vec<SpanOf>,
    pub points: Vec<GridPartials>,
}

/// Which grid points of a view a scope gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeEntry {
    pub first: Timestamp,
    /// Grid points before this reach back before the log's beginning.
    pub whole_from: Timestamp,
    /// `Timestamp::MAX` for a view that stays.
    pub last: Timestamp,
    /// Nobody will give grid points before `first`: the log does not hold what they need.
    pub begins: bool,
    /// The partition begins there: before `first` there is nothing in it to give.
    pub complete: bool,
}

/// A view at a grid point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GridPartials {
    pub t: Timestamp,
    pub status: Option<[i64; STATUS_NUMBERS]>,
    pub groups: Vec<GroupRow>,
}

impl PartialsRecord {
    pub fn encode(&self) -> Vec<u8> {
        let (mut strings, mut out) = (Strings::default(), Vec::new());
        put_u128(&mut out, self.log_incarnation);
        put_varint(&mut out, u64::from(self.partition.0));
        put_varint(&mut out, self.next.0);
        out.extend_from_slice(&self.scope.to_le_bytes());
        put_varint(&mut out, self.set);
        put_varint(&mut out, u64::from(self.mark.is_some()));
        self.mark.iter().for_each(|mark| put_time(&mut out, *mark));
        put_varint(&mut out, self.keyframe.map_or(0, |keyframe| u64::from(keyframe.parts)));
        self.keyframe.iter().for_each(|keyframe| put_varint(&mut out, u64::from(keyframe.part)));
        put_senders(&mut out, &mut strings, &self.seen);
        put_varint(&mut out, self.views.len() as u64);
        self.views.iter().for_each(|view| view.put(&mut out, &mut strings));
        sealed(strings, &out)
    }

    /// As records of at most so many bytes, in the order in which they must be written: the mark is in the last. A group
    /// that alone is larger stays so.
    pub fn encode_within(self, bytes_max: usize) -> Vec<Vec<u8>> {
        within(&self, bytes_max, PartialsRecord::encode, PartialsRecord::halves)
    }

    /// A keyframe's record says in which part its views are, and is made small.
    fn halves(&self) -> Option<(PartialsRecord, PartialsRecord)> {
        let (mut first, mut second) = (self.clone(), self.clone());
        first.mark = None;
        second.seen = Vec::new();
        match self.views.as_slice() {
            _ if self.keyframe.is_some() => return None,
            // Senders before all that may depend on them.
            [] if self.seen.len() > 1 => second.seen = first.seen.split_off(self.seen.len() / 2),
            [] => return None,
            _ if !self.seen.is_empty() => first.views = Vec::new(),
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
    pub fn decode(bytes: &[u8]) -> Result<PartialsRecord, WireError> {
        let (strings, mut reader) = opened(bytes)?;
        let reader = &mut reader;
        let log_incarnation = read_u128(reader)?;
        let partition = read_partition(reader)?;
        let next = Offset(reader.varint()?);
        let scope = reader.fixed64()?;
        let set = reader.varint()?;
        let mark = if read_bool(reader)? { Some(read_time(reader)?) } else { None };
        let keyframe = match read_u32(reader, "a keyframe's parts")? {
            0 => None,
            parts => Some(KeyframePart { parts, part: read_u32(reader, "a keyframe's part")? }),
        };
        let seen = read_senders(reader, &strings)?;
        let count = read_count(reader, 20)?;
        let views = (0..count).map(|_| ViewPartials::read(reader, &strings)).collect::<Result<Vec<_>, _>>()?;
        ended(reader)?;
        Ok(PartialsRecord { log_incarnation, partition, next, scope, set, mark, keyframe, seen, views })
    }
}

impl ViewPartials {
    fn halves(&self) -> Option<(ViewPartials, ViewPartials)> {
        let other = ViewPartials { view: self.view, ..ViewPartials::default() };
        let (mut first, mut second) = (self.clone(), other);
        match self.points.as_slice() {
            [point] if point.groups.len() > 1 => {
                let (some, others) = point.groups.split_at(point.groups.len() / 2);
                first.points[0].groups = some.to_vec();
                second.points = vec![GridPartials { t: point.t, status: None, groups: others.to_vec() }];
            }
            [_] if !self.uncovers.is_empty() => second.points = std::mem::take(&mut first.points),
            [] if self.uncovers.len() > 1 => {
                second.uncovers = first.uncovers.split_off(self.uncovers.len() / 2);
            }
            [] | [_] if self.feeds.len() > 1 => {
                second.feeds = first.feeds.split_off(self.feeds.len() / 2);
            }
            [] | [_] => return None,
            points => {
                second.points = points[points.len() / 2..].to_vec();
                first.points.truncate(points.len() / 2);
            }
        }
        Some((first, second))
    }

    fn put(&self, out: &mut Vec<u8>, strings: &mut Strings) {
        put_u128(out, self.view.0);
        put_varint(out, u64::from(self.entry.is_some()));
        if let Some(entry) = &self.entry {
            put_time(out, entry.first);
            put_time(out, entry.whole_from);
            put_time(out, entry.last);
            put_varint(out, u64::from(entry.begins));
            put_varint(out, u64::from(entry.complete));
        }
        put_varint(out, self.feeds.len() as u64);
        for (tenant, sender) in &self.feeds {
            put_varint(out, strings.number(tenant));
            put_varint(out, strings.number(sender));
        }
        put_spans(out, &self.uncovers);
        put_varint(out, self.points.len() as u64);
        for point in &self.points {
            put_time(out, point.t);
            put_varint(out, u64::from(point.status.is_some()));
            for number in point.status.iter().flatten() {
                put_status(out, point.t, *number);
            }
            groups::put(out, strings, &point.groups);
        }
    }

    fn read(reader: &mut Reader<'_>, strings: &StringsOf<'_>) -> Result<ViewPartials, WireError> {
        let view = read_view(reader)?;
        let entry = match read_bool(reader)? {
            true => Some(ScopeEntry {
                first: read_time(reader)?,
                whole_from: read_time(reader)?,
                last: read_time(reader)?,
                begins: read_bool(reader)?,
                complete: read_bool(reader)?,
            }),
            false => None,
        };
        let count = read_count(reader, 2)?;
        let mut feeds = Vec::with_capacity(count);
        for _ in 0..count {
            feeds.push((strings.read_one(reader)?, strings.read_one(reader)?));
        }
        let uncovers = read_spans(reader)?;
        let count = read_count(reader, 3)?;
        let mut points = Vec::with_capacity(count);
        for _ in 0..count {
            points.push(read_point(reader, strings)?);
        }
        Ok(ViewPartials { view, entry, feeds, uncovers, points })
    }
}

/// Times stand near the grid point, everything else near zero.
fn put_status(out: &mut Vec<u8>, t: Timestamp, number: i64) {
    let near = number.abs_diff(t.0) < number.unsigned_abs();
    put_varint(out, u64::from(near));
    match near {
        true => put_time_after(out, t, Timestamp(number)),
        false => put_signed(out, number),
    }
}

fn read_point(reader: &mut Reader<'_>, strings: &StringsOf<'_>) -> Result<GridPartials, WireError> {
    let t = read_time(reader)?;
    let mut status = None;
    if read_bool(reader)? {
        let numbers = status.insert([0; STATUS_NUMBERS]);
        for number in numbers {
            *number = match read_bool(reader)? {
                true => read_time_after(reader, t)?.0,
                false => read_signed(reader)?,
            };
        }
    }
    Ok(GridPartials { t, status, groups: groups::read(reader, strings)? })
}
