//! The query engine against Prometheus' own engine tests, and at the scale of a raw answer.
//!
//! Sees: wrong values, labels, errors and annotations of what the suite covers, and any difference between an instant query
//! and the same query as a step of a range, or with its time fixed by `@`. Cannot see: what native histograms count, which is
//! skipped by name, and what two wrongs of engine and runner would cancel out.

mod choice;
mod engine;
mod histograms;
mod notes;
mod promqltest;
