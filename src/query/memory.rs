//! Series in memory: for scripts, for the demo, for tests.
//!
//! Useful for sets built once and asked often: each label's values point at the series that have them, and samples are
//! shared with whoever selects them. Not useful for what must be forgotten: nothing is ever removed.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use smol_str::SmolStr;

use super::error::QueryError;
use super::source::{Samples, SelectRequest, SeriesData, SeriesSource};
use crate::model::{Labels, Matcher, Sample, Selector};

/// A set of series. A selector of a view is answered by the series it matches, like any other.
#[derive(Default, Debug)]
pub struct MemorySource {
    /// In the order in which they were added first, which is the order of every answer.
    series: Vec<Series>,
    by_labels: HashMap<Arc<Labels>, usize>,
    /// Label name -> value -> indexes of the series that have it, ascending.
    postings: HashMap<SmolStr, HashMap<SmolStr, Vec<u32>>>,
    /// Series that were loaded with start timestamps, which are not kept.
    start_timestamps: Vec<Labels>,
}

#[derive(Debug)]
struct Series {
    labels: Arc<Labels>,
    /// Times strictly ascending.
    samples: Arc<Vec<Sample>>,
}

impl MemorySource {
    pub fn new() -> MemorySource {
        MemorySource::default()
    }

    /// Adds samples to a series, in any order. Of two samples of one time the first added stays, as in the log.
    pub fn add(&mut self, labels: Labels, samples: Vec<Sample>) {
        let at = match self.by_labels.get(&labels) {
            Some(at) => *at,
            None => self.add_series(labels),
        };
        let stored = Arc::make_mut(&mut self.series[at].samples);
        stored.extend(samples);
        if !stored.is_sorted_by(|a, b| a.t < b.t) {
            stored.sort_by_key(|sample| sample.t); // stable: the first added of a time comes first
            stored.dedup_by_key(|sample| sample.t);
        }
    }

    /// Notes that a series has start timestamps.
    pub fn note_start_timestamps(&mut self, labels: Labels) {
        self.start_timestamps.push(labels);
    }

    /// Whether a selector names a series that has start timestamps.
    pub fn has_start_timestamps(&self, selector: &Selector) -> bool {
        self.start_timestamps.iter().any(|labels| selector.matches(labels))
    }

    fn add_series(&mut self, labels: Labels) -> usize {
        let (at, labels) = (self.series.len(), Arc::new(labels));
        for label in labels.iter() {
            let values = self.postings.entry(label.name.clone()).or_default();
            values.entry(label.value.clone()).or_default().push(at as u32);
        }
        self.by_labels.insert(Arc::clone(&labels), at);
        self.series.push(Series { labels, samples: Arc::new(Vec::new()) });
        at
    }

    /// The number of series.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// All series with all their samples, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&Labels, &[Sample])> {
        self.series.iter().map(|series| (&*series.labels, series.samples.as_slice()))
    }

    /// The shortest list of series that a matcher of known values leaves, and that matcher's place in the selector; all
    /// series when no matcher narrows the set.
    fn candidates(&self, selector: &Selector) -> (Vec<u32>, Option<usize>) {
        let narrowing = selector.matchers().iter().enumerate().filter_map(|(place, matcher)| {
            let accepted = matcher.accepted().filter(|accepted| !accepted.contains(""))?;
            let values = self.postings.get(&matcher.name);
            let lists: Vec<&[u32]> = accepted.iter().filter_map(|value| values?.get(value)).map(Vec::as_slice).collect();
            Some((lists.iter().map(|list| list.len()).sum::<usize>(), lists, place))
        });
        let Some((count, lists, place)) = narrowing.min_by_key(|(count, _, _)| *count) else {
            return ((0..self.series.len() as u32).collect(), None);
        };
        let mut candidates = Vec::with_capacity(count);
        lists.iter().for_each(|list| candidates.extend_from_slice(list));
        candidates.sort_unstable();
        (candidates, Some(place))
    }
}

impl FromIterator<(Labels, Vec<Sample>)> for MemorySource {
    fn from_iter<I: IntoIterator<Item = (Labels, Vec<Sample>)>>(series: I) -> MemorySource {
        let mut source = MemorySource { by_labels: HashMap::new(), ..MemorySource::default() };
        series.into_iter().for_each(|(labels, samples)| source.add(labels, samples));
        source
    }
}

impl SeriesSource for MemorySource {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<SeriesData>, QueryError> {
        let selector = &request.selector.selector;
        let (candidates, satisfied) = self.candidates(selector);
        let others: Vec<&Matcher> =
            selector.matchers().iter().enumerate().filter(|(place, _)| Some(*place) != satisfied).map(|(_, m)| m).collect();
        let mut selected = Vec::new();
        for at in candidates {
            let series = &self.series[at as usize];
            if !others.iter().all(|matcher| matcher.matches(series.labels.get(&matcher.name))) {
                continue;
            }
            let samples = Samples::between(&series.samples, request.from, request.to);
            if samples.is_empty() {
                continue;
            }
            if selected.len() >= request.series_max {
                let message = format!("selector {selector} returns more than {} series", request.series_max);
                return Err(QueryError::execution(message));
            }
            selected.push(SeriesData { labels: Arc::clone(&series.labels), samples });
        }
        Ok(selected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MatchOp, Timestamp};
    use crate::promql::{Origin, TimeShift, VectorSelector};

    fn source() -> MemorySource {
        let point = |t: i64| Sample { t: Timestamp(t), v: t as f64 };
        let mut source: MemorySource = [("a", "1"), ("a", "2"), ("b", "1")]
            .into_iter()
            .map(|(name, x)| (Labels::from_pairs([("__name__", name), ("x", x)]), vec![point(20), point(10)]))
            .collect();
        source.add(Labels::from_pairs([("__name__", "c")]), vec![point(99)]);
        source
            .add(Labels::from_pairs([("__name__", "a"), ("x", "1")]), vec![Sample { t: Timestamp(20), v: 5.0 }, point(30)]);
        source
    }

    #[track_caller]
    fn check(matchers: &[(&str, MatchOp, &str)], from: i64, to: i64, expected: &str) {
        let matchers = matchers.iter().map(|(name, op, value)| Matcher::new(*name, *op, *value).unwrap()).collect();
        let selector =
            VectorSelector { selector: Selector::new(matchers), shift: TimeShift::default(), origin: Origin::Samples };
        let (from, to) = (Timestamp(from), Timestamp(to));
        let request = SelectRequest { selector: &selector, from, to, series_max: 3, samples_max: 100 };
        let text = match source().select(&request) {
            Ok(series) => series
                .iter()
                .map(|s| format!("{} {:?};", s.labels, s.samples.iter().map(|s| s.v).collect::<Vec<_>>()))
                .collect(),
            Err(error) => error.message,
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn selects_by_matchers_and_time() {
        use MatchOp::{Equal, NotEqual, Regex};
        check(&[("__name__", Equal, "a")], 10, 30, r#"a{x="1"} [20.0, 30.0];a{x="2"} [20.0];"#);
        check(&[("x", Equal, "1"), ("__name__", NotEqual, "a")], 0, 10, r#"b{x="1"} [10.0];"#);
        check(&[("__name__", Regex, "b|a"), ("x", Equal, "1")], 20, 30, r#"a{x="1"} [30.0];"#);
        check(&[("__name__", Regex, ".+"), ("x", Equal, "")], 0, 100, "c [99.0];");
        check(&[("__name__", Equal, "nothing")], 0, 100, "");
        check(&[("__name__", Regex, ".+")], 0, 100, "selector {__name__=~\".+\"} returns more than 3 series");
    }
}
