//! The registry: what each range function and aggregation can do, said once.
//!
//! The stream, the query engine and the rewriter read the same entries, so that folding and querying cannot drift apart.
//! To add one: a file under range/ or aggregation/ with a const entry, and its name in the slice beside it.

pub mod aggregation;
pub mod kahan;
pub mod partial;
pub mod quantile;
pub mod range;

pub use aggregation::{AGGREGATIONS, Aggregation, RollUp, aggregation};
pub use kahan::KahanSum;
pub use partial::Partial;
pub use range::{Moment, RANGE_FUNCTIONS, RangeFunction, range_function, window_function};
