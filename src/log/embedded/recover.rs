//! Opening a journal: what is there, where it ends, and what a crash left behind.
//!
//! Of complete segments only the headers are read. The last one is read whole: what follows its last whole frame was never
//! acknowledged, because frames are synced one by one, and is cut off. A bad frame that is followed by a good one is not
//! such a tail but damage to what had been acknowledged; it is left in place, and readers report it.

use std::io;
use std::sync::Arc;

use super::catalog::{Catalog, Segment, first_log_times};
use super::cursor::{FrameCursor, FrameFault};
use super::disk::{Disk, JournalFile, TEMPORARY, read_fully, write_whole};
use super::error::OpenError;
use super::format::{FormatError, META_NAME, Meta, PartitionEnd, SegmentHeader, VERSION, segment_name, segment_number};
use super::journal::Journal;
use super::recent::Recent;
use crate::log::{DiskStats, LogStats};
use crate::model::{LogTime, PartitionBy, Timestamp};

/// The most that `meta` can be; more is not read.
const META_BYTES_MAX: usize = 4096;

/// A journal, ready to be continued.
pub(super) struct Recovered {
    pub incarnation: u128,
    pub catalog: Catalog,
    pub journal: Journal,
}

/// Opens the journal on a disk, or makes one with this incarnation when there is none.
pub(super) fn recover(
    disk: &Arc<dyn Disk>,
    partitions: u16,
    partition_by: &PartitionBy,
    new_incarnation: u128,
) -> Result<Recovered, OpenError> {
    let rim = Rim(disk.as_ref());
    let names = disk.list().map_err(|error| rim.io("list", "", error))?;
    for unfinished in names.iter().filter(|name| name.ends_with(TEMPORARY)) {
        disk.remove(unfinished).map_err(|error| rim.io("remove", unfinished, error))?;
    }
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    let meta = if names.iter().any(|name| name == META_NAME) {
        rim.meta()?
    } else {
        let meta = Meta { incarnation: new_incarnation, partitions, partition_by: partition_by.clone() };
        rim.create(&meta, &numbers)?;
        numbers = vec![1];
        meta
    };
    if meta.partitions != partitions {
        return Err(OpenError::Partitions { dir: disk.describe(""), stored: meta.partitions, wanted: partitions });
    }
    if meta.partition_by != *partition_by {
        let (stored, wanted) = (meta.partition_by, partition_by.clone());
        return Err(OpenError::PartitionBy { dir: disk.describe(""), stored, wanted });
    }
    let mut segments = rim.segments(&numbers, &meta)?;
    let Some(last) = segments.pop() else {
        return Err(rim.damaged(META_NAME, "the log's files are missing beside it"));
    };
    let end = rim.scan_last(last)?;
    segments.push(end.segment);
    let kept: Vec<_> = segments.iter().map(|segment| (segment.header.clone(), segment.len)).collect();
    let catalog = Catalog {
        recent: Recent::new(0),
        first_log_times: first_log_times(disk.as_ref(), &kept, &end.ends),
        segments: segments.into(),
        ends: end.ends,
        newest: end.newest,
        sequence: end.sequence,
        closed: false,
        stats: LogStats::default(),
        disk: DiskStats { torn_bytes_cut: end.torn_bytes_cut, ..DiskStats::default() },
    };
    let (number, len) = kept.last().map_or((0, 0), |(header, len)| (header.number, *len));
    let journal = Journal::new(disk.clone(), end.file, number, len);
    Ok(Recovered { incarnation: meta.incarnation, catalog, journal })
}

/// The end of the journal as it was found.
struct End {
    segment: Segment,
    file: Box<dyn JournalFile>,
    ends: Vec<PartitionEnd>,
    newest: LogTime,
    sequence: u64,
    torn_bytes_cut: u64,
}

/// The disk, with the names that errors need.
struct Rim<'a>(&'a dyn Disk);

