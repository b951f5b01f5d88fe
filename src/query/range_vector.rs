//! Range vectors: the samples of a range selector or subquery, and functions over windows of them.
//!
//! A function runs over a series' windows with two indexes that only move forward; staleness markers are taken out once
//! per series. Window arithmetic is that of `model::window`: left-open.

use std::borrow::Cow;
use std::sync::Arc;

use super::error::QueryError;
use super::evaluate::{Evaluator, Operand};
use super::native::{is_histogram, only_floats};
use super::options::QueryLimits;
use super::row::{ABSENT, Row, is_absent, nameless};
use super::source::SeriesData;
use super::steps::{Reference, Steps};
use super::value::MatrixSeries;
use crate::model::window::{Grid, Window};
use crate::model::{Labels, Sample, Timestamp, is_stale};
use crate::promql::{Expr, ExprKind, TimeShift, ValueType};

/// Series with their samples, and which window each step sees.
pub(super) struct RangeVector {
    pub series: Arc<Vec<SeriesData>>,
    /// Which of the series lose their name in the end; empty when none does.
    names_to_drop: Vec<bool>,
    range_ms: i64,
    reference: Reference,
}

impl RangeVector {
    fn drops_name(&self, series: usize) -> bool {
        self.names_to_drop.get(series).copied().unwrap_or(false)
    }
}

/// A series as functions see it.
pub(super) struct Windowed<'s> {
    /// The metric's name is among them unless it went before.
    pub labels: &'s Labels,
    /// Without staleness markers; copied only when there are any.
    samples: Cow<'s, [Sample]>,
    /// Whether any sample is a native histogram.
    pub has_histograms: bool,
}

impl<'s> Windowed<'s> {
    fn new(series: &'s SeriesData) -> Windowed<'s> {
        let samples: Cow<'s, [Sample]> = if series.samples.iter().any(|sample| is_stale(sample.v)) {
            Cow::Owned(series.samples.iter().filter(|sample| !is_stale(sample.v)).copied().collect())
        } else {
            Cow::Borrowed(&series.samples)
        };
        let has_histograms = samples.iter().any(|sample| is_histogram(sample.v));
        Windowed { labels: &series.labels, samples, has_histograms }
    }
}

/// One window of one series, never empty.
pub(super) struct WindowAt<'s> {
    pub series: &'s Windowed<'s>,
    pub samples: &'s [Sample],
    pub window: Window,
    /// The number of the step, and its time: the window's end before offset and `@`.
    pub step: usize,
    pub time: Timestamp,
}

/// Whether a function gives the same value for the same window at every step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DependsOn {
    Window,
    WindowAndStep,
}

/// Whether an argument is a range vector.
pub(super) fn is_range_vector(expr: &Expr) -> bool {
    expr.value_type() == ValueType::Matrix
}

