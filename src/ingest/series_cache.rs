//! The series that senders have sent before, found by the hash of their labels' bytes.
//!
//! A sender sends its series in the same order every time, so the one behind the last is tried first, which spares a
//! look-up in a large map; a whole request is read under one lock. Useful for: steady senders. Not useful for: churn, where
//! every series is new once.

use std::collections::HashMap;

use crate::ingest::limits::RefusalReason;
use crate::model::SeriesId;
use crate::model::labels::SeriesIdBuild;
use crate::wire::record::{InternedLabels, SymbolTable};

/// Label sets remembered; at about 300 bytes each. Full, the cache is emptied, and fills again with what is alive.
const SERIES_MAX: usize = 2_000_000;

/// What is known of a label set.
#[derive(Clone)]
pub(super) enum Cached {
    Series { id: SeriesId, partition: u16, labels: InternedLabels },
    Refused(RefusalReason),
}

impl Cached {
    /// Whether its symbols are of this table; else its labels must be looked at again.
    pub fn is_of(&self, symbols: &SymbolTable) -> bool {
        match self {
            Cached::Series { labels, .. } => labels.ids(symbols).is_some(),
            Cached::Refused(_) => true,
        }
    }
}

/// Label sets in the order in which they first came, and where each one stands.
#[derive(Default)]
pub(super) struct SeriesCache {
    entries: Vec<(u128, Cached)>,
    by_key: HashMap<u128, u32, SeriesIdBuild>,
}

impl SeriesCache {
    /// The label set of a key; `next` is where the one after the last found stands.
    pub fn find(&self, key: u128, next: &mut usize) -> Option<&Cached> {
        let place = match self.entries.get(*next) {
            Some((had, _)) if *had == key => *next,
            _ => *self.by_key.get(&key)? as usize,
        };
        *next = place + 1;
        self.entries.get(place).map(|(_, cached)| cached)
    }

    pub fn insert(&mut self, key: u128, cached: Cached) {
        if self.entries.len() >= SERIES_MAX {
            self.entries.clear();
            self.by_key.clear();
        }
        match self.by_key.get(&key) {
            Some(place) => self.entries[*place as usize].1 = cached,
            None => {
                self.by_key.insert(key, self.entries.len() as u32);
                self.entries.push((key, cached));
            }
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets_are_found_in_any_order() {
        let mut cache = SeriesCache::default();
        for key in 0..10u128 {
            cache.insert(key << 64 | key, Cached::Refused(RefusalReason::NoSamples));
        }
        cache.insert(3 << 64 | 3, Cached::Refused(RefusalReason::Exemplar));
        let mut next = 0;
        for key in [0, 1, 2, 7, 3, 4, 9, 0u128] {
            let expected = if key == 3 { RefusalReason::Exemplar } else { RefusalReason::NoSamples };
            let found = cache.find(key << 64 | key, &mut next);
            assert!(matches!(found, Some(Cached::Refused(reason)) if *reason == expected), "{key}");
            assert_eq!(next, key as usize + 1);
        }
        assert!(cache.find(77, &mut next).is_none());
        assert_eq!(cache.len(), 10);
    }
}
