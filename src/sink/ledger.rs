//! The ledger of one sink: every publication with its progress, and the notes in the store that both are kept in.
//!
//! A change is in memory first, and durable with the next [`Ledger::save`]. What is about to be sent is saved before; that
//! it has arrived may be saved later: a process that dies in between sends the same once more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use smol_str::SmolStr;

use super::options::From;
use super::publication::{Progress, Publication};
use crate::model::Timestamp;
use crate::model::window::Grid;
use crate::plan::Catalog;
use crate::store::{Store, StoreError};

/// See the file's header.
pub struct Ledger {
    store: Arc<Store>,
    /// What the keys of its notes begin with.
    prefix: String,
    /// By number, which is never given twice. Bounded by the catalog and by what it has left in the store.
    entries: BTreeMap<u32, Entry>,
    numbers: HashMap<Publication, u32>,
    /// Of each record name the publications there have been, of which one at most is in force.
    of_record: HashMap<SmolStr, BTreeSet<u32>>,
    next_number: u32,
    /// Those whose notes are to be written, or to be dropped.
    unsaved: BTreeSet<u32>,
}

/// A publication and how far it has come.
#[derive(Clone, Debug)]
pub struct Entry {
    pub publication: Publication,
    pub progress: Progress,
    /// Whether the store has its note already.
    named: bool,
}

impl Ledger {
    /// What is known of a sink.
    ///
    /// # Errors
    /// When a note is not one of ours.
    pub fn open(store: Arc<Store>, sink: &str) -> Result<Ledger, String> {
        let prefix = format!("sink/{sink}/");
        let mut ledger = Ledger {
            store,
            prefix,
            entries: BTreeMap::new(),
            numbers: HashMap::new(),
            of_record: HashMap::new(),
            next_number: 0,
            unsaved: BTreeSet::new(),
        };
        let named = format!("{}of/", ledger.prefix);
        for key in ledger.store.note_keys(&named) {
            let of = ledger.store.note(&key).unwrap_or_default();
            let damaged = |error: String| {
                format!("the note {key} in the store is damaged ({error}): give the sink another name to begin anew")
            };
            let number: u32 = key[named.len()..].parse().map_err(|_| damaged("its key is no number".to_owned()))?;
            let publication = Publication::of_note(&of).map_err(damaged)?;
            let at = ledger.store.note(&ledger.position_key(number)).unwrap_or_default();
            let progress = Progress::of_note(&at).map_err(damaged)?;
            ledger.add(number, Entry { publication, progress, named: true });
        }
        Ok(ledger)
    }

    pub fn entries(&self) -> &BTreeMap<u32, Entry> {
        &self.entries
    }

    /// The progress of a publication, to be changed.
    pub fn change(&mut self, number: u32, change: impl FnOnce(&mut Progress)) {
        if let Some(entry) = self.entries.get_mut(&number) {
            change(&mut entry.progress);
            self.unsaved.insert(number);
        }
    }

    /// Whether another publication of its record name has yet to end: its series may be the same, and come first.
    pub fn waits(&self, number: u32, record: &str) -> bool {
        self.of_record(record)
            .any(|(other, entry)| other != number && entry.progress.ends.is_some() && !entry.progress.has_ended())
    }

    /// Whether another publication has taken its record name over.
    pub fn is_taken_over(&self, record: &str) -> bool {
        self.of_record(record).any(|(_, entry)| entry.progress.ends.is_none())
    }

    fn of_record(&self, record: &str) -> impl Iterator<Item = (u32, &Entry)> {
        let numbers = self.of_record.get(record).into_iter().flatten();
        numbers.filter_map(|number| Some((*number, self.entries.get(number)?)))
    }

    fn add(&mut self, number: u32, entry: Entry) {
        self.numbers.insert(entry.publication.clone(), number);
        self.of_record.entry(entry.publication.record.clone()).or_default().insert(number);
        self.entries.insert(number, entry);
        self.next_number = self.next_number.max(number + 1);
    }

