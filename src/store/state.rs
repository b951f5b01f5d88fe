//! Everything the store holds in memory, and how records change it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use smol_str::SmolStr;

use super::block::Block;
use super::chunk;
use super::encoding::Malformed;
use super::head::push_point;
use super::record::Record;
use super::row::Row;
use super::view::{StoredView, ViewDescription};
use crate::model::{PartitionId, Position, SenderSeen, Tenant, Timestamp, ViewId};

/// What is remembered of a view whose points are all gone, in case its job is still in force and goes on: until the
/// process ends. As many as views were ever described in it.
#[derive(Clone, Debug)]
pub struct RetiredView {
    pub description: ViewDescription,
    pub covered_from: Option<Timestamp>,
    pub final_to: Option<Timestamp>,
}

/// Tenant, sender and partition.
pub type SenderKey = (Tenant, SmolStr, PartitionId);

/// What a first record is known by.
pub fn sender_key(seen: &SenderSeen) -> SenderKey {
    (seen.tenant.clone(), seen.sender.clone(), seen.partition)
}

/// See the file's header.
#[derive(Debug, Default)]
pub struct State {
    pub log: Option<u128>,
    /// By partition.
    pub positions: BTreeMap<u16, Position>,
    /// Who wrote first into each partition, and when. Bounded by `senders_max`, when a commit is prepared.
    pub senders: BTreeMap<SenderKey, SenderSeen>,
    /// Bounded by `notes_max` and a size each.
    pub notes: BTreeMap<String, Vec<u8>>,
    /// By number. A view goes when retention has passed all it has.
    pub views: HashMap<u32, StoredView>,
    pub numbers: HashMap<ViewId, u32>,
    pub next_view: u32,
    pub retired: HashMap<ViewId, RetiredView>,
    /// The newest instant retention was enforced at; what it has passed is not read. `Timestamp::MIN` at first.
    pub now: Timestamp,
    /// The blocks in force, by file number, which rises with time.
    pub blocks: BTreeMap<u32, Arc<Block>>,
    /// Spans joined to stay within the bound, since the store was opened.
    pub spans_joined: u64,
    pub spans_max: usize,
}

impl State {
    pub fn new(spans_max: usize) -> State {
        State { now: Timestamp::MIN, spans_max, ..State::default() }
    }

    pub fn view(&self, id: ViewId) -> Option<&StoredView> {
        self.views.get(self.numbers.get(&id)?)
    }

    fn view_mut(&mut self, number: u32) -> Result<&mut StoredView, Malformed> {
        self.views.get_mut(&number).ok_or(Malformed("a record speaks of a view that is not there"))
    }

    /// Takes one step.
    ///
    /// # Errors
    /// When the record does not fit the state: it was damaged, or never meant for it.
    pub fn apply(&mut self, record: Record) -> Result<(), Malformed> {
        match record {
            Record::Log(incarnation) => {
                self.log = Some(incarnation);
                self.positions.clear();
                self.senders.clear();
            }
            Record::Positions(positions) => {
                self.positions.extend(positions.into_iter().map(|position| (position.partition.0, position)));
            }
            Record::Senders(senders) => {
                self.senders.extend(senders.into_iter().map(|seen| (sender_key(&seen), seen)));
            }
            Record::View { view, id, description } => self.describe(view, id, description)?,
            Record::Progress { view, covered_from, final_to } => {
                let view = self.view_mut(view)?;
                view.covered_from = view.covered_from.or(covered_from);
                view.final_to = view.final_to.max(final_to);
                view.silent_since = None;
            }
            Record::Groups { view, groups } => {
                let view = self.view_mut(view)?;
                groups.into_iter().for_each(|(number, labels)| view.add_group(number, labels));
            }
            Record::Results { view, fields, rows } => self.add_results(view, fields, &rows)?,
            Record::Spans { view, spans } => {
                let spans_max = self.spans_max;
                let view = self.view_mut(view)?;
                let joined: usize =
                    spans.into_iter().map(|(reason, from, to)| view.spans.say(reason, from, to, spans_max)).sum();
                self.spans_joined += joined as u64;
            }
            Record::Note { key, bytes: Some(bytes) } => drop(self.notes.insert(key, bytes)),
            Record::Note { key, bytes: None } => drop(self.notes.remove(&key)),
            Record::Retention(now) => self.expire(now),
            Record::NextView(next) => self.next_view = self.next_view.max(next),
            Record::Counting { view, next_group, silent_since, kept_from } => {
                let view = self.view_mut(view)?;
                view.next_group = view.next_group.max(next_group);
                view.silent_since = silent_since;
                view.kept_from = view.kept_from.max(kept_from);
            }
            Record::Head { view, group, chunks } => self.add_head(view, group, &chunks)?,
        }
        Ok(())
    }

