//! Combine in a cluster: the folds of all partitions are other processes, and what they say comes from the topic "partials".
//!
//! A fold says facts of the log: partials, and up to where it has said them all, for the views of its *scope* (a scope's
//! keyframe names them, each with its first grid point). Facts are true whoever says them and however often, so folds that
//! were paused, replaced or started twice need no fencing: of two copies of a partial one is taken, and a grid point is final
//! in a partition once the scopes heard of join up to it from the view's next grid point, whoever's they are. Nothing is
//! believed of a scope whose keyframe has not been heard: it says which senders feed its views, too, on which coverage
//! depends. So a combine that begins to read again at the least offset that it still needs ([`ClusterCombine::needs`]) says
//! what one says that was never stopped.
//!
//! Keeps: per view what combine keeps in one process, and per partition how far it was given; per scope its views. Bounded by how
//! far partitions are apart.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::coverage::ViewCoverage;
use super::gathered::GatheredView;
use super::message::EpochOutput;
use super::newcomers::{Sender, Senders};
use crate::compile::{OperatorsPlan, PlannedView};
use crate::model::{LogTime, Offset, PartitionId, SenderSeen, Timestamp, ViewId};
use crate::wire::cluster::{PartialsRecord, ScopeEntry, SpanOf, ViewPartials};

/// A scope that nothing was heard of for so long is not waited for, nor are its keyframes kept in reach: folds repeat them
/// several times as often.
const SCOPE_SILENT_MS: i64 = 120_000;

/// Views that are remembered after they are gone from the jobs.
const REMEMBERED_MAX: usize = 20_000;

/// The partition of "partials" in which a view lives, of so many.
pub fn home_of(view: ViewId, partitions: u16) -> PartitionId {
    PartitionId((view.0 % u128::from(partitions.max(1))) as u16)
}

/// Of what combine is made.
#[derive(Clone, Debug)]
pub struct ClusterCombineOptions {
    /// The log of the samples, and its partitions.
    pub log_incarnation: u128,
    pub partitions: u16,
    pub new_senders_uncover: bool,
    /// Whether known senders are passed on: one combine of all does.
    pub tells_senders: bool,
    /// What was said before this, by the clocks of the samples' log, may have been deleted; `None` when nothing was.
    pub readable_from: Option<LogTime>,
}

/// Where a view stands, for who goes on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Standing {
    /// The next grid point to emit; `Timestamp::MIN` when it has not begun.
    pub next: Timestamp,
    #[serde(flatten)]
    pub coverage: ViewCoverage,
    /// From when on it is suspended because it is beyond its limits, and the job set under which it was.
    pub suspended: Option<(Timestamp, u64)>,
    /// The newest grid point of which something was said while the view was not in force; `Timestamp::MIN` when there is none.
    /// Nothing up to it can be put together any more.
    #[serde(default = "Standing::nothing_missed")]
    pub missed: Timestamp,
}

impl Standing {
    fn nothing_missed() -> Timestamp {
        Timestamp::MIN
    }

    /// Whether it has emitted anything.
    pub fn begun(&self) -> bool {
        self.next != Timestamp::MIN
    }
}

/// The state of one partition of "partials".
pub struct ClusterCombine {
    options: ClusterCombineOptions,
    set: u64,
    views: BTreeMap<ViewId, GatheredView>,
    /// Views that are in no plan, and where they stood.
    remembered: BTreeMap<ViewId, Standing>,
    scopes: HashMap<u64, Scope>,
    senders: Senders,
    known: HashSet<(Sender, PartitionId)>,
    /// The newest log time of "partials".
    heard: LogTime,
    /// Records that are not of this log, or of a partition that it does not have.
    pub skipped: u64,
}

/// What a fold gives of one partition.
struct Scope {
    partition: PartitionId,
    entries: Vec<(ViewId, ScopeEntry)>,
    /// Parts heard of the keyframe that is being read, and where its first one stands.
    parts: HashSet<u32>,
    begun_at: Offset,
    /// Where the first part of the last whole keyframe stands.
    whole_at: Option<Offset>,
    heard: LogTime,
}

