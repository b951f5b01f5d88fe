//! How fast a log grows, from the beginnings of its files alone: a check can say what a limit in bytes holds in hours.
//!
//! Reads beside a running process and repairs nothing. Useful for: an estimate. Not useful for a log of less than three
//! files, whose rate says nothing yet.

use std::io;
use std::path::Path;

use super::disk::{Disk, FileDisk, read_fully};
use super::format::{META_NAME, Meta, SegmentHeader, segment_name, segment_number};
use crate::model::Timestamp;

/// The most bytes `meta` and a segment's header may take.
const BEGINNING_BYTES_MAX: usize = 64 << 10;

/// Bytes per millisecond of log time that the log in a directory took, over the files it still has; `None` where there is no
/// log, or too little of one.
///
/// # Errors
/// When the directory or a file in it cannot be read.
pub fn bytes_per_ms(dir: &Path) -> io::Result<Option<f64>> {
    if !dir.join(META_NAME).is_file() {
        return Ok(None);
    }
    measure(&FileDisk::new(dir.to_owned()))
}

fn measure(disk: &dyn Disk) -> io::Result<Option<f64>> {
    let meta = beginning(disk, META_NAME)?;
    let Ok(meta) = Meta::decode(&meta) else { return Ok(None) };
    let mut numbers: Vec<u64> = disk.list()?.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    let mut headers = Vec::new();
    for number in numbers {
        let header = SegmentHeader::decode(&beginning(disk, &segment_name(number))?, meta.partitions);
        // The first file of a log begins before anything was logged.
        headers.extend(header.ok().filter(|header| header.newest != Timestamp::MIN));
    }
    let (Some(first), Some(last)) = (headers.first(), headers.last()) else { return Ok(None) };
    let (bytes, ms): (u64, i64) =
        (headers.iter().skip(1).map(|header| header.previous_len).sum(), last.newest - first.newest);
    Ok((ms > 0).then(|| bytes as f64 / ms as f64))
}

fn beginning(disk: &dyn Disk, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; BEGINNING_BYTES_MAX];
    let read = read_fully(disk.open(name)?.as_ref(), &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}
