//! The write-ahead log: frames of records, appended, each whole or not at all.
//!
//! A crash may leave any part of what was not yet flushed: half a frame, zeros, or a later frame without an earlier one.
//! So each frame says up to where the file was durable when it was written. A frame that cannot be read is a torn tail,
//! and cut, unless a later frame proves that it had been durable: then it is damage, and nobody guesses what it said.

use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::encoding::{Input, Malformed, put_varint};
use super::error::StoreError;
use super::files::{FileKind, HEADER_BYTES};
use super::record::Record;

/// Before each frame. No UTF-8 text holds the first byte, so that no label can look like a frame.
const FRAME_MARK: [u8; 4] = [0xff, b'p', b'f', b'r'];

/// Mark, length of the payload, checksum of length and payload.
const FRAME_HEADER_BYTES: usize = 12;

/// The largest frame.
const FRAME_BYTES_MAX: usize = 1 << 30;

/// A WAL being appended to.
#[derive(Debug)]
pub struct Wal {
    name: String,
    file: Arc<dyn DiskFile>,
    /// Where the next frame goes.
    len: u64,
    /// Up to where the file is known to be durable.
    synced: u64,
    /// The number of the next frame, from 0 in each file.
    next_frame: u64,
    /// Whether the file may not be as this says, because the disk failed: nothing more may be appended to it.
    suspect: bool,
}

/// A WAL read back.
pub struct Replayed {
    pub wal: Wal,
    /// Bytes of a torn tail.
    pub cut_bytes: u64,
}

impl Wal {
    /// A new WAL, whose content is durable but not its name.
    pub fn create(disk: &dyn Disk, number: u32) -> Result<Wal, StoreError> {
        let name = FileKind::Wal.name(number);
        let begin = || {
            let file = disk.create(&name)?;
            file.write_at(0, &FileKind::Wal.header())?;
            file.sync()?;
            Ok(file)
        };
        let file = begin().map_err(|error| StoreError::io("write", &name, error))?;
        let len = HEADER_BYTES as u64;
        Ok(Wal { name, file, len, synced: len, next_frame: 0, suspect: false })
    }

    /// Reads a WAL and hands over the records of each frame, in order; a torn tail is cut, and the rest is durable then.
    pub fn replay(
        disk: &dyn Disk,
        number: u32,
        mut apply: impl FnMut(Vec<Record>) -> Result<(), Malformed>,
    ) -> Result<Replayed, StoreError> {
        let name = FileKind::Wal.name(number);
        let bytes = disk.read_whole(&name).map_err(|error| StoreError::io("read", &name, error))?;
        FileKind::Wal.check_header(&name, &bytes)?;
        let (mut at, mut next_frame) = (HEADER_BYTES, 0);
        while at < bytes.len() {
            let damaged = |what| StoreError::corrupt(&name, at as u64, what);
            let frame = match Frame::read(&bytes[at..]) {
                Some(frame) if frame.number == next_frame => frame,
                _ if was_durable(&bytes, at, next_frame) => return Err(damaged("a commit cannot be read")),
                _ => break,
            };
            let records = Record::decode_all(frame.records).map_err(|Malformed(what)| damaged(what))?;
            apply(records).map_err(|Malformed(what)| damaged(what))?;
            at += frame.bytes;
            next_frame += 1;
        }
        let cut_bytes = (bytes.len() - at) as u64;
        let file = disk.open(&name).map_err(|error| StoreError::io("open", &name, error))?;
        let settle = || if cut_bytes > 0 { file.truncate(at as u64).and_then(|()| file.sync()) } else { file.sync() };
        settle().map_err(|error| StoreError::io("cut the torn end of", &name, error))?;
        if cut_bytes > 0 {
            tracing::warn!(file = %name, cut_bytes, "the store was not closed cleanly: its WAL's torn end is cut");
        }
        let len = at as u64;
        Ok(Replayed { wal: Wal { name, file, len, synced: len, next_frame, suspect: false }, cut_bytes })
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// Appends a frame and, if asked to, makes the file durable. After an error the file is as it was before, or suspect.
    pub fn append(&mut self, records: &[Record], durable: bool) -> Result<(), StoreError> {
        let (before, next_frame) = (self.len, self.next_frame);
        self.write(records)?;
        if durable && let Err(error) = self.sync() {
            // The failed frame should not come back after a crash; if it does all the same, it is a whole commit.
            let _ = self.file.truncate(before);
            (self.len, self.next_frame) = (before, next_frame);
            return Err(error);
        }
        Ok(())
    }

    fn write(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let frame = Frame::encode(self.next_frame, self.synced, records);
        let payload = frame.len() - FRAME_HEADER_BYTES;
        if payload > FRAME_BYTES_MAX {
            return Err(StoreError::TooLarge { what: "a commit", found: payload, limit: FRAME_BYTES_MAX });
        }
        if let Err(error) = self.file.write_at(self.len, &frame) {
            self.suspect |= self.file.truncate(self.len).is_err();
            return Err(StoreError::io("write", &self.name, error));
        }
        self.len += frame.len() as u64;
        self.next_frame += 1;
        Ok(())
    }

    /// Makes everything appended durable. A failed flush may have lost what was written before, and a second one would not
    /// say so: the file is suspect from then on.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if self.synced == self.len {
            return Ok(());
        }
        if let Err(error) = self.file.sync() {
            self.suspect = true;
            return Err(StoreError::io("flush", &self.name, error));
        }
        self.synced = self.len;
        Ok(())
    }
}

/// A frame that was read.
struct Frame<'a> {
    number: u64,
    /// Up to where the file was durable when the frame was written.
    durable: u64,
    records: Input<'a>,
    /// With its header.
    bytes: usize,
}

impl Frame<'_> {
    fn encode(number: u64, durable: u64, records: &[Record]) -> Vec<u8> {
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        put_varint(&mut frame, number);
        put_varint(&mut frame, durable);
        records.iter().for_each(|record| record.encode(&mut frame));
        let len = (frame.len() - FRAME_HEADER_BYTES) as u32;
        frame[..4].copy_from_slice(&FRAME_MARK);
        frame[4..8].copy_from_slice(&len.to_le_bytes());
        let crc = checksum(&frame[4..8], &frame[FRAME_HEADER_BYTES..]);
        frame[8..12].copy_from_slice(&crc.to_le_bytes());
        frame
    }

    /// The frame at the beginning of some bytes, if there is a whole one.
    fn read(bytes: &[u8]) -> Option<Frame<'_>> {
        let (header, rest) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>()?;
        let mut input = Input::new(header.strip_prefix(&FRAME_MARK)?);
        let (len, crc) = (input.u32().ok()?, input.u32().ok()?);
        let payload = rest.get(..len as usize)?;
        if checksum(&len.to_le_bytes(), payload) != crc {
            return None;
        }
        let mut records = Input::new(payload);
        let (number, durable) = (records.varint().ok()?, records.varint().ok()?);
        Some(Frame { number, durable, records, bytes: FRAME_HEADER_BYTES + payload.len() })
    }
}

fn checksum(len: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(len);
    hasher.update(payload);
    hasher.finalize()
}

/// Whether a later frame proves that what lies at a place was durable once.
fn was_durable(bytes: &[u8], at: usize, expected: u64) -> bool {
    let rest = bytes.get(at + 1..).unwrap_or_default();
    rest.windows(FRAME_MARK.len())
        .enumerate()
        .filter(|(_, window)| *window == FRAME_MARK)
        .filter_map(|(offset, _)| Frame::read(&rest[offset..]))
        .any(|frame| frame.durable > at as u64 && frame.number > expected)
}
