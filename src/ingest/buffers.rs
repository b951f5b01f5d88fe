//! The memory of decompressed bodies, used again by the next request.
//!
//! A body is large and lives for a millisecond; fresh memory for each would have to be zeroed, and mapped by the kernel.

use parking_lot::Mutex;

/// Buffers kept, and the most bytes that a kept one has: 32 MiB together.
const KEPT_MAX: usize = 8;
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Buffers nobody uses at the moment.
#[derive(Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// One that was given back, with what it held then, or a new one.
    pub fn take(&self) -> Vec<u8> {
        self.0.lock().pop().unwrap_or_default()
    }

    pub fn give_back(&self, buffer: Vec<u8>) {
        let mut kept = self.0.lock();
        if kept.len() < KEPT_MAX && buffer.capacity() <= KEPT_BYTES_MAX {
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_buffers_are_kept_and_no_large_ones() {
        let buffers = Buffers::default();
        buffers.give_back(Vec::with_capacity(KEPT_BYTES_MAX + 1));
        assert_eq!(buffers.take().capacity(), 0);
        (0..2 * KEPT_MAX).for_each(|_| buffers.give_back(Vec::with_capacity(100)));
        let taken = (0..2 * KEPT_MAX).map(|_| buffers.take()).filter(|buffer| buffer.capacity() > 0);
        assert_eq!(taken.count(), KEPT_MAX);
    }
}