    /// Takes in what the rules in force publish: what is gone will end, what is new begins, what has ended is forgotten
    /// once retention has passed it, so that it would not begin anew where it was.
    pub fn meet(&mut self, catalog: &Catalog, from: From, now: Timestamp) {
        let (mut wanted, mut new) = (BTreeSet::new(), Vec::new());
        for entry in catalog.in_force().filter(|entry| entry.view.tenant.is_empty()) {
            for (record, labels) in &entry.records {
                let publication = Publication { view: entry.view.id, record: record.clone(), labels: labels.clone() };
                match self.numbers.get(&publication) {
                    Some(number) => drop(wanted.insert(*number)),
                    None => new.push((publication, entry.view.grid())),
                }
            }
        }
        for number in self.entries.keys().copied().collect::<Vec<_>>() {
            self.look(number, wanted.contains(&number));
        }
        new.into_iter().for_each(|(publication, grid)| self.begin(publication, grid, from, now));
    }

    /// After whatever its record name has stood for until now: a series has one value at a time.
    fn begin(&mut self, publication: Publication, grid: Grid, from: From, now: Timestamp) {
        let of_record: Vec<Entry> = self.of_record(&publication.record).map(|(_, entry)| entry.clone()).collect();
        let begins_now = (from == From::Now).then_some(now);
        let position = of_record.iter().filter_map(|entry| self.end(entry)).chain(begins_now).max().map(|t| grid.floor(t));
        let progress = Progress { position, ..Progress::default() };
        let number = self.next_number;
        self.add(number, Entry { publication, progress, named: false });
        self.unsaved.insert(number);
    }

    /// The grid point at which the series of a publication end, or have ended.
    fn end(&self, entry: &Entry) -> Option<Timestamp> {
        let step_ms = self.store.view(entry.publication.view)?.step_ms;
        entry.progress.position.max(entry.progress.ends.filter(|ends| *ends > Timestamp::MIN).map(|ends| ends + step_ms))
    }

    fn look(&mut self, number: u32, is_wanted: bool) {
        let Some(entry) = self.entries.get(&number) else { return };
        let ends = entry.progress.ends;
        if is_wanted && ends.is_some() {
            self.change(number, |progress| progress.ends = None);
        } else if !is_wanted && ends.is_none() {
            let newest = self.store.final_to(entry.publication.view).max(entry.progress.position);
            self.change(number, |progress| progress.ends = newest.or(Some(Timestamp::MIN)));
        } else if !is_wanted && self.is_forgotten(entry) {
            self.numbers.remove(&entry.publication);
            self.of_record.entry(entry.publication.record.clone()).or_default().remove(&number);
            self.entries.remove(&number);
            self.unsaved.insert(number);
        }
    }

    /// Whether nothing of it is left in the store.
    fn is_forgotten(&self, entry: &Entry) -> bool {
        let Some(state) = self.store.view(entry.publication.view) else { return true };
        let kept = state.covered_from.unwrap_or(Timestamp::MAX);
        entry.progress.has_ended() && entry.progress.position.is_some_and(|position| position < kept)
    }

    /// Makes every change durable, all at once.
    ///
    /// # Errors
    /// When the store does not take them: they are kept for the next time.
    pub fn save(&mut self) -> Result<(), StoreError> {
        if self.unsaved.is_empty() {
            return Ok(());
        }
        let mut notes = Vec::new();
        for number in &self.unsaved {
            let entry = self.entries.get(number);
            if entry.is_none_or(|entry| !entry.named) {
                notes.push((self.name_key(*number), entry.map(|entry| entry.publication.to_note())));
            }
            notes.push((self.position_key(*number), entry.map(|entry| entry.progress.to_note())));
        }
        self.store.put_notes(notes)?;
        for number in std::mem::take(&mut self.unsaved) {
            if let Some(entry) = self.entries.get_mut(&number) {
                entry.named = true;
            }
        }
        Ok(())
    }

    fn name_key(&self, number: u32) -> String {
        format!("{}of/{number}", self.prefix)
    }

    fn position_key(&self, number: u32) -> String {
        format!("{}at/{number}", self.prefix)
    }
}
