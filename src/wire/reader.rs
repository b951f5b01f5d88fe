//! Protobuf's wire format, read field by field from borrowed bytes.
//!
//! A message is a sequence of (key, value); the key holds the field's number and how to find the value's end, so that
//! what a reader does not know it can pass over. A [`Reader`] stands somewhere in a message and knows where it ends; one
//! for an inner message shares the outer one's bytes, so that every error can name its offset in the whole.

use super::error::{Problem, WireError};
use crate::model::{Sample, Timestamp};

/// A varint: up to ten bytes of seven bits, lowest first.
pub(super) const VARINT: u32 = 0;
/// Eight bytes, little-endian.
pub(super) const FIXED64: u32 = 1;
/// A varint length, and as many bytes.
pub(super) const DELIMITED: u32 = 2;
/// Four bytes, little-endian.
const FIXED32: u32 = 5;

/// The key of a field: its number and wire type as they stand on the wire.
pub(super) const fn key(field: u32, wire_type: u32) -> u32 {
    field << 3 | wire_type
}

/// The bit that says "another byte follows" in each byte of a word.
const CONTINUES: u64 = 0x8080_8080_8080_8080;

/// A place in a message. `at <= end <= bytes.len()` always.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    /// The outermost message.
    bytes: &'a [u8],
    at: usize,
    /// Where the message being read ends.
    end: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0, end: bytes.len() }
    }

    /// The offset in the outermost message.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn is_done(&self) -> bool {
        self.at >= self.end
    }

    /// The bytes from here to the message's end.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..self.end).unwrap_or_default()
    }

    /// The bytes between two offsets of the outermost message.
    pub(super) fn between(&self, from: usize, to: usize) -> &'a [u8] {
        self.bytes.get(from..to).unwrap_or_default()
    }

    /// The message between two offsets of the outermost one.
    pub(super) fn within(self, from: usize, to: usize) -> Reader<'a> {
        let end = to.min(self.bytes.len());
        Reader { at: from.min(end), end, ..self }
    }

    /// Goes past so many bytes, which the message has.
    pub(super) fn pass(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.left(), "the message has that many bytes left");
        self.at += bytes.min(self.left());
    }

    /// How many bytes the message has left.
    pub(super) fn left(&self) -> usize {
        self.end - self.at
    }

    pub(super) fn error<T>(&self, problem: Problem) -> Result<T, WireError> {
        Err(WireError::new(self.at, problem))
    }

    #[inline(always)]
    pub(super) fn varint(&mut self) -> Result<u64, WireError> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte < 0x80 && self.at < self.end => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.varint_long(),
        }
    }

    /// Up to eight bytes at once where the outermost message has that many; the rest byte by byte.
    fn varint_long(&mut self) -> Result<u64, WireError> {
        if let Some((value, len)) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()).and_then(varint_in_word)
            && len <= self.left()
        {
            self.at += len;
            return Ok(value);
        }
        self.varint_bytes()
    }

    #[cold]
    fn varint_bytes(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for (index, &byte) in self.rest().iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if index == 9 && byte > 1 {
                return self.error(Problem::VarintTooLong);
            }
            if byte < 0x80 {
                self.at += index + 1;
                return Ok(value);
            }
        }
        self.error(Problem::Truncated)
    }

    /// The next field's key, checked to be one; its wire type is not.
    #[inline(always)]
    pub(super) fn key(&mut self) -> Result<u32, WireError> {
        let at = self.at;
        match self.varint()? {
            found @ 8..=0xffff_ffff => Ok(found as u32),
            found => Err(WireError::new(at, Problem::KeyInvalid { key: found })),
        }
    }

    /// The length-delimited value that begins here, as a message to read; this reader goes past it.
    #[inline(always)]
    pub(super) fn message(&mut self) -> Result<Reader<'a>, WireError> {
        let claimed = self.varint()?;
        let left = self.left();
        if claimed > left as u64 {
            return Err(WireError::new(self.at, Problem::LengthTooLong { claimed, left }));
        }
        let inner = Reader { bytes: self.bytes, at: self.at, end: self.at + claimed as usize };
        self.at = inner.end;
        Ok(inner)
    }

    /// The length-delimited value that begins here, as text.
    #[inline]
    pub(super) fn text(&mut self) -> Result<&'a str, WireError> {
        self.message()?.as_text()
    }

    /// What is left of this message, as text.
    #[inline]
    pub(super) fn as_text(self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.rest()).map_err(|e| WireError::new(self.at + e.valid_up_to(), Problem::NotUtf8))
    }

    pub(super) fn fixed64(&mut self) -> Result<u64, WireError> {
        let Some(bytes) = self.rest().first_chunk() else { return self.error(Problem::Truncated) };
        self.at += 8;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// Goes past the value of a field whose key was just read and meant nothing to the caller.
    ///
    /// # Errors
    /// Also when the field is one of `known`: then it has a wire type it cannot have, and passing over it would lose it.
    #[cold]
    pub(super) fn skip(&mut self, key: u32, known: &[u32]) -> Result<(), WireError> {
        let (field, wire_type) = (key >> 3, key & 7);
        let unreadable = match wire_type {
            3 | 4 => Some(Problem::Group { field }),
            6 | 7 => Some(Problem::WireTypeUnknown { field, wire_type }),
            _ => known.contains(&field).then_some(Problem::WireTypeWrong { field, wire_type }),
        };
        if let Some(problem) = unreadable {
            return self.error(problem);
        }
        match wire_type {
            VARINT => self.varint().map(drop),
            FIXED64 => self.fixed64().map(drop),
            FIXED32 if self.left() < 4 => self.error(Problem::Truncated),
            FIXED32 => {
                self.at += 4;
                Ok(())
            }
            _ => self.message().map(drop),
        }
    }

    /// Reads this message as a sample, and its start timestamp (0 when absent). Without `STARTS` the message has no such
    /// field, and number 3 is passed over like any other unknown.
    #[inline]
    pub(super) fn sample<const STARTS: bool>(self) -> Result<(Sample, i64), WireError> {
        match self.bytes.get(self.at..).and_then(|rest| plain_sample(rest.first_chunk()?)) {
            Some((sample, len)) if len == self.left() => Ok((sample, 0)),
            _ => self.any_sample::<STARTS>(),
        }
    }

    fn any_sample<const STARTS: bool>(mut self) -> Result<(Sample, i64), WireError> {
        const VALUE: u32 = key(1, FIXED64);
        const TIMESTAMP: u32 = key(2, VARINT);
        const START: u32 = key(3, VARINT);
        let (mut v, mut t, mut start) = (0.0, 0, 0);
        while !self.is_done() {
            match self.key()? {
                VALUE => v = f64::from_bits(self.fixed64()?),
                TIMESTAMP => t = self.varint()? as i64,
                START if STARTS => start = self.varint()? as i64,
                other => self.skip(other, if STARTS { &[1, 2, 3] } else { &[1, 2] })?,
            }
        }
        Ok((Sample { t: Timestamp(t), v }, start))
    }
}

