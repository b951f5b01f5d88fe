//! The manifest: which files make up the store. Replacing it is the one step by which files come into force or leave.

use super::disk::Disk;
use super::encoding::{Input, Malformed, put_varint};
use super::error::StoreError;
use super::files::{FileKind, MANIFEST, MANIFEST_NEW};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The number of the checkpoint, and of the WAL that began with it.
    pub checkpoint: u32,
    /// Ascending.
    pub blocks: Vec<u32>,
}

impl Manifest {
    /// Puts this manifest in force. After an error either it or its predecessor is.
    pub fn publish(&self, disk: &dyn Disk) -> Result<(), StoreError> {
        let mut body = Vec::new();
        put_varint(&mut body, u64::from(self.checkpoint));
        put_varint(&mut body, self.blocks.len() as u64);
        self.blocks.iter().for_each(|block| put_varint(&mut body, u64::from(*block)));
        disk.write_whole(MANIFEST_NEW, &FileKind::Manifest.seal(&body))
            .map_err(|error| StoreError::io("write", MANIFEST_NEW, error))?;
        disk.rename(MANIFEST_NEW, MANIFEST).map_err(|error| StoreError::io("replace", MANIFEST, error))?;
        disk.sync().map_err(|error| StoreError::io("flush", MANIFEST, error))
    }

    pub fn load(disk: &dyn Disk) -> Result<Manifest, StoreError> {
        let bytes = disk.read_whole(MANIFEST).map_err(|error| StoreError::io("read", MANIFEST, error))?;
        let body = FileKind::Manifest.unseal(MANIFEST, &bytes)?;
        Manifest::decode(body).map_err(|Malformed(what)| StoreError::corrupt(MANIFEST, 0, what))
    }

    fn decode(body: &[u8]) -> Result<Manifest, Malformed> {
        let mut input = Input::new(body);
        let checkpoint = input.varint32()?;
        let count = input.count(1)?;
        let blocks = (0..count).map(|_| input.varint32()).collect::<Result<_, _>>()?;
        Ok(Manifest { checkpoint, blocks })
    }

    /// Whether a file of the store is in force.
    pub fn names(&self, file: &str) -> bool {
        let of = |kind: FileKind| kind.number(file);
        file == MANIFEST
            || of(FileKind::Checkpoint) == Some(self.checkpoint)
            || of(FileKind::Wal) == Some(self.checkpoint)
            || of(FileKind::Block).is_some_and(|block| self.blocks.binary_search(&block).is_ok())
    }
}
