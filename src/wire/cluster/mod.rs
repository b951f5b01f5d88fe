//! What our own processes tell each other: partials, from fold to combine, and results, from combine to the stores.
//!
//! Each record stands by itself: it numbers its own strings, and whoever begins to read anywhere understands the first record
//! it finds. Numbers are varints, the labels and values of groups are columns. A version opens every record; a newer one is
//! refused by name, so that readers are upgraded before writers.

mod groups;
mod partials;
mod results;
mod strings;

pub use groups::{GroupRow, VALUES_MAX};
pub use partials::{GridPartials, KeyframePart, PartialsRecord, STATUS_NUMBERS, ScopeEntry, ViewPartials};
pub use results::{Described, GridResults, ResultsRecord, TOLD_NUMBERS, ViewResults};

use smol_str::SmolStr;

use super::encode::put_varint;
use super::error::{Problem, WireError};
use super::reader::Reader;
use crate::model::{LogTime, PartitionId, SenderSeen, SpanReason, Tenant, Timestamp, ViewId};
use strings::{Strings, StringsOf};

/// The version of both formats that is written, and the newest that is read.
const VERSION: u64 = 1;

/// No version is so far ahead of its readers: a greater number is rubbish, which is skipped, while a version that cannot be read
/// stops its reader.
const VERSION_NEWER_MAX: u64 = VERSION + 5;

/// A span's reason, beginning and end.
pub type SpanOf = (SpanReason, Timestamp, Timestamp);

/// A sender of a tenant.
pub type SenderOf = (Tenant, SmolStr);

/// Small magnitudes of both signs become small numbers.
fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn put_time(out: &mut Vec<u8>, t: Timestamp) {
    put_signed(out, t.0);
}

/// As a distance: neighbours are close.
fn put_time_after(out: &mut Vec<u8>, before: Timestamp, t: Timestamp) {
    put_signed(out, t.0.wrapping_sub(before.0));
}

fn put_u128(out: &mut Vec<u8>, value: u128) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_spans(out: &mut Vec<u8>, spans: &[SpanOf]) {
    put_varint(out, spans.len() as u64);
    for (reason, from, to) in spans {
        put_varint(out, u64::from(reason.code()));
        put_time(out, *from);
        put_time(out, *to);
    }
}

fn put_senders(out: &mut Vec<u8>, strings: &mut Strings, senders: &[SenderSeen]) {
    put_varint(out, senders.len() as u64);
    for seen in senders {
        put_varint(out, strings.number(&seen.tenant));
        put_varint(out, strings.number(&seen.sender));
        put_varint(out, u64::from(seen.partition.0));
        put_time(out, seen.first);
        put_time_after(out, seen.first, seen.log_time);
    }
}

/// Version and strings, then what refers to them.
fn sealed(strings: Strings, body: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(body.len() + strings.bytes() + 16);
    put_varint(&mut record, VERSION);
    strings.put(&mut record);
    record.extend_from_slice(body);
    record
}

/// A record in as many pieces as it takes for each to have at most so many bytes, in their order; one without halves stays as
/// it is.
fn within<R>(record: &R, bytes_max: usize, encode: fn(&R) -> Vec<u8>, halves: fn(&R) -> Option<(R, R)>) -> Vec<Vec<u8>> {
    let encoded = encode(record);
    match (encoded.len() > bytes_max).then(|| halves(record)).flatten() {
        None => vec![encoded],
        Some((first, second)) => {
            let mut all = within(&first, bytes_max, encode, halves);
            all.extend(within(&second, bytes_max, encode, halves));
            all
        }
    }
}

