//! Changing the store: say it in records, write them, then let readers see it.

use super::Store;
use super::error::StoreError;
use super::flush::Writer;
use super::options::Durability;
use super::prepare::{prepare, revive};
use super::record::Record;
use super::view::ViewDescription;
use crate::model::{Commit, ViewId};

impl Store {
    /// Applies a commit: whole, once, and in the order of calls. Applied again it changes nothing.
    ///
    /// May write a block when enough has come together; some million results take a second. Readers are not held up.
    ///
    /// # Errors
    /// Nothing was changed. When [`StoreError::retryable`], the same commit may be applied later.
    pub fn apply(&self, commit: &Commit, durability: Durability) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        self.settle(&mut writer)?;
        let prepared = prepare(&self.state.read(), commit, self.options.senders_max)?;
        self.change(&mut writer, prepared.records, durability)?;
        self.counters.applied(prepared.results, prepared.repeated, prepared.senders_refused);
        self.flush_if_due(&mut writer);
        Ok(())
    }

    /// Says what a view is, before its first commit and whenever that changes. Durable; saying it again changes nothing.
    ///
    /// # Errors
    /// When the store keeps that view with another step or number of fields, or the disk fails.
    pub fn describe(&self, id: ViewId, description: ViewDescription) -> Result<(), StoreError> {
        description.check(id)?;
        let mut writer = self.writer.lock();
        self.settle(&mut writer)?;
        let state = self.state.read();
        let known = state.view(id).map(|view| &view.description);
        let remembered = known.or(state.retired.get(&id).map(|retired| &retired.description));
        if let Some(kept) = remembered {
            let shapes = [
                ("a step (ms) of", description.step_ms, kept.step_ms),
                ("a number of fields of", i64::from(description.fields), i64::from(kept.fields)),
            ];
            if let Some((what, found, kept)) = shapes.into_iter().find(|(_, found, kept)| found != kept) {
                return Err(StoreError::OtherShape { view: id, what, found, kept });
            }
        }
        let unchanged = known == Some(&description);
        let view = state.numbers.get(&id).copied().unwrap_or(state.next_view);
        let mut records = if known.is_none() { revive(&state, id, view).unwrap_or_default() } else { Vec::new() };
        drop(state);
        if !unchanged {
            records.push(Record::View { view, id, description });
        }
        self.change(&mut writer, records, Durability::Now)
    }

    /// The log is another one: positions are forgotten, results stay. Durable.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn reset_log(&self, incarnation: u128) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        self.settle(&mut writer)?;
        let known = self.state.read().log == Some(incarnation);
        let records = if known { Vec::new() } else { vec![Record::Log(incarnation)] };
        self.change(&mut writer, records, Durability::Now)
    }

    /// Makes durable what was applied with [`Durability::Later`].
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        self.settle(&mut writer)?;
        writer.wal.sync()
    }

    /// Writes records and then applies them. No records still make durable what was applied before, if asked to.
    pub(super) fn change(
        &self,
        writer: &mut Writer,
        records: Vec<Record>,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let durable = durability == Durability::Now;
        if records.is_empty() {
            return if durable { writer.wal.sync() } else { Ok(()) };
        }
        writer.wal.append(&records, durable)?;
        let mut state = self.state.write();
        for record in records {
            state.apply(record).expect("records are made from the state they are applied to, by the holder of the writer");
        }
        Ok(())
    }
}
