//! Quantiles and fractions of classic histograms: series that differ in `le` alone.

use std::sync::Arc;

use smol_str::SmolStr;

use super::buckets::{Bucket, bucket_fraction, bucket_quantile};
use super::{Body, Call, Function};
use crate::model::Labels;
use crate::promql::{Expr, SourceRange};
use crate::query::annotations::ForcedMonotonicity;
use crate::query::error::QueryError;
use crate::query::evaluate::{Evaluator, Operand};
use crate::query::go_text;
use crate::query::native::{is_histogram, needed};
use crate::query::row::{ABSENT, NameRemoval, Row, merge_equal};
use crate::query::steps::Steps;

pub(super) static FUNCTIONS: &[Function] = &[
    Function { name: "histogram_fraction", body: Body::Whole(histogram_fraction) },
    Function { name: "histogram_quantile", body: Body::Whole(histogram_quantile) },
    Function { name: "histogram_quantiles", body: Body::Whole(histogram_quantiles) },
];

/// The label that holds a bucket's upper bound.
const BUCKET_LABEL: &str = "le";

/// The bucket series of one histogram, by upper bound.
struct Histogram {
    labels: Arc<Labels>,
    buckets: Vec<(f64, Row)>,
}

impl Histogram {
    /// Takes the buckets away at the steps at which a native histogram stands beside them.
    ///
    /// # Errors
    /// When it stands alone at one.
    fn give_way_to(&mut self, native: &Row) -> Result<(), QueryError> {
        for step in (0..native.values.len()).filter(|step| is_histogram(native.values[*step])) {
            let mut beside = self.buckets.iter_mut().filter(|(_, row)| row.has(step)).peekable();
            if beside.peek().is_none() {
                return Err(needed());
            }
            beside.for_each(|(_, row)| row.values[step] = ABSENT);
        }
        Ok(())
    }

    /// The buckets that have a value at a step, in order of their bounds, equal bounds added up.
    fn at(&self, step: usize, buckets: &mut Vec<Bucket>) {
        buckets.clear();
        for (bound, row) in self.buckets.iter().filter(|(_, row)| row.has(step)) {
            let count = row.values[step];
            match buckets.last_mut() {
                Some(last) if last.bound == *bound => last.count += count,
                _ => buckets.push(Bucket { bound: *bound, count }),
            }
        }
    }
}

/// The histograms of a vector; series whose `le` is no number are left out and noted. Beside a native histogram of the same
/// labels buckets count for nothing.
fn histograms(evaluator: &mut Evaluator<'_>, arg: &Expr, steps: &Steps) -> Result<Vec<Histogram>, QueryError> {
    let mut histograms: Vec<Histogram> = Vec::new();
    let mut places: foldhash::HashMap<Labels, usize> = foldhash::HashMap::default();
    let mut natives: Vec<Row> = Vec::new();
    for mut row in evaluator.vector(arg, steps)? {
        evaluator.check()?;
        if row.has_histograms() {
            natives.push(row.clone());
            if !row.update(|_, v| Some(v)) {
                continue;
            }
        }
        let text = row.labels.get(BUCKET_LABEL);
        let Ok(bound) = text.parse::<f64>() else {
            let metric = name_to_note(evaluator, &row.labels);
            evaluator.notes.bad_bucket_label(text, metric, arg.source);
            continue;
        };
        let labels = Labels::drop(&row.labels, &[BUCKET_LABEL]);
        let place = match places.get(&labels) {
            Some(place) => *place,
            None => {
                histograms.push(Histogram { labels: Arc::new(labels.clone()), buckets: Vec::new() });
                places.insert(labels, histograms.len() - 1);
                histograms.len() - 1
            }
        };
        histograms[place].buckets.push((bound, row));
    }
    histograms.iter_mut().for_each(|histogram| histogram.buckets.sort_by(|a, b| a.0.total_cmp(&b.0)));
    for native in natives {
        let Some(place) = places.get(&*native.labels) else { return Err(needed()) };
        let metric = name_to_note(evaluator, &native.labels);
        evaluator.notes.classic_beside_native(metric, arg.source);
        histograms[*place].give_way_to(&native)?;
    }
    Ok(histograms)
}

/// The metric's name in notes: where names go at once, an operand may have none any more, and none is said.
fn name_to_note<'l>(evaluator: &Evaluator<'_>, labels: &'l Labels) -> &'l str {
    if evaluator.names == NameRemoval::AtTheEnd { labels.metric() } else { "" }
}

