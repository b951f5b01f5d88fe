//! Selectors: what is read from the source, once, and what an instant selector sees of it at each step.

use std::sync::Arc;

use super::error::QueryError;
use super::evaluate::Evaluator;
use super::row::{ABSENT, Row};
use super::source::{SelectRequest, SeriesData};
use super::steps::{Reference, Steps};
use crate::model::{Sample, Selector, Timestamp, is_stale};
use crate::promql::{Origin, SourceRange, VectorSelector};

/// What a query has selected so far: two uses of one selector over one interval are one read.
#[derive(Default)]
pub(super) struct Selections {
    /// As many as the query has different selectors.
    kept: Vec<Selection>,
}

struct Selection {
    selector: Selector,
    origin: Origin,
    from: Timestamp,
    to: Timestamp,
    series: Arc<Vec<SeriesData>>,
}

/// What is taken from the sample an instant selector finds.
#[derive(Clone, Copy)]
pub(super) enum Reading {
    Value,
    /// The sample's own time in seconds, for `timestamp()`.
    Time,
}

impl Evaluator<'_> {
    /// The series a selector names with their samples of `(from, to]`.
    pub fn select(
        &mut self,
        selector: &VectorSelector,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Arc<Vec<SeriesData>>, QueryError> {
        let known = self.selections.kept.iter().find(|known| {
            (known.from, known.to) == (from, to) && known.origin == selector.origin && known.selector == selector.selector
        });
        if let Some(known) = known {
            return Ok(Arc::clone(&known.series));
        }
        let limits = &self.options.limits;
        let (series_max, samples_max) = (limits.series_max, limits.samples_max);
        let series = self.source.select(&SelectRequest { selector, from, to, series_max, samples_max })?;
        if series.len() > series_max {
            let message =
                format!("selector {} returns {} series, the limit is {series_max}", selector.selector, series.len());
            return Err(QueryError::too_large(message));
        }
        self.stats.series_read += series.len();
        self.stats.samples_read += series.iter().map(|one| one.samples.len()).sum::<usize>();
        let series = Arc::new(series);
        self.selections.kept.push(Selection {
            selector: selector.selector.clone(),
            origin: selector.origin.clone(),
            from,
            to,
            series: Arc::clone(&series),
        });
        Ok(series)
    }

    /// The values of a selector that stands at `source`.
    pub fn instant_vector(
        &mut self,
        selector: &VectorSelector,
        source: SourceRange,
        steps: &Steps,
    ) -> Result<Vec<Row>, QueryError> {
        let rows = self.instant_readings(selector, steps, Reading::Value)?;
        if selector.origin != Origin::Samples && !rows.is_empty() {
            self.note_non_counters(source);
        }
        Ok(rows)
    }

    /// One row per series, of what each step's sample reads.
    ///
    /// A selector of samples sees the newest one in `(T - lookback, T]` unless that is a staleness marker; a selector of a
    /// view sees the point exactly at T: views have neither lookback nor markers.
    pub fn instant_readings(
        &mut self,
        selector: &VectorSelector,
        steps: &Steps,
        reading: Reading,
    ) -> Result<Vec<Row>, QueryError> {
        let reference = Reference::new(selector.shift, self.query_interval);
        let lookback_ms = match selector.origin {
            Origin::Samples => self.options.lookback_ms,
            Origin::View { .. } => 1,
        };
        let (first, last) = (reference.of(steps.start), reference.of(steps.end()));
        let series = self.select(selector, first - lookback_ms, last)?;
        let mut rows = Vec::with_capacity(series.len());
        for one in series.iter() {
            self.check()?;
            let values = readings(&one.samples, steps, reference, lookback_ms, reading);
            if let Some(row) = Row::new(Arc::clone(&one.labels), values) {
                self.budget.hold_row(&row)?;
                rows.push(row);
            }
        }
        Ok(rows)
    }
}

fn readings(samples: &[Sample], steps: &Steps, reference: Reference, lookback_ms: i64, reading: Reading) -> Vec<f64> {
    let read = |sample: &Sample, t: Timestamp| match reading {
        _ if sample.t <= t - lookback_ms || is_stale(sample.v) => ABSENT,
        Reading::Value => sample.v,
        Reading::Time => sample.t.seconds(),
    };
    if reference.is_fixed() {
        let t = reference.of(steps.start);
        let at = samples.partition_point(|sample| sample.t <= t);
        let value = at.checked_sub(1).map_or(ABSENT, |at| read(&samples[at], t));
        return vec![value; steps.count];
    }
    let mut next = 0;
    let mut values = Vec::with_capacity(steps.count);
    for t in steps.times().map(|t| reference.of(t)) {
        while next < samples.len() && samples[next].t <= t {
            next += 1;
        }
        values.push(if next == 0 { ABSENT } else { read(&samples[next - 1], t) });
    }
    values
}
