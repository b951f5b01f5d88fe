//! A disk in memory that remembers what is durable, stops or is full at a change of one's choice, and can lose power.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, DiskFile};

/// What of a write that was not flushed a crash keeps or loses at once.
const PAGE_BYTES: usize = 16;

#[derive(Clone, Debug, Default)]
struct Body {
    durable: Vec<u8>,
    now: Vec<u8>,
    /// What a failed flush lost: readable until a crash, and no later flush makes it durable.
    lost: std::ops::Range<usize>,
}

#[derive(Clone, Debug, Default)]
struct Folder {
    bodies: Vec<Body>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Names set or removed since they were durable.
    unsynced: Vec<(String, Option<usize>)>,
    /// Changes of the disk so far.
    changes: u64,
    /// Changes from this one on fail.
    stop_at: Option<u64>,
    /// Changes in this range find no room.
    full: std::ops::Range<u64>,
}

impl Folder {
    fn change(&mut self) -> io::Result<()> {
        self.changes += 1;
        if self.stop_at.is_some_and(|at| self.changes >= at) {
            return Err(io::Error::other("the machine stopped"));
        }
        if self.full.contains(&self.changes) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn set_name(&mut self, name: &str, body: Option<usize>) {
        match body {
            Some(body) => drop(self.names.insert(name.to_owned(), body)),
            None => drop(self.names.remove(name)),
        }
        self.unsynced.push((name.to_owned(), body));
    }
}

/// A disk in memory that remembers what is durable.
#[derive(Clone, Debug, Default)]
pub struct CrashDisk(Arc<Mutex<Folder>>);

#[derive(Debug)]
struct CrashFile {
    disk: CrashDisk,
    body: usize,
}

impl CrashDisk {
    pub fn stopping_at(stop_at: Option<u64>) -> CrashDisk {
        CrashDisk(Arc::new(Mutex::new(Folder { stop_at, ..Folder::default() })))
    }

    /// Changes of the disk so far.
    pub fn changes(&self) -> u64 {
        self.0.lock().changes
    }

    /// Changes in this range find no room.
    pub fn deny_room(&self, changes: std::ops::Range<u64>) {
        self.0.lock().full = changes;
    }

    /// The disk after a power cut: what was not flushed is kept in parts, as chance has it.
    pub fn after_crash(&self, chance: &mut Chance) -> CrashDisk {
        let mut folder = self.0.lock().clone();
        let mut names = folder.durable_names.clone();
        for (name, body) in folder.unsynced.drain(..).filter(|_| chance.coin()) {
            match body {
                Some(body) => drop(names.insert(name, body)),
                None => drop(names.remove(&name)),
            }
        }
        for body in &mut folder.bodies {
            let len = [body.durable.len(), body.now.len(), chance.below(body.now.len() + 1)][chance.below(3)];
            let len = len.max(body.durable.len().min(body.now.len()));
            let mut left = body.durable.clone();
            left.resize(len, 0);
            for (at, page) in left.chunks_mut(PAGE_BYTES).enumerate() {
                let written = body.now.iter().skip(at * PAGE_BYTES);
                if !body.lost.contains(&(at * PAGE_BYTES)) && chance.coin() {
                    page.iter_mut().zip(written).for_each(|(byte, now)| *byte = *now);
                }
            }
            *body = Body { durable: left.clone(), now: left, lost: 0..0 };
        }
        let bodies = folder.bodies;
        CrashDisk(Arc::new(Mutex::new(Folder { bodies, durable_names: names.clone(), names, ..Folder::default() })))
    }

    fn file(&self, body: usize) -> Arc<dyn DiskFile> {
        Arc::new(CrashFile { disk: self.clone(), body })
    }

    /// Flips a bit of a file.
    pub fn damage(&self, name: &str, at: usize) {
        let mut folder = self.0.lock();
        let body = folder.names[name];
        folder.bodies[body].now[at] ^= 1;
    }
}

impl Disk for CrashDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut folder = self.0.lock();
        folder.change()?;
        folder.bodies.push(Body::default());
        let body = folder.bodies.len() - 1;
        folder.set_name(name, Some(body));
        Ok(self.file(body))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let body = self.0.lock().names.get(name).copied();
        body.map(|body| self.file(body)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut folder = self.0.lock();
        folder.change()?;
        let body = folder.names.get(from).copied();
        folder.set_name(to, body);
        folder.set_name(from, None);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut folder = self.0.lock();
        folder.change()?;
        folder.set_name(name, None);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut folder = self.0.lock();
        folder.change()?;
        folder.durable_names = folder.names.clone();
        folder.unsynced.clear();
        Ok(())
    }
}

impl DiskFile for CrashFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut folder = self.disk.0.lock();
        let allowed = folder.change();
        // A write that fails may have been done in part.
        let bytes = if allowed.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let Body { now, lost, .. } = &mut folder.bodies[self.body];
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        lost.end = lost.end.min(start);
        now.resize(now.len().max(end), 0);
        now[start..end].copy_from_slice(bytes);
        allowed
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let folder = self.disk.0.lock();
        let body = &folder.bodies[self.body].now;
        let from = body.get(offset as usize..offset as usize + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(from);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().bodies[self.body].now.len() as u64)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut folder = self.disk.0.lock();
        folder.change()?;
        folder.bodies[self.body].now.truncate(len as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut folder = self.disk.0.lock();
        let allowed = folder.change();
        let Body { durable, now, lost } = &mut folder.bodies[self.body];
        if allowed.is_err() {
            *lost = durable.len().min(now.len())..now.len();
            return allowed;
        }
        *durable = now.clone();
        let end = lost.end.min(durable.len());
        durable[lost.start.min(end)..end].fill(0);
        Ok(())
    }
}

/// Repeatable chance (an xorshift generator).
#[derive(Clone, Debug)]
pub struct Chance(pub u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 11) % end as u64) as usize
    }

    pub fn coin(&mut self) -> bool {
        self.next() >> 40 & 1 == 1
    }
}
