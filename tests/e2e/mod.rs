//! End to end, with real programs: Prometheus scrapes, remote-writes to Prefold and is its upstream.
//!
//! What is compared is always the same: an answer of Prefold against Prometheus' own for the same expression at the same
//! times. Prometheus 2.42, which Debian ships, closes windows on the left and limits a counter to zero before its threshold
//! test; so scrapes are kept off the whole seconds on which windows begin, and counters start high or are warmed up first.

mod balancer;
mod cluster;
mod compare;
mod differences;
mod engine;
mod exporter;
mod expressions;
mod faults;
mod generated;
mod http;
mod itself;
mod prefold;
pub mod processes;
mod prometheus;
mod promtool;
mod receiver;
mod relay;
mod results;
mod sink;
mod victoria_metrics;
