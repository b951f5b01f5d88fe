//! What a partition knows of a view at a grid point: how many series, how many of them overdue, how many samples came late.
//!
//! Combine adds those of all partitions up, and judges coverage and limits by the sums.

use serde::{Deserialize, Serialize};

use crate::compile::ViewSlot;
use crate::model::Timestamp;
use crate::wire::cluster::STATUS_NUMBERS;

/// What a partition knows of a view at a grid point that became final in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub slot: ViewSlot,
    pub t: Timestamp,
    /// Series with a sample within the reach and no marker since.
    pub live: u64,
    /// Series with a value.
    pub valued: u64,
    /// Live series whose next sample should have come and has not.
    pub overdue: u64,
    /// The least newest time of the overdue; `Timestamp::MAX` when there are none.
    pub overdue_since: Timestamp,
    /// The greatest newest time of the overdue; `Timestamp::MIN` when there are none.
    pub overdue_newest: Timestamp,
    /// The least newest time of the overdue that were not at the grid point before; `Timestamp::MAX` when there are none.
    pub overdue_new_since: Timestamp,
    /// Series that were overdue at the grid point before and have had a sample or a marker since.
    pub back: u64,
    /// Series that were overdue at the grid point before and have ended or left the reach.
    pub gone: u64,
    /// Samples that did not count since the grid point before.
    pub not_counted: u64,
    /// Samples since then for which one of the same series and time, and another value, was there before.
    pub conflicting: u64,
    /// An estimate of what the view's share of the window state takes.
    pub state_bytes: u64,
    /// Samples in the windows of all series.
    pub window_samples: u64,
}

/// What a view without series has.
impl Default for Status {
    fn default() -> Status {
        Status {
            slot: ViewSlot::default(),
            t: Timestamp::default(),
            live: 0,
            valued: 0,
            overdue: 0,
            overdue_since: Timestamp::MAX,
            overdue_newest: Timestamp::MIN,
            overdue_new_since: Timestamp::MAX,
            back: 0,
            gone: 0,
            not_counted: 0,
            conflicting: 0,
            state_bytes: 0,
            window_samples: 0,
        }
    }
}

impl Status {
    /// As it crosses between processes.
    pub fn numbers(&self) -> [i64; STATUS_NUMBERS] {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        [
            count(self.live),
            count(self.valued),
            count(self.overdue),
            self.overdue_since.0,
            self.overdue_newest.0,
            self.overdue_new_since.0,
            count(self.back),
            count(self.gone),
            count(self.not_counted),
            count(self.conflicting),
            count(self.state_bytes),
            count(self.window_samples),
        ]
    }

    pub fn from_numbers(slot: ViewSlot, t: Timestamp, numbers: &[i64; STATUS_NUMBERS]) -> Status {
        let count = |number: i64| number.max(0).unsigned_abs();
        let [live, valued, overdue, since, newest, new_since, back, gone, not_counted, conflicting, bytes, samples] =
            *numbers;
        Status {
            slot,
            t,
            live: count(live),
            valued: count(valued),
            overdue: count(overdue),
            overdue_since: Timestamp(since),
            overdue_newest: Timestamp(newest),
            overdue_new_since: Timestamp(new_since),
            back: count(back),
            gone: count(gone),
            not_counted: count(not_counted),
            conflicting: count(conflicting),
            state_bytes: count(bytes),
            window_samples: count(samples),
        }
    }
}

impl Status {
    pub(super) fn add(&mut self, other: &Status) {
        self.overdue_since = self.overdue_since.min(other.overdue_since);
        self.live += other.live;
        self.valued += other.valued;
        self.overdue += other.overdue;
        self.overdue_newest = self.overdue_newest.max(other.overdue_newest);
        self.overdue_new_since = self.overdue_new_since.min(other.overdue_new_since);
        self.back += other.back;
        self.gone += other.gone;
        self.not_counted += other.not_counted;
        self.conflicting += other.conflicting;
        self.state_bytes += other.state_bytes;
        self.window_samples += other.window_samples;
    }
}
