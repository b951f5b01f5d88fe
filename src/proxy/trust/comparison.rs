//! One comparison of a view with upstream at a final grid point.
//!
//! Asked are the view's expression, labels included; where several fields are stored, each of them, since queries read them
//! one by one and a quotient hides what is wrong with both; and how many series stand behind the values: a series that
//! stands still, or below a maximum, shows in no value today.

use std::collections::BTreeMap;

use crate::model::commit::FIELDS_MAX;
use crate::model::{Labels, Timestamp};
use crate::plan::View;
use crate::proxy::edge::expression;
use crate::proxy::upstream::{Purpose, Upstream};
use crate::store::{GroupSeries, ReadLimits, Store};

/// Values equal within this are equal: sums are added in another order upstream.
const TOLERANCE: f64 = 1e-9;

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Equal,
    /// No series on either side: that says nothing of those that will come.
    Nothing,
    /// In words.
    Differs(String),
}

/// Compares a view, of which `valued` series have a value at a grid point, with upstream.
///
/// # Errors
/// When the store cannot be read or upstream gives no answer.
pub(super) async fn compare(
    store: &Store,
    view: &View,
    (t, valued): (Timestamp, u64),
    upstream: &Upstream,
) -> Result<Finding, String> {
    let limits = ReadLimits { series_max: usize::MAX, points_max: usize::MAX };
    let groups = store.read(view.id, &[], t, t, limits).map_err(|error| error.to_string())?;
    let asked = async |query: &str| upstream.instant(&view.tenant, query, t, Purpose::Compared).await;
    let shape = &view.shape;
    let fields = shape.aggregation.fields.len();
    let stored = (0..fields).filter(|_| fields > 1).map(Some);
    for field in std::iter::once(None).chain(stored) {
        let query = field.map_or_else(|| Ok(shape.to_string()), |field| expression(shape, field as u8))?;
        let theirs = asked(&query).await?.into_iter().map(|point| ((*point.labels).clone(), point.sample.v)).collect();
        let value = |fields: [f64; FIELDS_MAX]| match field {
            None => shape.aggregation.value_of(&fields),
            Some(field) => fields[field],
        };
        if let Some(difference) = first_difference(&ours(&groups, value), &theirs) {
            return Ok(Finding::Differs(match field {
                None => difference,
                Some(_) => format!("{query}: {difference}"),
            }));
        }
    }
    let counted = asked(&format!("count({})", shape.values())).await?;
    let counted = counted.first().map_or(0.0, |point| point.sample.v);
    Ok(match counted == valued as f64 {
        true if groups.is_empty() => Finding::Nothing,
        true => Finding::Equal,
        false => Finding::Differs(format!("{counted} series have a value upstream and {valued} here")),
    })
}

fn ours(groups: &[GroupSeries], value: impl Fn([f64; FIELDS_MAX]) -> f64) -> BTreeMap<Labels, f64> {
    let stored = |group: &GroupSeries| [0, 1].map(|field: usize| group.fields[field].first().copied().unwrap_or(0.0));
    groups.iter().map(|group| ((*group.labels).clone(), value(stored(group)))).collect()
}

/// The first series on which two answers differ, in words; `None` when they are equal.
pub fn first_difference(ours: &BTreeMap<Labels, f64>, theirs: &BTreeMap<Labels, f64>) -> Option<String> {
    for (labels, theirs) in theirs {
        match ours.get(labels) {
            None => return Some(format!("{labels} is {theirs} upstream and missing here")),
            Some(ours) if !close(*ours, *theirs) => return Some(format!("{labels} is {theirs} upstream and {ours} here")),
            Some(_) => {}
        }
    }
    let extra = ours.keys().find(|labels| !theirs.contains_key(*labels))?;
    Some(format!("{extra} is here and missing upstream"))
}

/// Equal, both NaN, or within the tolerance of each other. An infinity is near to nothing else.
pub fn close(a: f64, b: f64) -> bool {
    let near = || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs());
    a == b || (a.is_nan() && b.is_nan()) || (a.is_finite() && b.is_finite() && near())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_differ_in_labels_or_values_beyond_rounding() {
        let set = |pairs: &[(&str, f64)]| -> BTreeMap<Labels, f64> {
            pairs.iter().map(|(value, v)| (Labels::from_pairs([("a", *value)]), *v)).collect()
        };
        let ours = set(&[("x", 1.0), ("y", f64::NAN)]);
        assert_eq!(first_difference(&ours, &set(&[("x", 1.0 + 1e-12), ("y", f64::NAN)])), None);
        assert!(
            first_difference(&ours, &set(&[("x", 1.0 + 1e-6), ("y", f64::NAN)])).unwrap().contains("upstream and 1 here")
        );
        assert!(first_difference(&ours, &set(&[("x", 1.0)])).unwrap().contains("missing upstream"));
        assert!(first_difference(&ours, &set(&[("x", 1.0), ("y", 0.0), ("z", 0.0)])).is_some());
        let inf = f64::INFINITY;
        for (ours, theirs, expected) in
            [(inf, inf, true), (inf, -inf, false), (5.0, inf, false), (-inf, 5.0, false), (f64::MAX, inf, false)]
        {
            let difference = first_difference(&set(&[("x", ours)]), &set(&[("x", theirs)]));
            assert_eq!(difference.is_none(), expected, "{ours} {theirs}");
        }
    }
}
