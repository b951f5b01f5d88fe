//! Trust by comparison: a view is served only after upstream was asked once and said the same (semantics.md S3).
//!
//! A [`comparison`] at a final grid point. Equal: served from there on, until something happens that asks again. Unequal:
//! not served, tried again with growing pauses, which begin anew when a span has begun or ended since: then the cause may
//! be gone. Nothing on either side vouches for nothing, and is no comparison that others must keep their distance from:
//! tried again as soon as the view has a series. Remembered in the store.
//!
//! What upstream was asked at the edge is compared too, once the view has its own value (S5): that costs nothing. Such an
//! answer may be incomplete, since it was given early, so when it is unequal it only asks for a comparison proper.

mod comparison;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::coverage::{Compared, Coverage, PointState, Vouching, changed_between, comparison_due, confirm};
use super::upstream::Upstream;
use crate::model::{Timestamp, ViewId};
use crate::plan::{Catalog, CatalogEntry, View};
use crate::store::Store;
use comparison::{Finding, compare};

pub use comparison::{close, first_difference};

/// Comparisons per view that found something are at least this far apart.
const PAUSE_MS: i64 = 60_000;

/// And at most this far while they stay unequal.
const PAUSE_MS_MAX: i64 = 3_600_000;

/// How many views are compared at once.
const COMPARED_AT_ONCE: usize = 4;

/// How many doubts are remembered; what lies before the oldest is not served any more.
const DOUBTS_MAX: usize = 16;

/// What comparisons said of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrustRecord {
    /// Grid points of equal comparisons that still vouch for something, in ms, in order.
    confirmed_ms: Vec<i64>,
    /// Instants from which on an earlier equal comparison no longer vouches, in ms, in order.
    doubted_ms: Vec<i64>,
    /// The newest grid point found equal.
    last_equal_ms: Option<i64>,
    /// A grid point at which upstream, asked at the edge, said otherwise: a comparison proper is due.
    suspected_ms: Option<i64>,
    pub equal: u64,
    pub unequal: u64,
    /// Comparisons for which upstream gave no answer.
    pub failed: u64,
    /// Comparisons that found no series on either side.
    pub nothing: u64,
    /// The last comparison proper found nothing on either side, nor had the view a series.
    found_nothing: bool,
    /// Comparisons since the last equal one, or since the view has a series.
    failures: u32,
    /// Not before this instant.
    next_ms: i64,
    /// When the last comparison proper was made, and at which grid point.
    last_ms: i64,
    last_at_ms: i64,
    /// What the last unequal or failed one found.
    pub last_difference: Option<String>,
}

impl TrustRecord {
    pub fn compared(&self) -> Compared {
        let instants = |ms: &[i64]| ms.iter().map(|ms| Timestamp(*ms)).collect();
        Compared { equal: instants(&self.confirmed_ms), doubted: instants(&self.doubted_ms) }
    }

    /// The newest grid point found equal.
    pub fn last_equal(&self) -> Option<Timestamp> {
        self.last_equal_ms.map(Timestamp)
    }

    /// Notes that the values of a grid point are equal; true when that ends a suspicion.
    fn found_equal(&mut self, t: Timestamp) -> bool {
        self.equal += 1;
        self.last_equal_ms = self.last_equal_ms.max(Some(t.0));
        self.suspected_ms.take_if(|suspected| t.0 >= *suspected).is_some()
    }

    /// From here on the view is served as far as a comparison proper that was equal at a grid point can vouch for it.
    fn vouched(&mut self, state: Option<&crate::store::ViewState>, t: Timestamp, now: Timestamp) {
        let mut compared = self.compared();
        if let Some(state) = state {
            confirm(state, &mut compared, t);
            // Of those that retention has passed only the newest can vouch for anything it has not.
            let passed = compared.equal.partition_point(|equal| Some(*equal) <= state.covered_from);
            compared.equal.drain(..passed.saturating_sub(1));
        }
        self.confirmed_ms = compared.equal.into_iter().map(|t| t.0).collect();
        (self.last_difference, self.failures, self.next_ms) = (None, 0, now.0 + PAUSE_MS);
    }

    /// Notes an unequal comparison. Everything after the last equal one is in doubt, also what was served so far.
    fn found_unequal(&mut self, t: Timestamp) {
        self.unequal += 1;
        self.suspected_ms = None;
        let vouched = self.confirmed_ms.iter().copied().filter(|ms| *ms <= t.0).max();
        let Some(vouched) = vouched.max(self.last_equal_ms.filter(|ms| *ms <= t.0)) else { return };
        if self.doubted_ms.last().is_none_or(|doubted| *doubted < vouched) {
            self.doubted_ms.push(vouched + 1);
        }
        if self.doubted_ms.len() > DOUBTS_MAX {
            let oldest = self.doubted_ms.remove(0);
            self.confirmed_ms.retain(|ms| *ms >= oldest);
        }
    }

