//! Reading frames from a segment, one after the other, and finding the next good one behind a bad one.

use std::io;

use super::disk::{JournalFile, read_fully};
use super::frame_header::{BODY_BYTES_MAX, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader};
use crate::log::LogRecord;

/// How much is read from the file at once, if frames are smaller.
const READ_BYTES: usize = 256 << 10;

/// Above this the buffer is given back after a frame that needed it.
const WINDOW_BYTES_KEPT: usize = 4 << 20;

/// A file of frames, and a stretch of it in memory.
pub(super) struct FrameCursor {
    file: Box<dyn JournalFile>,
    incarnation: u128,
    partitions: u16,
    /// What was read last; at most a frame or [`READ_BYTES`].
    window: Vec<u8>,
    /// Where in the file `window` begins.
    window_at: u64,
}

/// A frame and what is in it.
pub(super) struct Frame {
    pub header: FrameHeader,
    pub records: Vec<LogRecord>,
}

/// Why there is no frame at a place.
#[derive(Debug)]
pub(super) enum FrameFault {
    Io(io::Error),
    /// The bytes there are not a frame, or not a whole one.
    Bad(&'static str),
}

impl FrameCursor {
    pub fn new(file: Box<dyn JournalFile>, incarnation: u128, partitions: u16) -> FrameCursor {
        FrameCursor { file, incarnation, partitions, window: Vec::new(), window_at: 0 }
    }

    /// The frame at a position; bytes from `end` on do not count.
    pub fn frame(&mut self, at: u64, end: u64) -> Result<Frame, FrameFault> {
        let header = self.header(at, end)?.ok_or(FrameFault::Bad("there is no batch where one should begin"))?;
        if header.frame_bytes() > end.saturating_sub(at) || header.stored_bytes as usize > BODY_BYTES_MAX {
            return Err(FrameFault::Bad("a batch ends early"));
        }
        let partitions = self.partitions;
        let bytes = self.bytes(at, header.frame_bytes() as usize, end)?;
        let stored = bytes.get(FRAME_HEADER_BYTES..).ok_or(FrameFault::Bad("a batch ends early"))?;
        let records = header.records(stored, partitions).map_err(FrameFault::Bad)?;
        Ok(Frame { header, records })
    }

    /// The position and header of the first whole frame at or behind `from` whose sequence number is at least `sequence`.
    pub fn resync(&mut self, from: u64, end: u64, sequence: u64) -> io::Result<Option<(u64, FrameHeader)>> {
        let end = end.min(self.file.len()?);
        let mut at = from;
        while at + FRAME_HEADER_BYTES as u64 <= end {
            let stretch = READ_BYTES.min((end - at) as usize);
            let bytes = match self.bytes(at, stretch, end) {
                Ok(bytes) => bytes,
                Err(FrameFault::Io(error)) => return Err(error),
                Err(FrameFault::Bad(_)) => return Ok(None),
            };
            let Some(found) = bytes.windows(FRAME_MAGIC.len()).position(|window| window == FRAME_MAGIC) else {
                at += (stretch - FRAME_MAGIC.len() + 1) as u64;
                continue;
            };
            at += found as u64;
            match self.frame(at, end) {
                Ok(frame) if frame.header.sequence >= sequence => return Ok(Some((at, frame.header))),
                Ok(_) | Err(FrameFault::Bad(_)) => at += 1,
                Err(FrameFault::Io(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    fn header(&mut self, at: u64, end: u64) -> Result<Option<FrameHeader>, FrameFault> {
        let incarnation = self.incarnation;
        let bytes = self.bytes(at, FRAME_HEADER_BYTES, end)?;
        Ok(bytes.first_chunk().and_then(|head| FrameHeader::decode(head, incarnation)))
    }

    /// `len` bytes at a position before `end`.
    fn bytes(&mut self, at: u64, len: usize, end: u64) -> Result<&[u8], FrameFault> {
        let covered = at >= self.window_at && at + len as u64 <= self.window_at + self.window.len() as u64;
        if !covered {
            self.fill(at, len, end)?;
        }
        let start = (at - self.window_at) as usize;
        self.window.get(start..start + len).ok_or(FrameFault::Bad("the file ends early"))
    }

    fn fill(&mut self, at: u64, len: usize, end: u64) -> Result<(), FrameFault> {
        let room = end.saturating_sub(at);
        if len as u64 > room {
            return Err(FrameFault::Bad("a batch ends early"));
        }
        if self.window.capacity() > WINDOW_BYTES_KEPT {
            self.window = Vec::new();
        }
        let wanted = room.min(len.max(READ_BYTES) as u64) as usize;
        self.window.resize(wanted, 0);
        self.window_at = at;
        let read = read_fully(self.file.as_ref(), &mut self.window, at);
        self.window.truncate(*read.as_ref().unwrap_or(&0));
        read.map(|_| ()).map_err(FrameFault::Io)
    }
}
