//! Laws: what must hold for any input, tried on many.

mod memory_log;
mod resume;
mod served;
pub mod streaming;