/// The strings of a record, and a reader of what refers to them.
fn opened(bytes: &[u8]) -> Result<(StringsOf<'_>, Reader<'_>), WireError> {
    let mut reader = Reader::new(bytes);
    match reader.varint()? {
        VERSION => {}
        found if (VERSION + 1..=VERSION_NEWER_MAX).contains(&found) => {
            return reader.error(Problem::FormatNewer { found: found as u32, known: VERSION as u32 });
        }
        _ => return reader.error(Problem::FormatMissing),
    }
    let strings = StringsOf::read(&mut reader)?;
    Ok((strings, reader))
}

fn read_signed(reader: &mut Reader<'_>) -> Result<i64, WireError> {
    let zigzag = reader.varint()?;
    Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
}

fn read_time(reader: &mut Reader<'_>) -> Result<Timestamp, WireError> {
    read_signed(reader).map(Timestamp)
}

fn read_time_after(reader: &mut Reader<'_>, before: Timestamp) -> Result<Timestamp, WireError> {
    Ok(Timestamp(before.0.wrapping_add(read_signed(reader)?)))
}

fn read_u128(reader: &mut Reader<'_>) -> Result<u128, WireError> {
    let (low, high) = (reader.fixed64()?, reader.fixed64()?);
    Ok(u128::from(high) << 64 | u128::from(low))
}

fn read_view(reader: &mut Reader<'_>) -> Result<ViewId, WireError> {
    read_u128(reader).map(ViewId)
}

fn read_bool(reader: &mut Reader<'_>) -> Result<bool, WireError> {
    match reader.varint()? {
        0 => Ok(false),
        1 => Ok(true),
        found => reader.error(Problem::NumberOutOfRange { what: "yes or no", found }),
    }
}

/// A record ends where all of it was read.
fn ended(reader: &Reader<'_>) -> Result<(), WireError> {
    match reader.left() {
        0 => Ok(()),
        left => reader.error(Problem::BytesLeft { left }),
    }
}

fn read_u32(reader: &mut Reader<'_>, what: &'static str) -> Result<u32, WireError> {
    let found = reader.varint()?;
    u32::try_from(found).or_else(|_| reader.error(Problem::NumberOutOfRange { what, found }))
}

/// How many things follow. Each takes at least `bytes_least`, so that a claim of more than are there reserves nothing.
fn read_count(reader: &mut Reader<'_>, bytes_least: usize) -> Result<usize, WireError> {
    let claimed = reader.varint()?;
    let left = reader.left();
    if claimed > (left / bytes_least.max(1)) as u64 {
        return reader.error(Problem::LengthTooLong { claimed, left });
    }
    Ok(claimed as usize)
}

fn read_partition(reader: &mut Reader<'_>) -> Result<PartitionId, WireError> {
    let number = reader.varint()?;
    match u16::try_from(number) {
        Ok(number) => Ok(PartitionId(number)),
        Err(_) => reader.error(Problem::NumberOutOfRange { what: "a partition", found: number }),
    }
}

fn read_spans(reader: &mut Reader<'_>) -> Result<Vec<SpanOf>, WireError> {
    let count = read_count(reader, 3)?;
    let mut spans = Vec::with_capacity(count);
    for _ in 0..count {
        let code = reader.varint()?;
        let reason = u8::try_from(code).ok().and_then(SpanReason::from_code);
        let Some(reason) = reason else {
            return reader.error(Problem::NumberOutOfRange { what: "a span's reason", found: code });
        };
        spans.push((reason, read_time(reader)?, read_time(reader)?));
    }
    Ok(spans)
}

fn read_senders(reader: &mut Reader<'_>, strings: &StringsOf<'_>) -> Result<Vec<SenderSeen>, WireError> {
    let count = read_count(reader, 5)?;
    let mut senders = Vec::with_capacity(count);
    for _ in 0..count {
        let (tenant, sender) = (strings.read_one(reader)?, strings.read_one(reader)?);
        let partition = read_partition(reader)?;
        let first = read_time(reader)?;
        let log_time: LogTime = read_time_after(reader, first)?;
        senders.push(SenderSeen { tenant, sender, partition, first, log_time });
    }
    Ok(senders)
}
