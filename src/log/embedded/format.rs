//! What the files of a journal begin with. All integers are little-endian.
//!
//! `meta` says what log this is: magic, version, incarnation, number of partitions, from version 2 on the labels by which it
//! is partitioned, crc. A log that is partitioned by none is of version 1, which older programs read, too. A segment,
//! `<number>.journal`, begins with where in the log it stands, and then holds frames (frame.rs). That beginning is written
//! and synced before the first frame, and states how long the segment before it is: what a failed sync may have left
//! behind that length is not part of the log, whatever it contains.
//!
//! Useful for: knowing offsets and log times at a segment's beginning without reading the one before. Not useful for
//! finding a place within a segment; that is what marks are for (catalog.rs).

use crate::model::{LogTime, Offset, PartitionBy, Timestamp};

/// The newest version this program knows. Older ones are read, newer ones refused.
pub(super) const VERSION: u8 = 2;

/// The version of segments, and of what is known of a log that is partitioned by no labels.
const PLAIN_VERSION: u8 = 1;

/// The name of the file that makes a directory a log.
pub(super) const META_NAME: &str = "meta";

/// The most partitions a log can have.
pub(super) const PARTITIONS_MAX: u16 = 1024;

const META_MAGIC: &[u8; 7] = b"PFLMETA";
const SEGMENT_MAGIC: &[u8; 7] = b"PFLSEGM";
const SEGMENT_FIXED_BYTES: usize = 8 + 16 + 8 + 8 + 8 + 8 + 2;
const CRC_BYTES: usize = 4;

/// Why bytes are not what they should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FormatError {
    /// Written by a later program.
    Newer {
        version: u8,
    },
    Damaged(&'static str),
}

/// What log a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub incarnation: u128,
    pub partitions: u16,
    pub partition_by: PartitionBy,
}

impl Meta {
    pub fn encode(&self) -> Vec<u8> {
        let names = self.partition_by.names();
        let mut out = begin(META_MAGIC, if names.is_empty() { PLAIN_VERSION } else { VERSION });
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.partitions.to_le_bytes());
        for name in names {
            out.extend_from_slice(&(name.len() as u16).to_le_bytes());
            out.extend_from_slice(name.as_bytes());
        }
        finish(out)
    }

    /// From all bytes of the file.
    pub fn decode(bytes: &[u8]) -> Result<Meta, FormatError> {
        const PLAIN_BYTES: usize = 8 + 16 + 2 + CRC_BYTES;
        let has_names = bytes.get(7).is_some_and(|version| *version > PLAIN_VERSION);
        let mut fields = checked(META_MAGIC, bytes, if has_names { bytes.len().max(PLAIN_BYTES) } else { PLAIN_BYTES })?;
        let (incarnation, partitions) = (u128::from_le_bytes(fields.take()), u16::from_le_bytes(fields.take()));
        let mut names = Vec::new();
        while !fields.0.is_empty() {
            names.push(fields.text().ok_or(FormatError::Damaged("its labels cannot be read"))?);
        }
        Ok(Meta { incarnation, partitions, partition_by: PartitionBy::new(names) })
    }
}

/// The end of a partition: what the next record's offset is, and when the newest one was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartitionEnd {
    pub next: Offset,
    /// `Timestamp::MIN` when there is none.
    pub newest: LogTime,
}

impl PartitionEnd {
    pub const EMPTY: PartitionEnd = PartitionEnd { next: Offset(0), newest: Timestamp::MIN };
}

/// Where in the log a segment begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub incarnation: u128,
    /// From 1, consecutive; the file's name.
    pub number: u64,
    /// The sequence number of its first frame.
    pub first_sequence: u64,
    /// How many bytes of the segment before are part of the log.
    pub previous_len: u64,
    /// The newest log time before this segment; `Timestamp::MIN` when there is none.
    pub newest: LogTime,
    /// The ends of all partitions before this segment.
    pub ends: Vec<PartitionEnd>,
}

impl SegmentHeader {
    pub fn name(&self) -> String {
        segment_name(self.number)
    }

