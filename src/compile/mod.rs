//! From the catalog to the operators' plan: which selectors to look up, which views each one feeds.
//!
//! Passes run in order, one per file: number the views (stable over reloads, so that other views' state stays in place),
//! share the selectors (one lookup and one copy of the points for all views over one selector), measure (how far back and
//! how late samples matter).

mod measure;
mod number_views;
mod share_selectors;

use std::sync::Arc;

use crate::model::{Selector, Tenant};
use crate::plan::{Catalog, CatalogEntry, View};

/// The number of a view in the operators' state, dense, stable from one plan to the next; never stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct ViewSlot(pub u32);

/// A view as the operators hold it.
#[derive(Debug)]
pub struct PlannedView {
    pub slot: ViewSlot,
    pub entry: Arc<CatalogEntry>,
}

impl PlannedView {
    pub fn view(&self) -> &View {
        &self.entry.view
    }
}

/// A selector of a tenant and the views over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedSelector {
    pub tenant: Tenant,
    pub selector: Selector,
    pub views: Vec<ViewSlot>,
}

/// What the operators hold: replaced as a whole, in epoch order.
#[derive(Debug, Default)]
pub struct OperatorsPlan {
    /// Raised with every plan; series are looked up anew when it is.
    pub generation: u32,
    /// By slot; an empty place belonged to a view that is gone.
    pub views: Vec<Option<Arc<PlannedView>>>,
    pub selectors: Vec<SharedSelector>,
    /// The longest window or lookback.
    pub reach_ms_max: i64,
    /// The longest max_delay.
    pub max_delay_ms_max: i64,
    /// The longest step.
    pub step_ms_max: i64,
}

impl OperatorsPlan {
    pub fn view(&self, slot: ViewSlot) -> Option<&Arc<PlannedView>> {
        self.views.get(slot.0 as usize)?.as_ref()
    }

    /// The views in force, by slot.
    pub fn live(&self) -> impl Iterator<Item = &Arc<PlannedView>> {
        self.views.iter().flatten()
    }
}

pub use crate::plan::FUTURE_MS;

/// Plans a catalog's views, keeping the slots of those already in `previous`.
pub fn compile(catalog: &Catalog, previous: &OperatorsPlan) -> OperatorsPlan {
    let mut plan = OperatorsPlan { generation: previous.generation + 1, ..OperatorsPlan::default() };
    // Numbers first: selectors refer to views by slot.
    number_views::run(&mut plan, catalog, previous);
    share_selectors::run(&mut plan);
    measure::run(&mut plan);
    plan
}
