//! What comes in: remote write, scraping, and what others left in Kafka; checked, bounded, and appended to the log before
//! anyone is told so.

mod body_budget;
mod buffers;
mod counters;
mod encoding;
pub mod exposition;
pub mod gateway;
pub mod import;
pub mod limits;
mod records;
pub mod remote_write;
pub mod scrape;
mod senders;
mod series_cache;
mod unreadable;
mod writers;
