//! Prefold folds metrics before anyone asks for them. ARCHITECTURE.md is the map.

pub mod compile;
pub mod dataflow;
pub mod function;
pub mod model;
pub mod plan;
pub mod promql;
pub mod wire;
