//! What is sent of a stretch of a view: each series' values, and a staleness marker where it has none any more.
//!
//! Let `S(k)` be the series that have a value at grid point `k`, or none where the grid point is left out. Of `k` is sent
//! every value of `S(k)`, and a marker for every series of `S(k - 1)` that is not in `S(k)`. So a reader with any lookback
//! sees exactly `S(k)` at `k`. Two neighbouring grid points tell all of it: it may be derived again, by another process,
//! from any grid point on.

use std::collections::{BTreeMap, HashMap};

use crate::model::{Labels, METRIC_NAME, STALE_NAN, Sample, Timestamp};
use crate::plan::View;
use crate::store::GroupSeries;

/// Grid points of a view: those after one that has been dealt with, up to another, inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub step_ms: i64,
    pub after: Timestamp,
    pub to: Timestamp,
    /// Whether the values at `after` were sent: then their series go on, or end with a marker.
    pub live: bool,
    /// Grid points that are left out: inclusive stretches, in order, apart from each other.
    pub skipped: Vec<(Timestamp, Timestamp)>,
}

impl Stretch {
    pub fn skips(&self, t: Timestamp) -> bool {
        let at = self.skipped.partition_point(|(_, last)| *last < t);
        self.skipped.get(at).is_some_and(|(first, _)| *first <= t)
    }
}

/// One series as it is sent, with its values in time order.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    pub labels: Labels,
    pub samples: Vec<Sample>,
}

/// The series of a view's groups under a record name, by labels. Where the labels that a rule sets make one series of
/// several groups that have a value, it has none: that many values are the second result.
pub fn publish(groups: Vec<GroupSeries>, record: &str, set: &Labels, view: Option<&View>) -> (Vec<Published>, usize) {
    let mut by_labels: HashMap<Labels, Vec<Vec<Sample>>> = HashMap::with_capacity(groups.len());
    for group in groups {
        let labels = set.iter().fold((*group.labels).clone(), |labels, label| labels.with(&label.name, &label.value));
        by_labels.entry(labels.with(METRIC_NAME, record)).or_default().push(values(&group, view));
    }
    let mut ambiguous = 0;
    let single = |mut all: Vec<Vec<Sample>>, ambiguous: &mut usize| match all.len() {
        1 => all.pop().unwrap_or_default(),
        _ => without_doubles(all.concat(), ambiguous),
    };
    let mut series: Vec<Published> =
        by_labels.into_iter().map(|(labels, all)| Published { labels, samples: single(all, &mut ambiguous) }).collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    (series, ambiguous)
}

/// The finished values of a group. Of a view that is not understood any more only when it had one is known.
fn values(group: &GroupSeries, view: Option<&View>) -> Vec<Sample> {
    let field = |field: usize, at: usize| group.fields[field].get(at).copied().unwrap_or_default();
    let value = |at: usize| view.map_or(f64::NAN, |view| view.shape.aggregation.value_of(&[field(0, at), field(1, at)]));
    group.times.iter().enumerate().map(|(at, t)| Sample { t: *t, v: value(at) }).collect()
}

fn without_doubles(mut samples: Vec<Sample>, ambiguous: &mut usize) -> Vec<Sample> {
    samples.sort_by_key(|sample| sample.t);
    let before = samples.len();
    let mut kept = Vec::with_capacity(before);
    for same in samples.chunk_by(|a, b| a.t == b.t) {
        if let [one] = same {
            kept.push(*one);
        }
    }
    *ambiguous += before - kept.len();
    kept
}

/// The values and markers of a stretch, by grid point and then in the order of the series, which are told by their place.
pub fn derive(stretch: &Stretch, series: &[Published]) -> BTreeMap<Timestamp, Vec<(usize, f64)>> {
    let mut sent: BTreeMap<Timestamp, Vec<(usize, f64)>> = BTreeMap::new();
    for (at, one) in series.iter().enumerate() {
        let is_sent = |t: Timestamp| if t == stretch.after { stretch.live } else { t > stretch.after && !stretch.skips(t) };
        let mut samples = one.samples.iter().filter(|sample| is_sent(sample.t) && sample.t <= stretch.to).peekable();
        while let Some(sample) = samples.next() {
            if sample.t > stretch.after {
                sent.entry(sample.t).or_default().push((at, sample.v));
            }
            let next = sample.t + stretch.step_ms;
            if next <= stretch.to && samples.peek().is_none_or(|following| following.t != next) {
                sent.entry(next).or_default().push((at, STALE_NAN));
            }
        }
    }
    sent
}

#[cfg(test)]
mod tests;
