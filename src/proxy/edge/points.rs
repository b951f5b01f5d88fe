//! The edge's points of one query, read in place of the store's.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{EdgeKey, EdgeValues};
use crate::model::{Labels, Sample, Timestamp, ViewId};
use crate::query::{SelectRequest, SeriesData};

/// Upstream's values by field and grid point.
#[derive(Clone, Default)]
pub struct EdgePoints {
    by_field: BTreeMap<(ViewId, u8), BTreeMap<Timestamp, EdgeValues>>,
}

impl EdgePoints {
    pub(super) fn add(&mut self, key: EdgeKey, values: EdgeValues) {
        self.by_field.entry((key.view, key.field)).or_default().insert(key.t, values);
    }

    pub fn is_empty(&self) -> bool {
        self.by_field.is_empty()
    }

    /// The store's series of a field with the edge's points put in. Where the edge has an answer the store has no say, even
    /// if the view has emitted the grid point meanwhile: a step is of one source.
    pub fn over(&self, field: (ViewId, u8), request: &SelectRequest<'_>, stored: Vec<SeriesData>) -> Vec<SeriesData> {
        let Some(points) = self.by_field.get(&field).filter(|_| request.from < request.to) else { return stored };
        let wanted = points.range((std::ops::Bound::Excluded(request.from), std::ops::Bound::Included(request.to)));
        let mut series: HashMap<Arc<Labels>, Vec<Sample>> = HashMap::new();
        for one in stored {
            let kept = one.samples.iter().filter(|sample| !points.contains_key(&sample.t)).copied().collect();
            series.insert(one.labels, kept);
        }
        for (t, values) in wanted {
            for (labels, v) in values.iter().filter(|(labels, _)| request.selector.selector.matches(labels)) {
                series.entry(Arc::clone(labels)).or_default().push(Sample { t: *t, v: *v });
            }
        }
        let mut series: Vec<(Arc<Labels>, Vec<Sample>)> =
            series.into_iter().filter(|(_, samples)| !samples.is_empty()).collect();
        series.sort_by(|(a, _), (b, _)| a.cmp(b));
        let ordered = |(labels, mut samples): (Arc<Labels>, Vec<Sample>)| {
            samples.sort_by_key(|sample| sample.t);
            SeriesData { labels, samples: samples.into() }
        };
        series.into_iter().map(ordered).collect()
    }
}
