//! Why an embedded log cannot be opened, and what to do about it.

use std::io;

use crate::model::{LogTime, PartitionBy, Timestamp, time::format_duration};

/// Why an embedded log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another process has the log in {dir} open; stop it, or choose another data_dir")]
    Locked { dir: String },
    #[error(
        "the log in {dir} has {stored} partitions, but log.embedded.partitions is {wanted}; the number is fixed when a log \
         is made: set it to {stored}, or begin a new log in another data_dir"
    )]
    Partitions { dir: String, stored: u16, wanted: u16 },
    #[error(
        "the log in {dir} is partitioned by {stored}, but log.partition_by is {wanted}; it is fixed when a log is made, because \
         series would move between partitions: set it to {stored}, or begin a new log in another data_dir"
    )]
    PartitionBy { dir: String, stored: PartitionBy, wanted: PartitionBy },
    #[error("{file} has format version {version}, this program knows versions up to {known}; run the newer program")]
    Version { file: String, version: u8, known: u8 },
    #[error(
        "{file} is not as the log left it: {why}; restore the log's directory from a copy, or move it away to begin a new, \
         empty log"
    )]
    Damaged { file: String, why: &'static str },
    #[error(
        "the newest record of the log in {dir} is of {newest}, which is {} ahead of the clock ({now}); set the clock right, \
         or, if it was wrong when that was written, move the directory away to begin a new, empty log",
        format_duration((*newest - *now) / 1000 * 1000)
    )]
    Ahead { dir: String, newest: LogTime, now: Timestamp },
    #[error("the log's option {option} is {value}, it must be {bound}")]
    Option { option: &'static str, value: u64, bound: &'static str },
    #[error("cannot {action} {file} of the log: {error}")]
    Io { action: &'static str, file: String, error: io::Error },
}
