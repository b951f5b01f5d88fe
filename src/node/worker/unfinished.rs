//! What was said of a partition and combine cannot finish yet, because other partitions have not got there.
//!
//! Combine keeps it all: with one partition away for hours, that is what the others said in hours. So each partition counts
//! what it is ahead by, and past a bound it is not read on until the slowest has followed. The slowest itself is never held
//! back: what it has said, all have said.

use std::collections::{BTreeMap, VecDeque};

use crate::dataflow::Standing;
use crate::model::{LogTime, Timestamp, ViewId};
use crate::plan::View;

/// Of one partition.
#[derive(Default)]
pub(super) struct Unfinished {
    /// Bytes by the log time from which on what they say is final, in order.
    said: VecDeque<(LogTime, usize)>,
    bytes: usize,
    /// Whether the partition is held back.
    held: bool,
}

impl Unfinished {
    /// Grid points were said in so many bytes, the last of them final from a log time on.
    pub fn say(&mut self, final_at: LogTime, bytes: usize) {
        self.bytes += bytes;
        match self.said.back_mut() {
            Some((last, more)) if *last >= final_at => *more += bytes,
            _ => self.said.push_back((final_at, bytes)),
        }
    }

    /// Combine has finished what is final up to a log time. Gives whether the partition is held back: from more than
    /// `bytes_max` on, until no more than half of it is left.
    pub fn finish(&mut self, finished: LogTime, bytes_max: usize) -> bool {
        while let Some((_, bytes)) = self.said.pop_front_if(|(final_at, _)| *final_at <= finished) {
            self.bytes -= bytes;
        }
        self.held = self.bytes > if self.held { bytes_max / 2 } else { bytes_max };
        self.held
    }

    pub fn is_held(&self) -> bool {
        self.held
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Up to which log time combine has finished what is final of some of these views. The one that is furthest counts: a partition
/// that is behind holds up all, and a view that does not get on for a reason of its own must not hold up the others.
pub(super) fn finished<'a>(views: impl Iterator<Item = &'a View>, standing: &BTreeMap<ViewId, Standing>) -> LogTime {
    let done = views.filter_map(|view| {
        let next = standing.get(&view.id).filter(|standing| standing.suspended.is_none())?.next;
        Some(next - view.step_ms + view.max_delay_ms)
    });
    done.max().unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_held_back_past_the_bound_and_goes_on_from_half_of_it() {
        let mut unfinished = Unfinished::default();
        for second in 1..=10 {
            unfinished.say(Timestamp(second * 1_000), 10);
        }
        assert!(!unfinished.finish(Timestamp::MIN, 100), "as much as may be");
        unfinished.say(Timestamp(9_000), 1);
        assert!(unfinished.finish(Timestamp::MIN, 100));
        assert!(unfinished.finish(Timestamp(5_000), 100), "{} bytes are more than half", unfinished.bytes());
        assert!(!unfinished.finish(Timestamp(6_000), 100));
        assert!(!unfinished.finish(Timestamp(10_000), 0), "what was said late is finished with what was said before it");
        assert_eq!(unfinished.bytes(), 0);
    }
}
