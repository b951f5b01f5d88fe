//! What can go wrong in the store, said with what to do about it.

use std::io;
use std::path::PathBuf;

use crate::model::ViewId;

/// How every report of damage ends.
const REBUILD: &str = "restore the store's directory from a copy, or delete it to have results rebuilt from \
     the log, as far as the log reaches back";

/// Why the store could not be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store in {} is open in another process: stop that process, or use another data directory", dir.display())]
    Locked { dir: PathBuf },
    #[error("no room on the disk to write {file} of the store: free some space or lower retention; nothing was changed")]
    NoRoom { file: String },
    #[error("cannot {doing} {file} of the store: {source}; nothing was changed")]
    Io { doing: &'static str, file: String, source: io::Error },
    #[error(
        "{file} of the store is of format {found}, and this version reads up to {known}: run a newer version of prefold"
    )]
    NewerFormat { file: String, found: u8, known: u8 },
    #[error("{file} of the store is damaged at byte {offset}: {what}; {REBUILD}")]
    Corrupt { file: String, offset: u64, what: &'static str },
    #[error("the store has {file} but no MANIFEST: {REBUILD}")]
    NoManifest { file: String },
    #[error("view {view} was not described to the store before it was committed to")]
    NotDescribed { view: ViewId },
    #[error("view {view} has {what} {found}, and the store keeps it with {kept}: such a view must have another id")]
    OtherShape { view: ViewId, what: &'static str, found: i64, kept: i64 },
    #[error("a commit to view {view} cannot be stored: {what}")]
    Refused { view: ViewId, what: String },
    #[error("{what} is {found} bytes, and the store takes at most {limit}")]
    TooLarge { what: &'static str, found: usize, limit: usize },
    #[error("the store holds {limit} notes already, its limit: drop some before {key:?} is put")]
    TooManyNotes { key: String, limit: usize },
}

impl StoreError {
    /// Whether the same call may succeed later, once the disk has room or works again.
    pub fn retryable(&self) -> bool {
        matches!(self, StoreError::NoRoom { .. } | StoreError::Io { .. })
    }

    /// An error of the operating system; a full disk has a kind of its own.
    pub(super) fn io(doing: &'static str, file: &str, source: io::Error) -> StoreError {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => StoreError::NoRoom { file: file.to_owned() },
            _ => StoreError::Io { doing, file: file.to_owned(), source },
        }
    }

    pub(super) fn corrupt(file: &str, offset: u64, what: &'static str) -> StoreError {
        StoreError::Corrupt { file: file.to_owned(), offset, what }
    }
}

/// Why results could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the store holds no view {view}")]
    NoView { view: ViewId },
    #[error("more than {limit} series of view {view} match: ask for fewer, or raise the limit of series per query")]
    TooManySeries { view: ViewId, limit: usize },
    #[error(
        "more than {limit} points of view {view} match: ask for a shorter range, or raise the limit of samples per query"
    )]
    TooManyPoints { view: ViewId, limit: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}
