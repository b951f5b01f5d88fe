//! From a commit to records: what of it is new, checked as a whole before anything is written.
//!
//! What the store relies on, and refuses otherwise:
//! - **Described**: a view was described before. Else its grid and fields are unknown.
//! - **On the grid**: a result's time is a multiple of its view's step. Else it could not be stored as a slot.
//! - **Final**: a result is not newer than what the commit calls final. Else a later one could come before it in time.
//!
//! Results that are not newer than what was final before are the same by determinism, and skipped.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::error::StoreError;
use super::record::Record;
use super::row::Row;
use super::state::{SenderKey, State, sender_key};
use super::view::{StoredView, ViewDescription};
use crate::model::{Commit, GroupLabels, Position, ResultPoint, SenderSeen, SpanReason, Timestamp, ViewId};

/// A commit as records.
#[derive(Debug, Default)]
pub struct Prepared {
    pub records: Vec<Record>,
    pub results: u64,
    /// Results the store had already.
    pub repeated: u64,
    /// Senders beyond the bound.
    pub senders_refused: u64,
}

/// What a commit says of one view.
struct Draft<'a> {
    number: u32,
    /// `None` while the view is only remembered, or described without having anything.
    stored: Option<&'a StoredView>,
    /// Records that bring a view back which retention had removed.
    revival: Vec<Record>,
    description: &'a ViewDescription,
    final_before: Option<Timestamp>,
    final_to: Option<Timestamp>,
    covered_from: Option<Timestamp>,
    new_groups: Vec<(u32, GroupLabels)>,
    new_numbers: HashMap<GroupLabels, u32>,
    rows: BTreeMap<i64, Vec<(u32, [f64; 2])>>,
    spans: Vec<(SpanReason, Timestamp, Timestamp)>,
}

/// # Errors
/// When the commit cannot be stored as it is; nothing was changed then.
pub fn prepare(state: &State, commit: &Commit, senders_max: usize) -> Result<Prepared, StoreError> {
    let mut prepared = Prepared::default();
    prepare_positions(state, commit, &mut prepared.records);
    prepare_senders(state, commit, senders_max, &mut prepared);
    let mut drafts = Drafts { state, by_id: BTreeMap::new(), next_view: state.next_view };
    for (id, t) in &commit.final_to {
        let draft = drafts.of(*id)?;
        draft.final_to = draft.final_to.max(Some(*t));
    }
    for (id, t) in &commit.covered_from {
        drafts.of(*id)?.covered_from.get_or_insert(*t);
    }
    for span in &commit.spans {
        let draft = drafts.of(span.view)?;
        if draft.stored.is_none_or(|view| !view.spans.knows(span.reason, span.from, span.to)) || !draft.spans.is_empty() {
            draft.spans.push((span.reason, span.from, span.to));
        }
    }
    let mut results = commit.results.as_slice();
    while let Some(first) = results.first() {
        let count = results.iter().take_while(|result| result.view == first.view).count();
        let draft = drafts.of(first.view)?;
        for result in &results[..count] {
            prepared.repeated += u64::from(!draft.add(result)?);
        }
        results = &results[count..];
    }
    for draft in drafts.by_id.into_values() {
        draft.finish(&mut prepared);
    }
    Ok(prepared)
}

/// Positions of the log known so far only move on; those of another log replace all.
fn prepare_positions(state: &State, commit: &Commit, records: &mut Vec<Record>) {
    let same_log = state.log == Some(commit.log_incarnation);
    if !same_log {
        records.push(Record::Log(commit.log_incarnation));
    }
    let mut positions: BTreeMap<u16, Position> = BTreeMap::new();
    for position in &commit.positions {
        let known = positions.get(&position.partition.0);
        let known = known.or_else(|| state.positions.get(&position.partition.0).filter(|_| same_log));
        if known.is_none_or(|known| (known.next, known.log_time) < (position.next, position.log_time)) {
            positions.insert(position.partition.0, *position);
        }
    }
    if !positions.is_empty() {
        records.push(Record::Positions(positions.into_values().collect()));
    }
}

/// Of two first records of a sender in one partition the one that was told first stays: a replay tells it again.
fn prepare_senders(state: &State, commit: &Commit, senders_max: usize, prepared: &mut Prepared) {
    // Another log's first records say nothing of this one: whoever was cut off while it changed is new here.
    let none = BTreeMap::new();
    let known = if state.log == Some(commit.log_incarnation) { &state.senders } else { &none };
    let mut new: BTreeMap<SenderKey, SenderSeen> = BTreeMap::new();
    for seen in &commit.senders {
        let key = sender_key(seen);
        if new.contains_key(&key) || known.contains_key(&key) {
            continue;
        }
        if known.len() + new.len() >= senders_max {
            prepared.senders_refused += 1;
        } else {
            new.insert(key, seen.clone());
        }
    }
    if !new.is_empty() {
        prepared.records.push(Record::Senders(new.into_values().collect()));
    }
}

