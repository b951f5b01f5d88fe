//! What the store counts, for metrics and status pages.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Store;

/// The store at one instant; counts of events are since it was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoreStats {
    pub views: u64,
    pub groups: u64,
    /// Points kept, in memory and in blocks.
    pub points: u64,
    /// Points that are in no block yet.
    pub head_points: u64,
    pub blocks: u64,
    pub block_bytes: u64,
    pub chunks: u64,
    pub wal_bytes: u64,
    pub senders: u64,
    pub notes: u64,
    /// Commits applied.
    pub commits: u64,
    /// Results applied.
    pub results: u64,
    /// Results that the store had already.
    pub results_repeated: u64,
    /// Senders not remembered because of `senders_max`: worry when it rises, each of them uncovers views again and again.
    pub senders_refused: u64,
    /// Uncovered spans joined because of `spans_max`: more is uncovered than need be.
    pub spans_joined: u64,
    pub flushes: u64,
    /// Why the last flush failed, while none has succeeded since.
    pub flush_error: Option<String>,
    /// What a crash had left half written, cut when the store was opened.
    pub wal_cut_bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    commits: AtomicU64,
    results: AtomicU64,
    repeated: AtomicU64,
    senders_refused: AtomicU64,
    flushes: AtomicU64,
    wal_cut_bytes: AtomicU64,
    flush_error: Mutex<Option<String>>,
}

impl Counters {
    pub fn applied(&self, results: u64, repeated: u64, senders_refused: u64) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.results.fetch_add(results, Ordering::Relaxed);
        self.repeated.fetch_add(repeated, Ordering::Relaxed);
        self.senders_refused.fetch_add(senders_refused, Ordering::Relaxed);
    }

    pub fn flushed(&self) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        *self.flush_error.lock() = None;
    }

    pub fn flush_failed(&self, error: String) {
        *self.flush_error.lock() = Some(error);
    }

    pub fn wal_cut_bytes(&self, bytes: u64) {
        self.wal_cut_bytes.store(bytes, Ordering::Relaxed);
    }
}

impl Store {
    /// Counts everything; takes some microseconds per thousand groups, and waits for a commit that is being written.
    pub fn stats(&self) -> StoreStats {
        let wal_bytes = self.writer.lock().wal.len();
        let state = self.state.read();
        let views = || state.views.values();
        let chunks =
            |view: &super::view::StoredView| view.groups.values().map(|group| group.chunks.len() as u64).sum::<u64>();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreStats {
            views: state.views.len() as u64,
            groups: views().map(|view| view.groups.len() as u64).sum(),
            points: views().map(|view| view.points).sum(),
            head_points: state.head_points(),
            blocks: state.blocks.len() as u64,
            block_bytes: state.blocks.values().map(|block| block.bytes).sum(),
            chunks: views().map(chunks).sum(),
            wal_bytes,
            senders: state.senders.len() as u64,
            notes: state.notes.len() as u64,
            commits: count(&self.counters.commits),
            results: count(&self.counters.results),
            results_repeated: count(&self.counters.repeated),
            senders_refused: count(&self.counters.senders_refused),
            spans_joined: state.spans_joined,
            flushes: count(&self.counters.flushes),
            flush_error: self.counters.flush_error.lock().clone(),
            wal_cut_bytes: count(&self.counters.wal_cut_bytes),
        }
    }
}
