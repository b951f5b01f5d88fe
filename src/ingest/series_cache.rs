//! The series that senders have sent before, found by the hash of their labels' bytes.
//!
//! A sender sends its series in the same order every time, so the one behind the last is tried first, which spares a
//! look-up in a large map; a whole request is read under one lock. Useful for: steady senders. Not useful for: churn, where
//! every series is new once.

use std::collections::HashMap;

use crate::ingest::limits::RefusalReason;
use crate::model::SeriesId;
use crate::model::labels::SeriesIdBuild;
use crate::wire::record::{InternedLabels, SymbolId, SymbolTable};

/// Label sets remembered; at about 200 bytes each. Full, the cache is emptied, and fills again with what is alive.
const SERIES_MAX: usize = 2_000_000;

/// Symbols remembered of them, four bytes each. Full of these, the cache is emptied too.
const SYMBOLS_MAX: usize = 64 * SERIES_MAX;

/// What is known of a label set.
#[derive(Clone, Copy)]
pub(super) enum Known<'c> {
    Series {
        id: SeriesId,
        partition: u16,
        labels: &'c [SymbolId],
    },
    /// With the labels that are told, and the names of those that are not.
    Refused {
        reason: RefusalReason,
        told: &'c [SymbolId],
        untold: &'c [SymbolId],
    },
}

/// A label set that was looked at.
pub(super) enum Fresh {
    Series { id: SeriesId, partition: u16, labels: InternedLabels },
    Refused { reason: RefusalReason, told: InternedLabels, untold: Vec<SymbolId> },
}

/// What a label set is found by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LabelsKey {
    /// The hash of its bytes.
    pub hash: u128,
    /// How many they are.
    pub bytes: u32,
}

/// Label sets in the order in which they first came, and where each one stands.
#[derive(Default)]
pub(super) struct SeriesCache {
    /// The symbol table all of it is of; of another one nothing is found.
    generation: Option<u64>,
    entries: Vec<Entry>,
    /// By hash.
    places: HashMap<u128, u32, SeriesIdBuild>,
    /// The labels of all entries, one behind the other; behind those of a refused one the names of labels not told.
    symbols: Vec<SymbolId>,
}

struct Entry {
    hash: u128,
    id: SeriesId,
    bytes: u32,
    /// Where in `symbols` its labels are.
    from: u32,
    count: u32,
    partition: u16,
    /// How many names stand behind its labels.
    untold: u8,
    refused: Option<RefusalReason>,
}

impl SeriesCache {
    /// Whether what it holds is of this symbol table; else its labels must be looked at again.
    pub fn is_of(&self, symbols: &SymbolTable) -> bool {
        self.generation == Some(symbols.generation())
    }

    /// What is known of the label set at a place, and by what it is found.
    #[inline]
    pub fn at(&self, place: usize) -> Option<(LabelsKey, Known<'_>)> {
        let entry = self.entries.get(place)?;
        let key = LabelsKey { hash: entry.hash, bytes: entry.bytes };
        let symbols = self.symbols.get(entry.from as usize..)?;
        let (labels, behind) = symbols.split_at_checked(entry.count as usize)?;
        let known = match entry.refused {
            Some(reason) => Known::Refused { reason, told: labels, untold: behind.get(..usize::from(entry.untold))? },
            None => Known::Series { id: entry.id, partition: entry.partition, labels },
        };
        Some((key, known))
    }

    /// Where the label set of a hash stands.
    pub fn find(&self, hash: u128) -> Option<usize> {
        self.places.get(&hash).map(|place| *place as usize)
    }

    /// Takes label sets that were looked at with this symbol table.
    pub fn take(&mut self, symbols: &SymbolTable, fresh: Vec<(LabelsKey, Fresh)>) {
        if !self.is_of(symbols) {
            // A request that began before its table was replaced has nothing to add to those of the new one.
            if self.generation.is_some_and(|generation| generation > symbols.generation()) {
                return;
            }
            self.clear();
            self.generation = Some(symbols.generation());
        }
        fresh.into_iter().for_each(|(key, fresh)| self.insert(symbols, key, fresh));
    }

