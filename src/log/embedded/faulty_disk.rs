//! A disk in memory for tests: it knows what was synced, fails on demand, and can lose what was not.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, JournalFile};

/// What goes wrong, and at which of the operations that change something.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub at: Range<usize>,
    pub kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// The power goes: a write gets half its bytes to the cache, and nothing works any more.
    Crash,
    /// Writes get half their bytes to the cache and fail, files cannot be made.
    NoSpace,
    /// Syncs fail; what they should have stored is clean to the kernel from then on.
    SyncFails,
    /// Everything fails that changes something.
    AllFails,
}

/// What of the changes that were not synced a power failure, or a failed sync, leaves on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    Nothing,
    /// The first half of the changes, and half of the next one's bytes.
    Half,
    All,
}

#[derive(Clone)]
pub(super) struct FaultyDisk(Arc<Mutex<State>>);

#[derive(Clone)]
struct State {
    files: Vec<FileState>,
    /// As the process sees the directory.
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<NameChange>,
    changes: usize,
    fault: Option<Fault>,
    keep: Keep,
    crashed: bool,
}

#[derive(Clone, Default)]
struct FileState {
    /// As the process sees it.
    cached: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<FileChange>,
}

#[derive(Clone)]
enum FileChange {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Clone)]
enum NameChange {
    Set(String, usize),
    Rename(String, String),
    Remove(String),
}

impl FaultyDisk {
    pub fn new(fault: Option<Fault>, keep: Keep) -> FaultyDisk {
        FaultyDisk(Arc::new(Mutex::new(State {
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            changes: 0,
            fault,
            keep,
            crashed: false,
        })))
    }

    pub fn changes(&self) -> usize {
        self.0.lock().changes
    }

    /// The disk after the power came back, without faults.
    pub fn reboot(&self) -> FaultyDisk {
        let mut state = self.0.lock();
        state.settle_names();
        (0..state.files.len()).for_each(|inode| state.settle(inode));
        let rebooted = FaultyDisk::new(None, state.keep);
        {
            let mut fresh = rebooted.0.lock();
            let live = |file: &FileState| FileState {
                cached: file.durable.clone(),
                durable: file.durable.clone(),
                pending: Vec::new(),
            };
            fresh.files = state.files.iter().map(live).collect();
            fresh.names = state.durable_names.clone();
            fresh.durable_names = state.durable_names.clone();
        }
        rebooted
    }

    /// Another disk in the same state, without faults.
    pub fn snapshot(&self) -> FaultyDisk {
        let state = self.0.lock();
        FaultyDisk(Arc::new(Mutex::new(State { fault: None, ..state.clone() })))
    }

    /// Another disk in the same state, with a fault; its changes are counted on from this one's.
    pub fn faulty(&self, fault: Fault) -> FaultyDisk {
        let state = self.0.lock();
        FaultyDisk(Arc::new(Mutex::new(State { fault: Some(fault), ..state.clone() })))
    }

    /// Changes a file behind the log's back.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let inode = state.names[name];
        change(&mut state.files[inode].cached);
        state.files[inode].durable = state.files[inode].cached.clone();
    }

    pub fn contents(&self, name: &str) -> Vec<u8> {
        let state = self.0.lock();
        state.files[state.names[name]].cached.clone()
    }

    pub fn journal_names(&self) -> Vec<String> {
        self.0.lock().names.keys().filter(|name| name.ends_with(".journal")).cloned().collect()
    }
}

impl State {
    /// Counts a change and decides what happens to it.
    fn change(&mut self) -> Option<FaultKind> {
        if self.crashed {
            return Some(FaultKind::Crash);
        }
        let at = self.changes;
        self.changes += 1;
        let kind = self.fault.as_ref().filter(|fault| fault.at.contains(&at)).map(|fault| fault.kind)?;
        self.crashed |= kind == FaultKind::Crash;
        Some(kind)
    }

    /// Of a file's pending changes, stores what is kept, and forgets the rest.
    fn settle(&mut self, inode: usize) {
        let keep = self.keep;
        let file = &mut self.files[inode];
        let pending = std::mem::take(&mut file.pending);
        for change in kept(&pending, keep) {
            apply(&mut file.durable, change);
        }
        if let (Keep::Half, Some(FileChange::Write(at, bytes))) = (keep, pending.get(pending.len() / 2)) {
            apply(&mut file.durable, &FileChange::Write(*at, bytes[..bytes.len() / 2].to_vec()));
        }
    }

