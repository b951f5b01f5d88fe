//! Scraping: Prometheus' pull, for those who have no agent that writes to us.
//!
//! One task per target asks for an exposition each interval and hands what it holds, the staleness markers of series that
//! ended, and the report series (`up` and its kin) to a [`SampleSink`] as one batch. What a failed scrape, a target that is
//! gone and a clean stop look like in the series is Prometheus', since views are compared with what Prometheus says.

pub mod config;
mod config_values;
mod failure;
mod fetch;
mod merge;
mod report;
mod scraper;
mod series;
mod sink;
pub mod target;
mod worker;

pub use failure::{FailureReason, ScrapeFailure};
pub use scraper::{Reloaded, Scraper};
pub use sink::{SampleBatch, SampleSink, ScrapeObserver, ScrapeOutcome};
pub use worker::{Health, TargetStatus};
