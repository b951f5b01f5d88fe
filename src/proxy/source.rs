//! The store as a source of series: fields of views, read at exact grid points.

use std::sync::Arc;

use crate::model::{Sample, Timestamp};
use crate::promql::Origin;
use crate::query::{QueryError, QueryErrorKind, SelectRequest, SeriesData, SeriesSource};
use crate::store::{ReadLimits, Store};

/// What the engine reads when it evaluates a rewritten query.
pub struct StoreSource {
    pub store: Arc<Store>,
}

impl SeriesSource for StoreSource {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<SeriesData>, QueryError> {
        let Origin::View { view, field } = request.selector.origin else {
            let message = format!("{} is not kept here", request.selector.selector);
            return Err(QueryError { kind: QueryErrorKind::Unsupported("samples".to_owned()), message });
        };
        let limits = ReadLimits { series_max: request.series_max, points_max: request.samples_max };
        let matchers = request.selector.selector.matchers();
        let groups = self
            .store
            .read(view, matchers, request.from + 1, request.to, limits)
            .map_err(|error| QueryError { kind: QueryErrorKind::Execution, message: error.to_string() })?;
        Ok(groups.into_iter().map(|group| series(&group.times, &group.fields[usize::from(field)], group.labels)).collect())
    }
}

fn series(times: &[Timestamp], values: &[f64], labels: crate::model::GroupLabels) -> SeriesData {
    let samples: Vec<Sample> = times.iter().zip(values).map(|(t, v)| Sample { t: *t, v: *v }).collect();
    SeriesData { labels: Arc::clone(&labels), samples: samples.into() }
}
