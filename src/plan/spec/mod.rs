//! Job files: from text to [`Job`]s, or to every problem with its place and remedy.
//!
//! Reading has three steps, each a file: text becomes a tree that knows where everything stands (tree.rs); the tree is
//! held against the JSON Schema of the serde types, which finds unknown keys and wrong types all at once (structure.rs);
//! what passed is read into those types and checked for meaning (check.rs). No step stops the others from finding more,
//! unless the text is no JSON at all. Pure: files are read by whoever calls.

mod check;
mod nearest;
mod problem;
mod read;
pub mod structure;
mod text;
pub mod tree;
mod types;

pub use nearest::did_you_mean;
pub use problem::{Problem, Report, Severity};
pub(crate) use read::duration_fault;
pub use read::{Checked, JOB_FILE_BYTES_MAX, ReadOptions, check_jobs, read_job, read_jobs};
pub use text::plan_text;
pub use types::{Defaults, ExprText, JobSpec, LimitsSpec, RuleSpec, SemanticsSpec, schema};

#[cfg(doc)]
use super::job::Job;
