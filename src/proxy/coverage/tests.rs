//! Spans, comparisons, and which grid points are served then.

use super::*;
use crate::model::ViewId;
use SpanReason::{Draining, Gone, Late, Overdue, SenderNew, TwoSenders};

const OPEN: i64 = i64::MAX;

/// Grid points every 10 ms from 0 to 200.
fn state(spans: &[(SpanReason, i64, i64)]) -> ViewState {
    let span = |(reason, from, to): &(SpanReason, i64, i64)| Uncover {
        view: ViewId(1),
        reason: *reason,
        from: Timestamp(*from),
        to: Timestamp(*to),
    };
    ViewState {
        begun: Some(Timestamp(0)),
        covered_from: Some(Timestamp(0)),
        final_to: Some(Timestamp(200)),
        step_ms: 10,
        fields: 1,
        retention_ms: i64::MAX,
        spans: spans.iter().map(span).collect(),
        description: String::new(),
        points: 0,
        groups: 0,
    }
}

fn compared(equal: &[i64], doubted: &[i64]) -> Compared {
    let instants = |ms: &[i64]| ms.iter().map(|t| Timestamp(*t)).collect();
    Compared { equal: instants(equal), doubted: instants(doubted) }
}

#[track_caller]
fn check(spans: &[(SpanReason, i64, i64)], confirmed: &[i64], expected: &[(i64, i64)]) {
    check_doubted(spans, &compared(confirmed, &[]), expected);
}

#[track_caller]
fn check_doubted(spans: &[(SpanReason, i64, i64)], confirmed: &Compared, expected: &[(i64, i64)]) {
    let coverage = Coverage::strict(&state(spans), Vouching::Compared(confirmed));
    let served: Vec<_> = coverage.served().iter().map(|(from, to)| (from.0, to.0)).collect();
    assert_eq!(served, expected, "{spans:?} {confirmed:?}");
}

#[test]
fn a_view_is_served_from_an_equal_comparison_on() {
    check(&[], &[], &[]);
    check(&[], &[0], &[(0, 200)]);
    check(&[], &[50], &[(50, 200)]);
    check(&[(Late, 60, 81)], &[50], &[(50, 50), (90, 200)]);
    check(&[(Gone, 100, 101)], &[0], &[(0, 90)]);
    check(&[(Gone, 100, 101)], &[0, 130], &[(0, 90), (130, 200)]);
}

#[test]
fn what_comes_with_a_sender_wants_a_comparison() {
    for reason in [SenderNew, TwoSenders] {
        check(&[(reason, 60, 90)], &[0], &[(0, 50)]);
        check(&[(reason, 60, 90)], &[0, 80], &[(0, 50)]);
        check(&[(reason, 60, 90)], &[0, 100], &[(0, 50), (100, 200)]);
        check(&[(reason, 60, 90), (reason, 120, 150)], &[0, 90], &[(0, 50), (90, 110)]);
    }
}

#[test]
fn retention_takes_no_trust_away_and_gives_none() {
    let served = |spans: &[(SpanReason, i64, i64)], equal: &[i64]| {
        let state = ViewState { covered_from: Some(Timestamp(100)), ..state(spans) };
        let coverage = Coverage::strict(&state, Vouching::Compared(&compared(equal, &[])));
        coverage.served().iter().map(|(from, to)| (from.0, to.0)).collect::<Vec<_>>()
    };
    assert_eq!(served(&[], &[0]), [(100, 200)]);
    assert_eq!(served(&[(SenderNew, 50, 80)], &[0]), []);
    assert_eq!(served(&[(SenderNew, 50, 80)], &[0, 90]), [(100, 200)]);
}

#[test]
fn a_comparison_overrides_an_overdue_span_once_windows_are_rid_of_its_series() {
    check(&[(Overdue, 55, OPEN)], &[0], &[(0, 50)]);
    check(&[(Overdue, 55, OPEN)], &[0, 100], &[(0, 50), (100, 200)]);
    // Windows hold samples of the overdue series up to 115: what is equal there says nothing.
    check(&[(Overdue, 55, OPEN), (Draining, 60, 115)], &[0, 100], &[(0, 50)]);
    check(&[(Overdue, 55, OPEN), (Draining, 60, 115)], &[0, 120], &[(0, 50), (120, 200)]);
    // Another series became overdue later: what vouched for the first does not vouch for it.
    check(&[(Overdue, 55, OPEN), (Draining, 60, 115), (Draining, 141, 165)], &[0, 120], &[(0, 50), (120, 140)]);
    check(
        &[(Overdue, 55, OPEN), (Draining, 60, 115), (Draining, 141, 165)],
        &[0, 120, 180],
        &[(0, 50), (120, 140), (180, 200)],
    );
    // They came back: nothing but time is needed, and nothing helps before.
    check(&[(Overdue, 55, 130), (Draining, 60, 130)], &[0, 100], &[(0, 50), (130, 200)]);
    // They have left the lookback: a comparison is needed again, and what was served stays so.
    check(&[(Overdue, 55, 170), (Draining, 60, 115), (Gone, 150, 151)], &[0, 120], &[(0, 50), (120, 140)]);
}

#[test]
fn what_was_found_unequal_is_not_served_until_it_is_equal_again() {
    check_doubted(&[], &compared(&[0], &[101]), &[(0, 100)]);
    check_doubted(&[], &compared(&[0, 150], &[101]), &[(0, 100), (150, 200)]);
    check_doubted(&[], &compared(&[0, 150], &[101, 171]), &[(0, 100), (150, 170)]);
    check_doubted(&[(Late, 60, 81)], &compared(&[0, 150], &[41]), &[(0, 40), (150, 200)]);
    check_doubted(&[], &compared(&[50], &[0]), &[(50, 200)]);
    assert!(comparison_due(&state(&[]), &compared(&[0], &[101]), Timestamp(200)));
    let mut again = compared(&[0], &[101]);
    assert!(confirm(&state(&[]), &mut again, Timestamp(200)) && again == compared(&[0, 200], &[101]));
    assert!(!confirm(&state(&[]), &mut again, Timestamp(200)));
}

#[test]
fn comparisons_are_due_only_where_they_would_help() {
    let due = |spans: &[(SpanReason, i64, i64)], confirmed: &[i64], t: i64| {
        comparison_due(&state(spans), &compared(confirmed, &[]), Timestamp(t))
    };
    assert!(due(&[], &[], 200) && !due(&[], &[0], 200));
    assert!(!due(&[(Overdue, 55, OPEN), (Draining, 60, 115)], &[0], 110));
    assert!(due(&[(Overdue, 55, OPEN), (Draining, 60, 115)], &[0], 120));
    assert!(!due(&[(Late, 60, 115)], &[], 110));
}

#[test]
fn a_step_is_asked_for_when_any_of_its_views_is_uncovered() {
    use PointState::{NotEmitted, Served, Uncovered};
    for (one, other, both) in [
        (Served, Served, Served),
        (Served, NotEmitted, NotEmitted),
        (NotEmitted, Uncovered, Uncovered),
        (Served, Uncovered, Uncovered),
    ] {
        assert_eq!((one.and(other), other.and(one)), (both, both));
    }
}

#[test]
fn a_view_has_changed_where_a_span_begins_or_ends() {
    let state = state(&[(Late, 60, 80), (Overdue, 100, OPEN)]);
    for (after, to, expected) in [(0, 59, false), (0, 60, true), (60, 79, false), (70, 90, true), (100, 200, false)] {
        assert_eq!(changed_between(&state, Timestamp(after), Timestamp(to)), expected, "{after} {to}");
    }
}
