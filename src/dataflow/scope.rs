//! A scope: what the fold of one partition says to combine, as records of "partials".
//!
//! A scope names the views that its marks speak of, each with its first grid point; another set of views is another scope.
//! Its keyframe says them, and who feeds them, and is said again every while, so that a combine that begins to read finds it
//! near. Views live in one partition of "partials" each, so each gets a keyframe, and marks, of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cluster_combine::home_of;
use super::message::{PartialOf, Stretch, ToCombine};
use super::status::Status;
use crate::compile::{OperatorsPlan, ViewSlot};
use crate::model::{LogTime, Offset, PartitionId, SenderSeen, ViewId};
use crate::wire::cluster::{
    GridPartials, GroupRow, KeyframePart, PartialsRecord, ScopeEntry, SenderOf, VALUES_MAX, ViewPartials,
};

/// Views, or senders of a view, in one part of a keyframe.
const KEYFRAME_PART: usize = 256;

/// What the fold of one partition gives.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Unlike that of any other scope.
    pub id: u64,
    pub log_incarnation: u128,
    pub partition: PartitionId,
    /// The number of the job set.
    pub set: u64,
    /// Names the views by their slots.
    pub plan: Arc<OperatorsPlan>,
    pub entries: BTreeMap<ViewId, ScopeEntry>,
    /// Who feeds which view, as far as was heard.
    pub feeds: BTreeMap<ViewId, BTreeSet<SenderOf>>,
    /// Partitions of "partials".
    pub homes: u16,
}

impl Scope {
    fn empty(&self, next: Offset) -> PartialsRecord {
        PartialsRecord {
            log_incarnation: self.log_incarnation,
            partition: self.partition,
            next,
            scope: self.id,
            set: self.set,
            ..PartialsRecord::default()
        }
    }

    fn view_of(&self, slot: ViewSlot) -> Option<ViewId> {
        self.plan.view(slot).map(|planned| planned.view().id)
    }

    /// The scope's keyframe, with where each part goes. `next` is how far the fold has come.
    pub fn keyframe(&self, next: Offset) -> Vec<(PartitionId, PartialsRecord)> {
        let mut by_home: BTreeMap<PartitionId, Vec<Vec<ViewPartials>>> = BTreeMap::new();
        for (view, entry) in &self.entries {
            let parts = by_home.entry(home_of(*view, self.homes)).or_insert_with(|| vec![Vec::new()]);
            let senders: Vec<SenderOf> = self.feeds.get(view).into_iter().flatten().cloned().collect();
            let mut chunks = senders.chunks(KEYFRAME_PART);
            let first = ViewPartials {
                view: *view,
                entry: Some(*entry),
                feeds: chunks.next().unwrap_or_default().to_vec(),
                ..ViewPartials::default()
            };
            let more = chunks.map(|feeds| ViewPartials { view: *view, feeds: feeds.to_vec(), ..ViewPartials::default() });
            for said in [first].into_iter().chain(more) {
                let last = parts.last().map_or(0, |part| part.iter().map(|view| 1 + view.feeds.len()).sum::<usize>());
                match parts.last_mut().filter(|_| last + said.feeds.len() < KEYFRAME_PART) {
                    Some(part) => part.push(said),
                    None => parts.push(vec![said]),
                }
            }
        }
        let mut records = Vec::new();
        for (home, parts) in by_home {
            let count = parts.len() as u32;
            records.extend(parts.into_iter().zip(0..).map(|(views, part)| {
                let keyframe = Some(KeyframePart { part, parts: count });
                (home, PartialsRecord { keyframe, views, ..self.empty(next) })
            }));
        }
        records
    }

    /// What the fold gave since it was asked last, as one record for each partition of "partials". `next` and `mark` are how
    /// far it has come.
    pub fn said(&mut self, messages: Vec<ToCombine>, next: Offset, mark: LogTime) -> Vec<(PartitionId, PartialsRecord)> {
        let mut seen: Vec<SenderSeen> = Vec::new();
        let mut views: BTreeMap<ViewId, ViewPartials> = BTreeMap::new();
        for message in messages {
            self.message(message, &mut seen, &mut views);
        }
        let mut by_home: BTreeMap<PartitionId, PartialsRecord> = BTreeMap::new();
        let homes: BTreeSet<PartitionId> = match seen.is_empty() {
            true => self.entries.keys().map(|view| home_of(*view, self.homes)).collect(),
            // Whoever judges a view must know when its senders began.
            false => (0..self.homes).map(PartitionId).collect(),
        };
        for home in homes {
            by_home.insert(home, PartialsRecord { mark: Some(mark), seen: seen.clone(), ..self.empty(next) });
        }
        for (view, said) in views {
            if let Some(record) = by_home.get_mut(&home_of(view, self.homes)) {
                record.views.push(said);
            }
        }
        by_home.into_iter().collect()
    }

    fn message(&mut self, message: ToCombine, seen: &mut Vec<SenderSeen>, views: &mut BTreeMap<ViewId, ViewPartials>) {
        let slot = match &message {
            ToCombine::Partial(partial) => partial.slot,
            ToCombine::Status { status, .. } => status.slot,
            ToCombine::Uncover(stretch) => stretch.slot,
            ToCombine::Feeds(feeds) => feeds.slot,
            ToCombine::Seen(sighted) => return seen.push(sighted.clone()),
            ToCombine::Views(_) | ToCombine::Mark { .. } | ToCombine::Folded(_) => return,
        };
        let Some(id) = self.view_of(slot) else { return };
        // Windows begin a point early, to know what was overdue there: of it nothing is said, for it may be half filled.
        let entry = self.entries.get(&id);
        let gives = |t| entry.is_some_and(|entry| entry.first <= t && t <= entry.last);
        match &message {
            ToCombine::Partial(PartialOf { t, .. }) | ToCombine::Status { status: Status { t, .. }, .. } if !gives(*t) => {
                return;
            }
            _ => {}
        }
        let view = views.entry(id).or_insert_with(|| ViewPartials { view: id, ..ViewPartials::default() });
        match message {
            ToCombine::Partial(partial) => {
                let mut values = [0.0; VALUES_MAX];
                values.copy_from_slice(&partial.slots);
                point(view, partial.t).groups.push(GroupRow { labels: partial.group, values });
            }
            ToCombine::Status { status, .. } => point(view, status.t).status = Some(status.numbers()),
            ToCombine::Uncover(Stretch { reason, from, to, .. }) => view.uncovers.push((reason, from, to)),
            ToCombine::Feeds(feeds) => {
                let sender = (feeds.tenant, feeds.sender);
                if self.feeds.entry(id).or_default().insert(sender.clone()) {
                    view.feeds.push(sender);
                }
            }
            ToCombine::Seen(_) | ToCombine::Views(_) | ToCombine::Mark { .. } | ToCombine::Folded(_) => {}
        }
    }
}

/// The grid point of a view, which is mostly the last one.
fn point(view: &mut ViewPartials, t: crate::model::Timestamp) -> &mut GridPartials {
    let place = match view.points.iter().rposition(|point| point.t == t) {
        Some(place) => place,
        None => {
            view.points.push(GridPartials { t, ..GridPartials::default() });
            view.points.len() - 1
        }
    };
    &mut view.points[place]
}
