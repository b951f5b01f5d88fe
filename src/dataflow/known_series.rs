//! The series of a partition: found by id, in the order in which they first came, and forgotten when they are idle.
//!
//! Senders go on sending their series in the order in which they first sent them, so the series behind the last one found is
//! tried first: that saves the look-up in a large map.

use std::collections::HashMap;

use super::message::SeriesIndex;
use crate::model::labels::SeriesIdBuild;
use crate::model::{LogTime, SeriesId};

/// No view selects the series.
pub(super) const UNSELECTED: SeriesIndex = SeriesIndex(u32::MAX);

/// The series belongs in another partition.
pub(super) const FOREIGN: SeriesIndex = SeriesIndex(u32::MAX - 1);

/// What is known of a series.
pub(super) struct Entry {
    pub id: SeriesId,
    /// Its number, or [`UNSELECTED`], or [`FOREIGN`].
    pub series: SeriesIndex,
    /// The plan its selectors were looked up in.
    pub generation: u32,
    pub last_seen: LogTime,
}

/// All of them; bounded by those that are alive.
#[derive(Default)]
pub(super) struct KnownSeries {
    entries: Vec<Entry>,
    by_id: HashMap<SeriesId, u32, SeriesIdBuild>,
    /// Places in `entries` of evicted series.
    free: Vec<u32>,
    /// Where the next series probably stands.
    guess: usize,
}

impl KnownSeries {
    pub fn find(&mut self, id: SeriesId) -> Option<&mut Entry> {
        let place = match self.entries.get(self.guess) {
            Some(entry) if entry.id == id => self.guess,
            _ => *self.by_id.get(&id)? as usize,
        };
        self.guess = place + 1;
        self.entries.get_mut(place)
    }

    /// Puts an entry in the place of the one of its series, or adds it.
    pub fn keep(&mut self, entry: Entry) {
        if let Some(place) = self.by_id.get(&entry.id) {
            self.entries[*place as usize] = entry;
            return;
        }
        let place = self.free.pop().unwrap_or(self.entries.len() as u32);
        self.by_id.insert(entry.id, place);
        match self.entries.get_mut(place as usize) {
            Some(free) => *free = entry,
            None => self.entries.push(entry),
        }
    }

    /// Forgets the series last seen before a time; the numbers of those that had one go to `evicted`.
    pub fn forget(&mut self, before: LogTime, evicted: &mut Vec<SeriesIndex>) {
        for (place, entry) in self.entries.iter_mut().enumerate() {
            // An entry that was freed before holds no series' id, and is found in no map.
            if entry.last_seen < before && self.by_id.remove(&entry.id).is_some() {
                self.free.push(place as u32);
                if is_numbered(entry.series) {
                    evicted.push(entry.series);
                }
                entry.id = SeriesId::default();
            }
        }
    }

    /// Whether most of its memory is of series that were forgotten.
    pub fn is_sparse(&self) -> bool {
        self.free.len() > self.entries.len() / 4 * 3
    }

    /// Gives that memory back. The order of the others stays.
    pub fn shrink(&mut self) {
        self.entries.retain(|entry| self.by_id.contains_key(&entry.id));
        self.entries.shrink_to_fit();
        self.by_id = self.entries.iter().zip(0..).map(|(entry, place)| (entry.id, place)).collect();
        self.free = Vec::new();
        self.guess = 0;
    }

    /// Entries, series, and entries without one.
    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.entries.len(), self.by_id.len(), self.free.len())
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.entries.capacity().max(self.by_id.capacity())
    }
}

/// Whether a series is one that some view selects.
pub(super) fn is_numbered(series: SeriesIndex) -> bool {
    series != UNSELECTED && series != FOREIGN
}
