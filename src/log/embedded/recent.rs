//! The newest frames' records, in memory: who follows the log closely reads no file and decompresses nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::log::LogRecord;

/// Consecutive frames up to the log's end.
pub(super) struct Recent {
    frames: VecDeque<RecentFrame>,
    /// What their records take.
    bytes: usize,
    /// The oldest go when it is more.
    bytes_max: usize,
}

#[derive(Clone)]
pub(super) struct RecentFrame {
    sequence: u64,
    bytes: usize,
    /// What the frame takes in its file.
    pub frame_bytes: u64,
    pub records: Arc<[LogRecord]>,
}

impl Recent {
    pub fn new(bytes_max: usize) -> Recent {
        Recent { frames: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Adds the frame behind the last one.
    pub fn push(&mut self, sequence: u64, frame_bytes: u64, records: Vec<LogRecord>) {
        let bytes = records.iter().map(|record| size_of::<LogRecord>() + record.payload.len()).sum();
        self.bytes += bytes;
        self.frames.push_back(RecentFrame { sequence, bytes, frame_bytes, records: records.into() });
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.frames.pop_front() else { return };
            self.bytes -= oldest.bytes;
        }
    }

    /// The frame of a sequence number, if it is here.
    pub fn get(&self, sequence: u64) -> Option<RecentFrame> {
        let ahead = sequence.checked_sub(self.frames.front()?.sequence)?;
        self.frames.get(usize::try_from(ahead).ok()?).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Offset, PartitionId, Timestamp};
    use bytes::Bytes;

    #[test]
    fn the_newest_frames_are_kept_within_the_bound() {
        let record = |len: usize| LogRecord {
            partition: PartitionId(0),
            offset: Offset(0),
            log_time: Timestamp(0),
            payload: Bytes::from(vec![0; len]),
        };
        let mut recent = Recent::new(3 * (size_of::<LogRecord>() + 100));
        let kept = |recent: &Recent| (0..9).filter(|sequence| recent.get(*sequence).is_some()).collect::<Vec<u64>>();
        for sequence in 3..=6 {
            recent.push(sequence, sequence * 10, vec![record(100)]);
        }
        assert_eq!((kept(&recent), recent.get(5).unwrap().frame_bytes), (vec![4, 5, 6], 50));
        recent.push(7, 70, vec![record(100), record(100)]);
        assert_eq!(kept(&recent), [6, 7]);
        recent.push(8, 80, vec![record(5000)]);
        assert_eq!(kept(&recent), [0; 0]);
    }
}
