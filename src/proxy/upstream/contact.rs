//! How often upstream was asked, for what, and whether it can be reached: for metrics and the status page.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What a request to upstream is for: the label of `prefold_upstream_requests_total`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A query sent on as it came.
    Forwarded,
    /// Series, labels, values, rules, and what only upstream answers.
    Listed,
    /// A query's own expression, over steps that views may not answer.
    Stitched,
    /// A view's expression at a grid point that is not final yet.
    Edge,
    /// A view's expression at a final grid point, to be compared.
    Compared,
    /// What it is.
    Identified,
}

impl Purpose {
    pub const ALL: [Purpose; 6] =
        [Purpose::Forwarded, Purpose::Listed, Purpose::Stitched, Purpose::Edge, Purpose::Compared, Purpose::Identified];

    pub fn name(self) -> &'static str {
        match self {
            Purpose::Forwarded => "forwarded",
            Purpose::Listed => "listed",
            Purpose::Stitched => "stitched",
            Purpose::Edge => "edge",
            Purpose::Compared => "compared",
            Purpose::Identified => "identified",
        }
    }
}

/// Counts, and the newest outcome of each kind.
#[derive(Debug, Default)]
pub struct Contact {
    asked: [AtomicU64; Purpose::ALL.len()],
    failed: AtomicU64,
    /// Held for a moment by every request as it ends.
    last: Mutex<Last>,
}

#[derive(Clone, Debug, Default)]
struct Last {
    answered: Option<Instant>,
    failed: Option<(Instant, String)>,
}

impl Contact {
    pub(super) fn asked(&self, purpose: Purpose) {
        self.asked[purpose as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, error: Option<&reqwest::Error>) {
        let mut last = self.last.lock();
        match error {
            None => last.answered = Some(Instant::now()),
            Some(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                last.failed = Some((Instant::now(), error.to_string()));
            }
        }
    }

    pub fn requests(&self, purpose: Purpose) -> u64 {
        self.asked[purpose as usize].load(Ordering::Relaxed)
    }

    /// Requests that got no answer at all.
    pub fn failures(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether the last request got an answer; `None` before the first.
    pub fn is_reachable(&self) -> Option<bool> {
        let last = self.last.lock();
        match (&last.answered, &last.failed) {
            (None, None) => None,
            (Some(answered), Some((failed, _))) => Some(answered >= failed),
            (answered, _) => Some(answered.is_some()),
        }
    }

    /// How long ago upstream answered last.
    pub fn answered_before(&self) -> Option<Duration> {
        self.last.lock().answered.map(|at| at.elapsed())
    }

    /// How long ago a request failed last, and why.
    pub fn failed_before(&self) -> Option<(Duration, String)> {
        self.last.lock().failed.as_ref().map(|(at, why)| (at.elapsed(), why.clone()))
    }
}