    fn insert(&mut self, symbols: &SymbolTable, key: LabelsKey, fresh: Fresh) {
        if self.places.contains_key(&key.hash) {
            return;
        }
        let (id, partition, labels, untold, refused) = match &fresh {
            Fresh::Refused { reason, told, untold } => (SeriesId::default(), 0, told, &untold[..], Some(*reason)),
            Fresh::Series { id, partition, labels } => (*id, *partition, labels, &[][..], None),
        };
        let labels = labels.ids(symbols).unwrap_or_default();
        if self.entries.len() >= SERIES_MAX || self.symbols.len() + labels.len() + untold.len() > SYMBOLS_MAX {
            self.clear();
        }
        let (from, count, bytes) = (self.symbols.len() as u32, labels.len() as u32, key.bytes);
        self.symbols.extend_from_slice(labels);
        self.symbols.extend_from_slice(untold);
        self.places.insert(key.hash, self.entries.len() as u32);
        self.entries.push(Entry { hash: key.hash, id, bytes, from, count, partition, untold: untold.len() as u8, refused });
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.places.clear();
        self.symbols.clear();
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    fn key(n: u128) -> LabelsKey {
        LabelsKey { hash: n << 64 | n, bytes: n as u32 }
    }

    fn series(symbols: &SymbolTable, n: u128) -> (LabelsKey, Fresh) {
        let labels = symbols.intern_labels(&Labels::from_pairs([("n", n.to_string())])).unwrap();
        (key(n), Fresh::Series { id: SeriesId(n), partition: n as u16, labels })
    }

    /// The label set found by a hash, as its value of `n`.
    fn found(cache: &SeriesCache, symbols: &SymbolTable, n: u128) -> Option<String> {
        let (found_by, known) = cache.at(cache.find(key(n).hash)?)?;
        assert_eq!(found_by, key(n));
        match known {
            Known::Refused { reason, told, untold } => {
                let read = symbols.read();
                let texts: Vec<&str> = told.iter().chain(untold).filter_map(|symbol| read.get(*symbol)).collect();
                Some(format!("{} {} {}", reason.slug(), told.len(), texts.join(" ")))
            }
            Known::Series { id, partition, labels } => {
                assert_eq!((id, partition), (SeriesId(n), n as u16));
                Some(symbols.read().get(labels[1])?.to_owned())
            }
        }
    }

    #[test]
    fn label_sets_are_found_by_hash_and_in_order() {
        let symbols = SymbolTable::new(1 << 20);
        let mut cache = SeriesCache::default();
        assert!(!cache.is_of(&symbols));
        let told = symbols.intern_labels(&Labels::from_pairs([("n", "5")])).unwrap();
        let untold = vec![symbols.intern("a").unwrap(), symbols.intern("b").unwrap()];
        let refused = (key(5), Fresh::Refused { reason: RefusalReason::TooManyLabels, told, untold });
        cache.take(&symbols, vec![series(&symbols, 3), refused, series(&symbols, 4), series(&symbols, 3)]);
        assert!(cache.is_of(&symbols) && cache.len() == 3);
        for (n, expected) in [(3, Some("3")), (4, Some("4")), (5, Some("too-many-labels 2 n 5 a b")), (6, None)] {
            assert_eq!(found(&cache, &symbols, n).as_deref(), expected, "{n}");
        }
        let in_order: Vec<LabelsKey> = (0..4).filter_map(|place| cache.at(place)).map(|(key, _)| key).collect();
        assert_eq!(in_order, [key(3), key(5), key(4)]);
    }

    #[test]
    fn what_is_of_an_older_symbol_table_is_forgotten() {
        let (old, new) = (SymbolTable::new(1 << 20), SymbolTable::new(1 << 20));
        let mut cache = SeriesCache::default();
        cache.take(&old, vec![series(&old, 1)]);
        cache.take(&new, vec![series(&new, 2)]);
        assert!(cache.is_of(&new) && !cache.is_of(&old));
        assert_eq!((found(&cache, &new, 1), found(&cache, &new, 2)), (None, Some("2".to_owned())));
        cache.take(&old, vec![series(&old, 1)]);
        assert_eq!((found(&cache, &new, 1), cache.len()), (None, 1));
    }
}
