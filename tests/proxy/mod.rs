//! The proxy in this process, before an upstream that is made up: it evaluates queries over samples in memory, can be told
//! to fail, to lie or to wait, and remembers what it was asked.
//!
//! Sees: a step answered from the wrong place or with another value than upstream's, a question asked twice, a refusal
//! without its name. Cannot see: what a real Prometheus does otherwise (tests/e2e), or the process around (tests/process).

mod api_cases;
mod bounds;
mod choice;
mod edge;
mod forwarded;
pub mod limits;
mod lists;
mod stitched;
mod trust;
mod upstream;
mod world;