impl ClusterCombine {
    /// `known` are the senders seen so far; `standing` is where views stand.
    pub fn new(
        options: ClusterCombineOptions,
        known: &[SenderSeen],
        standing: BTreeMap<ViewId, Standing>,
    ) -> ClusterCombine {
        let mut combine = ClusterCombine {
            options,
            set: 0,
            views: BTreeMap::new(),
            remembered: standing,
            scopes: HashMap::new(),
            senders: Senders::default(),
            known: HashSet::new(),
            heard: Timestamp::MIN,
            skipped: 0,
        };
        known.iter().for_each(|seen| drop(combine.sighted(seen)));
        combine
    }

    /// The number of the job set in force here. Records of a later one must wait until that is known.
    pub fn set(&self) -> u64 {
        self.set
    }

    /// Puts the views of a job set in force: those of the plan that live in this partition of "partials".
    pub fn views(&mut self, set: u64, plan: &OperatorsPlan, is_here: impl Fn(ViewId) -> bool) {
        self.set = set;
        let gone: Vec<ViewId> = self.views.keys().copied().filter(|id| !plan.live().any(|p| p.view().id == *id)).collect();
        for id in gone {
            if let Some(standing) = self.views.remove(&id).and_then(GatheredView::leave) {
                self.remembered.insert(id, standing);
            }
        }
        while self.remembered.len() > REMEMBERED_MAX {
            let oldest = self.remembered.iter().min_by_key(|(_, standing)| standing.next).map(|(id, _)| *id);
            oldest.and_then(|id| self.remembered.remove(&id));
        }
        for planned in plan.live().filter(|planned| is_here(planned.view().id)) {
            let id = planned.view().id;
            match self.views.get_mut(&id) {
                Some(view) if !view.is_suspended_before(set) => view.carry_on(Arc::clone(planned), set),
                _ => {
                    let standing = self.views.remove(&id).and_then(GatheredView::leave);
                    let standing = standing.or_else(|| self.remembered.remove(&id));
                    let (partitions, from) = (self.options.partitions, self.options.readable_from);
                    let view = GatheredView::new(Arc::clone(planned), partitions, standing, set, from);
                    self.views.insert(id, view);
                }
            }
        }
        // Scopes may speak of views that are here now.
        let entries: Vec<_> = self.scopes.values().filter(|scope| scope.whole_at.is_some()).collect();
        for scope in entries {
            for (id, entry) in &scope.entries {
                if let Some(view) = self.views.get_mut(id) {
                    view.enter(scope.partition, *entry);
                }
            }
        }
    }

    /// Where each view stands, those without a place left out.
    pub fn standing(&self) -> BTreeMap<ViewId, Standing> {
        let mut all = self.remembered.clone();
        all.extend(self.views.iter().filter_map(|(id, view)| Some((*id, view.standing()?))));
        all
    }

    /// From where on another combine has to read to go on as this one does, `next` being what this one reads next.
    pub fn needs(&self, next: Offset) -> Offset {
        let keyframes = self.scopes.values().map(|scope| scope.whole_at.unwrap_or(scope.begun_at).min(scope.begun_at));
        let partials = self.views.values().filter_map(GatheredView::least_offset);
        keyframes.chain(partials).fold(next, Offset::min)
    }

    /// One record, with its place and log time in "partials". What is final by it stands in `out`, and in `decided` per view
    /// the first and last grid point.
    pub fn record(
        &mut self,
        (offset, log_time): (Offset, LogTime),
        record: PartialsRecord,
        out: &mut EpochOutput,
        decided: &mut Vec<(ViewId, Timestamp, Timestamp)>,
    ) {
        self.hear(log_time);
        if record.log_incarnation != self.options.log_incarnation || record.partition.0 >= self.options.partitions {
            self.skipped += 1;
            return;
        }
        for seen in &record.seen {
            if let Some(sender) = self.sighted(seen) {
                self.views.values_mut().for_each(|view| view.combined.newcomers.seen(&sender));
                if self.options.tells_senders {
                    out.senders.push(seen.clone());
                }
            }
        }
        self.keyframe(offset, &record);
        for view in &record.views {
            self.view(offset, record.partition, view, out);
        }
        self.marked(&record, out, decided);
    }

