//! HTTP in: remote write and scraping, checked, bounded, and appended to the log before anyone is told so.

mod buffers;
mod encoding;
pub mod exposition;
pub mod gateway;
pub mod limits;
mod records;
pub mod remote_write;
pub mod scrape;
mod senders;
mod series_cache;
