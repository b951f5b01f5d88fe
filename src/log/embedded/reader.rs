//! Following the journal: whole frames are read at a position, up to what is durable, and given out record by record.
//!
//! Frames that are still in memory are not read from the disk. A reader shares no lock with the disk and holds one file
//! open. When retention deletes that file the reader still ends it; only when the next one is gone too has it fallen behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::catalog::{Catalog, Mark, Place, Shared};
use super::cursor::{FrameCursor, FrameFault};
use super::format::SegmentHeader;
use super::recent::RecentFrame;
use crate::log::{LogReader, LogRecord, ReadError, ReadFrom};
use crate::model::{LogTime, Offset, PartitionId, Position, Timestamp};

/// What a record without payload counts in `bytes_max`.
const RECORD_BYTES: usize = 32;

/// The longest that a read waits.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// A place can be lost to retention between looking it up and opening it, but hardly this often in a row.
const OPEN_TRIES: usize = 8;

pub(super) struct JournalReader {
    shared: Arc<Shared>,
    segment: Arc<SegmentHeader>,
    cursor: FrameCursor,
    /// Where in the segment the next frame begins.
    at: u64,
    /// How much of the segment is durable, as last seen.
    end: u64,
    /// The sequence number of the next frame.
    sequence: u64,
    /// Per partition, the next record to give out; earlier ones are passed over.
    next: Vec<Offset>,
    /// Records before this log time are passed over.
    from: LogTime,
    /// The log time of the newest record passed.
    passed: LogTime,
    /// The rest of the frame read last.
    pending: std::vec::IntoIter<LogRecord>,
    /// What was reported and not yet skipped.
    gap: Option<ReadError>,
}

/// What is next for a reader.
enum Step {
    Frame,
    /// One that is still in memory.
    Recent(RecentFrame),
    Segment(Place),
    CaughtUp,
    Closed,
}

