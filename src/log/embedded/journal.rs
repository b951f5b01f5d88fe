//! Writing to the journal so that a batch is durable or was never there.
//!
//! The hard case is a sync that fails: the kernel may have thrown the bytes away, may have stored them, and will report
//! success the next time. Such a segment is spoiled. It is never written to again; a new segment begins, and its header
//! says where the log ended in the spoiled one. Only when that header is durable is anything acknowledged again, so what
//! the failed sync may have stored is behind the end of its segment, for readers and after a restart.
//!
//! A new segment is written under another name, synced, renamed, and the directory synced. Once it may have its name, the
//! one before must not grow any more, since the header would cut what is added: then, too, it is spoiled until the new one
//! is known to be durable.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, JournalFile, TEMPORARY};
use super::format::SegmentHeader;
use crate::log::AppendError;

/// The end of the journal, where the writer writes.
pub(super) struct Journal {
    disk: Arc<dyn Disk>,
    file: Box<dyn JournalFile>,
    /// The number of the segment that `file` is.
    number: u64,
    /// How much of `file` is durable and part of the log.
    len: u64,
    /// Whether `file` must not be written to any more.
    spoiled: bool,
}

impl Journal {
    /// Continues a segment behind its durable end.
    pub fn new(disk: Arc<dyn Disk>, file: Box<dyn JournalFile>, number: u64, len: u64) -> Journal {
        Journal { disk, file, number, len, spoiled: false }
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether a new segment has to begin before anything can be appended.
    pub fn is_spoiled(&self) -> bool {
        self.spoiled
    }

    /// Appends a frame durably, and returns the new length.
    ///
    /// # Errors
    /// Nothing of the frame is in the log.
    pub fn append(&mut self, frame: &[u8]) -> Result<u64, AppendError> {
        debug_assert!(!self.spoiled, "a spoiled segment is never written to again");
        let name = super::format::segment_name(self.number);
        if let Err(error) = self.file.write_at(frame, self.len) {
            // Not durable yet, so cutting it off is enough; if it cannot be cut off, it must not become durable later.
            self.spoiled = self.file.truncate(self.len).is_err();
            return Err(append_error(self.disk.as_ref(), "write", &name, error));
        }
        if let Err(error) = self.file.sync() {
            self.spoiled = true;
            self.cut_best_effort();
            return Err(append_error(self.disk.as_ref(), "sync", &name, error));
        }
        self.len += frame.len() as u64;
        Ok(self.len)
    }

    /// Begins a new segment, and returns its length.
    ///
    /// # Errors
    /// The current one can still be written to unless it is spoiled now.
    pub fn rotate(&mut self, header: &SegmentHeader) -> Result<u64, AppendError> {
        let (name, bytes) = (header.name(), header.encode());
        let temporary = format!("{name}{TEMPORARY}");
        let disk = self.disk.as_ref();
        let file = write_synced(disk, &temporary, &bytes).map_err(|error| {
            // A leftover is harmless: it is removed when the log is opened.
            drop(disk.remove(&temporary));
            append_error(disk, "begin", &name, error)
        })?;
        self.spoiled = true;
        disk.rename(&temporary, &name).map_err(|error| append_error(disk, "rename", &temporary, error))?;
        disk.sync_dir().map_err(|error| append_error(disk, "sync the directory of", &name, error))?;
        (self.file, self.number, self.len, self.spoiled) = (file, header.number, bytes.len() as u64, false);
        Ok(self.len)
    }

    /// Removes what a failed sync may have left, so that even a crash right now does not bring it back, if the disk still
    /// can. The next segment's header is what makes sure of it.
    fn cut_best_effort(&self) {
        if let Err(error) = self.file.truncate(self.len).and_then(|()| self.file.sync()) {
            let file = self.disk.describe(&super::format::segment_name(self.number));
            tracing::warn!(%file, len = self.len, %error, "a failed batch cannot be cut off; the next segment excludes it");
        }
    }
}

fn write_synced(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<Box<dyn JournalFile>> {
    let file = disk.create(name)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    Ok(file)
}

fn append_error(disk: &dyn Disk, action: &'static str, name: &str, error: io::Error) -> AppendError {
    let (file, full) = (disk.describe(name), is_full(&error));
    let error = Arc::new(error);
    if full { AppendError::NoRoom { action, file, error } } else { AppendError::Io { action, file, error } }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