    /// Time passes, and scopes fall silent.
    fn hear(&mut self, log_time: LogTime) {
        self.heard = self.heard.max(log_time);
        let silent = self.heard - SCOPE_SILENT_MS;
        let views = &self.views;
        // One that ended says the only word there is of the grid points up to its last.
        let is_wanted = |(id, entry): &(ViewId, ScopeEntry)| {
            entry.last != Timestamp::MAX && views.get(id).is_some_and(|view| view.combined.next <= entry.last)
        };
        self.scopes.retain(|_, scope| scope.heard >= silent || scope.entries.iter().any(is_wanted));
    }

    /// Takes a first record; `None` when it is known.
    fn sighted(&mut self, seen: &SenderSeen) -> Option<Sender> {
        let sender = (seen.tenant.clone(), seen.sender.clone());
        self.known.insert((sender, seen.partition)).then(|| self.senders.add(seen))
    }

    /// Takes note of a scope, and of its views once all of its keyframe is there.
    fn keyframe(&mut self, offset: Offset, record: &PartialsRecord) {
        let Some(part) = record.keyframe else {
            if let Some(scope) = self.scopes.get_mut(&record.scope) {
                scope.heard = self.heard;
            }
            return;
        };
        let scope = self.scopes.entry(record.scope).or_insert_with(|| Scope {
            partition: record.partition,
            entries: Vec::new(),
            parts: HashSet::new(),
            begun_at: offset,
            whole_at: None,
            heard: self.heard,
        });
        scope.heard = self.heard;
        if part.part == 0 {
            scope.parts.clear();
            scope.begun_at = offset;
        }
        if scope.whole_at.is_none() {
            if part.part == 0 {
                scope.entries.clear();
            }
            scope.entries.extend(record.views.iter().filter_map(|view| Some((view.view, view.entry?))));
        }
        scope.parts.insert(part.part);
        let is_whole = scope.parts.len() as u64 == u64::from(part.parts);
        if !is_whole {
            return;
        }
        let known = scope.whole_at.replace(scope.begun_at).is_some();
        if !known {
            for (id, entry) in &scope.entries {
                if let Some(view) = self.views.get_mut(id) {
                    view.enter(record.partition, *entry);
                }
            }
        }
    }

    /// What is said of one view.
    fn view(&mut self, offset: Offset, partition: PartitionId, said: &ViewPartials, out: &mut EpochOutput) {
        let Some(view) = self.views.get_mut(&said.view) else { return self.miss(said) };
        for (reason, from, to) in said.uncovers.iter().filter(|(_, from, to)| from < to) {
            out.spans.push(view.combined.uncover(*reason, *from, *to));
        }
        if self.options.new_senders_uncover {
            for sender in &said.feeds {
                view.feed(sender, &self.senders, out);
            }
        }
        said.points.iter().for_each(|point| view.take(offset, partition, point));
    }

    /// Something is said of a view that is not in force: when it comes again, that cannot be known any more.
    fn miss(&mut self, said: &ViewPartials) {
        let Some(newest) = said.points.iter().map(|point| point.t).max() else { return };
        if self.remembered.len() < REMEMBERED_MAX || self.remembered.contains_key(&said.view) {
            let nothing = Standing {
                next: Timestamp::MIN,
                coverage: ViewCoverage::default(),
                suspended: None,
                missed: Timestamp::MIN,
            };
            let standing = self.remembered.entry(said.view).or_insert(nothing);
            standing.missed = standing.missed.max(newest);
        }
    }

    /// A mark: the scope's views may have become final.
    fn marked(&mut self, record: &PartialsRecord, out: &mut EpochOutput, decided: &mut Vec<(ViewId, Timestamp, Timestamp)>) {
        let (Some(mark), Some(scope)) = (record.mark, self.scopes.get(&record.scope)) else { return };
        if scope.whole_at.is_none() {
            return;
        }
        for (id, entry) in &scope.entries {
            let Some(view) = self.views.get_mut(id) else { continue };
            view.given(record.partition, *entry, mark);
            if let Some((from, to)) = view.emit_final(&self.senders, out) {
                decided.push((*id, from, to));
            }
        }
    }

    /// The spans of a view that are open, for a store that begins to read here.
    pub fn open_spans(&self, id: ViewId) -> Vec<SpanOf> {
        self.views.get(&id).map(GatheredView::open_spans).unwrap_or_default()
    }

    /// The views held here.
    pub fn held(&self) -> impl Iterator<Item = &Arc<PlannedView>> {
        self.views.values().map(|view| &view.combined.planned)
    }
}
