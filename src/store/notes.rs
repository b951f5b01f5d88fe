//! Notes: a few bytes under a name, for what belongs to the results but is no part of a commit, such as trust in views.

use super::Store;
use super::error::StoreError;
use super::options::Durability;
use super::record::Record;

const KEY_BYTES_MAX: usize = 256;
const NOTE_BYTES_MAX: usize = 256 << 10;

impl Store {
    /// A note's bytes.
    pub fn note(&self, key: &str) -> Option<Vec<u8>> {
        self.state.read().notes.get(key).cloned()
    }

    /// The names of all notes that begin with some text, sorted.
    pub fn note_keys(&self, prefix: &str) -> Vec<String> {
        let state = self.state.read();
        let from = state.notes.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        from.map(|(key, _)| key.clone()).take_while(|key| key.starts_with(prefix)).collect()
    }

    /// Writes a note, durably. A key has at most 256 bytes, a note 256 KiB.
    ///
    /// # Errors
    /// When it is too large, there are too many, or the disk fails.
    pub fn put_note(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        for (what, found, limit) in [("a note's key", key.len(), KEY_BYTES_MAX), ("a note", bytes.len(), NOTE_BYTES_MAX)] {
            if found > limit {
                return Err(StoreError::TooLarge { what, found, limit });
            }
        }
        let mut writer = self.writer.lock();
        self.settle(&mut writer)?;
        let state = self.state.read();
        let limit = self.options.notes_max;
        let known = state.notes.get(key).map(Vec::as_slice);
        if known.is_none() && state.notes.len() >= limit {
            return Err(StoreError::TooManyNotes { key: key.to_owned(), limit });
        }
        let unchanged = known == Some(bytes);
        drop(state);
        let note = Record::Note { key: key.to_owned(), bytes: Some(bytes.to_vec()) };
        self.change(&mut writer, if unchanged { Vec::new() } else { vec![note] }, Durability::Now)?;
        self.flush_if_due(&mut writer);
        Ok(())
    }

    /// Removes a note, durably.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn drop_note(&self, key: &str) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        self.settle(&mut writer)?;
        let known = self.state.read().notes.contains_key(key);
        let note = Record::Note { key: key.to_owned(), bytes: None };
        self.change(&mut writer, if known { vec![note] } else { Vec::new() }, Durability::Now)
    }
}
