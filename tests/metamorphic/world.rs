//! Views filled as a node fills them, and the comparison of two answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use prefold::model::{Labels, Sample};
use prefold::node::replay::replay;
use prefold::plan::Catalog;
use prefold::promql::{Expr, Origin};
use prefold::proxy::source::StoreSource;
use prefold::query::{
    self, EvalOptions, Evaluated, MemorySource, QueryError, SelectRequest, SeriesData, SeriesSource, Value, is_histogram,
};
use prefold::rewrite::QueryTime;
use prefold::store::{Store, StoreOptions};

use crate::oracle::equal;

/// A store with the results of views.
pub struct Views {
    source: StoreSource,
    _folder: tempfile::TempDir,
}

impl Views {
    /// Streams all samples, in time order, through the dataflow into a store.
    pub fn fold(catalog: &Catalog, source: &MemorySource) -> Result<Views, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let store = Store::open(folder.path(), StoreOptions::default()).map_err(|error| error.to_string())?;
        let series: Vec<(Labels, Vec<Sample>)> =
            source.iter().map(|(labels, samples)| (labels.clone(), samples.to_vec())).collect();
        replay(catalog, &series, &store)?;
        Ok(Views { source: StoreSource { store: Arc::new(store) }, _folder: folder })
    }

    /// These views, and samples for what is not rewritten.
    pub fn beside<'a>(&'a self, samples: &'a MemorySource) -> Beside<'a> {
        Beside { views: &self.source, samples }
    }
}

/// The samples that ingest takes: it refuses native histograms, and uncovers the views that would have had them.
pub fn floats(source: &MemorySource) -> MemorySource {
    let of_series = |samples: &[Sample]| samples.iter().filter(|sample| !is_histogram(sample.v)).copied().collect();
    source.iter().map(|(labels, samples)| (labels.clone(), of_series(samples))).collect()
}

pub struct Beside<'a> {
    views: &'a StoreSource,
    samples: &'a MemorySource,
}

impl SeriesSource for Beside<'_> {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<SeriesData>, QueryError> {
        match request.selector.origin {
            Origin::Samples => self.samples.select(request),
            Origin::View { .. } => self.views.select(request),
        }
    }
}

pub fn evaluate(
    expr: &Expr,
    time: QueryTime,
    source: &dyn SeriesSource,
    options: &EvalOptions,
) -> Result<Evaluated, QueryError> {
    match time {
        QueryTime::Instant(at) => query::instant(expr, at, source, options),
        QueryTime::Range { start, end, step_ms } => query::range(expr, start, end, step_ms, source, options),
    }
}

/// How many points are equal, or the first difference in words.
pub fn same(plain: &Evaluated, views: &Evaluated, ordered: bool) -> Result<usize, String> {
    let (mut left, mut right) = (series(&plain.value), series(&views.value));
    if !ordered {
        left.sort_by(|a, b| a.0.cmp(&b.0));
        right.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let labels = |series: &[(Labels, Vec<Sample>)]| series.iter().map(|s| s.0.to_string()).collect::<Vec<_>>();
    if labels(&left) != labels(&right) {
        return Err(format!("series {:?}, over views {:?}", labels(&left), labels(&right)));
    }
    let mut points = 0;
    for ((labels, left), (_, right)) in left.iter().zip(&right) {
        let same_point = |a: &Sample, b: &Sample| a.t == b.t && equal(a.v, b.v);
        if left.len() != right.len() || !left.iter().zip(right).all(|(a, b)| same_point(a, b)) {
            return Err(format!("{labels} is {left:?}, over views {right:?}"));
        }
        points += left.len();
    }
    let texts = |answer: &Evaluated| answer.warnings.iter().chain(&answer.infos).cloned().collect::<BTreeSet<_>>();
    match texts(plain) == texts(views) {
        true => Ok(points),
        false => Err(format!("notes {:?}, over views {:?}", texts(plain), texts(views))),
    }
}

/// An answer's series in their order; an instant answer has one point each.
fn series(value: &Value) -> Vec<(Labels, Vec<Sample>)> {
    match value {
        Value::Scalar(sample) => vec![(Labels::EMPTY, vec![*sample])],
        Value::Vector(points) => points.iter().map(|p| ((*p.labels).clone(), vec![p.sample])).collect(),
        Value::Matrix(series) => series.iter().map(|s| ((*s.labels).clone(), s.points.clone())).collect(),
        Value::String { t, text } => vec![(Labels::from_pairs([("text", text)]), vec![Sample { t: *t, v: 0.0 }])],
    }
}
