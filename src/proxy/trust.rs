//! Trust by comparison: a view is served only after upstream was asked once and said the same (semantics.md S3).
//!
//! One instant query of the view's expression at a final grid point, labels included. Equal: served from there on, until
//! something happens that asks again. Unequal: not served, tried again with growing pauses, which begin anew when a span has
//! begun or ended since: then the cause may be gone. Remembered in the store.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::coverage::{changed_between, comparison_due, confirm};
use super::upstream::Upstream;
use crate::model::{Labels, Timestamp, ViewId};
use crate::plan::{Catalog, CatalogEntry, View};
use crate::store::{ReadLimits, Store};

/// Comparisons per view are at least this far apart.
const PAUSE_MS: i64 = 60_000;

/// And at most this far while they stay unequal.
const PAUSE_MS_MAX: i64 = 3_600_000;

/// How many views are compared at once.
const COMPARED_AT_ONCE: usize = 4;

/// Values equal within this are equal: sums are added in another order upstream.
const TOLERANCE: f64 = 1e-9;

/// What comparisons said of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustRecord {
    /// Grid points of equal comparisons that still vouch for something, in ms, in order.
    confirmed_ms: Vec<i64>,
    pub equal: u64,
    pub unequal: u64,
    /// Unequal or failed comparisons since the last equal one.
    failures: u32,
    /// Not before this instant.
    next_ms: i64,
    /// When the last comparison was made, and at which grid point.
    #[serde(default)]
    last_ms: i64,
    #[serde(default)]
    last_at_ms: i64,
    /// What the last unequal one found.
    pub last_difference: Option<String>,
}

impl TrustRecord {
    pub fn confirmed(&self) -> Vec<Timestamp> {
        self.confirmed_ms.iter().map(|ms| Timestamp(*ms)).collect()
    }
}

/// The trust records of all views.
pub struct Trust {
    store: Arc<Store>,
    records: Mutex<HashMap<ViewId, TrustRecord>>,
}

impl Trust {
    pub fn new(store: Arc<Store>) -> Trust {
        Trust { store, records: Mutex::default() }
    }

    /// What is known of a view; read from the store when first asked.
    pub fn record(&self, view: ViewId) -> TrustRecord {
        let mut records = self.records.lock();
        let stored = || self.store.note(&note_key(view)).and_then(|bytes| serde_json::from_slice(&bytes).ok());
        records.entry(view).or_insert_with(|| stored().unwrap_or_default()).clone()
    }

    fn keep(&self, view: ViewId, record: TrustRecord) {
        let bytes = serde_json::to_vec(&record).unwrap_or_default();
        if let Err(error) = self.store.put_note(&note_key(view), &bytes) {
            tracing::warn!(%view, %error, "cannot remember a comparison; it will be made again after a restart");
        }
        self.records.lock().insert(view, record);
    }

    /// Makes the comparisons that are due, a few at once.
    pub async fn compare_due(&self, catalog: &Catalog, upstream: &Upstream, now: Timestamp) {
        let due: Vec<(Arc<CatalogEntry>, Timestamp)> = catalog
            .entries()
            .filter_map(|entry| self.due_at(&entry.view, now).map(|t| (Arc::clone(entry), t)))
            .take(COMPARED_AT_ONCE)
            .collect();
        let comparisons = due.iter().map(|(entry, t)| self.compare(entry, *t, upstream, now));
        futures_util::future::join_all(comparisons).await;
    }

    /// The grid point at which a view wants to be compared now.
    fn due_at(&self, view: &View, now: Timestamp) -> Option<Timestamp> {
        let record = self.record(view.id);
        if now.0 < record.next_ms.min(record.last_ms + PAUSE_MS) {
            return None;
        }
        let state = self.store.view(view.id)?;
        let t = state.final_to?;
        let waits = now.0 < record.next_ms && !changed_between(&state, Timestamp(record.last_at_ms), t);
        (!waits && comparison_due(&state, &record.confirmed(), t)).then_some(t)
    }

