//! Functions over windows: their values are those of the registry that the stream folds with.
//!
//! What is said about a window, and what becomes of native histograms in it, follows from the function's entry, too.

use super::Call;
use crate::function::range::{HistogramsInWindow, Parameter};
use crate::function::{Moment, RangeFunction};
use crate::model::Sample;
use crate::query::counters::{looks_like_counter, wants_counter};
use crate::query::error::QueryError;
use crate::query::evaluate::Evaluator;
use crate::query::native::{is_histogram, needed};
use crate::query::range_vector::{DependsOn, WindowAt, is_range_vector};
use crate::query::row::Row;

/// The values of a call of an entry.
pub(super) fn registered(
    evaluator: &mut Evaluator<'_>,
    entry: &'static RangeFunction,
    call: &Call<'_>,
) -> Result<Vec<Row>, QueryError> {
    let range_arg = call.args.iter().find(|arg| is_range_vector(arg));
    let range_arg = range_arg.ok_or_else(|| QueryError::bad_data("expected a range vector argument"))?;
    let others = call.args.iter().filter(|arg| !is_range_vector(arg));
    let scalars: Vec<Vec<f64>> = others.map(|arg| evaluator.scalar(arg, call.steps)).collect::<Result<_, _>>()?;
    let range = evaluator.range_vector(range_arg, call.steps)?;
    let depends_on = if entry.parameters.is_empty() { DependsOn::Window } else { DependsOn::WindowAndStep };
    let mut windows = Windows::new(entry, scalars);
    let rows = evaluator.over_windows(&range, call.steps, depends_on, |at| windows.value(at))?;
    windows.finish(evaluator, call)?;
    note_names(evaluator, entry, call, &rows)?;
    if entry.keeps_metric_name { Ok(rows) } else { evaluator.names.drop_names_of_distinct(rows) }
}

/// Metrics with a result that do not look like counters are noted.
fn note_names(
    evaluator: &mut Evaluator<'_>,
    entry: &RangeFunction,
    call: &Call<'_>,
    rows: &[Row],
) -> Result<(), QueryError> {
    if !wants_counter(entry) {
        return Ok(());
    }
    let source = call.arg(0)?.source;
    if evaluator.options.type_labels {
        let named =
            rows.iter().map(|row| (row.labels.metric(), row.labels.get("__type__"))).filter(|(name, _)| !name.is_empty());
        let not_counters = named.filter(|(_, label)| !["counter", "histogram"].contains(label));
        not_counters.for_each(|(metric, label)| evaluator.notes.type_not_counter(metric, label, source));
        return Ok(());
    }
    let mut noted: Option<&str> = None;
    for row in rows {
        let metric = row.labels.metric();
        if noted != Some(metric) && !looks_like_counter(metric) {
            evaluator.notes.possible_non_counter(metric, source);
            noted = Some(metric);
        }
    }
    Ok(())
}

/// The windows of one call, and what came up in them.
struct Windows {
    entry: &'static RangeFunction,
    /// Of each parameter, its value per step.
    scalars: Vec<Vec<f64>>,
    /// The parameters at the step in question.
    parameters: Vec<f64>,
    /// The first reason why the call has no values.
    failed: Option<QueryError>,
    /// Metrics and quantiles to be noted, each once.
    mixed: Vec<String>,
    ignored: Vec<String>,
    out_of_range: Vec<f64>,
}

impl Windows {
    fn new(entry: &'static RangeFunction, scalars: Vec<Vec<f64>>) -> Windows {
        Windows {
            entry,
            parameters: vec![0.0; scalars.len()],
            scalars,
            failed: None,
            mixed: Vec::new(),
            ignored: Vec::new(),
            out_of_range: Vec::new(),
        }
    }

    fn value(&mut self, at: &WindowAt<'_>) -> Option<f64> {
        if !self.scalars.is_empty() {
            self.parameters.iter_mut().zip(&self.scalars).for_each(|(slot, values)| *slot = values[at.step]);
            self.check_factors();
        }
        if at.series.has_histograms && at.samples.iter().any(|sample| is_histogram(sample.v)) {
            return self.with_histograms(at);
        }
        self.of_floats(at.samples, at)
    }

