//! Aggregate: the values of a view's series at a grid point become one partial per group.
//!
//! In: [`Windowed`]; out: messages for combine, each with the view it is routed by, at once. Keeps: per view the labels of
//! this partition's groups. Values arrive in the order of series ids and are inserted in it: same log, same bits.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::message::{Evaluated, GroupIndex, PartialOf, ToCombine, Windowed};
use crate::compile::{OperatorsPlan, ViewSlot};
use crate::function::Partial;
use crate::model::{GroupLabels, Labels, PartitionId};

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
    scratch: Vec<Partial>,
    touched: Vec<GroupIndex>,
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
        let (slot, t) = (evaluated.status.slot, evaluated.status.t);
        let Some(planned) = self.plan.view(slot) else { return };
        let kind = planned.view().shape.aggregation.partial;
        let Some(groups) = self.groups.get(&slot) else { return };
        self.scratch.resize(groups.len().max(self.scratch.len()), UNTOUCHED);
        for (group, value) in &evaluated.values {
            let partial = &mut self.scratch[group.0 as usize];
            if is_untouched(partial) {
                *partial = kind.identity;
                self.touched.push(*group);
            }
            (kind.insert)(partial, *value);
        }
        for group in self.touched.drain(..) {
            let place = group.0 as usize;
            let slots = std::mem::replace(&mut self.scratch[place], UNTOUCHED).slots;
            let partial = PartialOf { slot, t, partition, group: Arc::clone(&groups[place]), slots };
            give(Route::View(slot), ToCombine::Partial(partial));
        }
        give(Route::View(slot), ToCombine::Status { partition, status: evaluated.status });
    }
}

/// Marks a group that has no value yet: a bit pattern no arithmetic makes.
const UNTOUCHED: Partial = Partial { slots: [f64::from_bits(UNTOUCHED_BITS), 0.0, 0.0] };
const UNTOUCHED_BITS: u64 = 0x7ff0_0000_dead_beef;

fn is_untouched(partial: &Partial) -> bool {
    partial.slots[0].to_bits() == UNTOUCHED_BITS
}