/// One row per histogram, of a function of its buckets at each step where it has any.
fn each_histogram(
    evaluator: &mut Evaluator<'_>,
    histograms: &[Histogram],
    steps: &Steps,
    mut f: impl FnMut(&Labels, usize, &mut Vec<Bucket>) -> f64,
) -> Result<Vec<Row>, QueryError> {
    let mut rows = Vec::with_capacity(histograms.len());
    let mut buckets = Vec::new();
    for histogram in histograms {
        evaluator.check()?;
        let value = |step: usize| {
            histogram.at(step, &mut buckets);
            if buckets.is_empty() { ABSENT } else { f(&histogram.labels, step, &mut buckets) }
        };
        let values = (0..steps.count).map(value).collect();
        if let Some(row) = Row::new(Arc::clone(&histogram.labels), values) {
            evaluator.budget.hold_row(&row)?;
            rows.push(row);
        }
    }
    Ok(rows)
}

fn histogram_quantile(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    let qs = evaluator.scalar(call.arg(0)?, call.steps)?;
    let arg = call.arg(1)?;
    let histograms = histograms(evaluator, arg, call.steps)?;
    note_quantiles(evaluator, &qs, call.arg(0)?.source);
    let rows = quantile_rows(evaluator, &histograms, &qs, arg.source, call.steps)?;
    evaluator.names.drop_names(rows).map(Operand::Vector)
}

/// Several quantiles of each histogram, told apart by a label.
fn histogram_quantiles(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    let arg = call.arg(0)?;
    let label = evaluator.string(call.arg(1)?)?;
    let histograms = histograms(evaluator, arg, call.steps)?;
    let mut rows = Vec::new();
    for q_arg in call.args.iter().skip(2) {
        let qs = evaluator.scalar(q_arg, call.steps)?;
        note_quantiles(evaluator, &qs, q_arg.source);
        for row in quantile_rows(evaluator, &histograms, &qs, arg.source, call.steps)? {
            rows.extend(labelled_by_quantile(&row, &qs, label));
        }
    }
    let rows = evaluator.names.drop_names(rows)?;
    merge_equal(rows).map(Operand::Vector)
}

/// A row for each different quantile among the steps.
fn labelled_by_quantile(row: &Row, qs: &[f64], label: &str) -> Vec<Row> {
    let mut distinct: Vec<u64> = qs.iter().map(|q| q.to_bits()).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let of_quantile = |bits: u64| {
        let labels = row.labels.with(label, &go_text::open_metrics(f64::from_bits(bits)));
        let values = row.values.iter().zip(qs).map(|(v, q)| if q.to_bits() == bits { *v } else { ABSENT });
        Row::new(Arc::new(labels), values.collect())
    };
    distinct.into_iter().filter_map(of_quantile).collect()
}

fn note_quantiles(evaluator: &mut Evaluator<'_>, qs: &[f64], source: SourceRange) {
    let mut last: Option<u64> = None;
    for q in qs.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
        if last != Some(q.to_bits()) {
            evaluator.notes.quantile_out_of_range(*q, source);
            last = Some(q.to_bits());
        }
    }
}

fn quantile_rows(
    evaluator: &mut Evaluator<'_>,
    histograms: &[Histogram],
    qs: &[f64],
    source: SourceRange,
    steps: &Steps,
) -> Result<Vec<Row>, QueryError> {
    let rows_named = evaluator.names == NameRemoval::AtTheEnd;
    let mut forced: Vec<(SmolStr, ForcedMonotonicity)> = Vec::new();
    let rows = each_histogram(evaluator, histograms, steps, |labels, step, buckets| {
        let (value, lifted) = bucket_quantile(qs[step], buckets, steps.at(step));
        if let Some(lifted) = lifted {
            let metric = if rows_named { labels.metric() } else { "" };
            match forced.iter_mut().find(|(name, _)| name == metric) {
                Some((_, known)) => known.merge(&lifted),
                None => forced.push((metric.into(), lifted)),
            }
        }
        value
    })?;
    forced.into_iter().for_each(|(metric, forced)| evaluator.notes.forced_monotonicity(forced, &metric, source));
    Ok(rows)
}

fn histogram_fraction(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    let lower = evaluator.scalar(call.arg(0)?, call.steps)?;
    let upper = evaluator.scalar(call.arg(1)?, call.steps)?;
    let histograms = histograms(evaluator, call.arg(2)?, call.steps)?;
    let fraction = |_: &Labels, step: usize, buckets: &mut Vec<Bucket>| bucket_fraction(lower[step], upper[step], buckets);
    let rows = each_histogram(evaluator, &histograms, call.steps, fraction)?;
    evaluator.names.drop_names(rows).map(Operand::Vector)
}
