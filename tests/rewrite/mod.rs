//! Rewriting, judged by text and by values.
//!
//! `table` and `time` say for each query what it becomes or by which name it is refused, and run every row on data: the
//! query over samples and its rewrite over views must give the same labels and values. They see wrong conditions and wrong
//! replacements; they cannot see errors of the query engine, which computes both sides and the views' contents. `random`
//! does the same with views and queries nobody thought of.

#![allow(clippy::unwrap_used)]

mod explained;
mod random;
pub mod table;
mod time;
pub mod world;
