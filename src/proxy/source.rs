//! The store as a source of series: fields of views, read at exact grid points.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::edge::EdgePoints;
use crate::model::{Sample, Timestamp, ViewId};
use crate::promql::Origin;
use crate::query::{QueryError, QueryErrorKind, SelectRequest, SeriesData, SeriesSource};
use crate::store::{ReadError, ReadLimits, Store};

/// What the engine reads when it evaluates a rewritten query.
pub struct StoreSource {
    pub store: Arc<Store>,
}

impl SeriesSource for StoreSource {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<SeriesData>, QueryError> {
        let (view, field) = field_of(request)?;
        let limits = ReadLimits { series_max: request.series_max, points_max: request.samples_max };
        let matchers = request.selector.selector.matchers();
        let groups = self.store.read(view, matchers, request.from + 1, request.to, limits).map_err(|error| match error {
            ReadError::TooManySeries { .. } | ReadError::TooManyPoints { .. } => QueryError::too_large(error.to_string()),
            ReadError::NoView { .. } | ReadError::Store(_) => QueryError::execution(error.to_string()),
        })?;
        Ok(groups.into_iter().map(|group| series(&group.times, &group.fields[usize::from(field)], group.labels)).collect())
    }
}

fn field_of(request: &SelectRequest<'_>) -> Result<(ViewId, u8), QueryError> {
    match request.selector.origin {
        Origin::View { view, field } => Ok((view, field)),
        Origin::Samples => {
            let message = format!("{} is not kept here", request.selector.selector);
            Err(QueryError { kind: QueryErrorKind::Unsupported("samples".to_owned()), message })
        }
    }
}

fn series(times: &[Timestamp], values: &[f64], labels: crate::model::GroupLabels) -> SeriesData {
    let samples: Vec<Sample> = times.iter().zip(values).map(|(t, v)| Sample { t: *t, v: *v }).collect();
    SeriesData { labels: Arc::clone(&labels), samples: samples.into() }
}

/// What one query reads: the store, and upstream's answers where the views have none yet. Remembers how much it was.
pub struct ViewSource {
    store: StoreSource,
    edge: EdgePoints,
    /// Locked for every selector of the query, once.
    read: Mutex<BTreeMap<ViewId, Read>>,
}

/// How much was read of a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The most groups that one selector returned.
    pub groups: usize,
    /// Points over all selectors.
    pub points: usize,
}

impl ViewSource {
    pub fn new(store: Arc<Store>, edge: EdgePoints) -> ViewSource {
        ViewSource { store: StoreSource { store }, edge, read: Mutex::default() }
    }

    /// How much was read so far, by view.
    pub fn read(&self) -> BTreeMap<ViewId, Read> {
        self.read.lock().clone()
    }
}

impl SeriesSource for ViewSource {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<SeriesData>, QueryError> {
        let field = field_of(request)?;
        let series = self.edge.over(field, request, self.store.select(request)?);
        let mut read = self.read.lock();
        let of_view = read.entry(field.0).or_default();
        of_view.groups = of_view.groups.max(series.len());
        of_view.points += series.iter().map(|one| one.samples.len()).sum::<usize>();
        drop(read);
        Ok(series)
    }
}