    fn describe(&mut self, number: u32, id: ViewId, description: ViewDescription) -> Result<(), Malformed> {
        if self.numbers.get(&id).is_some_and(|known| *known != number) {
            return Err(Malformed("a view has two numbers"));
        }
        self.retired.remove(&id);
        self.next_view = self.next_view.max(number.saturating_add(1));
        self.numbers.insert(id, number);
        match self.views.get_mut(&number) {
            Some(view) => view.description = description,
            None => drop(self.views.insert(number, StoredView::new(id, description))),
        }
        Ok(())
    }

    fn add_results(&mut self, view: u32, fields: u8, rows: &[Row]) -> Result<(), Malformed> {
        let view = self.view_mut(view)?;
        if view.description.fields != fields {
            return Err(Malformed("results have another number of fields than their view"));
        }
        for row in rows {
            for (number, values) in &row.points {
                let group = view.groups.get_mut(number).ok_or(Malformed("a result is of a group that is not there"))?;
                push_point(&mut group.head, row.index, values.get(..usize::from(fields)).unwrap_or_default());
            }
            view.points += row.points.len() as u64;
            view.head_points += row.points.len() as u64;
            if !row.points.is_empty() {
                view.head_first.get_or_insert(row.index);
            }
        }
        Ok(())
    }

    fn add_head(&mut self, view: u32, group: u32, chunks: &[Vec<u8>]) -> Result<(), Malformed> {
        let view = self.view_mut(view)?;
        let fields = usize::from(view.description.fields);
        let group = view.groups.get_mut(&group).ok_or(Malformed("recent points are of a group that is not there"))?;
        for bytes in chunks {
            let piece = chunk::decode(bytes, fields)?;
            view.points += piece.len() as u64;
            view.head_points += piece.len() as u64;
            view.head_first = Some(view.head_first.map_or(piece.first(), |first| first.min(piece.first())));
            group.head.push(piece);
        }
        Ok(())
    }

    /// Drops what retention has passed. A view goes with its last point; one that never progressed after as long a time.
    fn expire(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        let now = self.now;
        for view in self.views.values_mut() {
            match view.final_to {
                Some(_) => view.expire(now),
                None => drop(view.silent_since.get_or_insert(now)),
            }
        }
        let over = |view: &StoredView| match view.final_to {
            Some(final_to) => view.has_passed(final_to),
            None => view.silent_since.is_some_and(|since| since < now - view.description.retention_ms),
        };
        let gone: Vec<u32> = self.views.iter().filter(|(_, view)| over(view)).map(|(number, _)| *number).collect();
        for view in gone.iter().filter_map(|number| self.views.remove(number)) {
            self.numbers.remove(&view.id);
            let StoredView { description, covered_from, final_to, .. } = view;
            self.retired.insert(view.id, RetiredView { description, covered_from, final_to });
        }
    }

    /// The blocks none of whose points can be read any more.
    pub fn expired_blocks(&self) -> Vec<u32> {
        let passed =
            |(number, newest): &(u32, Timestamp)| self.views.get(number).is_none_or(|view| view.has_passed(*newest));
        self.blocks.values().filter(|block| block.newest.iter().all(passed)).map(|block| block.number).collect()
    }

    pub fn head_points(&self) -> u64 {
        self.views.values().map(|view| view.head_points).sum()
    }
}
