//! The plain hand-written loop that the window stage is measured against.
//!
//! What someone would write who needs just one query: dense series, a ring of points each, the rate of every series at every
//! step, summed by group. No late samples, no coverage, no other views, no labels.

use prefold::model::Timestamp;

/// A point of a dense series.
#[derive(Clone, Copy)]
pub struct Point {
    pub series: u32,
    pub t: Timestamp,
    pub v: f64,
}

const RING: usize = 16;

/// Sum by group of the rate over `window_ms`, every `step_ms`.
pub struct Loop {
    rings: Vec<[(i64, f64); RING]>,
    used: Vec<usize>,
    groups: Vec<u32>,
    pub sums: Vec<f64>,
    window_ms: i64,
}

impl Loop {
    pub fn new(groups: Vec<u32>, window_ms: i64) -> Loop {
        let sums = vec![0.0; groups.iter().max().map_or(0, |group| *group as usize + 1)];
        Loop { rings: vec![[(i64::MIN, 0.0); RING]; groups.len()], used: vec![0; groups.len()], groups, sums, window_ms }
    }

    pub fn push(&mut self, point: Point) {
        let series = point.series as usize;
        self.rings[series][self.used[series] % RING] = (point.t.0, point.v);
        self.used[series] += 1;
    }

    pub fn evaluate(&mut self, end: i64) {
        self.sums.iter_mut().for_each(|sum| *sum = 0.0);
        for series in 0..self.rings.len() {
            let used = self.used[series];
            let points = (used.saturating_sub(RING)..used).map(|at| self.rings[series][at % RING]);
            let inside = points.filter(|(t, _)| *t > end - self.window_ms && *t <= end);
            if let Some(rate) = rate(inside, end, self.window_ms) {
                self.sums[self.groups[series] as usize] += rate;
            }
        }
    }
}

fn rate(points: impl Iterator<Item = (i64, f64)>, end: i64, window_ms: i64) -> Option<f64> {
    let (mut first, mut last, mut count, mut resets) = (None, (0, 0.0), 0, 0.0);
    for point in points {
        if first.is_none() {
            first = Some(point);
        } else if point.1 < last.1 {
            resets += last.1;
        }
        last = point;
        count += 1;
    }
    let first = first.filter(|_| count > 1)?;
    let delta = last.1 - first.1 + resets;
    let sampled = (last.0 - first.0) as f64 / 1000.0;
    let average = sampled / f64::from(count - 1);
    let mut before = (first.0 - (end - window_ms)) as f64 / 1000.0;
    let mut after = (end - last.0) as f64 / 1000.0;
    if before >= average * 1.1 {
        before = average / 2.0;
    }
    if delta > 0.0 && first.1 >= 0.0 {
        before = before.min(sampled * first.1 / delta);
    }
    if after >= average * 1.1 {
        after = average / 2.0;
    }
    Some(delta * (sampled + before + after) / sampled / (window_ms as f64 / 1000.0))
}
