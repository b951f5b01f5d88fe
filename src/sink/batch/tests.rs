//! The book over a real store: what arrives at a receiver that keeps everything, whenever the process is killed.
//!
//! Sees: a sample with two values, out of order, missing or made up; a series that does not end; positions that are lost.
//! Cannot see: HTTP, which the process tests do.

mod world;

use world::{JOB, World};

use super::*;
use crate::sink::From;

/// Nothing was uncovered: all values, a marker where a group is gone, and no more.
#[test]
fn values_and_markers_arrive_once_and_restarts_change_nothing() {
    for seed in 0..40 {
        let mut world = World::new(JOB, From::All, Uncovered::Send, seed);
        for k in 1..=30 {
            world.commit(k, &[]);
            if world.chance(2) {
                world.deliver();
            }
        }
        world.deliver_all();
        world.check_order();
        assert_eq!(world.received(), world.naive(|_| false), "{seed}");
    }
}

/// A span may be said after its grid points were sent, between a crash and the second try.
#[test]
fn what_was_decided_once_is_sent_again_whatever_spans_are_said_meanwhile() {
    let (mut skipped, mut sent) = (0, 0);
    for seed in 0..60 {
        let mut world = World::new(JOB, From::All, Uncovered::Skip, seed);
        for k in 1..=30 {
            let spans = if world.chance(4) { vec![world.span(k)] } else { Vec::new() };
            world.commit(k, &spans);
            if world.chance(2) {
                world.deliver();
            }
        }
        world.deliver_all();
        world.check_order();
        let (left_out, whole) = world.check_reader();
        (skipped, sent) = (skipped + left_out, sent + whole);
    }
    assert!(skipped > 100 && sent > 100, "{skipped} left out, {sent} sent");
}

#[test]
fn spans_that_are_known_leave_grid_points_out_and_end_their_series() {
    let mut world = World::new(JOB, From::All, Uncovered::Skip, 1);
    let spans = [(SpanReason::Late, 20, 45), (SpanReason::Gone, 60, 61), (SpanReason::Overdue, 80, i64::MAX)];
    (1..=9).for_each(|k| world.commit(k, if k == 1 { &spans } else { &[] }));
    world.deliver_all();
    assert_eq!(world.received(), world.naive(|k| matches!(k, 2..=4 | 8..)));
}

#[test]
fn a_new_sink_begins_now_or_with_all_there_is() {
    for (from, first) in [(From::All, 1), (From::Now, 6)] {
        let mut world = World::new(JOB, from, Uncovered::Send, 2);
        world.clock.set(50);
        (1..=4).for_each(|k| world.commit(k, &[]));
        world.restart();
        world.deliver_all();
        (5..=9).for_each(|k| world.commit(k, &[]));
        world.clock.set(100);
        world.deliver_all();
        world.restart();
        world.deliver_all();
        let expected = world.naive(|k| k < first).into_iter().filter(|(_, t, _)| *t >= first * 10);
        assert_eq!(world.received(), expected.collect(), "{from:?}");
    }
}

/// Nothing of the last grid point may be left hanging for a receiver's whole lookback.
#[test]
fn series_of_a_rule_that_is_gone_end_at_its_next_grid_point() {
    let mut world = World::new(JOB, From::All, Uncovered::Send, 3);
    (1..=5).for_each(|k| world.commit(k, &[]));
    world.deliver();
    world.put_jobs("");
    world.clock.set(60);
    world.deliver_all();
    assert_eq!(world.received(), world.naive_to(5, |_| false), "a file that is written anew is absent for a moment");
    world.clock.set(200_000);
    world.deliver_all();
    let ended = world.naive_to(6, |k| k == 6);
    assert_eq!(world.received(), ended);
    world.restart();
    world.deliver_all();
    assert_eq!(world.received(), ended, "once");

    // It comes back, and the store has what was missed: the marker stays where it is.
    world.put_jobs(JOB);
    (6..=8).for_each(|k| world.commit(k, &[]));
    world.deliver_all();
    assert_eq!(world.received(), world.naive_to(8, |k| k == 6));
}

#[test]
fn a_rule_that_is_absent_for_a_moment_goes_on() {
    let mut world = World::new(JOB, From::All, Uncovered::Send, 4);
    (1..=5).for_each(|k| world.commit(k, &[]));
    world.put_jobs("");
    world.deliver();
    world.put_jobs(JOB);
    (6..=8).for_each(|k| world.commit(k, &[]));
    world.clock.set(200_000);
    world.deliver_all();
    assert_eq!(world.received(), world.naive_to(8, |_| false));
}

#[test]
fn another_record_name_ends_the_series_of_the_one_before() {
    let mut world = World::new(JOB, From::All, Uncovered::Send, 5);
    (1..=3).for_each(|k| world.commit(k, &[]));
    world.deliver_all();
    world.put_jobs(&JOB.replace("g:x:rate", "other"));
    world.deliver();
    (4..=6).for_each(|k| world.commit(k, &[]));
    world.clock.set(200_000);
    world.deliver_all();
    let (old, new): (Vec<_>, Vec<_>) = world.received().into_iter().partition(|(labels, ..)| labels.starts_with("g:x:rate"));
    assert_eq!(old, world.naive_to(4, |k| k == 4).into_iter().collect::<Vec<_>>());
    let renamed = world.naive_to(6, |_| false).into_iter().map(|(labels, t, v)| (labels.replace("g:x:rate", "other"), t, v));
    assert_eq!(new, renamed.collect::<Vec<_>>());
}

