//! Groups the views by tenant and selector: one lookup per series for all of them.

use std::collections::BTreeMap;

use super::{OperatorsPlan, SharedSelector, ViewSlot};
use crate::model::{Selector, Tenant};

pub(super) fn run(plan: &mut OperatorsPlan) {
    // Selectors are ordered by their text; the compiled expressions inside never change it.
    #[allow(clippy::mutable_key_type)]
    let mut shared: BTreeMap<(Tenant, Selector), Vec<ViewSlot>> = BTreeMap::new();
    for planned in plan.live() {
        let view = planned.view();
        shared.entry((view.tenant.clone(), view.shape.selector.clone())).or_default().push(planned.slot);
    }
    plan.selectors =
        shared.into_iter().map(|((tenant, selector), views)| SharedSelector { tenant, selector, views }).collect();
}
