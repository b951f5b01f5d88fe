//! What was answered how, and why not from views: counted where it happens, read by metrics and the status page.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use prometheus_client::metrics::histogram::Histogram;
use smol_str::SmolStr;

use crate::model::Timestamp;

/// Seconds: from an answer out of the store to one that upstream took long over.
pub const DURATION_BUCKETS: [f64; 10] = [0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0, 60.0];

/// The most characters kept of a refusal's text.
const WHY_CHARS_MAX: usize = 400;

/// How a query was answered: the header `X-Prefold-Answer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answered {
    /// From the store alone.
    Rewritten,
    /// From the store and upstream, by time.
    Stitched,
    /// Evaluated here, no view used.
    Local,
    Forwarded,
    Refused,
}

impl Answered {
    pub const ALL: [Answered; 5] =
        [Answered::Rewritten, Answered::Stitched, Answered::Local, Answered::Forwarded, Answered::Refused];

    pub fn name(self) -> &'static str {
        match self {
            Answered::Rewritten => "rewritten",
            Answered::Stitched => "stitched",
            Answered::Local => "local",
            Answered::Forwarded => "forwarded",
            Answered::Refused => "refused",
        }
    }
}

/// What was answered how.
pub struct Counters {
    answers: [AtomicU64; Answered::ALL.len()],
    durations: [Histogram; Answered::ALL.len()],
    /// One per slug of the registry.
    refusals: DashMap<&'static str, RefusedLast>,
    /// Estimates by job: as many as jobs were ever in force.
    avoided: DashMap<SmolStr, u64>,
    /// Evaluations that ended because nobody waited any more.
    pub canceled: AtomicU64,
    /// Evaluations, and waits for one, that took too long.
    pub timed_out: AtomicU64,
    /// Queries whose steps at the edge were asked with their own expression after all.
    pub edge_given_up: AtomicU64,
}

/// How often a reason came up, and when and over what last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedLast {
    pub count: u64,
    pub at: Timestamp,
    pub why: String,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            answers: std::array::from_fn(|_| AtomicU64::new(0)),
            durations: std::array::from_fn(|_| Histogram::new(DURATION_BUCKETS)),
            refusals: DashMap::new(),
            avoided: DashMap::new(),
            canceled: AtomicU64::new(0),
            timed_out: AtomicU64::new(0),
            edge_given_up: AtomicU64::new(0),
        }
    }
}

impl Counters {
    pub fn answered(&self, how: Answered, took: Duration) {
        self.answers[how as usize].fetch_add(1, Ordering::Relaxed);
        self.durations[how as usize].observe(took.as_secs_f64());
    }

    /// `why` is a sentence, of which the beginning is kept.
    pub fn refused(&self, slug: &'static str, why: &str, now: Timestamp) {
        let mut last = self.refusals.entry(slug).or_insert(RefusedLast { count: 0, at: now, why: String::new() });
        last.count += 1;
        last.at = now;
        last.why = why.chars().take(WHY_CHARS_MAX).collect();
    }

    /// Adds samples that a job's views made it unnecessary to read.
    pub fn avoided(&self, job: &SmolStr, samples: u64) {
        *self.avoided.entry(job.clone()).or_insert(0) += samples;
    }

    pub fn answers(&self, how: Answered) -> u64 {
        self.answers[how as usize].load(Ordering::Relaxed)
    }

    pub fn durations(&self, how: Answered) -> &Histogram {
        &self.durations[how as usize]
    }

    /// By slug.
    pub fn refusals(&self) -> Vec<(&'static str, RefusedLast)> {
        let mut refusals: Vec<_> = self.refusals.iter().map(|entry| (*entry.key(), entry.value().clone())).collect();
        refusals.sort_unstable_by_key(|(slug, _)| *slug);
        refusals
    }

    /// By job.
    pub fn samples_avoided(&self) -> Vec<(SmolStr, u64)> {
        let mut avoided: Vec<_> = self.avoided.iter().map(|entry| (entry.key().clone(), *entry.value())).collect();
        avoided.sort_unstable();
        avoided
    }
}
