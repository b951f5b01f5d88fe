//! Aggregate: the values of a view's series at a grid point become one partial per group.
//!
//! In: [`Windowed`]; out: messages for combine, each with the view it is routed by, at once. Keeps: per view the labels of
//! this partition's groups. Values arrive in the order of series ids and are inserted in it: same log, same bits.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::message::{Evaluated, PartialOf, ToCombine, Windowed};
use crate::compile::{OperatorsPlan, ViewSlot};
use crate::function::partial::PartialKind;
use crate::model::{GroupLabels, Labels, PartitionId, is_stale};

/// To whom a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Route {
    /// The worker that combines this view.
    View(ViewSlot),
    /// This worker.
    Worker(u64),
}

impl Route {
    /// The worker's number, before it is taken modulo their count.
    pub fn worker(self) -> u64 {
        match self {
            Route::View(slot) => u64::from(slot.0),
            Route::Worker(worker) => worker,
        }
    }
}

/// The state of one partition.
#[derive(Default)]
pub struct Aggregate {
    plan: Arc<OperatorsPlan>,
    groups: BTreeMap<ViewSlot, Vec<GroupLabels>>,
}

impl Aggregate {
    /// Gives what one record brought; `workers` is how many there are, `own` which of them this is.
    pub fn record(&mut self, input: Windowed, own: u64, workers: u64, give: &mut impl FnMut(Route, ToCombine)) {
        if let Some(set) = input.views {
            self.plan = Arc::clone(&set.plan);
            self.groups.retain(|slot, _| set.plan.view(*slot).is_some());
            give(Route::Worker(own), ToCombine::Views(set));
        }
        // Values were computed before this record's series were assigned: a group number may stand for another group after.
        for evaluated in input.evaluated {
            self.evaluated(input.partition, evaluated, give);
        }
        for new in input.groups {
            let groups = self.groups.entry(new.slot).or_default();
            let place = new.group.0 as usize;
            if groups.len() <= place {
                groups.resize_with(place + 1, || Arc::new(Labels::EMPTY));
            }
            groups[place] = new.labels;
        }
        if let Some(seen) = input.sender_seen {
            (0..workers).for_each(|worker| give(Route::Worker(worker), ToCombine::Seen(seen.clone())));
        }
        input.folded.into_iter().for_each(|folded| give(Route::Worker(own), ToCombine::Folded(folded)));
        input.feeds.into_iter().for_each(|feeds| give(Route::View(feeds.slot), ToCombine::Feeds(feeds)));
        input.uncovers.into_iter().for_each(|stretch| give(Route::View(stretch.slot), ToCombine::Uncover(stretch)));
    }

    fn evaluated(&mut self, partition: PartitionId, evaluated: Evaluated, give: &mut impl FnMut(Route, ToCombine)) {
        let Evaluated { status, values, groups } = evaluated;
        let (slot, t) = (status.slot, status.t);
        let Some(planned) = self.plan.view(slot) else { return };
        let Some(labels) = self.groups.get(&slot) else { return };
        let kind = planned.view().shape.aggregation.partial;
        let mut from = 0;
        for run in groups.iter() {
            let of_group = &values[std::mem::replace(&mut from, run.end as usize)..run.end as usize];
            let Some(slots) = fold(kind, of_group) else { continue };
            let group = Arc::clone(&labels[run.group.0 as usize]);
            give(Route::View(slot), ToCombine::Partial(PartialOf { slot, t, partition, group, slots }));
        }
        give(Route::View(slot), ToCombine::Status { partition, status });
    }
}

/// The partial of a group's values; `None` when there are none.
fn fold(kind: &PartialKind, values: &[f64]) -> Option<[f64; 3]> {
    let mut there = values.iter().filter(|value| !is_stale(**value)).peekable();
    there.peek()?;
    let mut partial = kind.identity;
    there.for_each(|value| (kind.insert)(&mut partial, *value));
    Some(partial.slots)
}
