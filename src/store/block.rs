//! Blocks: immutable files of chunks, with an index at the end, and the few of them that are open at a time.
//!
//! Chunks lie by view, group and time, so that a read of a whole view is one stretch of the file. The index is read once,
//! when the store is opened, and then lives in memory as one small entry per chunk.
//!
//! Useful for reading ranges of known groups. Not useful for finding groups: labels are in the checkpoint and the WAL.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::disk::{Disk, DiskFile};
use super::encoding::{Input, Malformed, put_signed, put_varint};
use super::error::StoreError;
use super::files::{FileKind, HEADER_BYTES};
use super::view::ChunkRef;
use crate::model::Timestamp;

/// At a block's end: offset of the index, its checksum, and these bytes.
const FOOTER_MARK: [u8; 4] = *b"PFSE";
const FOOTER_BYTES: usize = 4 + 4 + 4;

/// A block. Whoever reads from it holds it: its file is deleted once it is out of force and nobody does.
#[derive(Debug)]
pub struct Block {
    pub number: u32,
    pub bytes: u64,
    /// Per view number, the time of its newest point in here.
    pub newest: Vec<(u32, Timestamp)>,
    disk: Arc<dyn Disk>,
    out_of_force: AtomicBool,
}

impl Block {
    pub fn new(disk: Arc<dyn Disk>, number: u32, bytes: u64, newest: Vec<(u32, Timestamp)>) -> Block {
        Block { number, bytes, newest, disk, out_of_force: AtomicBool::new(false) }
    }

    /// To be called once no manifest names it any more.
    pub fn take_out_of_force(&self) {
        self.out_of_force.store(true, Ordering::Release);
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.out_of_force.load(Ordering::Acquire) {
            delete(&*self.disk, &FileKind::Block.name(self.number));
        }
    }
}

/// Deletes a file that is not in force. If that fails it stays, until the next start deletes it.
pub fn delete(disk: &dyn Disk, name: &str) {
    if let Err(error) = disk.remove(name) {
        tracing::warn!(file = name, %error, "a file of the store that is not needed any more could not be deleted");
    }
}

/// The chunks of one group in a block.
#[derive(Clone, Debug)]
pub struct GroupChunks {
    pub view: u32,
    pub group: u32,
    pub chunks: Vec<ChunkRef>,
}

/// A block being put together in memory. Groups come sorted by view and number.
#[derive(Debug)]
pub struct BlockBuilder {
    number: u32,
    bytes: Vec<u8>,
    index: Vec<GroupChunks>,
}

