//! Appends that wait for the writer: many threads put them in, one takes all that are there.
//!
//! While the writer waits for the disk the queue fills, and the next sync covers everything in it: that is group commit,
//! with no delay added for it.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::log::{AppendError, NewRecord};

/// One call of `append`.
pub(super) struct Append {
    pub records: Vec<NewRecord>,
    /// What it takes in a frame, at most.
    pub bytes: usize,
    pub since: Instant,
    pub answer: oneshot::Sender<Result<(), AppendError>>,
}

impl Append {
    /// Nobody may be waiting any more; that is theirs to decide.
    pub fn answer(self, result: Result<(), AppendError>) {
        drop(self.answer.send(result));
    }
}

pub(super) struct Queue {
    /// The most bytes that wait, but one append always may.
    bytes_max: usize,
    /// A mutex, because it is held only to move a few pointers.
    waiting: Mutex<Waiting>,
    /// Notified when `waiting` has something new for the writer.
    filled: Condvar,
}

#[derive(Default)]
struct Waiting {
    appends: VecDeque<Append>,
    /// The sum of `appends`' bytes.
    bytes: usize,
    closed: bool,
}

/// What the writer is to do next.
pub(super) struct Taken {
    /// Empty when the time was up.
    pub appends: Vec<Append>,
    /// Nothing more will come after these.
    pub finished: bool,
}

impl Queue {
    pub fn new(bytes_max: usize) -> Queue {
        Queue { bytes_max, waiting: Mutex::default(), filled: Condvar::new() }
    }

    /// Adds an append, or says why not.
    pub fn push(&self, append: Append) -> Result<(), (Append, AppendError)> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err((append, AppendError::Closed));
        }
        if waiting.bytes > 0 && waiting.bytes + append.bytes > self.bytes_max {
            let error = AppendError::Overloaded { queued_bytes: waiting.bytes, queue_bytes_max: self.bytes_max };
            return Err((append, error));
        }
        waiting.bytes += append.bytes;
        waiting.appends.push_back(append);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for appends, but not beyond `until`, and takes them from the oldest on, up to `bytes_max` or one.
    pub fn take(&self, bytes_max: usize, until: Instant) -> Taken {
        let mut waiting = self.waiting.lock();
        while waiting.appends.is_empty() && !waiting.closed {
            if self.filled.wait_until(&mut waiting, until).timed_out() {
                break;
            }
        }
        let (mut appends, mut bytes) = (Vec::new(), 0);
        while let Some(append) = waiting.appends.pop_front_if(|next| bytes == 0 || bytes + next.bytes <= bytes_max) {
            bytes += append.bytes;
            appends.push(append);
        }
        waiting.bytes -= bytes;
        Taken { appends, finished: waiting.closed && waiting.appends.is_empty() }
    }

    /// Takes no more; what is in it stays to be taken.
    pub fn close(&self) {
        self.waiting.lock().closed = true;
        self.filled.notify_all();
    }

    pub fn queued_bytes(&self) -> usize {
        self.waiting.lock().bytes
    }
}

/// Closes a queue when the writer ends, however it ends, and answers what is left.
pub(super) struct CloseOnDrop<'a>(pub &'a Queue);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
        loop {
            let taken = self.0.take(usize::MAX, Instant::now());
            if taken.appends.is_empty() {
                return;
            }
            for append in taken.appends {
                append.answer(Err(AppendError::Closed));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Appended;

    fn append(bytes: usize) -> (Append, Appended) {
        let (answer, appended) = oneshot::channel();
        (Append { records: Vec::new(), bytes, since: Instant::now(), answer }, appended)
    }

    fn taken(queue: &Queue, bytes_max: usize) -> (Vec<usize>, bool) {
        let taken = queue.take(bytes_max, Instant::now());
        (taken.appends.iter().map(|append| append.bytes).collect(), taken.finished)
    }

    #[test]
    fn bytes_are_bounded_but_one_append_always_fits() {
        let queue = Queue::new(10);
        for (bytes, admitted) in [(50, true), (1, false)] {
            assert_eq!(queue.push(append(bytes).0).is_ok(), admitted, "{bytes}");
        }
        assert_eq!(taken(&queue, 5), (vec![50], false));
        for (bytes, admitted) in [(4, true), (6, true), (1, false)] {
            assert_eq!(queue.push(append(bytes).0).is_ok(), admitted, "{bytes}");
        }
        assert_eq!(queue.queued_bytes(), 10);
    }

    #[test]
    fn takes_in_order_up_to_the_group_size() {
        let queue = Queue::new(100);
        for bytes in [3, 4, 5, 20, 1] {
            assert!(queue.push(append(bytes).0).is_ok());
        }
        assert_eq!(taken(&queue, 8), (vec![3, 4], false));
        assert_eq!(taken(&queue, 8), (vec![5], false));
        queue.close();
        assert!(matches!(queue.push(append(1).0), Err((_, AppendError::Closed))));
        assert_eq!(taken(&queue, 8), (vec![20], false));
        assert_eq!(taken(&queue, 8), (vec![1], true));
    }

    #[test]
    fn a_writer_that_dies_leaves_nobody_waiting() {
        let queue = Queue::new(100);
        let (waiting, appended) = append(1);
        assert!(queue.push(waiting).is_ok());
        drop(CloseOnDrop(&queue));
        assert!(matches!(appended.blocking_recv(), Ok(Err(AppendError::Closed))));
    }
}
