//! Bytes and the model: remote write 1.0 and 2.0, snappy, samples as JSON, and the records of our own log.
//!
//! The only door to prost and snap. What runs per sample is decoded by hand: borrowed, without a copy, bounded everywhere,
//! and never panicking whatever the bytes. The generated code in [`proto`] says the same things slowly; it is the oracle
//! that tests hold the decoders against, and serves what is not hot.
//!
//! Stricter than protobuf asks, on purpose: groups (deprecated, no sender writes them) are an error, and so is a body of
//! one remote-write version sent as the other, which protobuf would read as an empty request and so lose in silence.

pub mod cluster;
mod encode;
mod error;
mod histograms;
pub mod json_sample;
mod protocol;
mod reader;
pub mod record;
pub mod remote_write_v1;
pub mod remote_write_v2;
pub mod snappy;

pub use error::{Problem, WireError};
pub use histograms::Histograms;
pub use json_sample::JsonSample;
pub use protocol::Protocol;
pub use snappy::{Compressor, decompress};

/// The most samples one series of a request or record may hold: 16 MiB when decoded.
pub const SAMPLES_PER_SERIES_MAX: usize = 1 << 20;

/// The most labels of one series.
pub const LABELS_PER_SERIES_MAX: usize = 1 << 16;

/// The most symbols of one request or record: 64 MiB of string references.
pub const SYMBOLS_MAX: usize = 1 << 22;

/// What prost generates from `proto/`.
pub mod proto {
    #![allow(clippy::all, clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

    /// Remote write 1.0.
    pub mod remote_write_v1 {
        include!(concat!(env!("OUT_DIR"), "/prometheus.rs"));
    }

    /// Remote write 2.0.
    pub mod remote_write_v2 {
        include!(concat!(env!("OUT_DIR"), "/io.prometheus.write.v2.rs"));
    }

    /// The records of our log.
    pub mod record {
        include!(concat!(env!("OUT_DIR"), "/prefold.record.rs"));
    }
}
