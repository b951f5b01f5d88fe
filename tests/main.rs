//! Prefold's one test binary: dependencies and the library are linked once.

mod exposition;
mod jobs;
mod laws;
mod log;
mod oracle;
mod promql;
mod query;
mod rewrite;
mod store;
mod wire;
