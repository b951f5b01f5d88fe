//! Laws: what must hold for any input, tried on many.

mod streaming;