impl JournalReader {
    pub fn new(shared: Arc<Shared>, from: &ReadFrom) -> Result<JournalReader, ReadError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (place, next) = locate(&shared.catalog.lock(), from)?;
            match open(&shared, &place.segment) {
                Err(_) if tries < OPEN_TRIES && shared.catalog.lock().segment(place.segment.number).is_none() => {}
                Err(error) => return Err(error),
                Ok(cursor) => {
                    let from = if let ReadFrom::LogTime(from) = from { *from } else { Timestamp::MIN };
                    return Ok(JournalReader {
                        cursor,
                        at: place.mark.at,
                        end: place.len,
                        sequence: place.mark.sequence,
                        next,
                        from,
                        passed: place.mark.newest,
                        pending: Vec::new().into_iter(),
                        gap: None,
                        segment: place.segment,
                        shared,
                    });
                }
            }
        }
    }

    /// Gives out what is pending, and returns how many bytes that was.
    fn deliver(&mut self, out: &mut Vec<LogRecord>, bytes_max: usize) -> usize {
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some(record) = self.pending.next() else { break };
            let next = &mut self.next[usize::from(record.partition.0)];
            let wanted = record.offset >= *next && record.log_time >= self.from;
            *next = record.offset.next().max(*next);
            self.passed = record.log_time;
            if wanted {
                bytes += record.payload.len() + RECORD_BYTES;
                out.push(record);
            }
        }
        bytes
    }

    fn step(&mut self) -> Result<Step, ReadError> {
        let catalog = self.shared.catalog.lock();
        if let Some(segment) = catalog.segment(self.segment.number) {
            self.end = segment.len;
        }
        if self.at < self.end {
            return Ok(catalog.recent.get(self.sequence).map_or(Step::Frame, Step::Recent));
        }
        match catalog.after(self.segment.number) {
            Some(next) if next.header.first_sequence == self.sequence => Ok(Step::Segment(next.beginning())),
            Some(next) => Err(self.hole(&catalog, &next.header)),
            None if catalog.closed => Ok(Step::Closed),
            None => Ok(Step::CaughtUp),
        }
    }

    /// Frames are missing between this segment and the next: deleted by retention, or lost.
    fn hole(&self, catalog: &Catalog, next: &SegmentHeader) -> ReadError {
        let begin = &catalog.segments[0].header;
        let behind = begin.ends.iter().zip(&self.next).position(|(end, wanted)| *wanted < end.next);
        match behind {
            Some(index) if begin.first_sequence > self.sequence => ReadError::Gone {
                partition: PartitionId(index as u16),
                wanted: self.next[index],
                first: begin.ends[index].next,
            },
            _ => self.corrupt(&next.name(), 0, "the file before it is missing, or ends early"),
        }
    }

    fn corrupt(&self, name: &str, at: u64, why: &str) -> ReadError {
        ReadError::Corrupt { file: self.shared.disk.describe(name), at, why: why.to_owned(), after: self.passed }
    }

    fn read_frame(&mut self) -> Result<(), ReadError> {
        let name = self.segment.name();
        match self.cursor.frame(self.at, self.end) {
            Ok(frame) if frame.header.sequence == self.sequence => {
                self.at += frame.header.frame_bytes();
                self.sequence += 1;
                self.pending = frame.records.into_iter();
                Ok(())
            }
            Ok(_) => Err(self.corrupt(&name, self.at, "a batch is not the one that should be there")),
            Err(FrameFault::Bad(why)) => Err(self.corrupt(&name, self.at, why)),
            Err(FrameFault::Io(error)) => {
                let file = self.shared.disk.describe(&name);
                Err(ReadError::Io { action: "read", file, error: Arc::new(error) })
            }
        }
    }

    /// Brings the next frame with records into `pending`. `Step::CaughtUp` and `Step::Closed` are the answers without one.
    fn advance(&mut self) -> Result<Step, ReadError> {
        loop {
            match self.step()? {
                Step::Frame => {
                    self.read_frame()?;
                    return Ok(Step::Frame);
                }
                Step::Recent(frame) => {
                    self.at += frame.frame_bytes;
                    self.sequence += 1;
                    self.pending = Vec::from(&*frame.records).into_iter();
                    return Ok(Step::Frame);
                }
                // Deleted since it was looked up: the next step finds the hole.
                Step::Segment(place) => match open(&self.shared, &place.segment) {
                    Ok(cursor) => self.enter(place, cursor),
                    Err(error) if self.shared.catalog.lock().segment(place.segment.number).is_some() => return Err(error),
                    Err(_) => {}
                },
                at_end => return Ok(at_end),
            }
        }
    }

    fn enter(&mut self, place: Place, cursor: FrameCursor) {
        self.cursor = cursor;
        (self.at, self.end) = (place.mark.at, place.len);
        self.sequence = place.mark.sequence;
        self.segment = place.segment;
    }

    /// Remembers what only [`LogReader::skip_gap`] can pass.
    fn fail(&mut self, error: ReadError) -> ReadError {
        if matches!(error, ReadError::Gone { .. } | ReadError::Corrupt { .. }) {
            self.gap = Some(error.clone());
        }
        error
    }

    /// Waits until there is more than this reader has read; `false` when the time was up first.
    fn wait(&self, until: Instant) -> bool {
        let mut catalog = self.shared.catalog.lock();
        loop {
            let len = catalog.segment(self.segment.number).map_or(0, |segment| segment.len);
            if len > self.at || catalog.closed || catalog.after(self.segment.number).is_some() {
                return true;
            }
            if self.shared.grown.wait_until(&mut catalog, until).timed_out() {
                return false;
            }
        }
    }

    fn ahead(&self) -> u64 {
        let catalog = self.shared.catalog.lock();
        catalog.ends.iter().zip(&self.next).map(|(end, next)| end.next.0.saturating_sub(next.0)).sum()
    }

    /// The first readable place behind a damaged stretch of this segment.
    fn behind_damage(&mut self) -> Result<Place, ReadError> {
        let behind = {
            let catalog = self.shared.catalog.lock();
            self.end = catalog.segment(self.segment.number).map_or(self.end, |segment| segment.len);
            catalog.behind(self.segment.number)
        };
        let resynced = self.cursor.resync(self.at, self.end, self.sequence).map_err(|error| {
            let file = self.shared.disk.describe(&self.segment.name());
            ReadError::Io { action: "read", file, error: Arc::new(error) }
        })?;
        Ok(match resynced {
            Some((at, header)) => Place {
                segment: self.segment.clone(),
                len: self.end,
                // How far the partitions are here, their next records tell.
                mark: Mark { at, sequence: header.sequence, newest: self.passed, ends: Arc::from([]) },
            },
            None => behind,
        })
    }
}