    fn pause(&mut self, now: Timestamp) {
        self.failures += 1;
        self.next_ms = now.0 + (PAUSE_MS << self.failures.clamp(1, 7).saturating_sub(1)).min(PAUSE_MS_MAX);
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

    /// Makes the comparisons that are due, a few at once. `valued` tells a view's newest grid point, and how many series have a
    /// value at it; a view whose store is behind that, or not yet known of it since a restart, is compared another time.
    pub async fn compare_due(
        &self,
        catalog: &Catalog,
        upstream: &Upstream,
        now: Timestamp,
        valued: impl Fn(ViewId) -> Option<(Timestamp, u64)>,
    ) {
        let due: Vec<(Arc<CatalogEntry>, Timestamp, u64)> = catalog
            .entries()
            .filter_map(|entry| {
                let (newest, valued) = valued(entry.view.id)?;
                let t = self.due_at(&entry.view, valued, now).filter(|t| *t == newest)?;
                Some((Arc::clone(entry), t, valued))
            })
            .take(COMPARED_AT_ONCE)
            .collect();
        let comparisons = due.iter().map(|(entry, t, valued)| self.compare(entry, (*t, *valued), upstream, now));
        futures_util::future::join_all(comparisons).await;
    }

    /// The grid point at which a view, of which so many series have a value, wants to be compared now.
    fn due_at(&self, view: &View, valued: u64, now: Timestamp) -> Option<Timestamp> {
        let record = self.record(view.id);
        let pause_ends = match record.found_nothing {
            true if valued > 0 => record.last_ms,
            true => record.next_ms,
            false => record.next_ms.min(record.last_ms + PAUSE_MS),
        };
        if now.0 < pause_ends {
            return None;
        }
        let state = self.store.view(view.id)?;
        let t = state.final_to?;
        let suspected = record.suspected_ms.is_some() && is_whole(&state, t);
        let changed = record.found_nothing || changed_between(&state, Timestamp(record.last_at_ms), t);
        let waits = now.0 < record.next_ms && !changed;
        (suspected || (!waits && comparison_due(&state, &record.compared(), t))).then_some(t)
    }

    async fn compare(&self, entry: &CatalogEntry, (t, valued): (Timestamp, u64), upstream: &Upstream, now: Timestamp) {
        let view = &entry.view;
        let compared = compare(&self.store, view, (t, valued), upstream).await;
        let mut record = self.record(view.id);
        (record.last_ms, record.last_at_ms) = (now.0, t.0);
        if record.found_nothing && valued > 0 {
            record.failures = 0;
        }
        record.found_nothing = compared == Ok(Finding::Nothing) && valued == 0;
        match compared {
            Ok(Finding::Equal) => {
                record.found_equal(t);
                record.vouched(self.store.view(view.id).as_ref(), t, now);
            }
            Ok(Finding::Nothing) => {
                record.nothing += 1;
                record.pause(now);
                record.last_difference = Some(format!("at {t}: no series has a value, here or upstream"));
            }
            Ok(Finding::Differs(difference)) => {
                record.found_unequal(t);
                record.pause(now);
                tracing::warn!(job = %entry.job, rule = %entry.rule, at = %t, %difference,
                    "the view is not served: upstream says otherwise");
                record.last_difference = Some(format!("at {t}: {difference}"));
            }
            Err(error) => {
                record.failed += 1;
                record.pause(now);
                tracing::warn!(job = %entry.job, rule = %entry.rule, at = %t, %error, "the view could not be compared");
                record.last_difference = Some(format!("at {t}: not compared: {error}"));
            }
        }
        self.keep(view.id, record);
    }

    /// What a comparison with an answer that was given at the edge says.
    pub fn compared_at_edge(&self, entry: &CatalogEntry, t: Timestamp, difference: Option<&str>) {
        let view = entry.view.id;
        if !self.store.view(view).is_some_and(|state| is_whole(&state, t)) {
            return;
        }
        let mut record = self.record(view);
        let changed = match difference {
            None => {
                // Says nothing of how many series there are; what was unequal may be over, though.
                if record.failures > 0 {
                    record.next_ms = record.last_ms + PAUSE_MS;
                }
                record.found_equal(t)
            }
            Some(difference) => {
                tracing::info!(job = %entry.job, rule = %entry.rule, at = %t, %difference,
                    "upstream said otherwise at the edge; it is asked again");
                record.suspected_ms.replace(t.0) != Some(t.0)
            }
        };
        match changed {
            true => self.keep(view, record),
            // Only counted: not worth a write for every grid point.
            false => drop(self.records.lock().insert(view, record)),
        }
    }
}

/// Whether no span keeps a grid point from being compared.
fn is_whole(state: &crate::store::ViewState, t: Timestamp) -> bool {
    Coverage::strict(state, Vouching::NotAsked).between(t, t) == PointState::Served
}

fn note_key(view: ViewId) -> String {
    format!("trust/{view}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubts_reach_back_to_the_last_equal_comparison() {
        let mut record = TrustRecord { confirmed_ms: vec![100], last_equal_ms: Some(300), ..TrustRecord::default() };
        record.found_unequal(Timestamp(400));
        record.found_unequal(Timestamp(460));
        assert_eq!((record.doubted_ms.as_slice(), record.unequal), (&[301][..], 2));
        // A view that nothing has vouched for yet has nothing to lose.
        let mut fresh = TrustRecord::default();
        fresh.found_unequal(Timestamp(400));
        assert_eq!((fresh.doubted_ms.len(), fresh.unequal), (0, 1));
        for at in 1..=20 {
            record.last_equal_ms = Some(at * 1000);
            record.found_unequal(Timestamp(at * 1000 + 100));
        }
        assert_eq!(record.doubted_ms.len(), DOUBTS_MAX);
        assert!(record.confirmed_ms.iter().all(|ms| *ms >= 301), "what lies before a forgotten doubt is not served");
    }

    #[test]
    fn records_of_earlier_versions_are_read() {
        let text = r#"{"confirmed_ms":[5],"equal":1,"unequal":0,"failures":0,"next_ms":7,"last_difference":null}"#;
        let record: TrustRecord = serde_json::from_str(text).unwrap();
        assert_eq!((record.compared().equal, record.failed), (vec![Timestamp(5)], 0));
    }
}
