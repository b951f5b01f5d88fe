//! What a process of a cluster has done since it was started, and what is its own now.

use std::sync::atomic::AtomicU64;

/// Written by the threads of a worker or a query replica, read by metrics and status pages.
#[derive(Default)]
pub struct ClusterProgress {
    /// Partitions of samples, and of partials, that are ours.
    pub fold_partitions: AtomicU64,
    pub combine_partitions: AtomicU64,
    /// Of the first, those not read on because others are behind.
    pub fold_held_back: AtomicU64,
    /// The newest job set by which others fold and that is not in force here, else 0.
    pub behind_set: AtomicU64,
    /// Records of partials not read yet.
    pub combine_remaining: AtomicU64,
    /// Times that a part began again after a failure.
    pub fold_restarts: AtomicU64,
    pub combine_restarts: AtomicU64,
    pub results_restarts: AtomicU64,
    /// Records, and of results single views, that could not be used.
    pub partials_skipped: AtomicU64,
    pub results_skipped: AtomicU64,
}