impl BlockBuilder {
    pub fn new(number: u32) -> BlockBuilder {
        BlockBuilder { number, bytes: FileKind::Block.header().to_vec(), index: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    pub fn begin_group(&mut self, view: u32, group: u32) {
        self.index.push(GroupChunks { view, group, chunks: Vec::new() });
    }

    /// Adds a chunk to the group begun last.
    ///
    /// # Errors
    /// When the block would pass 4 GiB.
    pub fn add(&mut self, first: i64, slots: u8, points: usize, chunk: &[u8]) -> Result<(), StoreError> {
        let limit = u32::MAX as usize;
        let found = self.bytes.len() + chunk.len();
        let offset =
            u32::try_from(found).map_err(|_| StoreError::TooLarge { what: "a block", found, limit })? - chunk.len() as u32;
        self.bytes.extend_from_slice(chunk);
        if let Some(group) = self.index.last_mut() {
            let (bytes, points) = (chunk.len() as u32, points as u8);
            group.chunks.push(ChunkRef { first, block: self.number, offset, bytes, slots, points });
        }
        Ok(())
    }

    /// The file's bytes, and its index.
    pub fn finish(mut self) -> (Vec<u8>, Vec<GroupChunks>) {
        let mut index = Vec::new();
        encode_index(&mut index, &self.index);
        let footer = [self.bytes.len() as u32, crc32fast::hash(&index)];
        self.bytes.extend(index);
        footer.iter().for_each(|number| self.bytes.extend(number.to_le_bytes()));
        self.bytes.extend(FOOTER_MARK);
        (self.bytes, self.index)
    }
}

fn encode_index(out: &mut Vec<u8>, index: &[GroupChunks]) {
    put_varint(out, index.len() as u64);
    for entry in index {
        put_varint(out, u64::from(entry.view));
        put_varint(out, u64::from(entry.group));
        put_varint(out, entry.chunks.len() as u64);
        for chunk in &entry.chunks {
            put_signed(out, chunk.first);
            out.extend([chunk.slots, chunk.points]);
            put_varint(out, u64::from(chunk.bytes));
        }
    }
}

/// Chunks lie behind one another in the index' order, so that only their lengths are stored.
fn decode_index(bytes: &[u8], block: u32, end: u32) -> Result<Vec<GroupChunks>, Malformed> {
    let mut input = Input::new(bytes);
    let mut offset = HEADER_BYTES as u32;
    let count = input.count(3)?;
    let mut index = Vec::with_capacity(count);
    for _ in 0..count {
        let (view, group) = (input.varint32()?, input.varint32()?);
        let count = input.count(4)?;
        let mut chunks = Vec::with_capacity(count);
        for _ in 0..count {
            let (first, slots, points, bytes) = (input.signed()?, input.byte()?, input.byte()?, input.varint32()?);
            chunks.push(ChunkRef { first, block, offset, bytes, slots, points });
            offset =
                offset.checked_add(bytes).filter(|next| *next <= end).ok_or(Malformed("a chunk lies outside the block"))?;
        }
        index.push(GroupChunks { view, group, chunks });
    }
    Ok(index)
}

/// Reads the index of a block, and the block's size.
pub fn load_index(disk: &dyn Disk, number: u32) -> Result<(u64, Vec<GroupChunks>), StoreError> {
    let name = FileKind::Block.name(number);
    let failed = |error: io::Error| StoreError::io("read", &name, error);
    let file = disk.open(&name).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    let mut header = [0; HEADER_BYTES];
    let mut footer = [0; FOOTER_BYTES];
    let footer_at = len.checked_sub(FOOTER_BYTES as u64).filter(|at| *at >= HEADER_BYTES as u64);
    let footer_at = footer_at.ok_or_else(|| StoreError::corrupt(&name, len, "it is too short"))?;
    file.read_at(0, &mut header).map_err(failed)?;
    FileKind::Block.check_header(&name, &header)?;
    file.read_at(footer_at, &mut footer).map_err(failed)?;
    let damaged = |Malformed(what)| StoreError::corrupt(&name, footer_at, what);
    let (index_at, crc) = read_footer(&footer).map_err(damaged)?;
    let index_len =
        footer_at.checked_sub(u64::from(index_at)).ok_or_else(|| damaged(Malformed("its index lies outside")))?;
    let mut index = vec![0; index_len as usize];
    file.read_at(u64::from(index_at), &mut index).map_err(failed)?;
    if crc32fast::hash(&index) != crc {
        return Err(damaged(Malformed("its index' checksum is wrong")));
    }
    Ok((len, decode_index(&index, number, index_at).map_err(damaged)?))
}

fn read_footer(footer: &[u8]) -> Result<(u32, u32), Malformed> {
    let mut input = Input::new(footer);
    let (index_at, crc) = (input.u32()?, input.u32()?);
    if input.take(FOOTER_MARK.len())? != FOOTER_MARK {
        return Err(Malformed("it does not end as a block does"));
    }
    Ok((index_at, crc))
}

/// The block files that are open, the most recently used last. At most as many as the bound.
#[derive(Debug)]
pub struct BlockHandles {
    disk: Arc<dyn Disk>,
    open_max: usize,
    /// Held only to look up or swap a handle, never while reading.
    open: Mutex<VecDeque<(u32, Arc<dyn DiskFile>)>>,
}

impl BlockHandles {
    pub fn new(disk: Arc<dyn Disk>, open_max: usize) -> BlockHandles {
        BlockHandles { disk, open_max: open_max.max(1), open: Mutex::default() }
    }

    pub fn get(&self, block: u32) -> io::Result<Arc<dyn DiskFile>> {
        let mut open = self.open.lock();
        if let Some(at) = open.iter().position(|(number, _)| *number == block)
            && let Some(entry) = open.remove(at)
        {
            open.push_back(entry.clone());
            return Ok(entry.1);
        }
        drop(open);
        let file = self.disk.open(&FileKind::Block.name(block))?;
        let mut open = self.open.lock();
        while open.len() >= self.open_max {
            open.pop_front();
        }
        open.push_back((block, Arc::clone(&file)));
        Ok(file)
    }

    pub fn forget(&self, block: u32) {
        self.open.lock().retain(|(number, _)| *number != block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_round_trips_and_damage_is_noticed() {
        let mut builder = BlockBuilder::new(3);
        builder.begin_group(1, 5);
        builder.add(-7, 240, 200, &[1; 30]).unwrap();
        builder.add(233, 1, 1, &[2; 10]).unwrap();
        builder.begin_group(2, 0);
        builder.add(i64::MAX, 1, 1, &[3; 5]).unwrap();
        let (bytes, index) = builder.finish();
        let end = HEADER_BYTES as u32 + 45;
        let encoded = &bytes[end as usize..bytes.len() - FOOTER_BYTES];
        let again = decode_index(encoded, 3, end).unwrap();
        assert_eq!(format!("{again:?}"), format!("{index:?}"));
        assert_eq!(bytes[again[0].chunks[1].offset as usize..][..10], [2; 10]);
        assert!(decode_index(encoded, 3, end - 1).is_err(), "a chunk outside");
        assert!(decode_index(&encoded[..encoded.len() - 1], 3, end).is_err());
        assert!(read_footer(&bytes[bytes.len() - FOOTER_BYTES..]).is_ok());
        assert!(read_footer(&bytes[bytes.len() - FOOTER_BYTES - 1..]).is_err());
    }
}
