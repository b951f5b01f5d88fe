//! Sees: a value or marker that is missing, doubled or of another grid point, however the grid is cut. The naive model
//! goes grid point by grid point over all series and keeps nothing but what it has just sent.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::model::is_stale;

const STEP: i64 = 10;

/// Which groups have a value at each grid point, and which grid points are left out.
struct Grid {
    present: Vec<Vec<bool>>,
    skipped: Vec<bool>,
}

/// Time, group, bits of the value.
type Sent = Vec<(i64, String, u64)>;

fn value(k: usize, group: usize) -> f64 {
    (k * 100 + group) as f64
}

impl Grid {
    fn random(seed: u64) -> Grid {
        let mut state = seed;
        let mut chance = |of: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33).is_multiple_of(of)
        };
        let (points, groups) = (12, 3);
        let present = (0..points).map(|_| (0..groups).map(|_| !chance(3)).collect()).collect();
        Grid { present, skipped: (0..points).map(|_| chance(4)).collect() }
    }

    fn sent_at(&self, k: usize, group: usize) -> bool {
        self.present[k][group] && !self.skipped[k]
    }

    fn naive(&self) -> Sent {
        let mut sent = Sent::new();
        for k in 0..self.present.len() {
            for group in 0..self.present[k].len() {
                let before = k > 0 && self.sent_at(k - 1, group);
                let v = match (self.sent_at(k, group), before) {
                    (true, _) => value(k, group),
                    (false, true) => STALE_NAN,
                    (false, false) => continue,
                };
                sent.push((k as i64 * STEP, format!("g{group}"), v.to_bits()));
            }
        }
        sent
    }

    /// The groups as they are read between two grid points, inclusive.
    fn read(&self, from: i64, to: i64) -> Vec<GroupSeries> {
        let points = |group: usize| (0..self.present.len()).filter(move |k| self.present[*k][group]);
        let read = |group: usize| {
            let ks: Vec<usize> = points(group).filter(|k| (from..=to).contains(&(*k as i64))).collect();
            let times = ks.iter().map(|k| Timestamp(*k as i64 * STEP)).collect();
            let values = ks.iter().map(|k| value(*k, group)).collect();
            let labels = Arc::new(Labels::from_pairs([("g", format!("g{group}"))]));
            GroupSeries { labels, times, fields: [values, Vec::new()] }
        };
        (0..3).map(read).filter(|group| !group.times.is_empty()).collect()
    }

    /// What is sent of the grid points after one up to another.
    fn cut(&self, after: i64, to: i64) -> Sent {
        let skipped = (after.max(0)..=to).filter(|k| self.skipped[*k as usize]).map(|k| Timestamp(k * STEP));
        let stretch = Stretch {
            step_ms: STEP,
            after: Timestamp(after * STEP),
            to: Timestamp(to * STEP),
            live: after >= 0 && !self.skipped[after as usize],
            skipped: skipped.map(|t| (t, t)).collect(),
        };
        let (series, ambiguous) = publish(self.read(after, to), "m", &Labels::EMPTY, Some(&sum()));
        assert_eq!(ambiguous, 0);
        let sent = derive(&stretch, &series).into_iter();
        let flat = sent.flat_map(|(t, values)| values.into_iter().map(move |(at, v)| (t.0, at, v.to_bits())));
        let mut sent: Sent = flat.map(|(t, at, bits)| (t, series[at].labels.get("g").to_owned(), bits)).collect();
        sent.sort();
        sent
    }
}

fn sum() -> View {
    let text = r#"{ "name": "j", "rules": [{ "expr": "sum by (g) (rate(x[1m]))", "step": "10s" }] }"#;
    let job = crate::plan::spec::read_job("j.json".as_ref(), text, &Default::default()).unwrap();
    job.rules[0].view.clone()
}

