//! Prefold's one test binary: dependencies and the library are linked once.

// A test that cannot get what it needs has failed.
#![allow(clippy::unwrap_used)]

mod deploy;
mod e2e;
mod exposition;
mod fuzz;
mod ingest;
mod jobs;
mod kafka;
mod laws;
mod log;
mod metamorphic;
mod oracle;
mod ports;
mod process;
mod promql;
mod proxy;
mod query;
mod rewrite;
mod store;
mod tidy;
mod wire;
