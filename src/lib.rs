//! Prefold folds metrics before anyone asks for them. ARCHITECTURE.md is the map.

pub mod cli;
pub mod compile;
pub mod dataflow;
pub mod function;
pub mod ingest;
pub mod log;
pub mod model;
pub mod node;
pub mod plan;
pub mod promql;
pub mod proxy;
pub mod query;
pub mod rewrite;
pub mod sink;
pub mod store;
pub mod wire;