    fn of_floats(&mut self, samples: &[Sample], at: &WindowAt<'_>) -> Option<f64> {
        if !samples.is_empty() && !self.scalars.is_empty() {
            self.check_quantiles();
        }
        let moment = Moment { window: at.window, time: at.time, parameters: &self.parameters };
        (self.entry.eval)(samples, &moment)
    }

    /// A window in which at least one sample is a native histogram.
    fn with_histograms(&mut self, at: &WindowAt<'_>) -> Option<f64> {
        let floats = || at.samples.iter().filter(|sample| !is_histogram(sample.v));
        let is_mixed = floats().next().is_some();
        match self.entry.histograms {
            HistogramsInWindow::Counted => self.of_floats(at.samples, at),
            HistogramsInWindow::Ignored if is_mixed => {
                note(&mut self.ignored, at);
                let floats: Vec<Sample> = floats().copied().collect();
                self.of_floats(&floats, at)
            }
            HistogramsInWindow::Ignored => None,
            HistogramsInWindow::NotMixed { .. } if is_mixed => {
                note(&mut self.mixed, at);
                None
            }
            HistogramsInWindow::NotMixed { least } => {
                if at.samples.len() < least {
                    None
                } else {
                    self.fail(needed())
                }
            }
            HistogramsInWindow::LastTwo => self.last_two(at),
            HistogramsInWindow::Neighbours => self.neighbours(at),
        }
    }

    fn last_two(&mut self, at: &WindowAt<'_>) -> Option<f64> {
        let [.., previous, last] = at.samples else { return None };
        match (is_histogram(previous.v), is_histogram(last.v)) {
            (false, false) => self.of_floats(at.samples, at),
            (true, true) => self.fail(needed()),
            _ => {
                note(&mut self.mixed, at);
                None
            }
        }
    }

    /// What there is within each run of floats, and one for each change of kind.
    fn neighbours(&mut self, at: &WindowAt<'_>) -> Option<f64> {
        let (mut counted, mut runs) = (0.0, 0.0);
        for run in at.samples.chunk_by(|a, b| is_histogram(a.v) == is_histogram(b.v)) {
            runs += 1.0;
            if !is_histogram(run[0].v) {
                counted += self.of_floats(run, at)?;
            } else if run.len() > 1 {
                return self.fail(needed());
            }
        }
        Some(counted + runs - 1.0)
    }

    fn check_factors(&mut self) {
        for (parameter, value) in self.entry.parameters.iter().zip(&self.parameters) {
            if let Parameter::Factor { name, short } = parameter
                && (*value <= 0.0 || *value >= 1.0)
            {
                self.failed.get_or_insert_with(|| {
                    QueryError::execution(format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {value:.6}"))
                });
            }
        }
    }

    fn check_quantiles(&mut self) {
        for (parameter, q) in self.entry.parameters.iter().zip(&self.parameters) {
            let known = || self.out_of_range.iter().any(|known| known.to_bits() == q.to_bits());
            if *parameter == Parameter::Quantile && !(0.0..=1.0).contains(q) && !known() {
                self.out_of_range.push(*q);
            }
        }
    }

    fn fail(&mut self, error: QueryError) -> Option<f64> {
        self.failed.get_or_insert(error);
        None
    }

    /// Notes what came up. All of it is said of the first argument, whichever that is.
    fn finish(self, evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<(), QueryError> {
        let source = call.arg(0)?.source;
        let notes = &mut evaluator.notes;
        self.mixed.iter().for_each(|metric| notes.mixed_range(metric, source));
        self.ignored.iter().for_each(|metric| notes.histograms_ignored_in_range(metric, source));
        self.out_of_range.iter().for_each(|q| notes.quantile_out_of_range(*q, source));
        self.failed.map_or(Ok(()), Err)
    }
}

/// Remembers a window's metric.
fn note(metrics: &mut Vec<String>, at: &WindowAt<'_>) {
    let metric = at.series.labels.metric();
    if metrics.last().is_none_or(|last| last != metric) && !metrics.iter().any(|known| known == metric) {
        metrics.push(metric.to_owned());
    }
}