impl Rim<'_> {
    fn io(&self, action: &'static str, name: &str, error: io::Error) -> OpenError {
        OpenError::Io { action, file: self.0.describe(name), error }
    }

    fn damaged(&self, name: &str, why: &'static str) -> OpenError {
        OpenError::Damaged { file: self.0.describe(name), why }
    }

    fn not_ours(&self, name: &str, error: FormatError) -> OpenError {
        match error {
            FormatError::Newer { version } => OpenError::Version { file: self.0.describe(name), version, known: VERSION },
            FormatError::Damaged(why) => self.damaged(name, why),
        }
    }

    fn begin(&self, name: &str, len: usize) -> Result<(Box<dyn JournalFile>, Vec<u8>), OpenError> {
        let file = self.0.open(name).map_err(|error| self.io("open", name, error))?;
        let mut bytes = vec![0; len];
        let read = read_fully(file.as_ref(), &mut bytes, 0).map_err(|error| self.io("read", name, error))?;
        bytes.truncate(read);
        Ok((file, bytes))
    }

    fn meta(&self) -> Result<Meta, OpenError> {
        let (_, bytes) = self.begin(META_NAME, META_BYTES_MAX)?;
        Meta::decode(&bytes).map_err(|error| self.not_ours(META_NAME, error))
    }

    /// Makes an empty log. `meta` comes last: without it, files that hold nothing are an unfinished attempt.
    fn create(&self, meta: &Meta, numbers: &[u64]) -> Result<(), OpenError> {
        for number in numbers {
            let name = segment_name(*number);
            let (file, _) = self.begin(&name, 0)?;
            let len = file.len().map_err(|error| self.io("read", &name, error))?;
            if *number != 1 || len > SegmentHeader::bytes_for(meta.partitions) as u64 {
                return Err(self.damaged(META_NAME, "it is missing beside the log's files"));
            }
        }
        let first = SegmentHeader {
            incarnation: meta.incarnation,
            number: 1,
            first_sequence: 0,
            previous_len: 0,
            newest: Timestamp::MIN,
            ends: vec![PartitionEnd::EMPTY; usize::from(meta.partitions)],
        };
        for (name, bytes) in [(first.name(), first.encode()), (META_NAME.to_owned(), meta.encode())] {
            write_whole(self.0, &name, &bytes).map_err(|error| self.io("write", &name, error))?;
        }
        Ok(())
    }

    /// All segments, with the lengths that their successors state; the last one's is only what the file has.
    fn segments(&self, numbers: &[u64], meta: &Meta) -> Result<Vec<Segment>, OpenError> {
        let mut segments: Vec<Segment> = Vec::with_capacity(numbers.len());
        for number in numbers {
            let name = segment_name(*number);
            let (file, bytes) = self.begin(&name, SegmentHeader::bytes_for(meta.partitions))?;
            let header = SegmentHeader::decode(&bytes, meta.partitions).map_err(|error| self.not_ours(&name, error))?;
            if header.incarnation != meta.incarnation || header.number != *number {
                return Err(self.damaged(&name, "it belongs to another log or place"));
            }
            if let Some(before) = segments.last_mut().filter(|before| before.header.number + 1 == *number) {
                before.len = header.previous_len;
            }
            let len = file.len().map_err(|error| self.io("read", &name, error))?;
            segments.push(Segment::new(header, len));
        }
        Ok(segments)
    }

    fn scan_last(&self, segment: Segment) -> Result<End, OpenError> {
        let (name, len) = (segment.header.name(), segment.len);
        let open = || self.0.open(&name).map_err(|error| self.io("open", &name, error));
        let header = segment.header.clone();
        let mut cursor = FrameCursor::new(open()?, header.incarnation, header.ends.len() as u16);
        let mut end = End {
            file: open()?,
            ends: header.ends.clone(),
            newest: header.newest,
            sequence: header.first_sequence,
            torn_bytes_cut: 0,
            segment,
        };
        end.segment.len = SegmentHeader::bytes_for(header.ends.len() as u16) as u64;
        end.follow(&mut cursor, len).map_err(|error| self.io("read", &name, error))?;
        end.torn_bytes_cut = len - end.segment.len;
        if end.torn_bytes_cut > 0 {
            let (file, bytes) = (self.0.describe(&name), end.torn_bytes_cut);
            tracing::warn!(%file, bytes, "cut off an unfinished batch at the end of the log; it was never acknowledged");
            end.file.truncate(end.segment.len).map_err(|error| self.io("truncate", &name, error))?;
        }
        // A frame may have been written and not synced before the crash; what is shown to readers has to be durable.
        end.file.sync().map_err(|error| self.io("sync", &name, error))?;
        self.0.sync_dir().map_err(|error| self.io("sync", "", error))?;
        Ok(end)
    }
}

impl End {
    /// Moves behind the last whole frame.
    fn follow(&mut self, cursor: &mut FrameCursor, len: u64) -> io::Result<()> {
        while self.segment.len < len {
            match cursor.frame(self.segment.len, len) {
                Err(FrameFault::Io(error)) => return Err(error),
                Ok(frame) if frame.header.sequence == self.sequence => {
                    self.segment.mark(self.sequence, self.newest, &self.ends);
                    self.segment.len += frame.header.frame_bytes();
                    self.sequence += 1;
                    self.newest = self.newest.max(frame.header.newest);
                    for record in &frame.records {
                        let end = &mut self.ends[usize::from(record.partition.0)];
                        *end = PartitionEnd { next: record.offset.next(), newest: record.log_time };
                    }
                }
                Ok(_) | Err(FrameFault::Bad(_)) => {
                    let Some((at, header)) = cursor.resync(self.segment.len, len, self.sequence)? else { return Ok(()) };
                    let bytes = at - self.segment.len;
                    tracing::error!(
                        at = self.segment.len,
                        bytes,
                        "the log is damaged within its last file; readers will say so"
                    );
                    (self.segment.len, self.sequence) = (at, header.sequence);
                }
            }
        }
        Ok(())
    }
}
