//! A frame: the records of one group commit, in one piece that is either whole or not there.
//!
//! Header (44 bytes): magic, crc of the rest of the header, length and crc of the stored body, length of the plain body,
//! number of records, sequence number, newest log time, flags. The header's crc also covers the log's incarnation, so that
//! bytes of another log are never taken for frames; the sequence number does the same for older bytes of this one.
//!
//! Plain body: the log time of the first record, then per record its partition, its offset if it is the partition's first
//! in the frame, how much later it is than the record before, the payload's length (all LEB128 varints), the payload. The
//! body is stored compressed when that makes it smaller.

use bytes::Bytes;

use super::format::PartitionEnd;
use super::frame_header::{FLAG_COMPRESSED, FRAME_HEADER_BYTES, FrameHeader};
use crate::log::LogRecord;
use crate::model::{LogTime, PartitionId, Timestamp};
use crate::wire::Compressor;

/// What a record takes in a frame beyond its payload, at most.
pub(super) const RECORD_OVERHEAD_BYTES: usize = 3 + 10 + 10 + 5;

/// Collects the records of one frame.
pub(super) struct FrameBuilder {
    buffers: FrameBuffers,
    records: Vec<LogRecord>,
    newest: LogTime,
    /// The partitions' ends behind the records so far.
    ends: Vec<PartitionEnd>,
    /// The log time of each partition's first record in the frame.
    firsts: Vec<Option<LogTime>>,
}

/// The memory that a frame is made in, used again for the next one.
#[derive(Default)]
pub(super) struct FrameBuffers {
    body: Vec<u8>,
    /// What is written: no shorter than the longest so far.
    stored: Vec<u8>,
    compressor: Compressor,
}

impl FrameBuffers {
    /// Gives the memory back if it is more than frames of such bodies need.
    pub fn shrink(&mut self, body_bytes_max: usize) {
        if self.body.capacity() > 2 * body_bytes_max {
            *self = FrameBuffers::default();
        }
    }
}

impl FrameBuilder {
    /// A frame that continues partitions at these ends.
    pub fn new(ends: &[PartitionEnd], mut buffers: FrameBuffers) -> FrameBuilder {
        buffers.body.clear();
        let firsts = vec![None; ends.len()];
        FrameBuilder { buffers, records: Vec::new(), newest: Timestamp::MIN, ends: ends.to_vec(), firsts }
    }

