//! Which log time the next record gets.
//!
//! There is one running maximum for the whole log, and thereby one for each partition. It is kept as a plain value: the
//! writer works on a copy and keeps that only if the batch became durable, so a failed batch does not move log time.

use crate::log::LogTimeSource;
use crate::model::{LogTime, Timestamp};

/// How far ahead of the clock a sample time may be and still move log time; how far log time may be when a log is opened.
pub(super) const AHEAD_MS_MAX: i64 = 10 * 60 * 1000;

/// After so long without records, sample-driven log time moves with the clock.
const SILENCE_MS: i64 = 10_000;

/// The log's time, and what is needed to move it on.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogClock {
    source: LogTimeSource,
    /// The newest log time given; `Timestamp::MIN` when none was.
    newest: LogTime,
    /// The clock's time at the last record that was not a tick, or at the start.
    heard: Timestamp,
    /// The log time then.
    heard_log_time: LogTime,
}

impl LogClock {
    /// Continues a log whose newest log time is known.
    pub fn new(source: LogTimeSource, newest: LogTime, now: Timestamp) -> LogClock {
        LogClock { source, newest, heard: now, heard_log_time: newest }
    }

    /// The log time of a record appended now, whose newest sample time is given.
    pub fn record(&mut self, newest_sample: Option<Timestamp>, now: Timestamp) -> LogTime {
        match (self.source, newest_sample) {
            (LogTimeSource::Append, _) => self.newest = self.newest.max(now),
            (LogTimeSource::Samples, Some(sample)) if sample - now <= AHEAD_MS_MAX => self.newest = self.newest.max(sample),
            (LogTimeSource::Samples, _) => {}
        }
        (self.heard, self.heard_log_time) = (now, self.newest);
        self.newest
    }

    /// The log time of a tick now; `None` while sample-driven log time has not begun.
    pub fn tick(&mut self, now: Timestamp) -> Option<LogTime> {
        self.newest = self.at(now);
        (self.newest > Timestamp::MIN).then_some(self.newest)
    }

    /// What log time would be now: what ages are measured against.
    pub fn at(&self, now: Timestamp) -> LogTime {
        match self.source {
            LogTimeSource::Append => self.newest.max(now),
            LogTimeSource::Samples if self.newest == Timestamp::MIN => self.newest,
            LogTimeSource::Samples => {
                let silent_ms = (now - self.heard).saturating_sub(SILENCE_MS).max(0);
                self.newest.max(self.heard_log_time + silent_ms)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_000_000_000);

    enum Step {
        /// At this many ms after the start, a record with this newest sample (ms after the start).
        Record(i64, Option<i64>),
        Tick(i64),
    }
    use Step::{Record, Tick};

    #[track_caller]
    fn check(source: LogTimeSource, steps: &[(Step, Option<i64>)]) {
        let mut clock = LogClock::new(source, Timestamp::MIN, START);
        for (at, (step, expected)) in steps.iter().enumerate() {
            let given = match step {
                Record(now, sample) => Some(clock.record(sample.map(|ms| START + ms), START + *now)),
                Tick(now) => clock.tick(START + *now),
            };
            let given = given.filter(|log_time| *log_time > Timestamp::MIN).map(|log_time| log_time - START);
            assert_eq!(given, *expected, "step {at}");
        }
    }

    #[test]
    fn append_time_is_the_clock_and_never_goes_back() {
        let steps = [
            (Tick(0), Some(0)),
            (Record(5, Some(999)), Some(5)),
            (Record(3, None), Some(5)),
            (Tick(4), Some(5)),
            (Record(6, None), Some(6)),
        ];
        check(LogTimeSource::Append, &steps);
    }

    #[test]
    fn sample_time_is_a_running_maximum_that_ignores_the_far_future() {
        let steps = [
            (Tick(0), None),
            (Record(1, None), None),
            (Record(2, Some(-5000)), Some(-5000)),
            (Record(3, Some(-9000)), Some(-5000)),
            (Record(4, Some(4 + AHEAD_MS_MAX + 1)), Some(-5000)),
            (Record(5, Some(5 + AHEAD_MS_MAX)), Some(5 + AHEAD_MS_MAX)),
            (Tick(6), Some(5 + AHEAD_MS_MAX)),
        ];
        check(LogTimeSource::Samples, &steps);
    }

    #[test]
    fn silence_moves_sample_time_with_the_clock() {
        let steps = [
            (Record(0, Some(-60_000)), Some(-60_000)),
            (Tick(10_000), Some(-60_000)),
            (Tick(11_000), Some(-59_000)),
            (Tick(15_000), Some(-55_000)),
            (Tick(12_000), Some(-55_000)), // the clock went back
            (Record(16_000, Some(-58_000)), Some(-55_000)),
            (Tick(17_000), Some(-55_000)), // silence begins anew
            (Tick(27_000), Some(-54_000)),
            (Record(28_000, Some(-50_000)), Some(-50_000)),
        ];
        check(LogTimeSource::Samples, &steps);
    }
}
