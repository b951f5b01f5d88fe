//! One series over all steps of a query.
//!
//! A row holds a float per step. A step without a value holds the staleness marker: a signalling NaN that no arithmetic
//! yields and every selector removes, so absence needs neither a second array nor a branch more than a compare. A native
//! histogram is such a NaN, too: it is there, and is no number.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::error::QueryError;
use super::native::is_histogram;
use crate::model::{Labels, METRIC_NAME, STALE_NAN, is_stale};

/// What a step without a value holds.
pub(super) const ABSENT: f64 = STALE_NAN;

#[inline]
pub(super) fn is_absent(v: f64) -> bool {
    is_stale(v)
}

/// The labels that say what a value measures; gone as soon as a value means something else.
const SCHEMA_LABELS: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// A series: one value or [`ABSENT`] per step, at least one value.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub labels: Arc<Labels>,
    pub values: Vec<f64>,
    /// The metric's name goes at the end of the evaluation: only with [`NameRemoval::AtTheEnd`].
    pub drop_name: bool,
}

impl Row {
    /// `None` when no step has a value.
    pub fn new(labels: Arc<Labels>, values: Vec<f64>) -> Option<Row> {
        values.iter().any(|v| !is_absent(*v)).then_some(Row { labels, values, drop_name: false })
    }

    /// Its labels alone, to be given other values.
    pub fn without_values(&self) -> Row {
        Row { labels: Arc::clone(&self.labels), values: Vec::new(), drop_name: self.drop_name }
    }

    /// Steps that have a value.
    pub fn points(&self) -> usize {
        self.values.iter().filter(|v| !is_absent(**v)).count()
    }

    pub fn has(&self, step: usize) -> bool {
        !is_absent(self.values[step])
    }

    /// The number at a step, if it has one.
    pub fn float(&self, step: usize) -> Option<f64> {
        let value = self.values[step];
        (!is_absent(value) && !is_histogram(value)).then_some(value)
    }

    pub fn has_histograms(&self) -> bool {
        self.values.iter().any(|v| is_histogram(*v))
    }

    /// Replaces each float; `None` takes it away, and native histograms go. False when nothing is left.
    pub fn update(&mut self, mut f: impl FnMut(usize, f64) -> Option<f64>) -> bool {
        self.update_all(|step, v| if is_histogram(v) { None } else { f(step, v) })
    }

    /// Keeps the values, native histograms too, of the steps of which `stays` is true. False when nothing is left.
    pub fn retain(&mut self, mut stays: impl FnMut(usize) -> bool) -> bool {
        self.update_all(|step, v| stays(step).then_some(v))
    }

    /// Replaces each value, native histograms too; `None` takes it away. False when nothing is left.
    pub fn update_all(&mut self, mut f: impl FnMut(usize, f64) -> Option<f64>) -> bool {
        let mut any = false;
        for (step, value) in self.values.iter_mut().enumerate() {
            if !is_absent(*value) {
                *value = f(step, *value).unwrap_or(ABSENT);
                any |= !is_absent(*value);
            }
        }
        any
    }
}

/// The values of [`SCHEMA_LABELS`], empty where absent, in one pass: every row of every query comes through here.
fn schema_of(labels: &Labels) -> [&str; 3] {
    let mut values = [""; 3];
    for label in labels.iter().filter(|label| label.name.starts_with("__")) {
        if let Some(at) = SCHEMA_LABELS.iter().position(|name| *name == label.name) {
            values[at] = &label.value;
        }
    }
    values
}

/// Labels without the metric's name, type and unit.
pub(super) fn nameless(labels: &Arc<Labels>) -> Arc<Labels> {
    if schema_of(labels) == [""; 3] {
        return Arc::clone(labels);
    }
    Arc::new(Labels::drop(labels, &SCHEMA_LABELS))
}

/// Whether dropping the names of these rows could make two of them equal.
fn names_differ(rows: &[Row]) -> bool {
    let Some(first) = rows.first().map(|row| schema_of(&row.labels)) else { return false };
    rows.iter().any(|row| schema_of(&row.labels) != first)
}

