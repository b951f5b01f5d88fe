//! How much was taken and refused.

use std::sync::atomic::{AtomicU64, Ordering};

use super::limits::RefusalReason;

/// What was taken and refused since the start.
#[derive(Debug)]
pub struct Counters {
    pub samples: AtomicU64,
    pub requests: AtomicU64,
    refused: [AtomicU64; RefusalReason::ALL.len()],
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            samples: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            refused: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Counters {
    pub fn refuse(&self, reason: RefusalReason, count: u64) {
        self.refused[reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    pub fn refused(&self, reason: RefusalReason) -> u64 {
        self.refused[reason as usize].load(Ordering::Relaxed)
    }
}