impl Evaluator<'_> {
    pub fn range_vector(&mut self, expr: &Expr, steps: &Steps) -> Result<RangeVector, QueryError> {
        match &expr.peel().kind {
            ExprKind::Matrix { selector, range_ms } => {
                let reference = Reference::new(selector.shift, self.query_interval);
                let (first, last) = (reference.of(steps.start), reference.of(steps.end()));
                let series = self.select(selector, first - *range_ms, last)?;
                Ok(RangeVector { series, names_to_drop: Vec::new(), range_ms: *range_ms, reference })
            }
            ExprKind::Subquery { expr, range_ms, step_ms, shift } => {
                let step_ms = step_ms.unwrap_or(self.options.subquery_step_ms);
                self.subquery(expr, *range_ms, step_ms, *shift, steps)
            }
            ExprKind::Modified(modified) => Err(super::evaluate::unsupported_modifier(modified)),
            _ => Err(QueryError::bad_data("expected a range vector")),
        }
    }

    /// Evaluates the inner expression at all multiples of its step that some window of the outer steps sees.
    fn subquery(
        &mut self,
        inner: &Expr,
        range_ms: i64,
        step_ms: i64,
        shift: TimeShift,
        steps: &Steps,
    ) -> Result<RangeVector, QueryError> {
        if step_ms <= 0 {
            return Err(QueryError::bad_data("the step of a subquery must be positive"));
        }
        let reference = Reference::new(shift, self.query_interval);
        let start = Grid::new(step_ms).after(reference.of(steps.start) - range_ms);
        let end = reference.of(steps.end());
        let empty = RangeVector { series: Arc::new(Vec::new()), names_to_drop: Vec::new(), range_ms, reference };
        if end < start {
            return Ok(empty);
        }
        let inner_steps = Steps::range(start, end, step_ms);
        if inner_steps.count > self.options.limits.samples_max {
            return Err(QueryError::too_many_samples());
        }
        let rows = match self.eval(inner, &inner_steps)? {
            Operand::Vector(rows) => rows,
            Operand::Scalar(values) => super::evaluate::unlabelled(values),
            Operand::String(_) => return Err(QueryError::bad_data("subquery is only allowed on instant vector")),
        };
        let names_to_drop = rows.iter().map(|row| row.drop_name).collect();
        let series: Vec<SeriesData> = rows.into_iter().map(|row| row_samples(row, &inner_steps)).collect();
        Ok(RangeVector { series: Arc::new(series), names_to_drop, ..empty })
    }

    /// The samples of a range vector at the only step of an instant query, as they are.
    pub fn raw_matrix(&mut self, expr: &Expr) -> Result<Vec<MatrixSeries>, QueryError> {
        let steps = self.query;
        let is_subquery = matches!(expr.peel().kind, ExprKind::Subquery { .. });
        let range = self.range_vector(expr, &steps)?;
        let window = Window::new(range.reference.of(steps.start), range.range_ms);
        let mut matrix = Vec::with_capacity(range.series.len());
        for (at, one) in range.series.iter().enumerate() {
            self.check()?;
            let inside = one.samples.iter().filter(|s| window.contains(s.t) && !is_stale(s.v));
            let points: Vec<Sample> = inside.copied().collect();
            only_floats(points.iter().map(|point| point.v))?;
            if !is_subquery {
                self.budget.hold(points.len(), 0)?; // a subquery's are held already
            }
            if !points.is_empty() {
                let labels = if range.drops_name(at) { nameless(&one.labels) } else { Arc::clone(&one.labels) };
                matrix.push(MatrixSeries { labels, points });
            }
        }
        matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
        if matrix.windows(2).any(|pair| pair[0].labels == pair[1].labels) {
            return Err(QueryError::same_labelset());
        }
        Ok(matrix)
    }

    /// One row per series, of a function of each step's window. Names stay.
    pub fn over_windows(
        &mut self,
        range: &RangeVector,
        steps: &Steps,
        depends_on: DependsOn,
        mut f: impl FnMut(&WindowAt<'_>) -> Option<f64>,
    ) -> Result<Vec<Row>, QueryError> {
        let once = depends_on == DependsOn::Window && range.reference.is_fixed();
        let evaluated = if once { Steps::instant(steps.start) } else { *steps };
        let mut rows = Vec::with_capacity(range.series.len());
        for (at, one) in range.series.iter().enumerate() {
            self.check()?;
            let Folded { mut values, longest, last } =
                over_series(&Windowed::new(one), range, &evaluated, &self.options.limits, &mut f)?;
            if once {
                values = vec![values[0]; steps.count];
            }
            let before = self.budget.held();
            self.budget.hold(longest, 0)?;
            self.budget.go_back(before);
            if let Some(mut row) = Row::new(Arc::clone(&one.labels), values) {
                row.drop_name = range.drops_name(at);
                self.budget.hold(last, 0)?; // the window goes when the next series comes
                self.budget.hold_row(&row)?;
                self.budget.go_back(before);
                self.budget.hold_row(&row)?;
                rows.push(row);
            }
        }
        Ok(rows)
    }
}

/// How many samples functions may look at before it is asked again whether the query is still wanted.
const SAMPLES_PER_CHECK: usize = 1 << 20;

/// The values of a series, and how many samples its longest window and its last one had.
struct Folded {
    values: Vec<f64>,
    longest: usize,
    last: usize,
}

/// One series may have as many windows as steps, each as long as the series: the limits are asked in between, too.
fn over_series(
    series: &Windowed<'_>,
    range: &RangeVector,
    steps: &Steps,
    limits: &QueryLimits,
    f: &mut impl FnMut(&WindowAt<'_>) -> Option<f64>,
) -> Result<Folded, QueryError> {
    let samples = &*series.samples;
    let (mut from, mut to, mut unchecked, mut longest) = (0, 0, 0, 0);
    let mut values = Vec::with_capacity(steps.count);
    for (step, time) in steps.times().enumerate() {
        let window = Window::new(range.reference.of(time), range.range_ms);
        let start = window.start();
        while to < samples.len() && samples[to].t <= window.end {
            to += 1;
        }
        while from < to && samples[from].t <= start {
            from += 1;
        }
        let inside = &samples[from..to];
        unchecked += inside.len();
        longest = longest.max(inside.len());
        if unchecked > SAMPLES_PER_CHECK {
            limits.check()?;
            unchecked = 0;
        }
        let value = if inside.is_empty() { None } else { f(&WindowAt { series, samples: inside, window, step, time }) };
        values.push(value.unwrap_or(ABSENT));
    }
    Ok(Folded { values, longest, last: to - from })
}

fn row_samples(row: Row, steps: &Steps) -> SeriesData {
    let points = steps.times().zip(&row.values).filter(|(_, v)| !is_absent(**v)).map(|(t, v)| Sample { t, v: *v });
    let samples: Vec<Sample> = points.collect();
    SeriesData { labels: row.labels, samples: samples.into() }
}