/// When the metric's name goes where a value has come to mean something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NameRemoval {
    AtOnce,
    /// Until the end functions of labels can still read it, and set another.
    AtTheEnd,
}

impl NameRemoval {
    pub fn drop_names(self, rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
        self.drop_with(rows, drop_names)
    }

    /// As [`Self::drop_names`], but rows that become equal at once are an error even where they have no step in common.
    pub fn drop_names_of_distinct(self, rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
        self.drop_with(rows, drop_names_of_distinct)
    }

    fn drop_with(
        self,
        mut rows: Vec<Row>,
        at_once: fn(Vec<Row>) -> Result<Vec<Row>, QueryError>,
    ) -> Result<Vec<Row>, QueryError> {
        if self == NameRemoval::AtTheEnd {
            rows.iter_mut().for_each(|row| row.drop_name = true);
            return Ok(rows);
        }
        at_once(rows)
    }
}

/// Drops the names that were kept until the end; rows that become equal are joined where they have no step in common.
pub(super) fn drop_names_kept(mut rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    if !rows.iter().any(|row| row.drop_name) {
        return Ok(rows);
    }
    rows.iter_mut().filter(|row| row.drop_name).for_each(|row| row.labels = nameless(&row.labels));
    merge_equal(rows)
}

/// Drops the names; rows that become equal are joined where they have no step in common.
fn drop_names(mut rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    let differ = names_differ(&rows);
    rows.iter_mut().for_each(|row| row.labels = nameless(&row.labels));
    if differ { merge_equal(rows) } else { Ok(rows) }
}

/// As [`drop_names`], but equal rows are an error even where they have no step in common.
fn drop_names_of_distinct(mut rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    let differ = names_differ(&rows);
    rows.iter_mut().for_each(|row| row.labels = nameless(&row.labels));
    if differ {
        let mut seen = foldhash::HashSet::default();
        if !rows.iter().all(|row| seen.insert(Arc::clone(&row.labels))) {
            return Err(QueryError::same_labelset());
        }
    }
    Ok(rows)
}

/// Joins rows of equal labels.
///
/// # Errors
/// When two of them have a value at the same step.
pub(super) fn merge_equal(rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    let mut merged: Vec<Row> = Vec::with_capacity(rows.len());
    let mut places: HashMap<Arc<Labels>, usize> = HashMap::with_capacity(rows.len());
    for row in rows {
        match places.get(&row.labels) {
            Some(place) => {
                merged[*place].drop_name |= row.drop_name;
                for (kept, value) in merged[*place].values.iter_mut().zip(row.values) {
                    match (is_absent(*kept), is_absent(value)) {
                        (true, false) => *kept = value,
                        (false, false) => return Err(QueryError::same_labelset()),
                        (_, true) => {}
                    }
                }
            }
            None => {
                places.insert(Arc::clone(&row.labels), merged.len());
                merged.push(row);
            }
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(labels: &[(&str, &str)], values: &[f64]) -> Row {
        let labels = Labels::from_pairs(labels.iter().map(|(n, v)| (*n, *v)));
        Row { labels: Arc::new(labels), values: values.to_vec(), drop_name: false }
    }

    #[test]
    fn equal_rows_join_where_they_do_not_overlap() {
        let (a, b) =
            (row(&[("__name__", "a"), ("l", "1")], &[1.0, ABSENT]), row(&[("__name__", "b"), ("l", "1")], &[ABSENT, 2.0]));
        let joined = drop_names(vec![a.clone(), b.clone()]).unwrap();
        assert_eq!((joined.len(), joined[0].values.clone()), (1, vec![1.0, 2.0]));
        assert!(drop_names(vec![a.clone(), a.clone()]).is_ok(), "the same name twice cannot come from a selector");
        assert!(drop_names_of_distinct(vec![a.clone(), b]).is_err());
        assert_eq!(
            drop_names(vec![a.clone(), row(&[("__name__", "b"), ("l", "1")], &[3.0, ABSENT])]).unwrap_err(),
            QueryError::same_labelset()
        );
        assert!(Row::new(a.labels, vec![ABSENT; 2]).is_none());
    }
}
