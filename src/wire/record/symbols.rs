//! Names and values of labels, numbered across requests.
//!
//! A series that is written every few seconds keeps its labels as [`SymbolId`]s of a [`SymbolTable`]. A table only grows,
//! and only to its bound; when it is full the [`Interner`] puts an empty one in its place, and who still works with the
//! old one keeps it until done. So a number never changes its meaning under a reader, and [`InternedLabels`] of an old
//! table are told apart: they are missing from the new one, and are interned again when their series is next written.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use hashbrown::HashTable;
use parking_lot::{RwLock, RwLockReadGuard};

use crate::model::Labels;
use crate::wire::encode::put_bytes;
use crate::wire::remote_write_v2::SYMBOLS;

/// The number of a string in a [`SymbolTable`]; below 2^28, so that its varint fits four bytes. Never stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SymbolId(pub(super) u32);

/// The empty string's number, in every table.
pub(super) const EMPTY: SymbolId = SymbolId(0);

const SYMBOLS_MAX: usize = 1 << 28;

/// What a symbol costs beside its encoded text: two offsets and its place in the hash table.
const SYMBOL_OVERHEAD_BYTES: usize = 16;

/// Told by one table from all others that this process makes.
static GENERATIONS: AtomicU64 = AtomicU64::new(0);

/// Strings and their numbers. Shared by threads: finding a known string takes a read lock for the time of one look-up.
pub struct SymbolTable {
    generation: u64,
    /// No symbol is added beyond it.
    bytes_max: usize,
    hasher: foldhash::fast::RandomState,
    /// Written only when a string is new; rebuilt from the series that are written.
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    ids: HashTable<SymbolId>,
    /// The symbols as a record holds them, field key and length included, one behind the other; below 4 GiB.
    encoded: Vec<u8>,
    places: Vec<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    /// Where the symbol's field begins in `encoded`, and where its text does. Both end where the next symbol begins.
    field: u32,
    text: u32,
}

/// A table holds as many bytes as it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the symbol table holds its {bytes_max} bytes; a new one must take its place")]
pub struct TableFull {
    pub bytes_max: usize,
}

impl SymbolTable {
    /// A table that holds at most `bytes_max` bytes (and never more than 4 GiB), its own overhead included.
    pub fn new(bytes_max: usize) -> SymbolTable {
        let table = SymbolTable {
            generation: GENERATIONS.fetch_add(1, Ordering::Relaxed),
            bytes_max: bytes_max.min(u32::MAX as usize),
            hasher: foldhash::fast::RandomState::default(),
            inner: RwLock::default(),
        };
        table.inner.write().push(&table.hasher, "");
        table
    }

    /// Tells this table from all others of this process; one that was made later has a higher number.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The number of a string, which it is given if it has none.
    ///
    /// # Errors
    /// The string is new and the table has no room for it.
    pub fn intern(&self, text: &str) -> Result<SymbolId, TableFull> {
        let hash = self.hasher.hash_one(text.as_bytes());
        let known = self.inner.read().find(hash, text);
        match known {
            Some(id) => Ok(id),
            None => self.add(&mut self.inner.write(), text),
        }
    }

    /// The numbers of a label set, taking each lock once.
    ///
    /// # Errors
    /// A string is new and the table has no room for it; those before it stay interned.
    pub fn intern_labels(&self, labels: &Labels) -> Result<InternedLabels, TableFull> {
        let texts = || labels.iter().flat_map(|label| [label.name.as_str(), label.value.as_str()]);
        let mut ids = Vec::with_capacity(2 * labels.len());
        let inner = self.inner.read();
        ids.extend(texts().map_while(|text| inner.find(self.hasher.hash_one(text.as_bytes()), text)));
        drop(inner);
        if ids.len() < 2 * labels.len() {
            let mut inner = self.inner.write();
            for text in texts().skip(ids.len()) {
                ids.push(self.add(&mut inner, text)?);
            }
        }
        Ok(InternedLabels { generation: self.generation, ids: ids.into() })
    }

    fn add(&self, inner: &mut Inner, text: &str) -> Result<SymbolId, TableFull> {
        if let Some(id) = inner.find(self.hasher.hash_one(text.as_bytes()), text) {
            return Ok(id);
        }
        // A field's key and length take at most eleven bytes.
        let after = inner.bytes().saturating_add(text.len()).saturating_add(11 + SYMBOL_OVERHEAD_BYTES);
        if after > self.bytes_max || inner.places.len() >= SYMBOLS_MAX {
            return Err(TableFull { bytes_max: self.bytes_max });
        }
        Ok(inner.push(&self.hasher, text))
    }

    /// The table as it is now; nothing can be added while this lives.
    pub fn read(&self) -> SymbolTableRead<'_> {
        SymbolTableRead(self.inner.read())
    }

    /// How many bytes the table holds.
    pub fn bytes(&self) -> usize {
        self.inner.read().bytes()
    }
}

/// A [`SymbolTable`] locked for reading.
pub struct SymbolTableRead<'t>(RwLockReadGuard<'t, Inner>);

impl SymbolTableRead<'_> {
    /// The string of a number; none when the number is of a later or larger table.
    pub fn get(&self, id: SymbolId) -> Option<&str> {
        std::str::from_utf8(self.0.text(id)?).ok()
    }

    /// The symbol as the field of a record.
    pub(super) fn encoded(&self, id: SymbolId) -> Option<&[u8]> {
        let (from, to) = (self.0.places.get(id.0 as usize)?.field, self.0.end(id));
        self.0.encoded.get(from as usize..to)
    }
}

