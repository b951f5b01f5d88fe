//! A frame's header, and how its body is read: everything is checked before anything is believed.

use bytes::Bytes;

use crate::log::LogRecord;
use crate::model::{LogTime, Offset, PartitionId, Timestamp};
use crate::wire;

pub(super) const FRAME_HEADER_BYTES: usize = 44;
pub(super) const FRAME_MAGIC: [u8; 4] = *b"PfFr";

/// The most a plain body may hold; what an append may hold is less.
pub(super) const BODY_BYTES_MAX: usize = 1 << 30;

pub(super) const FLAG_COMPRESSED: u32 = 1;

/// What stands before a frame's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub stored_bytes: u32,
    pub stored_crc: u32,
    pub plain_bytes: u32,
    pub records: u32,
    /// Counts the frames of the log, over all segments.
    pub sequence: u64,
    pub newest: LogTime,
    pub flags: u32,
}

impl FrameHeader {
    pub fn encode(&self, incarnation: u128) -> [u8; FRAME_HEADER_BYTES] {
        let mut out = [0; FRAME_HEADER_BYTES];
        out[0..4].copy_from_slice(&FRAME_MAGIC);
        out[8..12].copy_from_slice(&self.stored_bytes.to_le_bytes());
        out[12..16].copy_from_slice(&self.stored_crc.to_le_bytes());
        out[16..20].copy_from_slice(&self.plain_bytes.to_le_bytes());
        out[20..24].copy_from_slice(&self.records.to_le_bytes());
        out[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        out[32..40].copy_from_slice(&self.newest.0.to_le_bytes());
        out[40..44].copy_from_slice(&self.flags.to_le_bytes());
        let crc = header_crc(&out, incarnation);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// `None` unless it is a frame header of this log.
    pub fn decode(bytes: &[u8; FRAME_HEADER_BYTES], incarnation: u128) -> Option<FrameHeader> {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if bytes[0..4] != FRAME_MAGIC || u32_at(4) != header_crc(bytes, incarnation) {
            return None;
        }
        Some(FrameHeader {
            stored_bytes: u32_at(8),
            stored_crc: u32_at(12),
            plain_bytes: u32_at(16),
            records: u32_at(20),
            sequence: u64_at(24),
            newest: Timestamp(u64_at(32) as i64),
            flags: u32_at(40),
        })
    }

    /// The bytes of the whole frame.
    pub fn frame_bytes(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + u64::from(self.stored_bytes)
    }

    /// The records in a stored body.
    ///
    /// # Errors
    /// What is wrong with the body.
    pub fn records(&self, stored: &[u8], partitions: u16) -> Result<Vec<LogRecord>, &'static str> {
        if crc32fast::hash(stored) != self.stored_crc {
            return Err("the checksum of a batch is wrong");
        }
        if self.flags & !FLAG_COMPRESSED != 0 || self.plain_bytes as usize > BODY_BYTES_MAX {
            return Err("a batch is of a kind that this version does not know");
        }
        let plain = match self.flags & FLAG_COMPRESSED {
            0 => stored.to_vec(),
            _ => wire::decompress(stored, self.plain_bytes as usize).map_err(|_| "a batch cannot be decompressed")?,
        };
        // Every record takes at least three bytes, so a header cannot make this reserve more than the body warrants.
        let records = Vec::with_capacity((self.records as usize).min(plain.len() / 3));
        let body = BodyReader { body: Bytes::from(plain), at: 0, next: vec![None; usize::from(partitions)] };
        let records = body.read_into(records).ok_or("a batch is not what its checksum says")?;
        let newest = records.last().map(|record| record.log_time);
        let as_announced = records.len() == self.records as usize && newest == Some(self.newest);
        as_announced.then_some(records).ok_or("a batch is not what its header says")
    }
}

fn header_crc(header: &[u8; FRAME_HEADER_BYTES], incarnation: u128) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&incarnation.to_le_bytes());
    hasher.update(&header[8..]);
    hasher.finalize()
}

struct BodyReader {
    body: Bytes,
    at: usize,
    /// Per partition, the offset of its next record in the frame, once it had one.
    next: Vec<Option<Offset>>,
}

impl BodyReader {
    fn read_into(mut self, mut records: Vec<LogRecord>) -> Option<Vec<LogRecord>> {
        let (first_time, _) = self.body.split_first_chunk::<8>()?;
        let mut log_time = Timestamp(i64::from_le_bytes(*first_time));
        self.at = 8;
        while self.at < self.body.len() {
            let partition = PartitionId(u16::try_from(self.varint()?).ok()?);
            let offset = match *self.next.get(usize::from(partition.0))? {
                Some(offset) => offset,
                None => Offset(self.varint()?),
            };
            self.next[usize::from(partition.0)] = Some(Offset(offset.0.checked_add(1)?));
            log_time = Timestamp(log_time.0.wrapping_add(self.varint()? as i64));
            let len = usize::try_from(self.varint()?).ok()?;
            let end = self.at.checked_add(len).filter(|end| *end <= self.body.len())?;
            let payload = if len == 0 { Bytes::new() } else { self.body.slice(self.at..end) };
            self.at = end;
            records.push(LogRecord { partition, offset, log_time, payload });
        }
        Some(records)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.body.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}