/// The records that bring a view back which retention had removed, under a new number.
pub fn revive(state: &State, id: ViewId, number: u32) -> Option<Vec<Record>> {
    let retired = state.retired.get(&id)?;
    let described = Record::View { view: number, id, description: retired.description.clone() };
    let (covered_from, final_to) = (retired.covered_from, retired.final_to);
    Some(vec![described, Record::Progress { view: number, covered_from, final_to }])
}

struct Drafts<'a> {
    state: &'a State,
    by_id: BTreeMap<ViewId, Draft<'a>>,
    next_view: u32,
}

impl<'a> Drafts<'a> {
    fn of(&mut self, id: ViewId) -> Result<&mut Draft<'a>, StoreError> {
        match self.by_id.entry(id) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let draft = Draft::begin(self.state, id, self.next_view)?;
                self.next_view += u32::from(draft.stored.is_none());
                Ok(entry.insert(draft))
            }
        }
    }
}

impl<'a> Draft<'a> {
    fn begin(state: &'a State, id: ViewId, next_view: u32) -> Result<Draft<'a>, StoreError> {
        let stored = state.view(id);
        let retired = state.retired.get(&id);
        let description = stored.map(|view| &view.description).or(retired.map(|retired| &retired.description));
        let final_before = stored.map_or_else(|| retired.and_then(|retired| retired.final_to), |view| view.final_to);
        Ok(Draft {
            number: state.numbers.get(&id).copied().unwrap_or(next_view),
            stored,
            revival: if stored.is_some() { Vec::new() } else { revive(state, id, next_view).unwrap_or_default() },
            description: description.ok_or(StoreError::NotDescribed { view: id })?,
            final_before,
            final_to: final_before,
            covered_from: None,
            new_groups: Vec::new(),
            new_numbers: HashMap::new(),
            rows: BTreeMap::new(),
            spans: Vec::new(),
        })
    }

    /// Takes a result; false when the store has it already.
    fn add(&mut self, result: &ResultPoint) -> Result<bool, StoreError> {
        if self.final_before.is_some_and(|final_to| result.t <= final_to) {
            return Ok(false);
        }
        let refused = |what: String| Err(StoreError::Refused { view: result.view, what });
        if self.final_to.is_none_or(|final_to| result.t > final_to) {
            return refused(format!("its result at {} is newer than what the commit calls final", result.t));
        }
        let step_ms = self.description.step_ms;
        if result.t.0.rem_euclid(step_ms) != 0 {
            return refused(format!("its result at {} does not lie on its grid of {step_ms} ms", result.t));
        }
        let group = self.group(&result.group);
        self.rows.entry(result.t.0.div_euclid(step_ms)).or_default().push((group, result.fields));
        Ok(true)
    }

    fn group(&mut self, labels: &GroupLabels) -> u32 {
        let known = self.stored.and_then(|view| view.numbers.get(labels)).or_else(|| self.new_numbers.get(labels));
        if let Some(number) = known {
            return *number;
        }
        let number = self.stored.map_or(0, |view| view.next_group) + self.new_groups.len() as u32;
        self.new_groups.push((number, Arc::clone(labels)));
        self.new_numbers.insert(Arc::clone(labels), number);
        number
    }

    fn finish(self, prepared: &mut Prepared) {
        let view = self.number;
        let final_to = self.final_to.filter(|_| self.final_to > self.final_before);
        let known = self.stored.and_then(|view| view.covered_from);
        let covered_from = self.covered_from.filter(|_| known.is_none());
        let says = final_to.is_some() || covered_from.is_some() || !self.spans.is_empty();
        if !says {
            return;
        }
        let records = &mut prepared.records;
        records.extend(self.revival);
        if final_to.is_some() || covered_from.is_some() {
            records.push(Record::Progress { view, covered_from, final_to });
        }
        if !self.spans.is_empty() {
            records.push(Record::Spans { view, spans: self.spans });
        }
        if !self.new_groups.is_empty() {
            records.push(Record::Groups { view, groups: self.new_groups });
        }
        let mut rows: Vec<Row> = self.rows.into_iter().map(|(index, points)| Row { index, points }).collect();
        for row in &mut rows {
            let said = row.points.len();
            row.points.sort_by_key(|(group, _)| *group);
            row.points.dedup_by_key(|(group, _)| *group);
            prepared.repeated += (said - row.points.len()) as u64;
            prepared.results += row.points.len() as u64;
        }
        if !rows.is_empty() {
            records.push(Record::Results { view, fields: self.description.fields, rows });
        }
    }
}