impl Inner {
    fn find(&self, hash: u64, text: &str) -> Option<SymbolId> {
        self.ids.find(hash, |id| self.text(*id) == Some(text.as_bytes())).copied()
    }

    fn push(&mut self, hasher: &foldhash::fast::RandomState, text: &str) -> SymbolId {
        let id = SymbolId(self.places.len() as u32);
        let field = self.encoded.len() as u32;
        put_bytes(&mut self.encoded, SYMBOLS, text.as_bytes());
        self.places.push(Place { field, text: (self.encoded.len() - text.len()) as u32 });
        let mut ids = std::mem::take(&mut self.ids);
        ids.insert_unique(hasher.hash_one(text.as_bytes()), id, |id| hasher.hash_one(self.text(*id).unwrap_or_default()));
        self.ids = ids;
        id
    }

    fn text(&self, id: SymbolId) -> Option<&[u8]> {
        let from = self.places.get(id.0 as usize)?.text;
        self.encoded.get(from as usize..self.end(id))
    }

    fn end(&self, id: SymbolId) -> usize {
        self.places.get(id.0 as usize + 1).map_or(self.encoded.len(), |next| next.field as usize)
    }

    fn bytes(&self) -> usize {
        self.encoded.len() + self.places.len() * SYMBOL_OVERHEAD_BYTES
    }
}

/// A label set as numbers of one symbol table: what a cache keeps of a series.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InternedLabels {
    generation: u64,
    /// Names and values by turns, sorted by name as the label set was.
    ids: Box<[SymbolId]>,
}

impl InternedLabels {
    /// The numbers, if they are of this table; else the labels must be interned again.
    #[inline]
    pub fn ids(&self, table: &SymbolTable) -> Option<&[SymbolId]> {
        (self.generation == table.generation).then_some(&self.ids)
    }

    /// The label set, if the numbers are of this table.
    pub fn labels(&self, table: &SymbolTable) -> Option<Labels> {
        let symbols = table.read();
        let text = |id: &SymbolId| symbols.get(*id).unwrap_or_default().to_owned();
        let ids = self.ids(table)?;
        Some(Labels::from_pairs(ids.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1])))))
    }
}

/// The symbol table in use, replaced by an empty one when it is full.
pub struct Interner {
    bytes_max: usize,
    /// Loaded once per request, which keeps what it loaded to its end; so two tables may live at once, rarely more.
    current: ArcSwap<SymbolTable>,
}

impl Interner {
    /// Tables of at most `bytes_max` bytes each.
    pub fn new(bytes_max: usize) -> Interner {
        Interner { bytes_max, current: ArcSwap::from_pointee(SymbolTable::new(bytes_max)) }
    }

    /// The table in use.
    pub fn table(&self) -> Arc<SymbolTable> {
        self.current.load_full()
    }

    /// Puts an empty table in the place of one that is full, unless another thread already has, and gives the one now
    /// in use.
    pub fn replace(&self, full: &Arc<SymbolTable>) -> Arc<SymbolTable> {
        self.current.compare_and_swap(full, Arc::new(SymbolTable::new(self.bytes_max)));
        self.table()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::reader::Reader;

    #[test]
    fn strings_keep_their_numbers_until_the_table_is_replaced() {
        let interner = Interner::new(200);
        let table = interner.table();
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "node")]);
        let interned = table.intern_labels(&labels).unwrap();
        assert_eq!(table.intern_labels(&labels), Ok(interned.clone()));
        assert_eq!(table.intern(""), Ok(EMPTY));
        assert_eq!(table.intern("up").unwrap(), interned.ids(&table).unwrap()[1]);
        assert_eq!(interned.labels(&table), Some(labels.clone()));
        let full = TableFull { bytes_max: 200 };
        assert_eq!(table.intern(&"x".repeat(100)), Err(full));
        assert!(table.bytes() <= 200);
        assert_eq!(table.intern("job"), Ok(interned.ids(&table).unwrap()[2]), "what is known is found in a full table");

        let next = interner.replace(&table);
        assert!(Arc::ptr_eq(&next, &interner.replace(&table)), "a table is replaced once");
        assert_eq!((interned.ids(&next), interned.labels(&next)), (None, None));
        assert_eq!(interned.labels(&table), Some(labels));
    }

    #[test]
    fn texts_and_fields_of_all_lengths_are_found_again() {
        let table = SymbolTable::new(1 << 20);
        let texts: Vec<String> = (0..300).map(|len| "ü".repeat(len)).collect();
        let ids: Vec<SymbolId> = texts.iter().map(|text| table.intern(text).unwrap()).collect();
        let read = table.read();
        for (text, id) in texts.iter().zip(ids) {
            assert_eq!(read.get(id), Some(text.as_str()));
            let mut field = Reader::new(read.encoded(id).unwrap());
            assert_eq!((field.key(), field.text()), (Ok(SYMBOLS), Ok(text.as_str())));
            assert!(field.is_done());
        }
        assert_eq!((read.get(SymbolId(300)), read.encoded(SymbolId(300))), (None, None));
    }

    #[test]
    fn threads_agree_on_numbers() {
        let table = SymbolTable::new(1 << 20);
        let intern_all = || -> Vec<SymbolId> { (0..2000).map(|n| table.intern(&format!("{n}")).unwrap()).collect() };
        let (a, b) = std::thread::scope(|scope| {
            let a = scope.spawn(intern_all);
            let b = scope.spawn(intern_all);
            (a.join().unwrap(), b.join().unwrap())
        });
        assert_eq!(a, b);
    }
}
