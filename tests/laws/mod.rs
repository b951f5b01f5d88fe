//! Laws: what must hold for any input, tried on many.

mod cluster;
mod gap;
mod half_append;
mod half_final;
mod job_sets;
mod joining;
mod memory_log;
mod memory_topics;
mod poison;
pub mod random;
mod replica;
mod resume;
mod served;
pub mod streaming;
mod tenants;
