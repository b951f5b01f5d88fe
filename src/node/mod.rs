//! The node: wiring, configuration, clock, metrics, shutdown. The only place that sees everyone.

pub mod begin;
pub mod clock;
pub mod lane;
pub mod stream;
