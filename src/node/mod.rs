//! The node: wiring, configuration, clock, metrics, shutdown. The only place that sees everyone.

pub mod assembly;
pub mod begin;
pub mod clock;
pub mod config;
pub mod fold_progress;
pub mod http;
pub mod imports;
mod ingest;
pub mod jobs;
pub mod lane;
pub mod listener;
pub mod metrics;
mod open_log;
pub mod reload;
pub mod replay;
mod request_body;
pub mod retired;
pub mod scrape;
pub mod status;
pub mod stream;