/// Where a reader that wants this starts, and from which record on it gives out each partition.
fn locate(catalog: &Catalog, from: &ReadFrom) -> Result<(Place, Vec<Offset>), ReadError> {
    let (place, wanted) = match from {
        ReadFrom::Beginning => (catalog.beginning(), None),
        ReadFrom::LogTime(from) => (catalog.seek(|mark| mark.newest < *from), None),
        ReadFrom::Positions(positions) => {
            let wanted = wanted_offsets(catalog, positions)?;
            let covers = |mark: &Mark| mark.ends.iter().zip(&wanted).all(|(end, wanted)| end.next <= *wanted);
            (catalog.seek(covers), Some(wanted))
        }
    };
    let next = wanted.unwrap_or_else(|| place.mark.ends.iter().map(|end| end.next).collect());
    Ok((place, next))
}

fn wanted_offsets(catalog: &Catalog, positions: &[Position]) -> Result<Vec<Offset>, ReadError> {
    let mut offsets: Vec<Offset> = catalog.segments[0].header.ends.iter().map(|end| end.next).collect();
    for Position { partition, next: wanted, .. } in positions.iter().copied() {
        let extent = catalog.extent(partition);
        if wanted < extent.first {
            return Err(ReadError::Gone { partition, wanted, first: extent.first });
        }
        match offsets.get_mut(usize::from(partition.0)) {
            Some(offset) if wanted <= extent.next => *offset = wanted,
            _ => return Err(ReadError::Ahead { partition, wanted, next: extent.next }),
        }
    }
    Ok(offsets)
}

fn open(shared: &Shared, segment: &SegmentHeader) -> Result<FrameCursor, ReadError> {
    let name = segment.name();
    let file = shared.disk.open(&name).map_err(|error| {
        let file = shared.disk.describe(&name);
        ReadError::Io { action: "open", file, error: Arc::new(error) }
    })?;
    Ok(FrameCursor::new(file, shared.incarnation, shared.partitions))
}

impl LogReader for JournalReader {
    fn read(&mut self, out: &mut Vec<LogRecord>, bytes_max: usize, wait: Duration) -> Result<u64, ReadError> {
        if let Some(gap) = &self.gap {
            return Err(gap.clone());
        }
        let until = Instant::now() + wait.min(WAIT_MAX);
        let (bytes_max, given_before) = (bytes_max.max(1), out.len());
        let mut bytes = 0;
        loop {
            bytes += self.deliver(out, bytes_max - bytes.min(bytes_max));
            if bytes >= bytes_max {
                return Ok(self.ahead());
            }
            let given = out.len() > given_before;
            match self.advance().map_err(|error| self.fail(error)) {
                Ok(Step::CaughtUp) if given || !self.wait(until) => return Ok(self.ahead()),
                Ok(Step::Closed) if !given => return Err(ReadError::Closed),
                // Said by the next call: the records come first.
                Ok(Step::Closed) | Err(_) if given => return Ok(self.ahead()),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
    }

    fn skip_gap(&mut self) -> Result<(), ReadError> {
        let place = match &self.gap {
            None => return Ok(()),
            Some(ReadError::Gone { .. }) => self.shared.catalog.lock().beginning(),
            Some(_) if self.at >= self.end => self.shared.catalog.lock().behind(self.segment.number),
            Some(_) => self.behind_damage()?,
        };
        let cursor = open(&self.shared, &place.segment)?;
        for (next, end) in self.next.iter_mut().zip(place.mark.ends.iter()) {
            *next = (*next).max(end.next);
        }
        self.enter(place, cursor);
        self.gap = None;
        Ok(())
    }
}
