//! Laws: what must hold for any input, tried on many.

mod memory_log;
mod resume;
pub mod streaming;