#[test]
fn however_the_grid_is_cut_the_same_is_sent_and_in_order() {
    for seed in 0..300 {
        let grid = Grid::random(seed);
        let last = grid.present.len() as i64 - 1;
        let expected = grid.naive();
        assert!(expected.windows(2).all(|two| two[0] < two[1]));
        assert_eq!(grid.cut(-1, last), expected, "{seed}: whole");
        let single: Sent = (-1..last).flat_map(|after| grid.cut(after, after + 1)).collect();
        assert_eq!(single, expected, "{seed}: one by one");
        for cut in 0..last {
            let two: Sent = [grid.cut(-1, cut), grid.cut(cut, last)].concat();
            assert_eq!(two, expected, "{seed}: cut after {cut}");
        }
    }
}

/// What a reader with a lookback longer than the grid sees at every grid point.
#[test]
fn a_reader_sees_what_the_view_has_and_nothing_where_it_is_left_out() {
    for seed in 0..300 {
        let grid = Grid::random(seed);
        let sent = grid.cut(-1, grid.present.len() as i64 - 1);
        for k in 0..grid.present.len() {
            for group in 0..3 {
                let name = format!("g{group}");
                let newest = sent.iter().rev().find(|(t, g, _)| *t <= k as i64 * STEP && *g == name);
                let seen = newest.map(|(_, _, bits)| f64::from_bits(*bits)).filter(|v| !is_stale(*v));
                assert_eq!(seen, grid.sent_at(k, group).then(|| value(k, group)), "{seed}: {name} at {k}");
            }
        }
    }
}

fn group(labels: &[(&str, &str)], times: &[i64], fields: [&[f64]; 2]) -> GroupSeries {
    let labels = Arc::new(Labels::from_pairs(labels.iter().copied()));
    GroupSeries { labels, times: times.iter().map(|t| Timestamp(*t)).collect(), fields: fields.map(<[f64]>::to_vec) }
}

#[test]
fn series_have_the_records_name_and_the_rules_labels_and_finished_values() {
    let text = r#"{ "name": "j", "rules": [{ "expr": "avg without (pod) (x)", "step": "10s" }] }"#;
    let job = crate::plan::spec::read_job("j.json".as_ref(), text, &Default::default()).unwrap();
    let groups = vec![
        group(&[("a", "1"), ("team", "old")], &[10, 20], [&[3.0, 5.0], &[2.0, 4.0]]),
        group(&[("__name__", "x"), ("a", "2")], &[20], [&[7.0], &[1.0]]),
    ];
    let set = Labels::from_pairs([("team", "new")]);
    let (series, ambiguous) = publish(groups, "a:b", &set, Some(&job.rules[0].view));
    let shown: Vec<_> = series.iter().map(|one| (one.labels.to_string(), one.samples.clone())).collect();
    let sample = |t, v| Sample { t: Timestamp(t), v };
    assert_eq!(
        shown,
        [
            (r#"a:b{a="1", team="new"}"#.to_owned(), vec![sample(10, 1.5), sample(20, 1.25)]),
            (r#"a:b{a="2", team="new"}"#.to_owned(), vec![sample(20, 7.0)]),
        ]
    );
    assert_eq!(ambiguous, 0);
}

#[test]
fn groups_that_would_be_one_series_have_no_value_where_they_meet() {
    let groups = vec![
        group(&[("team", "a")], &[10, 20, 30], [&[1.0, 2.0, 3.0], &[]]),
        group(&[("team", "b")], &[20], [&[4.0], &[]]),
        group(&[("team", "c")], &[20, 40], [&[5.0, 6.0], &[]]),
    ];
    let (series, ambiguous) = publish(groups, "m", &Labels::from_pairs([("team", "x")]), Some(&sum()));
    let times: BTreeSet<(i64, u64)> = series[0].samples.iter().map(|sample| (sample.t.0, sample.v as u64)).collect();
    assert_eq!((series.len(), times, ambiguous), (1, BTreeSet::from([(10, 1), (30, 3), (40, 6)]), 3));
}
