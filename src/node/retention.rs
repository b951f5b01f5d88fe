//! How far retention of results has come: by the clock, as far as it can be believed.
//!
//! What retention deletes no replay brings back, once the log has forgotten it; and a clock may be wrong, by years even.
//! So three things bound the instant it goes by. It is never later than the log time that is committed, which other machines
//! give where the log is in Kafka, and the samples where `log_time` is `samples`. It moves on by at most an hour at each look,
//! so that a clock that jumps, and takes log time with it, costs hours at the old end and not everything. And as in the store
//! it never goes back, so after a jump it waits until time has caught up.

use std::time::Duration;

use crate::model::Timestamp;
use crate::store::{Store, StoreError};

/// How often retention of results is enforced.
pub const EVERY: Duration = Duration::from_secs(600);

/// The most that the instant moves on at once: after a stop it makes up for lost time six times as fast as time goes.
const STRIDE_MS: i64 = 3_600_000;

/// Lets go of results that are older than their retention, as far as the time can be believed.
///
/// # Errors
/// When the disk fails; what was not deleted will be by a later call.
pub fn enforce(store: &Store, clock: Timestamp) -> Result<(), StoreError> {
    // Before the first commit of a log there is nothing that tells the time but the clock.
    let Some((_, positions)) = store.positions() else { return Ok(()) };
    let Some(log_time) = positions.iter().map(|position| position.log_time).max() else { return Ok(()) };
    store.enforce_retention(instant(clock, log_time, store.retention_instant()))
}

fn instant(clock: Timestamp, log_time: Timestamp, before: Option<Timestamp>) -> Timestamp {
    let believed = clock.min(log_time);
    before.map_or(believed, |before| believed.min(before + STRIDE_MS))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Commit, Labels, Offset, PartitionId, Position, ResultPoint, ViewId};
    use crate::store::{Durability, ReadLimits, StoreOptions, ViewDescription};

    const HOUR_MS: i64 = 3_600_000;
    const DAY_MS: i64 = 24 * HOUR_MS;
    const YEAR_MS: i64 = 365 * DAY_MS;
    const VIEW: ViewId = ViewId(7);

    /// Results every hour up to day 40, kept for 30 days.
    fn store(dir: &std::path::Path) -> Store {
        let store = Store::open(dir, StoreOptions::default()).unwrap();
        let description = ViewDescription { step_ms: HOUR_MS, fields: 1, retention_ms: 30 * DAY_MS, text: "{}".to_owned() };
        store.describe(VIEW, description).unwrap();
        (1..=40 * 24).for_each(|hour| commit(&store, hour * HOUR_MS, hour * HOUR_MS));
        store
    }

    fn commit(store: &Store, t: i64, log_time: i64) {
        let group = Arc::new(Labels::from_pairs([("a", "b")]));
        let commit = Commit {
            log_incarnation: 1,
            positions: vec![Position {
                partition: PartitionId(0),
                next: Offset(log_time as u64),
                log_time: Timestamp(log_time),
            }],
            results: vec![ResultPoint { view: VIEW, group, t: Timestamp(t), fields: [1.0, 0.0] }],
            final_to: vec![(VIEW, Timestamp(t))],
            ..Commit::default()
        };
        store.apply(&commit, Durability::Later).unwrap();
    }

    /// The hours of which there are results, the first and how many.
    fn hours(store: &Store) -> (i64, usize) {
        let limits = ReadLimits { series_max: usize::MAX, points_max: usize::MAX };
        let series = store.read(VIEW, &[], Timestamp::MIN, Timestamp::MAX, limits).unwrap_or_default();
        series.first().map_or((0, 0), |one| (one.times[0].0 / HOUR_MS, one.times.len()))
    }

    fn day(day: i64) -> Timestamp {
        Timestamp(day * DAY_MS)
    }

    #[test]
    fn results_are_kept_as_long_as_their_retention() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        enforce(&store, day(40)).unwrap();
        assert_eq!(hours(&store), (10 * 24, 30 * 24 + 1));
        commit(&store, 40 * DAY_MS + HOUR_MS, 40 * DAY_MS + HOUR_MS);
        enforce(&store, day(40) + HOUR_MS).unwrap();
        assert_eq!(hours(&store), (10 * 24 + 1, 30 * 24 + 1));
    }

    #[test]
    fn a_clock_years_ahead_of_log_time_deletes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        enforce(&store, day(40) + 3 * YEAR_MS).unwrap();
        assert_eq!(hours(&store), (10 * 24, 30 * 24 + 1), "by log time");
        enforce(&store, day(40)).unwrap();
        assert_eq!(hours(&store), (10 * 24, 30 * 24 + 1));
    }

    /// The embedded log takes its time from the same clock.
    #[test]
    fn a_clock_that_takes_log_time_with_it_costs_an_hour_at_each_look() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        enforce(&store, day(40)).unwrap();
        commit(&store, 40 * DAY_MS + HOUR_MS, 40 * DAY_MS + 3 * YEAR_MS);
        for _ in 0..3 {
            enforce(&store, day(40) + 3 * YEAR_MS).unwrap();
        }
        assert_eq!(hours(&store), (10 * 24 + 3, 30 * 24 - 1));
        // Put right again: nothing more goes until time has caught up, and new results are there.
        enforce(&store, day(40) + HOUR_MS).unwrap();
        commit(&store, 40 * DAY_MS + 2 * HOUR_MS, 40 * DAY_MS + 3 * YEAR_MS);
        assert_eq!(hours(&store), (10 * 24 + 3, 30 * 24));
        enforce(&store, day(40) + 4 * HOUR_MS).unwrap();
        assert_eq!(hours(&store), (10 * 24 + 4, 30 * 24 - 1));
    }

    #[test]
    fn an_empty_log_tells_no_time() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        enforce(&store, day(40) + 3 * YEAR_MS).unwrap();
        assert_eq!(store.retention_instant(), None);
    }
}
