//! The node: wiring, configuration, clock, metrics, shutdown. The only place that sees everyone.

pub mod assembly;
pub mod begin;
pub mod clock;
pub mod config;
pub mod fold_progress;
pub mod http;
pub mod imports;
pub mod in_force;
pub mod ingest;
pub mod jobs;
pub mod lane;
pub mod listener;
pub mod metrics;
pub mod open_log;
pub mod queries;
pub mod reload;
pub mod replay;
pub mod replica;
mod request_body;
mod retention;
pub mod retired;
pub mod role;
pub mod roles;
pub mod scrape;
pub mod status;
pub mod stream;
pub mod worker;