    /// How many bytes the header of a segment takes.
    pub fn bytes_for(partitions: u16) -> usize {
        SEGMENT_FIXED_BYTES + usize::from(partitions) * 16 + CRC_BYTES
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = begin(SEGMENT_MAGIC, PLAIN_VERSION);
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.first_sequence.to_le_bytes());
        out.extend_from_slice(&self.previous_len.to_le_bytes());
        out.extend_from_slice(&self.newest.0.to_le_bytes());
        out.extend_from_slice(&(self.ends.len() as u16).to_le_bytes());
        for end in &self.ends {
            out.extend_from_slice(&end.next.0.to_le_bytes());
            out.extend_from_slice(&end.newest.0.to_le_bytes());
        }
        finish(out)
    }

    /// From the first bytes of a file, [`SegmentHeader::bytes_for`] of them if it has so many.
    pub fn decode(bytes: &[u8], partitions: u16) -> Result<SegmentHeader, FormatError> {
        let mut fields = checked(SEGMENT_MAGIC, bytes, SegmentHeader::bytes_for(partitions))?;
        let mut header = SegmentHeader {
            incarnation: u128::from_le_bytes(fields.take()),
            number: u64::from_le_bytes(fields.take()),
            first_sequence: u64::from_le_bytes(fields.take()),
            previous_len: u64::from_le_bytes(fields.take()),
            newest: Timestamp(i64::from_le_bytes(fields.take())),
            ends: Vec::with_capacity(usize::from(partitions)),
        };
        if u16::from_le_bytes(fields.take()) != partitions {
            return Err(FormatError::Damaged("its number of partitions is not the log's"));
        }
        for _ in 0..partitions {
            let next = Offset(u64::from_le_bytes(fields.take()));
            header.ends.push(PartitionEnd { next, newest: Timestamp(i64::from_le_bytes(fields.take())) });
        }
        Ok(header)
    }
}

/// The file of a segment.
pub(super) fn segment_name(number: u64) -> String {
    format!("{number:020}.journal")
}

/// The number of a segment's file; `None` for any other file.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".journal")?;
    digits.parse().ok().filter(|number| segment_name(*number) == name)
}

fn begin(magic: &[u8; 7], version: u8) -> Vec<u8> {
    let mut out = magic.to_vec();
    out.push(version);
    out
}

fn finish(mut out: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The fields behind magic and version, once both and the checksum are right.
fn checked<'a>(magic: &[u8; 7], bytes: &'a [u8], wanted: usize) -> Result<Fields<'a>, FormatError> {
    if bytes.len() < 8 || &bytes[..7] != magic {
        return Err(FormatError::Damaged("it does not begin as it should"));
    }
    if bytes[7] > VERSION {
        return Err(FormatError::Newer { version: bytes[7] });
    }
    if bytes.len() < wanted {
        return Err(FormatError::Damaged("it is too short"));
    }
    let (content, crc) = bytes[..wanted].split_at(wanted - CRC_BYTES);
    if crc32fast::hash(content).to_le_bytes() != crc {
        return Err(FormatError::Damaged("its checksum is wrong"));
    }
    Ok(Fields(&content[8..]))
}

/// Bytes whose length has been checked against the sum of the fields taken from them.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// A text with its length before it, if it is there.
    fn text(&mut self) -> Option<&'a str> {
        let (len, rest) = self.0.split_first_chunk()?;
        let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("the length was checked before");
        self.0 = rest;
        *field
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        let ends = vec![PartitionEnd { next: Offset(7), newest: Timestamp(-3) }, PartitionEnd::EMPTY];
        SegmentHeader { incarnation: 1 << 99, number: 5, first_sequence: 80, previous_len: 123, newest: Timestamp(9), ends }
    }

    #[test]
    fn headers_round_trip() {
        let meta = |by: &[&str]| {
            let partition_by = PartitionBy::new(by.iter().copied());
            Meta { incarnation: u128::MAX - 5, partitions: 4, partition_by }
        };
        for (by, version) in [(&[][..], PLAIN_VERSION), (&["job"], 2), (&["a", "b"], 2)] {
            let bytes = meta(by).encode();
            assert_eq!((bytes[7], Meta::decode(&bytes)), (version, Ok(meta(by))));
            (0..bytes.len()).for_each(|at| assert!(Meta::decode(&bytes[..at]).is_err(), "cut at {at}"));
        }
        let cut_name = finish([&begin(META_MAGIC, 2)[..], &[0; 18], &[5, 0, b'a']].concat());
        assert_eq!(Meta::decode(&cut_name), Err(FormatError::Damaged("its labels cannot be read")));
        let bytes = header().encode();
        assert_eq!(bytes.len(), SegmentHeader::bytes_for(2));
        assert_eq!(SegmentHeader::decode(&bytes, 2), Ok(header()));
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed() {
        let good = header().encode();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(SegmentHeader::decode(&bad, 2).is_err(), "byte {at}");
            assert!(SegmentHeader::decode(&good[..at], 2).is_err(), "cut at {at}");
        }
        assert!(SegmentHeader::decode(&good, 3).is_err() && SegmentHeader::decode(&good, 1).is_err());
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let mut bytes = header().encode();
        bytes[7] = VERSION + 1;
        assert_eq!(SegmentHeader::decode(&bytes, 2), Err(FormatError::Newer { version: VERSION + 1 }));
    }

    #[test]
    fn only_names_of_segments_are_numbers() {
        assert_eq!(segment_number(&segment_name(42)), Some(42));
        for name in ["42.journal", "meta", "lock", "00000000000000000042.journal.tmp", "x.journal", ".journal"] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}
