//! The worker: folds some partitions of "samples" and combines some partitions of "partials", as one of many processes.
//!
//! ```text
//! samples -> fold (lane: dataflow, scopes) -> partials -> combine -> results
//!               |            ^                              |
//!               +-> senders -+--------- positions <---------+          jobs -> sets, for both
//! ```
//!
//! Which partitions are whose is up to Kafka's consumer groups. Nothing is handed over when one moves: the next owner reads
//! the log again as far back as it has to, and says again what was said. Reading order: `fold_lane` folds, `fold` decides
//! what, and of a `part` from where; `combine` is the other half; `places` is what both keep in tables.

mod aside;
mod catch_up;
mod combine;
mod fold;
mod fold_lane;
mod home;
mod lane_partition;
mod part;
mod places;
mod run;
mod unfinished;

use std::sync::Arc;

use crate::log::topics::{Group, Samples, Stream, Table};
use crate::plan::Catalog;

pub use combine::{CombineWorker, CombineWorkerOptions};
pub use fold::{FoldWorker, FoldWorkerOptions};
pub use places::Checkpoint;
pub use run::Worker;

/// The topics of a cluster, as a worker sees them.
#[derive(Clone)]
pub struct Topics {
    pub samples: Arc<dyn Samples>,
    pub partials: Arc<dyn Stream>,
    pub results: Arc<dyn Stream>,
    /// Where each partition of "partials" stands.
    pub positions: Arc<dyn Table>,
    /// The first record of each sender in each partition of "samples".
    pub senders: Arc<dyn Table>,
    /// The job sets.
    pub jobs: Arc<dyn Table>,
    /// Who folds which partition of "samples".
    pub folders: Arc<dyn Group>,
    /// Who combines which partition of "partials".
    pub combiners: Arc<dyn Group>,
}

/// A numbered set of jobs.
#[derive(Clone, Debug, Default)]
pub struct ViewsInForce {
    /// 0 while there is none.
    pub set: u64,
    pub catalog: Arc<Catalog>,
}

/// What is in force now; a later one replaces it.
pub type InForce = Arc<arc_swap::ArcSwap<ViewsInForce>>;
