//! One view as the store keeps it: its grid, its coverage, its groups and where their points lie.

use std::sync::Arc;

use hashbrown::HashMap;

use super::error::StoreError;
use super::head::Piece;
use super::postings::Postings;
use super::spans::SpanSet;
use crate::model::commit::FIELDS_MAX;
use crate::model::{GroupLabels, Matcher, Timestamp, Uncover, ViewId};

/// The longest description text, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// What must be said of a view before results of it are committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ViewDescription {
    /// The view's grid: results have times that are multiples of this. Fixed for a view.
    pub step_ms: i64,
    /// How many fields a result has, 1 or 2. Fixed for a view.
    pub fields: u8,
    /// Points older than this are not read and deleted in time. May change.
    pub retention_ms: i64,
    /// What the node wants to know of the view when its job is gone; not looked into here. At most 1 MiB. May change.
    pub text: String,
}

impl ViewDescription {
    pub(super) fn check(&self, view: ViewId) -> Result<(), StoreError> {
        let refused = |what: String| Err(StoreError::Refused { view, what });
        if self.step_ms <= 0 {
            return refused(format!("its step is {} ms, and must be positive", self.step_ms));
        }
        if !(1..=FIELDS_MAX).contains(&usize::from(self.fields)) {
            return refused(format!("it has {} fields, and must have 1 or {FIELDS_MAX}", self.fields));
        }
        if self.retention_ms < 0 {
            return refused(format!("its retention is {} ms, and must not be negative", self.retention_ms));
        }
        if self.text.len() > TEXT_BYTES_MAX {
            return Err(StoreError::TooLarge { what: "a description", found: self.text.len(), limit: TEXT_BYTES_MAX });
        }
        Ok(())
    }
}

/// A view at one instant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ViewState {
    /// The first grid point ever emitted, wherever retention is by now.
    pub begun: Option<Timestamp>,
    /// The first grid point emitted that retention has left: before it, absence says nothing.
    pub covered_from: Option<Timestamp>,
    /// The newest grid point emitted: up to it every value is stored, and absence is absence.
    pub final_to: Option<Timestamp>,
    pub step_ms: i64,
    pub fields: u8,
    pub retention_ms: i64,
    /// The uncovered stretches, by reason and beginning; closed ones of one reason are disjoint. Of those that retention
    /// has passed the newest of each reason is among them.
    pub spans: Vec<Uncover>,
    /// [`ViewDescription::text`].
    pub description: String,
    /// Points kept, some of which retention may have passed already.
    pub points: u64,
    pub groups: u64,
}

/// Where a chunk lies, and which stretch of the grid it holds.
#[derive(Clone, Copy, Debug)]
pub struct ChunkRef {
    /// The grid index of its first point.
    pub first: i64,
    pub block: u32,
    pub offset: u32,
    pub bytes: u32,
    /// From its first point to its last.
    pub slots: u8,
    pub points: u8,
}

impl ChunkRef {
    pub fn last(&self) -> i64 {
        self.first.saturating_add(i64::from(self.slots) - 1)
    }
}

/// One group: its labels and all its points.
#[derive(Debug)]
pub struct Group {
    pub labels: GroupLabels,
    /// In time order; a chunk goes when retention has passed all of it.
    pub chunks: Vec<ChunkRef>,
    /// The points that are in no block yet, in time order, after all chunks.
    pub head: Vec<Piece>,
}

impl Group {
    pub fn new(labels: GroupLabels) -> Group {
        Group { labels, chunks: Vec::new(), head: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.head.is_empty()
    }
}

/// One view; see the file's header.
#[derive(Debug)]
pub struct StoredView {
    pub id: ViewId,
    pub description: ViewDescription,
    pub covered_from: Option<Timestamp>,
    pub final_to: Option<Timestamp>,
    /// Points before this are not read any more; never goes back, so that a point once gone stays gone.
    pub kept_from: Timestamp,
    /// When retention first found a view without progress.
    pub silent_since: Option<Timestamp>,
    pub spans: SpanSet,
    /// By number. A group goes when it has no points any more.
    pub groups: HashMap<u32, Group>,
    pub numbers: HashMap<GroupLabels, u32>,
    postings: Postings,
    pub next_group: u32,
    /// The points of all groups, and those of them that are in no block.
    pub points: u64,
    pub head_points: u64,
    /// The grid index of the oldest point that is in no block.
    pub head_first: Option<i64>,
}

impl StoredView {
    pub fn new(id: ViewId, description: ViewDescription) -> StoredView {
        StoredView {
            id,
            description,
            covered_from: None,
            final_to: None,
            kept_from: Timestamp::MIN,
            silent_since: None,
            spans: SpanSet::default(),
            groups: HashMap::new(),
            numbers: HashMap::new(),
            postings: Postings::default(),
            next_group: 0,
            points: 0,
            head_points: 0,
            head_first: None,
        }
    }