    /// Adds a record. Contracts: **known**, the partition is one of the log's; **forward**, the log time is not below that
    /// of the record before. Both are the writer's to keep; a reader would refuse the frame.
    pub fn push(&mut self, partition: PartitionId, log_time: LogTime, payload: &Bytes) {
        debug_assert!(self.records.is_empty() || log_time >= self.newest, "forward");
        let body = &mut self.buffers.body;
        if self.records.is_empty() {
            body.extend_from_slice(&log_time.0.to_le_bytes());
            self.newest = log_time;
        }
        let index = usize::from(partition.0);
        let end = &mut self.ends[index];
        let offset = end.next;
        put_varint(body, u64::from(partition.0));
        if self.firsts[index].is_none() {
            self.firsts[index] = Some(log_time);
            put_varint(body, offset.0);
        }
        put_varint(body, log_time.0.wrapping_sub(self.newest.0) as u64);
        put_varint(body, payload.len() as u64);
        body.extend_from_slice(payload);
        *end = PartitionEnd { next: offset.next(), newest: log_time };
        self.newest = log_time;
        self.records.push(LogRecord { partition, offset, log_time, payload: payload.clone() });
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The log time of a partition's first record in the frame, if it has one.
    pub fn first(&self, partition: PartitionId) -> Option<LogTime> {
        self.firsts[usize::from(partition.0)]
    }

    /// The partitions' ends behind this frame, and its newest log time.
    pub fn ends(&self) -> (&[PartitionEnd], LogTime) {
        (&self.ends, self.newest)
    }

    /// The bytes to write.
    pub fn encode(&mut self, sequence: u64, incarnation: u128) -> &[u8] {
        let FrameBuffers { body, stored, compressor } = &mut self.buffers;
        let compressed = compressor.compress_behind(FRAME_HEADER_BYTES, body, stored);
        let smaller = compressed < body.len();
        let len = if smaller { compressed } else { body.len() };
        let (head, rest) = stored.split_at_mut(FRAME_HEADER_BYTES);
        let rest = &mut rest[..len];
        if !smaller {
            rest.copy_from_slice(body);
        }
        let header = FrameHeader {
            stored_bytes: len as u32,
            stored_crc: crc32fast::hash(rest),
            plain_bytes: body.len() as u32,
            records: self.records.len() as u32,
            sequence,
            newest: self.newest,
            flags: if smaller { FLAG_COMPRESSED } else { 0 },
        };
        head.copy_from_slice(&header.encode(incarnation));
        &stored[..FRAME_HEADER_BYTES + len]
    }

    /// The records, as a reader would read them, and the memory for the next frame.
    pub fn into_parts(self) -> (Vec<LogRecord>, FrameBuffers) {
        (self.records, self.buffers)
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Offset;

    type Row<'a> = (u16, i64, &'a [u8]);

    fn build(rows: &[Row<'_>]) -> FrameBuilder {
        let ends: Vec<PartitionEnd> =
            (0..3).map(|p| PartitionEnd { next: Offset(p * 1000), newest: Timestamp::MIN }).collect();
        let mut builder = FrameBuilder::new(&ends, FrameBuffers::default());
        for (partition, time, payload) in rows {
            builder.push(PartitionId(*partition), Timestamp(*time), &Bytes::copy_from_slice(payload));
        }
        builder
    }

    fn decode(bytes: &[u8]) -> Result<Vec<LogRecord>, &'static str> {
        let (head, body) = bytes.split_first_chunk().ok_or("too short")?;
        FrameHeader::decode(head, 7).ok_or("header")?.records(body, 3)
    }

    #[track_caller]
    fn check_round_trip(rows: &[Row<'_>]) {
        let mut frame = build(rows);
        let records = decode(frame.encode(9, 7)).unwrap();
        assert_eq!(frame.into_parts().0, records);
        let mut next = [0, 1000, 2000];
        assert_eq!(records.len(), rows.len());
        for (record, (partition, time, payload)) in records.iter().zip(rows) {
            let expected = Offset(next[usize::from(*partition)]);
            next[usize::from(*partition)] += 1;
            assert_eq!((record.partition.0, record.offset, record.log_time.0), (*partition, expected, *time));
            assert_eq!(&record.payload[..], *payload);
        }
    }

    #[test]
    fn records_round_trip() {
        check_round_trip(&[(0, 5, b"a")]);
        check_round_trip(&[(2, -5, b""), (2, -5, b"b"), (0, i64::MAX, b"c"), (2, i64::MAX, &[1; 5000])]);
        check_round_trip(&[(1, i64::MIN, b""), (1, 0, b"x"), (0, 0, b"y")]);
    }

    #[test]
    fn a_frame_is_the_same_whatever_its_memory_held() {
        let (long, short): (&[Row<'_>], &[Row<'_>]) = (&[(0, 1, &[7; 5000]), (1, 2, &[8; 300])], &[(2, 5, b"unlike")]);
        let (_, mut buffers) = build(long).into_parts();
        for rows in [long, short, long] {
            let mut frame = build(rows);
            std::mem::swap(&mut frame.buffers.stored, &mut buffers.stored);
            assert_eq!(frame.encode(9, 7), build(rows).encode(9, 7));
            buffers = frame.into_parts().1;
        }
        buffers.shrink(10);
        assert_eq!((buffers.body.capacity(), buffers.stored.capacity()), (0, 0));
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed() {
        for rows in [&[(0u16, 5i64, &[7u8; 100][..]), (1, 6, b"")][..], &[(0, 5, b"unlike")]] {
            let good = build(rows).encode(9, 7).to_vec();
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 1;
                assert!(decode(&bad).is_err(), "byte {at}");
                assert!(decode(&good[..at]).is_err(), "cut at {at}");
            }
        }
    }

    #[test]
    fn frames_of_another_log_are_not_frames() {
        assert_eq!(decode(build(&[(0, 5, b"a")]).encode(9, 8)), Err("header"));
    }

    #[test]
    fn a_body_that_lies_behind_a_right_checksum_is_refused() {
        let lies: [&[u8]; 6] = [
            &[],
            &[0; 7],
            &[0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0],      // no such partition
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200, 1], // payload longer than the body
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], // endless varint
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], // two records where one is announced
        ];
        for body in lies {
            let header = FrameHeader {
                stored_bytes: body.len() as u32,
                stored_crc: crc32fast::hash(body),
                plain_bytes: body.len() as u32,
                records: 1,
                sequence: 1,
                newest: Timestamp(0),
                flags: 0,
            };
            assert!(header.records(body, 3).is_err(), "{body:?}");
        }
    }
}
