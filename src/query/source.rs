//! Where series come from: the one thing the engine asks of the world.

use std::ops::Deref;
use std::sync::Arc;

use super::error::QueryError;
use crate::model::{Labels, Sample, Timestamp};
use crate::promql::VectorSelector;

/// A set of series that can be selected from: the store, memory, a file.
pub trait SeriesSource: Send + Sync {
    /// The series a selector names that have a sample in the request's interval, in an order that does not change between
    /// equal requests.
    ///
    /// # Errors
    /// When the source cannot be read, or the answer would pass the request's limits.
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<SeriesData>, QueryError>;
}

/// What to select: `(from, to]`, in which offset and `@` are already accounted for.
pub struct SelectRequest<'a> {
    pub selector: &'a VectorSelector,
    /// Exclusive.
    pub from: Timestamp,
    /// Inclusive.
    pub to: Timestamp,
    /// The most series to return.
    pub series_max: usize,
    /// The most samples to bring into memory, over all series; those that are shared are there already.
    pub samples_max: usize,
}

/// One series and its samples within the request's interval.
#[derive(Clone, Debug)]
pub struct SeriesData {
    pub labels: Arc<Labels>,
    /// Times strictly ascending; may hold staleness markers, and native histograms as [`super::is_histogram`] tells them.
    pub samples: Samples,
}

/// A stretch of shared samples: selecting from memory copies none.
#[derive(Clone, Debug)]
pub struct Samples {
    storage: Arc<Vec<Sample>>,
    from: usize,
    to: usize,
}

impl Samples {
    /// The samples of `(from, to]` out of a series sorted by time.
    pub fn between(storage: &Arc<Vec<Sample>>, from: Timestamp, to: Timestamp) -> Samples {
        // Most queries begin or end outside a series: looking at its ends first spares cold binary searches.
        let first = match storage.first() {
            Some(first) if first.t <= from => storage.partition_point(|sample| sample.t <= from),
            _ => 0,
        };
        let end = match storage.last() {
            Some(last) if last.t > to => storage.partition_point(|sample| sample.t <= to),
            _ => storage.len(),
        };
        Samples { storage: Arc::clone(storage), from: first, to: end.max(first) }
    }
}

impl From<Vec<Sample>> for Samples {
    fn from(samples: Vec<Sample>) -> Samples {
        let to = samples.len();
        Samples { storage: Arc::new(samples), from: 0, to }
    }
}

impl Deref for Samples {
    type Target = [Sample];
    fn deref(&self) -> &[Sample] {
        &self.storage[self.from..self.to]
    }
}
