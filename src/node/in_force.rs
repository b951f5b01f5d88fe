//! The jobs in force, for whoever reads them: pages, metrics and the proxy.
//!
//! Whoever streams puts them here, because it alone knows when they came into force: at once where they are read from a
//! directory, with the cluster where it follows a numbered set.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::jobs::LoadedJobs;
use super::retired::with_retired;
use crate::model::Timestamp;
use crate::proxy::Proxy;

/// The jobs in force.
pub struct JobsInForce {
    loaded: ArcSwap<LoadedJobs>,
    /// `None` where jobs are not numbered.
    set: ArcSwapOption<JobSets>,
    /// Where queries look them up, in a node that answers some.
    proxy: Option<Arc<Proxy>>,
}

/// A set of jobs that was proposed to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSet {
    pub number: u64,
    /// The process that proposed it.
    pub proposed_by: String,
    pub proposed_at: Timestamp,
}

/// The set in force, and the newest one that is not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSets {
    pub in_force: JobSet,
    /// With what it waits for.
    pub waiting: Option<(JobSet, String)>,
}

impl JobsInForce {
    pub fn new(loaded: LoadedJobs, proxy: Option<Arc<Proxy>>) -> JobsInForce {
        JobsInForce { loaded: ArcSwap::from_pointee(loaded), set: ArcSwapOption::empty(), proxy }
    }

    pub fn loaded(&self) -> Arc<LoadedJobs> {
        self.loaded.load_full()
    }

    /// The cluster's sets; `None` where jobs are not numbered.
    pub fn sets(&self) -> Option<Arc<JobSets>> {
        self.set.load_full()
    }

    /// Puts jobs in force. With a proxy, what former jobs left in the store stays known.
    pub fn put(&self, loaded: LoadedJobs) {
        if let Some(proxy) = &self.proxy {
            proxy.catalog.store(Arc::new(with_retired(&loaded.catalog, &proxy.store)));
            proxy.jobs.store(Arc::clone(&loaded.jobs));
        }
        tracing::info!(views = loaded.catalog.len(), "jobs are in force");
        self.loaded.store(Arc::new(loaded));
    }

    /// Looks anew for what former jobs left in the store: in a replica that comes with the results.
    pub fn look_for_retired(&self) {
        if let Some(proxy) = &self.proxy {
            proxy.catalog.store(Arc::new(with_retired(&self.loaded.load().catalog, &proxy.store)));
        }
    }

    /// Tells which of the cluster's sets is in force.
    pub fn tell(&self, sets: JobSets) {
        self.set.store(Some(Arc::new(sets)));
    }
}

impl JobSets {
    /// As the page of jobs shows it.
    pub fn json(&self) -> serde_json::Value {
        let set = |set: &JobSet| {
            serde_json::json!({
                "number": set.number, "proposed_by": set.proposed_by, "proposed_at_ms": set.proposed_at.0,
            })
        };
        let mut shown = set(&self.in_force);
        shown["waiting"] = self.waiting.as_ref().map_or(serde_json::Value::Null, |(waiting, why)| {
            let mut waiting = set(waiting);
            waiting["why"] = why.as_str().into();
            waiting
        });
        shown
    }
}
