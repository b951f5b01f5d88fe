//! Which selectors select a series.

use std::collections::{BTreeMap, HashMap};

use smol_str::SmolStr;

use crate::compile::{OperatorsPlan, ViewSlot};
use crate::model::{Labels, METRIC_NAME, MatchOp, Matcher, Tenant};

/// Selectors by tenant and metric name, so that a new series is tried only against those that could select it.
#[derive(Default)]
pub struct SelectorLookup {
    by_metric: HashMap<(Tenant, SmolStr), Vec<u32>>,
    /// Selectors without a plain metric name, by tenant.
    any_metric: BTreeMap<Tenant, Vec<u32>>,
}

impl SelectorLookup {
    pub fn new(plan: &OperatorsPlan) -> SelectorLookup {
        let mut lookup = SelectorLookup::default();
        for (place, shared) in plan.selectors.iter().enumerate() {
            let name = shared.selector.on(METRIC_NAME).find(|m| m.op == MatchOp::Equal);
            let list = match name {
                Some(name) => lookup.by_metric.entry((shared.tenant.clone(), name.value.clone())).or_default(),
                None => lookup.any_metric.entry(shared.tenant.clone()).or_default(),
            };
            list.push(place as u32);
        }
        lookup
    }

    /// The selectors that select a series.
    pub fn of(&self, plan: &OperatorsPlan, tenant: &Tenant, labels: &Labels) -> Vec<u32> {
        let named = self.by_metric.get(&(tenant.clone(), SmolStr::from(labels.metric()))).into_iter().flatten();
        let any = self.any_metric.get(tenant).into_iter().flatten();
        named.chain(any).copied().filter(|place| plan.selectors[*place as usize].selector.matches(labels)).collect()
    }

    /// The selectors that may select a series of which some labels are not told: of those named in `untold` any value, and
    /// when the empty name is among them, any that is not among `labels`.
    pub fn possible(&self, plan: &OperatorsPlan, tenant: &Tenant, labels: &Labels, untold: &[&str]) -> Vec<u32> {
        if untold.is_empty() {
            return self.of(plan, tenant, labels);
        }
        let any_absent = untold.contains(&"");
        let possible = |matcher: &Matcher| {
            let value = labels.get(&matcher.name);
            matcher.matches(value) || untold.contains(&matcher.name.as_str()) || (any_absent && value.is_empty())
        };
        let mine = plan.selectors.iter().zip(0..).filter(|(shared, _)| shared.tenant == *tenant);
        mine.filter(|(shared, _)| shared.selector.matchers().iter().all(possible)).map(|(_, place)| place).collect()
    }
}

/// The views over a series' selectors.
pub fn views_of<'a>(plan: &'a OperatorsPlan, selectors: &'a [u32]) -> impl Iterator<Item = ViewSlot> + 'a {
    selectors.iter().flat_map(|place| plan.selectors[*place as usize].views.iter().copied())
}
