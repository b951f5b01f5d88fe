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
        self.put_notes(vec![(key.to_owned(), Some(bytes.to_vec()))])
    }

    /// Removes a note, durably.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn drop_note(&self, key: &str) -> Result<(), StoreError> {
        self.put_notes(vec![(key.to_owned(), None)])
    }

    /// Writes several notes, or removes those without bytes: durably, and all of them or none. Each has the bounds of
    /// [`Store::put_note`]; a key stands among them once.
    ///
    /// # Errors
    /// As [`Store::put_note`]; nothing was changed then.
    pub fn put_notes(&self, notes: Vec<(String, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        for (key, bytes) in &notes {
            let note = bytes.as_ref().map_or(0, Vec::len);
            for (what, found, limit) in [("a note's key", key.len(), KEY_BYTES_MAX), ("a note", note, NOTE_BYTES_MAX)] {
                if found > limit {
                    return Err(StoreError::TooLarge { what, found, limit });
                }
            }
        }
        let mut writer = self.writer.lock();
        self.settle(&mut writer)?;
        let state = self.state.read();
        let changed: Vec<_> =
            notes.into_iter().filter(|(key, bytes)| state.notes.get(key).map(Vec::as_slice) != bytes.as_deref()).collect();
        let (limit, mut count) = (self.options.notes_max, state.notes.len());
        for (key, bytes) in &changed {
            match (bytes.is_some(), state.notes.contains_key(key)) {
                (true, false) if count >= limit => {
                    return Err(StoreError::TooManyNotes { key: key.clone(), limit });
                }
                (true, false) => count += 1,
                (false, true) => count -= 1,
                _ => {}
            }
        }
        drop(state);
        let records = changed.into_iter().map(|(key, bytes)| Record::Note { key, bytes }).collect();
        self.change(&mut writer, records, Durability::Now)?;
        self.flush_if_due(&mut writer);
        Ok(())
    }
}
