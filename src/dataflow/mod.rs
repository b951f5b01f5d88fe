//! The streaming engine: one static timely dataflow whose operators hold the current set of views.
//!
//! ```text
//! records -> filter -> partition -> window -> aggregate -> exchange by view -> combine -> closed epochs
//! ```
//!
//! State belongs to log partitions, not to threads: each partition's operators' state stands by itself, whichever worker
//! holds it, so that any number of threads gives the same bits. Views are data: a control message in epoch order changes
//! the set, and no dataflow is rebuilt. An empty frontier means shutdown and closes nothing. This module and its children
//! are the only door to timely; they know neither Kafka nor disk nor clock.

pub mod aggregate;
pub mod cluster_combine;
pub mod cluster_results;
pub mod combine;
mod combine_view;
pub mod coverage;
pub mod filter;
mod gathered;
mod known_series;
pub mod members;
pub mod message;
pub mod newcomers;
pub mod partition;
pub mod progress;
pub mod refusals;
pub mod render;
pub mod rhythm;
pub mod scope;
pub mod selectors;
pub mod series;
mod stages;
pub mod status;
pub mod window;

pub use cluster_combine::{ClusterCombine, ClusterCombineOptions, Standing, home_of};
pub use message::{
    Emitted, EpochOutput, FoldInput, FoldOutput, Folded, RawRecord, SamplesRead, ToCombine, ViewSet, ViewStart,
};
pub use render::{Dataflow, DataflowOptions, EpochBatch};
pub use scope::Scope;