/// A sample as nearly every sender lays it out, value, timestamp, nothing else, and how many of the bytes it takes.
#[inline(always)]
pub(super) fn plain_sample(bytes: &[u8; 18]) -> Option<(Sample, usize)> {
    const VALUE: u8 = key(1, FIXED64) as u8;
    const TIMESTAMP: u8 = key(2, VARINT) as u8;
    let &[VALUE, v0, v1, v2, v3, v4, v5, v6, v7, TIMESTAMP, ref timestamp @ ..] = bytes else { return None };
    let (t, len) = varint_in_word(timestamp)?;
    let v = f64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7]);
    Some((Sample { t: Timestamp(t as i64), v }, 10 + len))
}

/// The varint at the beginning of eight bytes, and its length, if it ends within them.
#[inline(always)]
fn varint_in_word(bytes: &[u8; 8]) -> Option<(u64, usize)> {
    let word = u64::from_le_bytes(*bytes);
    let stops = !word & CONTINUES;
    if stops == 0 {
        return None;
    }
    // The seven-bit groups up to the stop bit, pushed together in three steps.
    let groups = word & (stops ^ (stops - 1)) & !CONTINUES;
    let groups = (groups & 0x007f_007f_007f_007f) | ((groups & 0x7f00_7f00_7f00_7f00) >> 1);
    let groups = (groups & 0x0000_3fff_0000_3fff) | ((groups & 0x3fff_0000_3fff_0000) >> 2);
    let groups = (groups & 0x0000_0000_0fff_ffff) | ((groups & 0x0fff_ffff_0000_0000) >> 4);
    Some((groups, stops.trailing_zeros() as usize / 8 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_read_the_same_with_and_without_bytes_behind_them() {
        for bits in 0..64 {
            for value in [1u64 << bits, (1u64 << bits) - 1, u64::MAX >> bits] {
                let mut bytes = Vec::new();
                super::super::encode::put_varint(&mut bytes, value);
                let len = bytes.len();
                for behind in [0, 1, 9] {
                    bytes.resize(len + behind, 0xff);
                    let mut reader = Reader::new(&bytes);
                    assert_eq!((reader.varint(), reader.at()), (Ok(value), len), "{value} {behind}");
                }
            }
        }
    }

    #[track_caller]
    fn check_varint(bytes: &[u8], end: usize, expected: Result<u64, Problem>) {
        let mut reader = Reader { bytes, at: 0, end };
        assert_eq!(reader.varint().map_err(|e| e.problem().clone()), expected, "{bytes:x?}");
    }

    #[test]
    fn varints_are_bounded() {
        check_varint(&[], 0, Err(Problem::Truncated));
        check_varint(&[0x05], 0, Err(Problem::Truncated)); // what follows the message is not the message's
        check_varint(&[0x85, 0x01, 0, 0, 0, 0, 0, 0, 0], 1, Err(Problem::Truncated));
        check_varint(&[0x80; 9], 9, Err(Problem::Truncated));
        check_varint(&[0x80, 0x00], 2, Ok(0)); // longer than need be is allowed
        check_varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], 10, Ok(u64::MAX));
        check_varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], 10, Err(Problem::VarintTooLong));
        check_varint(&[0x80; 11], 11, Err(Problem::VarintTooLong));
    }
}
