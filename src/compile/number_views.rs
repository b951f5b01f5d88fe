//! Gives every view its slot: the one it had, or the next free one.

use std::collections::HashMap;
use std::sync::Arc;

use super::{OperatorsPlan, PlannedView, ViewSlot};
use crate::model::ViewId;
use crate::plan::Catalog;

pub(super) fn run(plan: &mut OperatorsPlan, catalog: &Catalog, previous: &OperatorsPlan) {
    let had: HashMap<ViewId, ViewSlot> = previous.live().map(|planned| (planned.view().id, planned.slot)).collect();
    plan.views = previous.views.iter().map(|_| None).collect();
    let mut fresh = Vec::new();
    for entry in catalog.entries() {
        match had.get(&entry.view.id) {
            Some(slot) => {
                let planned = PlannedView { slot: *slot, entry: Arc::clone(entry) };
                plan.views[slot.0 as usize] = Some(Arc::new(planned));
            }
            None => fresh.push(entry),
        }
    }
    // A slot that was freed is not given to another view: messages of the old one may still be under way.
    for entry in fresh {
        let slot = ViewSlot(plan.views.len() as u32);
        plan.views.push(Some(Arc::new(PlannedView { slot, entry: Arc::clone(entry) })));
    }
}
