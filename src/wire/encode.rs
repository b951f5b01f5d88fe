//! Protobuf's wire format, written: the pieces that remote write and the log's records are made of.

use std::collections::HashMap;

use super::reader::{FIXED64, VARINT, key};
use super::remote_write_v2::{SAMPLES, SYMBOLS};
use crate::model::{Labels, Sample};

/// How many bytes a varint takes.
#[inline]
pub(super) fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A length-delimited field.
pub(super) fn put_bytes(out: &mut Vec<u8>, key: u32, bytes: &[u8]) {
    put_varint(out, u64::from(key));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// How many bytes [`put_sample`] writes.
#[inline]
pub(super) fn sample_len(sample: &Sample, start: i64) -> usize {
    2 + sample_body_len(sample, start)
}

/// At most 9 + 11 + 11: the length before it takes one byte.
#[inline]
fn sample_body_len(sample: &Sample, start: i64) -> usize {
    10 + varint_len(sample.t.0 as u64) + if start == 0 { 0 } else { 1 + varint_len(start as u64) }
}

/// A field `samples`: value and timestamp always, even when zero, so that readers find them where they look first; the
/// start timestamp when there is one.
#[inline]
pub(super) fn put_sample(out: &mut Vec<u8>, sample: &Sample, start: i64) {
    let mut field = [0; 20];
    field[0] = SAMPLES as u8;
    field[1] = sample_body_len(sample, start) as u8;
    field[2] = key(1, FIXED64) as u8;
    field[3..11].copy_from_slice(&sample.v.to_le_bytes());
    field[11] = key(2, VARINT) as u8;
    match varint_word(sample.t.0 as u64) {
        Some((word, len)) => {
            // Eight bytes each time, of which the rest is cut off again: no branch on the length.
            field[12..].copy_from_slice(&word.to_le_bytes());
            out.extend_from_slice(&field);
            out.truncate(out.len() + len - 8);
        }
        None => {
            out.extend_from_slice(&field[..12]);
            put_varint(out, sample.t.0 as u64);
        }
    }
    if start != 0 {
        out.push(key(3, VARINT) as u8);
        put_varint(out, start as u64);
    }
}

/// The varint of a number as a little-endian word, and how many of its bytes it takes, if that is at most eight.
#[inline]
fn varint_word(value: u64) -> Option<(u64, usize)> {
    if value >> 56 != 0 {
        return None;
    }
    let len = varint_len(value);
    // Groups of seven bits, pulled apart in three steps.
    let groups = (value & 0x0fff_ffff) | ((value << 4) & 0x0fff_ffff_0000_0000);
    let groups = (groups & 0x0000_3fff_0000_3fff) | ((groups << 2) & 0x3fff_0000_3fff_0000);
    let groups = (groups & 0x007f_007f_007f_007f) | ((groups << 1) & 0x7f00_7f00_7f00_7f00);
    // All bytes but the last say that another one follows.
    Some((groups | (0x8080_8080_8080_8080 & ((1 << (8 * (len - 1))) - 1)), len))
}

/// Numbers the strings of one message, for encoders that need not be fast. The empty string is number 0.
pub(super) struct MessageSymbols<'a> {
    numbers: HashMap<&'a str, u64>,
    /// The fields `symbols`, in the order of their numbers.
    pub(super) encoded: Vec<u8>,
}

impl<'a> MessageSymbols<'a> {
    pub(super) fn new() -> MessageSymbols<'a> {
        let mut symbols = MessageSymbols { numbers: HashMap::new(), encoded: Vec::new() };
        symbols.number("");
        symbols
    }

    pub(super) fn number(&mut self, text: &'a str) -> u64 {
        let next = self.numbers.len() as u64;
        *self.numbers.entry(text).or_insert_with(|| {
            put_bytes(&mut self.encoded, SYMBOLS, text.as_bytes());
            next
        })
    }

    /// The packed references of a label set.
    pub(super) fn references(&mut self, labels: &'a Labels) -> Vec<u8> {
        let mut references = Vec::with_capacity(labels.len() * 4);
        for label in labels {
            for text in [&label.name, &label.value] {
                put_varint(&mut references, self.number(text));
            }
        }
        references
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_varints() {
        for bits in 0..64 {
            for value in [1u64 << bits, (1 << bits) - 1, u64::MAX >> bits, 0x5555_5555_5555_5555 >> bits] {
                let mut varint = Vec::new();
                put_varint(&mut varint, value);
                match varint_word(value) {
                    Some((word, len)) => assert_eq!(word.to_le_bytes()[..len], varint[..], "{value}"),
                    None => assert!(varint.len() > 8, "{value}"),
                }
            }
        }
    }
}
