//! What the log holds, shared by the writer, who alone changes it, and the readers, who follow.
//!
//! Only what is durable is in here: a reader can never see what may still be lost.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::cursor::FrameCursor;
use super::disk::Disk;
use super::format::{PartitionEnd, SegmentHeader};
use super::recent::Recent;
use crate::log::{DiskStats, Extent, LogStats};
use crate::model::{LogTime, Offset, PartitionId, Timestamp};

/// A mark is set when this many bytes lie behind the last one.
const MARK_BYTES: u64 = 1 << 20;

/// The log as far as it is durable.
pub(super) struct Shared {
    pub disk: Arc<dyn Disk>,
    pub incarnation: u128,
    pub partitions: u16,
    /// A mutex, because writer and readers hold it only for a few assignments, never over IO.
    pub catalog: Mutex<Catalog>,
    /// Notified when the catalog has grown, or the log was closed.
    pub grown: Condvar,
}

/// What is where.
pub(super) struct Catalog {
    /// From the oldest kept to the one that is written to; never empty. Shrinks by retention.
    pub segments: VecDeque<Segment>,
    /// The partitions' ends.
    pub ends: Vec<PartitionEnd>,
    /// The log time of each partition's first record kept; `Timestamp::MIN` when there is none.
    pub first_log_times: Vec<LogTime>,
    /// The newest log time of all partitions; `Timestamp::MIN` when there is none.
    pub newest: LogTime,
    /// The sequence number of the next frame.
    pub sequence: u64,
    /// The newest frames, up to the end.
    pub recent: Recent,
    /// Set once, when nothing more will come.
    pub closed: bool,
    pub stats: LogStats,
    pub disk: DiskStats,
}

/// One file of the journal.
pub(super) struct Segment {
    pub header: Arc<SegmentHeader>,
    /// How many of its bytes are part of the log.
    pub len: u64,
    /// Places within, in rising order, the first at its beginning. One per [`MARK_BYTES`]; of a segment that was complete
    /// when the log was opened only the first.
    pub marks: Vec<Mark>,
}

/// A place where a frame begins, and what lies before it.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub at: u64,
    pub sequence: u64,
    pub newest: LogTime,
    pub ends: Arc<[PartitionEnd]>,
}

/// Where a reader stands: a segment, and the frame within.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub segment: Arc<SegmentHeader>,
    /// How much of the segment is durable.
    pub len: u64,
    pub mark: Mark,
}

impl Segment {
    pub fn new(header: SegmentHeader, len: u64) -> Segment {
        let mark = Mark {
            at: SegmentHeader::bytes_for(header.ends.len() as u16) as u64,
            sequence: header.first_sequence,
            newest: header.newest,
            ends: header.ends.clone().into(),
        };
        Segment { header: Arc::new(header), len, marks: vec![mark] }
    }

    pub fn beginning(&self) -> Place {
        self.place(0)
    }

    fn place(&self, mark: usize) -> Place {
        Place { segment: self.header.clone(), len: self.len, mark: self.marks[mark].clone() }
    }

    /// Sets a mark at the end if the last one is far enough back.
    pub fn mark(&mut self, sequence: u64, newest: LogTime, ends: &[PartitionEnd]) {
        let marked = self.marks.last().map_or(0, |mark| mark.at);
        if self.len >= marked + MARK_BYTES {
            self.marks.push(Mark { at: self.len, sequence, newest, ends: ends.into() });
        }
    }
}

impl Catalog {
    /// The segment of a number, if it is still kept.
    pub fn segment(&self, number: u64) -> Option<&Segment> {
        self.segments.binary_search_by_key(&number, |segment| segment.header.number).ok().map(|at| &self.segments[at])
    }

    /// The first segment with a higher number.
    pub fn after(&self, number: u64) -> Option<&Segment> {
        self.segments.get(self.segments.partition_point(|segment| segment.header.number <= number))
    }

    /// The last place before which everything satisfies `before`; the beginning if nothing does.
    pub fn seek(&self, before: impl Fn(&Mark) -> bool) -> Place {
        let segments = self.segments.partition_point(|segment| before(&segment.marks[0]));
        let segment = &self.segments[segments.saturating_sub(1)];
        let marks = segment.marks.partition_point(before);
        segment.place(marks.saturating_sub(1))
    }

    /// Where the oldest record kept is.
    pub fn beginning(&self) -> Place {
        self.seek(|_| false)
    }

    /// Where the next record will be.
    pub fn end(&self) -> Place {
        let last = &self.segments[self.segments.len() - 1];
        let ends = self.ends.clone().into();
        let mark = Mark { at: last.len, sequence: self.sequence, newest: self.newest, ends };
        Place { segment: last.header.clone(), len: last.len, mark }
    }

    /// The beginning of the segment behind this one, or the end of the log.
    pub fn behind(&self, number: u64) -> Place {
        self.after(number).map_or_else(|| self.end(), Segment::beginning)
    }

    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    pub fn extent(&self, partition: PartitionId) -> Extent {
        let index = usize::from(partition.0);
        let Some(end) = self.ends.get(index) else {
            let (first, next) = (Offset(0), Offset(0));
            let (first_log_time, newest_log_time) = (Timestamp::MIN, Timestamp::MIN);
            return Extent { first, next, first_log_time, newest_log_time, truncated: false };
        };
        let first = self.segments[0].header.ends[index].next;
        Extent {
            first,
            next: end.next,
            first_log_time: self.first_log_times[index],
            newest_log_time: end.newest,
            truncated: first > Offset(0),
        }
    }
}

/// Finds the first log time of each partition from a segment on. Ticks see to it that little has to be read. Where records
/// cannot be read, what follows is not looked at: the log time before the segment stands for what was not found, since
/// everything later is kept.
pub(super) fn first_log_times(
    disk: &dyn Disk,
    segments: &[(Arc<SegmentHeader>, u64)],
    ends: &[PartitionEnd],
) -> Vec<LogTime> {
    let Some((first, _)) = segments.first() else { return vec![Timestamp::MIN; ends.len()] };
    let empty = |(end, begin): (&PartitionEnd, &PartitionEnd)| (end.next <= begin.next).then_some(Timestamp::MIN);
    let mut found: Vec<Option<LogTime>> = ends.iter().zip(&first.ends).map(empty).collect();
    for (header, len) in segments {
        if found.iter().all(Option::is_some) || note_first_log_times(disk, header, *len, &mut found).is_err() {
            break;
        }
    }
    found.into_iter().map(|log_time| log_time.unwrap_or(first.newest)).collect()
}

fn note_first_log_times(disk: &dyn Disk, header: &SegmentHeader, len: u64, found: &mut [Option<LogTime>]) -> io::Result<()> {
    let partitions = header.ends.len() as u16;
    let mut cursor = FrameCursor::new(disk.open(&header.name())?, header.incarnation, partitions);
    let mut at = SegmentHeader::bytes_for(partitions) as u64;
    while at < len && found.iter().any(Option::is_none) {
        let Ok(frame) = cursor.frame(at, len) else { return Err(io::ErrorKind::InvalidData.into()) };
        at += frame.header.frame_bytes();
        for record in frame.records {
            found[usize::from(record.partition.0)].get_or_insert(record.log_time);
        }
    }
    Ok(())
}
