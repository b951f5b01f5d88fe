//! Snappy's block format, which remote write bodies are compressed in.
//!
//! A block begins with the length it claims to decompress to. The claim is judged before a byte is allocated for it.

use super::error::{Problem, WireError};

/// The most bytes that one compressed byte can stand for, rounded up: a copy of 64 bytes takes three.
const RATIO_MAX: u64 = 22;

/// Decompresses a body of at most `decoded_max` bytes.
///
/// # Errors
/// [`Problem::TooLarge`] when it claims more than `decoded_max`; [`Problem::Snappy`] when it is not snappy's block format.
pub fn decompress(body: &[u8], decoded_max: usize) -> Result<Vec<u8>, WireError> {
    let mut decoded = Vec::new();
    decompress_into(body, decoded_max, &mut decoded)?;
    Ok(decoded)
}

/// Decompresses a body of at most `decoded_max` bytes into a buffer whose allocation is used again. What the buffer held
/// is replaced; after an error it is empty.
///
/// # Errors
/// As [`decompress`].
pub fn decompress_into(body: &[u8], decoded_max: usize, decoded: &mut Vec<u8>) -> Result<(), WireError> {
    let outcome = fill(body, decoded_max, decoded);
    if outcome.is_err() {
        decoded.clear();
    }
    outcome
}

fn fill(body: &[u8], decoded_max: usize, decoded: &mut Vec<u8>) -> Result<(), WireError> {
    let claimed = snap::raw::decompress_len(body).map_err(malformed)?;
    if claimed > decoded_max {
        return Err(WireError::new(0, Problem::TooLarge { claimed: claimed as u64, max: decoded_max }));
    }
    if claimed as u64 > RATIO_MAX * body.len() as u64 {
        let problem = format!("{} bytes cannot decompress to the {claimed} they claim", body.len());
        return Err(WireError::new(0, Problem::Snappy(problem)));
    }
    // Not cleared first: what is overwritten anyway need not be zeroed.
    decoded.resize(claimed, 0);
    snap::raw::Decoder::new().decompress(body, decoded).map_err(malformed)?;
    Ok(())
}

fn malformed(error: snap::Error) -> WireError {
    let text = error.to_string();
    WireError::new(0, Problem::Snappy(text.strip_prefix("snappy: ").unwrap_or(&text).to_owned()))
}

/// Compresses bytes into one block.
///
/// # Panics
/// When there are more than 3.6 GB of them, which no block can hold; requests and records are bounded far below.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let len = Compressor::default().compress_behind(0, bytes, &mut out);
    out.truncate(len);
    out
}

/// Compresses one block after the other with the same memory.
pub struct Compressor(snap::raw::Encoder);

impl Default for Compressor {
    fn default() -> Compressor {
        Compressor(snap::raw::Encoder::new())
    }
}

impl Compressor {
    /// Compresses bytes into one block that stands in `out` behind its first `head` bytes, and gives its length. `out` only
    /// grows: what lies behind the block is of no meaning.
    ///
    /// # Panics
    /// As [`compress`].
    pub fn compress_behind(&mut self, head: usize, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        let room = head + snap::raw::max_compress_len(bytes.len());
        if out.len() < room {
            out.resize(room, 0);
        }
        self.0.compress(bytes, &mut out[head..]).expect("fails only on more bytes than a block can hold")
    }
}
