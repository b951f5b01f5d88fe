//! A partition of "samples" that is folded: which views of it, from which grid points, and under which scope it is said.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::Topics;
use crate::compile::{OperatorsPlan, compile};
use crate::dataflow::coverage::ViewCoverage;
use crate::dataflow::{Scope, Standing, ViewSet, ViewStart};
use crate::log::topics::PartitionFrom;
use crate::model::{PartitionId, Timestamp, ViewId};
use crate::node::begin::Begin;
use crate::plan::{Catalog, CatalogEntry};
use crate::wire::cluster::ScopeEntry;

/// A partition that is folded.
pub(super) struct Part {
    pub plan: Arc<OperatorsPlan>,
    pub entries: BTreeMap<ViewId, ScopeEntry>,
}

impl Part {
    /// The plan of what is folded of the catalog.
    pub fn replan(&mut self, catalog: &Catalog) {
        let entries = catalog.entries().filter(|entry| self.entries.contains_key(&entry.view.id)).cloned();
        self.plan = Arc::new(compile(&Catalog::of(entries.collect::<Vec<_>>()), &self.plan));
    }
}

/// Numbers scopes, unlike those of any other process.
pub(super) struct Scopes {
    random: RandomState,
    next: u64,
    log_incarnation: u128,
    homes: u16,
}

impl Scopes {
    pub fn new(topics: &Topics) -> Scopes {
        Scopes {
            random: RandomState::new(),
            next: 0,
            log_incarnation: topics.samples.incarnation(),
            homes: topics.partials.partitions(),
        }
    }

    pub fn scope(&mut self, partition: PartitionId, set: u64, part: &Part) -> Scope {
        self.next += 1;
        Scope {
            id: self.random.hash_one(self.next),
            log_incarnation: self.log_incarnation,
            partition,
            set,
            plan: Arc::clone(&part.plan),
            entries: part.entries.clone(),
            feeds: BTreeMap::new(),
            homes: self.homes,
        }
    }
}

/// Where windows are whole, of a partition that is read from a place.
pub(super) fn begin_of(topics: &Topics, partition: PartitionId, from: PartitionFrom, first: Timestamp) -> Begin {
    let extent = topics.samples.extent(partition);
    let wanted = if let PartitionFrom::LogTime(log_time) = from { Some(log_time) } else { None };
    let oldest = if extent.first_log_time == Timestamp::MIN { first } else { extent.first_log_time };
    Begin::judge(wanted, first, oldest, extent.truncated)
}

/// Views that begin where reading does, or where combine stands.
pub(super) fn part(
    entries: Vec<Arc<CatalogEntry>>,
    standing: &BTreeMap<ViewId, Standing>,
    begin: &Begin,
) -> (Part, ViewSet) {
    let plan = Arc::new(compile(&Catalog::of(entries), &OperatorsPlan::default()));
    let (mut scope, mut starts) = (BTreeMap::new(), Vec::new());
    for planned in plan.live() {
        let view = planned.view();
        let possible = begin.first(view);
        let next = standing.get(&view.id).filter(|standing| standing.suspended.is_none()).map(|standing| standing.next);
        let first = next.map_or(possible, |next| next.max(possible));
        let (whole_from, last) = (begin.whole_from(view), Timestamp::MAX);
        // Where combine stands further on, what lies before was said by another scope.
        let begins = next.is_none_or(|next| next < possible);
        let complete = begin.complete && first == possible;
        scope.insert(view.id, ScopeEntry { first, whole_from, last, begins, complete });
        starts.push(ViewStart { slot: planned.slot, first, whole_from, last, coverage: ViewCoverage::default() });
    }
    (Part { plan: Arc::clone(&plan), entries: scope }, ViewSet { plan, starts, ends: Vec::new() })
}