    fn settle_names(&mut self) {
        let pending = std::mem::take(&mut self.pending_names);
        for change in kept(&pending, self.keep) {
            rename(&mut self.durable_names, change);
        }
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn kept<T>(pending: &[T], keep: Keep) -> &[T] {
    match keep {
        Keep::Nothing => &[],
        Keep::Half => &pending[..pending.len() / 2],
        Keep::All => pending,
    }
}

fn apply(content: &mut Vec<u8>, change: &FileChange) {
    match change {
        FileChange::Truncate(len) => content.resize(*len as usize, 0),
        FileChange::Write(at, bytes) => {
            let at = *at as usize;
            content.resize(content.len().max(at + bytes.len()), 0);
            content[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }
}

fn rename(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Set(name, inode) => drop(names.insert(name.clone(), *inode)),
        NameChange::Remove(name) => drop(names.remove(name)),
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

fn failure(kind: FaultKind) -> io::Error {
    match kind {
        FaultKind::NoSpace => io::ErrorKind::StorageFull.into(),
        other => io::Error::other(format!("{other:?}")),
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn JournalFile>> {
        let mut state = self.0.lock();
        if let Some(kind) = state.change().filter(|kind| *kind != FaultKind::SyncFails) {
            return Err(failure(kind));
        }
        let inode = state.files.len();
        state.files.push(FileState::default());
        state.names.insert(name.to_owned(), inode);
        state.pending_names.push(NameChange::Set(name.to_owned(), inode));
        Ok(Box::new(OpenFile { disk: self.clone(), inode }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn JournalFile>> {
        let inode = self.0.lock().inode(name)?;
        Ok(Box::new(OpenFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        if let Some(kind) = state.change().filter(|kind| matches!(kind, FaultKind::Crash | FaultKind::AllFails)) {
            return Err(failure(kind));
        }
        state.inode(from)?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        rename(&mut state.names, &change);
        state.pending_names.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        if let Some(kind) = state.change().filter(|kind| matches!(kind, FaultKind::Crash | FaultKind::AllFails)) {
            return Err(failure(kind));
        }
        state.inode(name)?;
        let change = NameChange::Remove(name.to_owned());
        rename(&mut state.names, &change);
        state.pending_names.push(change);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        match state.change() {
            Some(FaultKind::Crash) => Err(failure(FaultKind::Crash)),
            Some(kind @ (FaultKind::SyncFails | FaultKind::AllFails)) => {
                state.settle_names();
                Err(failure(kind))
            }
            Some(FaultKind::NoSpace) | None => {
                state.pending_names.clear();
                state.durable_names = state.names.clone();
                Ok(())
            }
        }
    }

    fn describe(&self, name: &str) -> String {
        format!("memory/{name}")
    }
}

struct OpenFile {
    disk: FaultyDisk,
    inode: usize,
}

impl JournalFile for OpenFile {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        if state.crashed {
            return Err(failure(FaultKind::Crash));
        }
        let fault = state.change().filter(|kind| *kind != FaultKind::SyncFails);
        let written = if fault.is_some() { &bytes[..bytes.len() / 2] } else { bytes };
        let change = FileChange::Write(at, written.to_vec());
        let file = &mut state.files[self.inode];
        apply(&mut file.cached, &change);
        file.pending.push(change);
        fault.map_or(Ok(()), |kind| Err(failure(kind)))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        match state.change() {
            Some(FaultKind::Crash) => Err(failure(FaultKind::Crash)),
            Some(kind @ (FaultKind::SyncFails | FaultKind::AllFails)) => {
                state.settle(self.inode);
                Err(failure(kind))
            }
            Some(FaultKind::NoSpace) | None => {
                let file = &mut state.files[self.inode];
                for change in std::mem::take(&mut file.pending) {
                    apply(&mut file.durable, &change);
                }
                Ok(())
            }
        }
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let state = self.disk.0.lock();
        let content = &state.files[self.inode].cached;
        let rest = content.get(at as usize..).unwrap_or(&[]);
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().files[self.inode].cached.len() as u64)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        if let Some(kind) = state.change().filter(|kind| matches!(kind, FaultKind::Crash | FaultKind::AllFails)) {
            return Err(failure(kind));
        }
        let file = &mut state.files[self.inode];
        let change = FileChange::Truncate(len);
        apply(&mut file.cached, &change);
        file.pending.push(change);
        Ok(())
    }
}
