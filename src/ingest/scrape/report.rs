//! The report series: what a scrape says about itself.

use super::sink::ScrapeOutcome;
use crate::model::{Labels, METRIC_NAME, STALE_NAN, Sample, Timestamp};

/// Their names, in Prometheus' words.
pub const NAMES: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// The report of a scrape. Without relabelling as many samples are left after it as came.
pub fn report(
    target: &Labels,
    outcome: &ScrapeOutcome,
    added: u64,
    at: Timestamp,
) -> impl Iterator<Item = (Labels, Sample)> {
    let up = if outcome.failure.is_none() { 1.0 } else { 0.0 };
    let samples = outcome.samples as f64;
    let values = [up, outcome.duration_seconds, samples, samples, added as f64];
    series(target).zip(values).map(move |(labels, v)| (labels, Sample { t: at, v }))
}

/// The end of a target's report series.
pub fn markers(target: &Labels, at: Timestamp) -> impl Iterator<Item = (Labels, Sample)> {
    series(target).map(move |labels| (labels, Sample { t: at, v: STALE_NAN }))
}

fn series(target: &Labels) -> impl Iterator<Item = Labels> {
    NAMES.into_iter().map(|name| target.with(METRIC_NAME, name))
}