    pub fn summary(&self) -> ViewState {
        ViewState {
            begun: self.covered_from,
            covered_from: self.covered_from.map(|first| first.max(self.first_kept())),
            final_to: self.final_to,
            step_ms: self.description.step_ms,
            fields: self.description.fields,
            retention_ms: self.description.retention_ms,
            spans: self.spans.list(self.id),
            description: self.description.text.clone(),
            points: self.points,
            groups: self.groups.len() as u64,
        }
    }

    /// The groups that match.
    pub fn matching<'a>(&'a self, matchers: &'a [Matcher]) -> impl Iterator<Item = (u32, &'a Group)> {
        let few = self.postings.candidates(matchers, self.groups.len());
        let all = few.is_none().then(|| self.groups.iter().map(|(number, group)| (*number, group)));
        let few = few.into_iter().flatten().filter_map(|number| Some((number, self.groups.get(&number)?)));
        let candidates = few.chain(all.into_iter().flatten());
        candidates.filter(move |(_, group)| matchers.iter().all(|matcher| matcher.matches(group.labels.get(&matcher.name))))
    }

    /// The first grid point that retention has not passed.
    fn first_kept(&self) -> Timestamp {
        let (index, _) = self.indices(self.kept_from, self.kept_from);
        self.time(index)
    }

    /// Whether retention has passed everything up to an instant.
    pub fn has_passed(&self, t: Timestamp) -> bool {
        t < self.kept_from
    }

    /// The grid indices from one instant to another, inclusive.
    pub fn indices(&self, from: Timestamp, to: Timestamp) -> (i64, i64) {
        let step_ms = self.description.step_ms;
        let partly = i64::from(from.0.rem_euclid(step_ms) != 0);
        (from.0.div_euclid(step_ms).saturating_add(partly), to.0.div_euclid(step_ms))
    }

    pub fn time(&self, index: i64) -> Timestamp {
        Timestamp(index.saturating_mul(self.description.step_ms))
    }

    /// How many grid points the recent results span.
    pub fn head_steps(&self) -> i64 {
        let newest = self.final_to.map(|t| t.0.div_euclid(self.description.step_ms));
        newest.zip(self.head_first).map_or(0, |(last, first)| last.saturating_sub(first).saturating_add(1))
    }

    /// Drops what retention has passed: chunks and pieces whole, groups that are empty then, closed spans but the newest.
    pub fn expire(&mut self, now: Timestamp) {
        self.kept_from = self.kept_from.max(now - self.description.retention_ms);
        let (first_kept, _) = self.indices(self.kept_from, self.kept_from);
        let (mut points, mut head_points) = (0, 0);
        let mut gone = Vec::new();
        self.groups.retain(|number, group| {
            let chunks = group.chunks.partition_point(|chunk| chunk.last() < first_kept);
            points += group.chunks.drain(..chunks).map(|chunk| u64::from(chunk.points)).sum::<u64>();
            let pieces = group.head.partition_point(|piece| piece.last() < first_kept);
            head_points += group.head.drain(..pieces).map(|piece| piece.len() as u64).sum::<u64>();
            if group.is_empty() {
                self.numbers.remove(&group.labels);
                gone.push((*number, Arc::clone(&group.labels)));
            }
            !group.is_empty()
        });
        self.forget(&gone);
        self.points -= points + head_points;
        self.head_points -= head_points;
        if self.head_points == 0 {
            self.head_first = None;
        }
        self.spans.expire(self.kept_from);
    }

    /// Takes groups that are gone out of the postings: one by one, or all anew when that is less work.
    fn forget(&mut self, gone: &[(u32, GroupLabels)]) {
        if gone.len() <= self.groups.len() / 16 {
            return gone.iter().for_each(|(number, labels)| self.postings.remove(*number, labels));
        }
        let mut left: Vec<_> = self.groups.iter().collect();
        left.sort_unstable_by_key(|(number, _)| **number);
        self.postings = Postings::default();
        left.iter().for_each(|(number, group)| self.postings.add(**number, &group.labels));
    }

    /// A group that was said to exist; numbers are never given twice.
    pub fn add_group(&mut self, number: u32, labels: GroupLabels) {
        self.next_group = self.next_group.max(number.saturating_add(1));
        self.postings.add(number, &labels);
        self.numbers.insert(Arc::clone(&labels), number);
        self.groups.insert(number, Group::new(labels));
    }
}
