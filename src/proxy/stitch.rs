//! Stitching: parts of a range answer, each over some of its steps, become one set of series.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Labels, Sample, Timestamp};
use crate::query::MatrixSeries;

/// Consecutive steps of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub start: Timestamp,
    pub end: Timestamp,
    pub step_ms: i64,
}

/// One set of series, sorted by labels, points in order. Parts do not overlap in time.
pub fn merge(mut parts: Vec<Vec<MatrixSeries>>) -> Vec<MatrixSeries> {
    if parts.len() == 1 {
        return parts.pop().unwrap_or_default();
    }
    let mut series: BTreeMap<Arc<Labels>, Vec<Sample>> = BTreeMap::new();
    for one in parts.into_iter().flatten() {
        series.entry(one.labels).or_default().extend(one.points);
    }
    let sorted = |(labels, mut points): (Arc<Labels>, Vec<Sample>)| {
        points.sort_by_key(|point| point.t);
        MatrixSeries { labels, points }
    };
    series.into_iter().map(sorted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_one_sorted_set() {
        let series = |label: &str, times: &[i64]| MatrixSeries {
            labels: Arc::new(Labels::from_pairs([("a", label)])),
            points: times.iter().map(|t| Sample { t: Timestamp(*t), v: *t as f64 }).collect(),
        };
        let merged = merge(vec![vec![series("y", &[30]), series("x", &[30, 40])], vec![series("x", &[10, 20])]]);
        assert_eq!(merged, vec![series("x", &[10, 20, 30, 40]), series("y", &[30])]);
        assert_eq!(merge(vec![]), vec![]);
    }
}