    async fn compare(&self, entry: &CatalogEntry, t: Timestamp, upstream: &Upstream, now: Timestamp) {
        let view = &entry.view;
        let difference = match upstream.instant(&view.tenant, &view.shape.to_string(), t).await {
            Err(error) => Some(error),
            Ok(theirs) => {
                let theirs = theirs.into_iter().map(|point| ((*point.labels).clone(), point.sample.v)).collect();
                match self.ours(view, t) {
                    Ok(ours) => first_difference(&ours, &theirs),
                    Err(error) => Some(error),
                }
            }
        };
        let mut record = self.record(view.id);
        (record.last_ms, record.last_at_ms) = (now.0, t.0);
        match difference {
            None => {
                record.equal += 1;
                record.failures = 0;
                record.last_difference = None;
                record.next_ms = now.0 + PAUSE_MS;
                let mut confirmed = record.confirmed();
                if let Some(state) = self.store.view(view.id) {
                    confirm(&state, &mut confirmed, t);
                }
                record.confirmed_ms = confirmed.into_iter().map(|t| t.0).collect();
            }
            Some(difference) => {
                record.unequal += 1;
                record.failures += 1;
                record.next_ms = now.0 + (PAUSE_MS << record.failures.clamp(1, 7).saturating_sub(1)).min(PAUSE_MS_MAX);
                tracing::warn!(job = %entry.job, rule = %entry.rule, at = %t, %difference,
                    "the view is not served: upstream says otherwise");
                record.last_difference = Some(format!("at {t}: {difference}"));
            }
        }
        self.keep(view.id, record);
    }

    fn ours(&self, view: &View, t: Timestamp) -> Result<BTreeMap<Labels, f64>, String> {
        let limits = ReadLimits { series_max: usize::MAX, points_max: usize::MAX };
        let groups = self.store.read(view.id, &[], t, t, limits).map_err(|error| error.to_string())?;
        let value = |fields: &[Vec<f64>; 2]| {
            let stored = [fields[0].first().copied().unwrap_or(0.0), fields[1].first().copied().unwrap_or(0.0)];
            view.shape.aggregation.value_of(&stored)
        };
        Ok(groups
            .iter()
            .filter(|group| !group.times.is_empty())
            .map(|group| ((*group.labels).clone(), value(&group.fields)))
            .collect())
    }
}

fn note_key(view: ViewId) -> String {
    format!("trust/{view}")
}

/// The first series on which two answers differ, in words; `None` when they are equal.
pub fn first_difference(ours: &BTreeMap<Labels, f64>, theirs: &BTreeMap<Labels, f64>) -> Option<String> {
    for (labels, theirs) in theirs {
        match ours.get(labels) {
            None => return Some(format!("{labels} is {theirs} upstream and missing here")),
            Some(ours) if !close(*ours, *theirs) => return Some(format!("{labels} is {theirs} upstream and {ours} here")),
            Some(_) => {}
        }
    }
    let extra = ours.keys().find(|labels| !theirs.contains_key(*labels))?;
    Some(format!("{extra} is here and missing upstream"))
}

/// Equal, both NaN, or within the tolerance of each other.
pub fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_differ_in_labels_or_values_beyond_rounding() {
        let set = |pairs: &[(&str, f64)]| -> BTreeMap<Labels, f64> {
            pairs.iter().map(|(value, v)| (Labels::from_pairs([("a", *value)]), *v)).collect()
        };
        let ours = set(&[("x", 1.0), ("y", f64::NAN)]);
        assert_eq!(first_difference(&ours, &set(&[("x", 1.0 + 1e-12), ("y", f64::NAN)])), None);
        assert!(
            first_difference(&ours, &set(&[("x", 1.0 + 1e-6), ("y", f64::NAN)])).unwrap().contains("upstream and 1 here")
        );
        assert!(first_difference(&ours, &set(&[("x", 1.0)])).unwrap().contains("missing upstream"));
        assert!(first_difference(&ours, &set(&[("x", 1.0), ("y", 0.0), ("z", 0.0)])).is_some());
    }
}
