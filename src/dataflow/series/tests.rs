//! A series' points, by hand.

use super::*;
use crate::model::STALE_NAN;

const ONE: SenderIndex = SenderIndex(1);

/// Nothing is dropped before this.
const EVER: Timestamp = Timestamp::MIN;

fn sample(t: i64, v: f64) -> Sample {
    Sample { t: Timestamp(t), v }
}

fn times(series: &Series, end: i64, range: i64, max_delay_ms: i64) -> Vec<i64> {
    let mut scratch = Vec::new();
    let window = Window::new(Timestamp(end), range);
    series.window(window, max_delay_ms, &mut scratch).iter().map(|s| s.t.0).collect()
}

#[test]
fn points_are_ordered_and_the_first_of_a_time_stays() {
    let mut series = Series::default();
    for (t, v, expected) in [
        (10, 1.0, Inserted::Added),
        (30, 3.0, Inserted::Added),
        (20, 2.0, Inserted::Added),
        (20, 2.0, Inserted::Same),
        (20, 9.0, Inserted::Conflict),
    ] {
        assert_eq!(series.insert(sample(t, v), 0, ONE, EVER), expected, "{t}");
    }
    assert_eq!(times(&series, 30, 20, 0), [20, 30]);
    assert_eq!(series.newest_in(Window::new(Timestamp(25), 10), 0), Some(2.0));
    series.trim(Timestamp(20));
    assert_eq!(times(&series, 100, 100, 0), [30]);
}

#[test]
fn markers_leave_windows_and_end_instant_selection() {
    let mut series = Series::default();
    series.insert(sample(10, 1.0), 0, ONE, EVER);
    series.insert(sample(20, STALE_NAN), 0, ONE, EVER);
    assert_eq!(times(&series, 20, 20, 0), [10]);
    assert_eq!(series.newest_in(Window::new(Timestamp(20), 20), 0), None);
    assert_eq!(series.newest_in(Window::new(Timestamp(19), 20), 0), Some(1.0));
    series.trim(Timestamp(20));
    series.insert(sample(30, 3.0), 0, ONE, EVER);
    assert_eq!(times(&series, 30, 30, 0), [30]);
}

#[test]
fn a_sample_counts_for_the_views_it_was_in_time_for() {
    let mut series = Series::default();
    series.serve(0, &Terms { max_delay_ms_least: 10, max_delay_ms_most: 50, window_ms_max: 100 });
    series.insert(sample(10, 1.0), 5, ONE, EVER);
    series.insert(sample(20, 2.0), 40, ONE, EVER);
    assert_eq!(times(&series, 20, 20, 10), [10]);
    assert_eq!(times(&series, 20, 20, 50), [10, 20]);
    assert_eq!(series.newest_in(Window::new(Timestamp(20), 20), 10), Some(1.0));
}

#[test]
fn the_newest_sample_says_whether_a_series_is_live() {
    let mut series = Series::default();
    for t in [0, 15_000, 45_000, 40_000] {
        series.see(sample(t, 0.0));
    }
    assert_eq!((series.spacing_ms(), series.newest()), (30_000, Timestamp(45_000)));
    assert!(series.is_live(Timestamp(130_000), 300_000) && !series.is_live(Timestamp(345_000), 300_000));
    series.see(sample(60_000, STALE_NAN));
    assert!(!series.is_live(Timestamp(61_000), 300_000));
    series.see(sample(59_000, 1.0));
    assert!(!series.is_live(Timestamp(61_000), 300_000));
}

#[test]
fn only_usual_samples_are_appended_and_memory_is_bounded() {
    let terms = Terms { max_delay_ms_least: 20, max_delay_ms_most: 20, window_ms_max: 80 };
    let mut series = Series::default();
    for t in 1..1000 {
        assert!(series.append(sample(t * 10, t as f64), &terms, Timestamp(t * 10)), "{t}");
        assert!(!series.append(sample(t * 10, 0.5), &terms, Timestamp(t * 10)), "not newer: {t}");
        let kept = times(&series, t * 10, 80, 20);
        assert_eq!(kept, Vec::from_iter((1..=t).map(|t| t * 10).filter(|kept| *kept > t * 10 - 80)), "{t}");
        assert!(series.samples.capacity() <= 16);
    }
    assert!(!series.append(sample(10_000, STALE_NAN), &terms, Timestamp(10_000)));
    assert_eq!(series.insert(sample(10_000, STALE_NAN), 0, ONE, EVER), Inserted::Added);
    assert!(!series.append(sample(10_010, 1.0), &terms, Timestamp(10_010)), "a series with a marker is rare");
}

#[test]
fn the_nearest_samples_of_other_senders_are_found() {
    let (two, mut series) = (SenderIndex(2), Series::default());
    series.insert(sample(10, 1.0), 0, ONE, EVER);
    series.insert(sample(30, 1.0), 0, ONE, EVER);
    assert!(series.is_only_sender(ONE) && !series.is_only_sender(two));
    assert_eq!(series.neighbours_of_others(Timestamp(20), two), (Some(Timestamp(10)), Some(Timestamp(30))));
    assert_eq!(series.neighbours_of_others(Timestamp(20), ONE), (None, None));
    series.insert(sample(20, 1.0), 0, two, EVER);
    assert_eq!(series.neighbours_of_others(Timestamp(40), ONE), (Some(Timestamp(20)), None));
    assert_eq!(series.neighbours_of_others(Timestamp(30), two), (Some(Timestamp(30)), Some(Timestamp(30))));
    assert!(!series.is_only_sender(ONE));
}