/// The series are the same, and have one value at a time and an order.
#[test]
fn another_expression_under_one_record_name_goes_on_where_the_one_before_ends() {
    for from in [From::All, From::Now] {
        for behind in [false, true] {
            let mut world = World::new(JOB, from, Uncovered::Send, 11);
            world.commit(1, &[]);
            world.deliver();
            (2..=3).for_each(|k| world.commit(k, &[]));
            if !behind {
                world.deliver_all();
            }
            world.put_jobs(&JOB.replace("rate(", "increase("));
            world.clock.set(35);
            world.deliver();
            (4..=7).for_each(|k| world.commit(k, &[]));
            world.deliver_all();
            world.restart();
            world.deliver_all();
            world.check_order();
            assert_eq!(world.received(), world.naive(|k| k == 4), "{from:?} {behind}");
        }
    }
}

#[test]
fn series_of_a_view_beyond_its_limits_end() {
    for uncovered in [Uncovered::Send, Uncovered::Skip] {
        let mut world = World::new(JOB, From::All, uncovered, 6);
        (1..=3).for_each(|k| world.commit(k, &[]));
        world.say(SpanReason::OverLimit, 40, i64::MAX);
        world.deliver_all();
        world.clock.set(200_000);
        world.deliver_all();
        assert_eq!(world.received(), world.naive_to(4, |k| k == 4), "{uncovered:?}");
    }
}

/// Thousands of grid points behind: everything comes, a bounded piece at a time, and other rules have their turn.
#[test]
fn a_sink_that_is_far_behind_catches_up_in_bounded_pieces_by_turns() {
    let mut world = World::new(world::TWO, From::All, Uncovered::Send, 7);
    world.commit_many(1, 3000);
    let mut largest = 0;
    let mut turns = Vec::new();
    loop {
        let batch = world.book.next().unwrap();
        if batch.is_empty() {
            break;
        }
        let samples: usize = batch.units.iter().map(|unit| unit.values.len()).sum();
        largest = largest.max(samples);
        turns.extend(batch.pieces.iter().map(|(number, _)| *number));
        world.receive(&batch);
        world.book.settle(batch);
    }
    assert!(largest <= 2 * world::SAMPLES_MAX, "{largest}");
    let both = 2 * turns.iter().filter(|number| **number == 0).count().min(turns.iter().filter(|n| **n == 1).count());
    let alternate = turns[..both / 2].windows(4).all(|four| four.contains(&0) && four.contains(&1));
    assert!(alternate, "{turns:?}");
    assert!(turns.len() < 700, "many grid points at a time: {}", turns.len());
    world.check_order();
    assert_eq!(world.received(), world.naive_to(3000, |_| false));
}

/// Stretches in which a view has nothing are passed quickly, and results that retention has passed are given up.
#[test]
fn what_retention_has_passed_is_given_up_and_said() {
    let mut world = World::new(JOB, From::All, Uncovered::Send, 8);
    (1..=3).for_each(|k| world.commit(k, &[]));
    world.deliver_all();
    assert_eq!(world.book.status.failures().get("expired"), None);
    (4..=9).for_each(|k| world.commit(k, &[]));
    world.expire_before(6);
    world.deliver_all();
    let mut expected = world.naive_to(3, |_| false);
    expected.extend(world.naive(|k| k < 6).into_iter().filter(|(_, t, _)| *t >= 60));
    assert_eq!(world.received(), expected);
    assert_eq!(world.book.status.failures().get("expired"), Some(&1));
}

#[test]
fn how_far_it_has_come_is_told() {
    let mut world = World::new(JOB, From::All, Uncovered::Send, 9);
    (1..=5).for_each(|k| world.commit(k, &[]));
    let batch = world.book.next().unwrap();
    assert!(world.book.status.behind_ms() >= 40_000, "{}", world.book.status.behind_ms());
    world.book.settle(batch);
    world.deliver_all();
    assert_eq!((world.book.status.position(), world.book.status.behind_ms()), (Some(Timestamp(50_000)), 0));
}

#[test]
fn damaged_positions_are_refused_with_a_remedy() {
    let mut world = World::new(JOB, From::All, Uncovered::Send, 10);
    world.commit(1, &[]);
    world.deliver_all();
    world.store.put_note("sink/s/at/0", b"?").unwrap();
    let error = world.reopened().err().unwrap();
    assert!(error.contains("sink/s/of/0") && error.contains("another name"), "{error}");
}

#[test]
fn uncovered_grid_points_are_cut_to_the_grid() {
    let span =
        |reason, from, to| Uncover { view: crate::model::ViewId(1), reason, from: Timestamp(from), to: Timestamp(to) };
    let spans = [
        span(SpanReason::Late, 15, 40),
        span(SpanReason::Gap, 35, 51),
        span(SpanReason::Refused, 71, 79),
        span(SpanReason::Gone, 0, 1000),
        span(SpanReason::Overdue, 90, i64::MAX),
    ];
    let times = |pairs: Vec<(Timestamp, Timestamp)>| pairs.iter().map(|(a, b)| (a.0, b.0)).collect::<Vec<_>>();
    let cut = |from, to| times(uncovered(&spans, Grid::new(10), Timestamp(from), Timestamp(to)));
    assert_eq!(cut(0, 100), [(20, 50), (90, 100)]);
    assert_eq!(cut(30, 40), [(30, 40)]);
    assert_eq!(cut(60, 80), []);
}
