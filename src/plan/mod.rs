//! The shared vocabulary of compiling and rewriting: jobs, rules, views, the catalog.
//!
//! Both sides turn PromQL into the same normal form here, and never import each other.

pub mod catalog;
pub mod job;
pub mod normalize;
pub mod spec;
pub mod view;

pub use catalog::{Catalog, CatalogEntry};
pub use job::{Job, Rule, RuleLimits};
pub use normalize::{NotKept, normalize};
pub use view::{FUTURE_MS, LOOKBACK_MS, Semantics, Shape, View};
