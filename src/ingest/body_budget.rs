//! The memory of bodies in flight: bounded for all of them together, as they arrive and when they are unpacked.
//!
//! Connections are many and bodies may be large, so what one body may have says little of all. Bytes are taken when they
//! have come, since announcing is cheap; nobody waits for others, since all may wait for each other then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// All bytes there may be.
#[derive(Debug)]
pub(super) struct BodyBudget {
    taken: AtomicUsize,
    max: usize,
}

/// Bytes of one body, given back when it is gone.
#[derive(Debug)]
pub(super) struct Held {
    budget: Arc<BodyBudget>,
    bytes: usize,
}

/// Other bodies have taken what there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("bodies-full: the bodies in flight take limits.bodies_bytes_max ({max} bytes); come again later")]
pub struct BodiesFull {
    pub max: usize,
}

impl BodyBudget {
    pub fn new(max: usize) -> Arc<BodyBudget> {
        Arc::new(BodyBudget { taken: AtomicUsize::new(0), max })
    }

    /// For one body, with nothing yet.
    pub fn hold(self: &Arc<BodyBudget>) -> Held {
        Held { budget: Arc::clone(self), bytes: 0 }
    }
}

impl Held {
    /// Takes so many bytes more.
    ///
    /// # Errors
    /// When there are not so many; what was taken before stays so.
    pub fn grow(&mut self, bytes: usize) -> Result<(), BodiesFull> {
        let max = self.budget.max;
        let grown = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= max);
        match self.budget.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown) {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(_) => Err(BodiesFull { max }),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_what_there_is_and_give_it_back() {
        let budget = BodyBudget::new(10);
        let (mut a, mut b) = (budget.hold(), budget.hold());
        assert_eq!([a.grow(6), b.grow(5), b.grow(4), a.grow(1)].map(|taken| taken.is_ok()), [true, false, true, false]);
        assert_eq!(b.grow(usize::MAX), Err(BodiesFull { max: 10 }));
        drop(a);
        assert_eq!((b.grow(6), b.grow(1).is_err()), (Ok(()), true));
    }
}
