//! Vector matching: which element of one side meets which of the other.
//!
//! Series are matched once per query. Whether a match is ambiguous depends on who has a value at a step, so that is what
//! the checks look at, step by step, and only in groups that have more than one series on a side.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use crate::model::Labels;
use crate::promql::{Binary, Cardinality, Matching};
use crate::query::error::QueryError;
use crate::query::evaluate::Evaluator;
use crate::query::go_text::braces;
use crate::query::grouping::{GroupKey, Groups};
use crate::query::row::{ABSENT, NameRemoval, Row, merge_equal, nameless};
use crate::query::steps::Steps;

use super::mismatch::Mismatches;
use super::operator::{Combined, changes_meaning, elements};

/// The labels two elements must share.
pub(super) fn group_key(matching: &Matching) -> GroupKey {
    if matching.on { GroupKey::only(&matching.labels) } else { GroupKey::all_but(&matching.labels) }
}

/// The series of one match group, as indexes into their sides.
#[derive(Default)]
struct Group {
    many: Vec<usize>,
    one: Vec<usize>,
}

/// The two sides of an operator, arranged so that `one` is the side on which a group may have one element only.
struct Sides<'r> {
    node: &'r Binary,
    many: &'r [Row],
    one: &'r [Row],
    /// Whether `many` is the right-hand side: `group_right`.
    swapped: bool,
    groups: Vec<Group>,
    /// The group of each row of `many` and of `one`.
    many_groups: Vec<usize>,
    one_groups: Vec<usize>,
    steps: usize,
    names: NameRemoval,
}

/// The values of `lhs op rhs` for two instant vectors and an operator that is not a set operator.
pub(super) fn matching(
    evaluator: &mut Evaluator<'_>,
    node: &Binary,
    (lhs, rhs): (&[Row], &[Row]),
    steps: &Steps,
    mismatches: &mut Mismatches,
) -> Result<Vec<Row>, QueryError> {
    let fills = node.matching.fill_left.is_some() || node.matching.fill_right.is_some();
    if (lhs.is_empty() || rhs.is_empty()) && !fills {
        return Ok(Vec::new());
    }
    let sides = Sides::new(node, lhs, rhs, steps.count, evaluator.names);
    sides.check_one_side()?;
    if matches!(node.matching.cardinality, Cardinality::OneToOne) {
        sides.check_one_to_one()?;
    }
    let mut rows = Vec::new();
    // Result labels within a group must differ, comparisons that turn out false included.
    let mut taken: HashMap<(usize, Arc<Labels>), Vec<bool>> = HashMap::new();
    for many in 0..sides.many.len() {
        evaluator.check()?;
        sides.meet(many, &mut taken, mismatches, &mut |row| {
            evaluator.budget.hold_row(&row)?;
            rows.push(row);
            Ok(())
        })?;
    }
    if let Some(fill) = node.matching.fill_left {
        for one in 0..sides.one.len() {
            rows.extend(sides.fill_many(one, fill.0, mismatches)?);
        }
    }
    merge_equal(rows)
}

impl<'r> Sides<'r> {
    fn new(node: &'r Binary, lhs: &'r [Row], rhs: &'r [Row], steps: usize, names: NameRemoval) -> Sides<'r> {
        let swapped = matches!(node.matching.cardinality, Cardinality::OneToMany { .. });
        let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
        let mut numbers = Groups::new(group_key(&node.matching));
        let many_groups: Vec<usize> = many.iter().map(|row| numbers.number(&row.labels)).collect();
        let one_groups: Vec<usize> = one.iter().map(|row| numbers.number(&row.labels)).collect();
        let mut groups: Vec<Group> = (0..numbers.count()).map(|_| Group::default()).collect();
        many_groups.iter().enumerate().for_each(|(row, group)| groups[*group].many.push(row));
        one_groups.iter().enumerate().for_each(|(row, group)| groups[*group].one.push(row));
        Sides { node, many, one, swapped, groups, many_groups, one_groups, steps, names }
    }

    /// The value that stands in for a missing element of the `one` side. Prometheus takes `fill_right` here and `fill_left`
    /// for the other side whichever side is the one: its own tests hold that fixed.
    fn fill_one(&self) -> Option<f64> {
        self.node.matching.fill_right.map(|fill| fill.0)
    }

    /// No group may have two elements on the `one` side at a step at which anything could match.
    fn check_one_side(&self) -> Result<(), QueryError> {
        let fills = self.node.matching.fill_left.is_some() || self.node.matching.fill_right.is_some();
        for group in self.groups.iter().filter(|group| group.one.len() > 1) {
            for step in 0..self.steps {
                let mut present = group.one.iter().map(|row| &self.one[*row]).filter(|row| row.has(step));
                let (Some(first), Some(second)) = (present.next(), present.next()) else { continue };
                if fills || self.many.iter().any(|row| row.has(step)) {
                    return Err(self.duplicates(first, second));
                }
            }
        }
        Ok(())
    }

    fn duplicates(&self, first: &Row, second: &Row) -> QueryError {
        let side = if self.swapped { "left" } else { "right" };
        let group = braces(&group_key(&self.node.matching).labels(&second.labels));
        let mut names = [braces(&first.labels), braces(&second.labels)];
        names.sort();
        QueryError::execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}]\
             ;many-to-many matching not allowed: matching labels must be unique on one side",
            names.join(", ")
        ))
    }

    /// Without a grouping modifier the other side, too, may have one element per group at a step with a match.
    fn check_one_to_one(&self) -> Result<(), QueryError> {
        for group in self.groups.iter().filter(|group| group.many.len() > 1) {
            for step in 0..self.steps {
                let partner = group.one.iter().map(|row| &self.one[*row]).find(|row| row.has(step));
                let Some(one) = partner.map(|row| row.values[step]).or(self.fill_one()) else { continue };
                let many = group.many.iter().map(|row| &self.many[*row]).filter(|row| row.has(step));
                if many.filter(|row| self.fits(row.values[step], one)).nth(1).is_some() {
                    return Err(QueryError::execution(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Gives out the results of one row of the `many` side: one per row it meets, and one for the fill value.
    fn meet(
        &self,
        many: usize,
        taken: &mut HashMap<(usize, Arc<Labels>), Vec<bool>>,
        mismatches: &mut Mismatches,
        out: &mut impl FnMut(Row) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let (row, number) = (&self.many[many], self.many_groups[many]);
        let group = &self.groups[number];
        let crowded = group.many.len() > 1 && !matches!(self.node.matching.cardinality, Cardinality::OneToOne);
        let mut give = |partner: &Labels, matched: &dyn Fn(usize) -> Option<f64>| {
            let labels = self.result_labels(&row.labels, partner);
            let one = |step: usize| matched(step).filter(|_| row.has(step));
            if crowded {
                let seen = taken.entry((number, Arc::clone(&labels))).or_insert_with(|| vec![false; self.steps]);
                for step in (0..self.steps).filter(|step| one(*step).is_some_and(|one| self.fits(row.values[*step], one))) {
                    if std::mem::replace(&mut seen[step], true) {
                        return Err(QueryError::execution(
                            "multiple matches for labels: grouping labels must ensure unique matches",
                        ));
                    }
                }
            }
            let values = self.values(|step| Some((row.values[step], one(step)?)), mismatches)?;
            self.row(labels, values).map_or(Ok(()), &mut *out)
        };
        for one in &group.one {
            let partner = &self.one[*one];
            give(&partner.labels, &|step| partner.has(step).then_some(partner.values[step]))?;
        }
        if let Some(fill) = self.fill_one() {
            let missing = |step: usize| !group.one.iter().any(|one| self.one[*one].has(step));
            let partner = group_key(&self.node.matching).labels(&row.labels);
            give(&partner, &|step| missing(step).then_some(fill))?;
        }
        Ok(())
    }

    /// The result of a row of the `one` side at the steps at which its group has no element on the other.
    fn fill_many(&self, one: usize, fill: f64, mismatches: &mut Mismatches) -> Result<Option<Row>, QueryError> {
        let row = &self.one[one];
        let group = &self.groups[self.one_groups[one]];
        let meets = |many: &Row, step: usize| many.has(step) && self.fits(many.values[step], row.values[step]);
        let missing = |step: usize| !group.many.iter().any(|many| meets(&self.many[*many], step));
        let pair = |step: usize| (row.has(step) && missing(step)).then(|| (fill, row.values[step]));
        let values = self.values(pair, mismatches)?;
        let labels = group_key(&self.node.matching).labels(&row.labels);
        Ok(self.row(self.result_labels(&Arc::new(labels), &row.labels), values))
    }

    /// The operator's value at each step that has a pair of elements, of the `many` and of the `one` side.
    fn values(
        &self,
        pair: impl Fn(usize) -> Option<(f64, f64)>,
        mismatches: &mut Mismatches,
    ) -> Result<Vec<f64>, QueryError> {
        let mut values = vec![ABSENT; self.steps];
        for (step, value) in values.iter_mut().enumerate() {
            let Some((many, one)) = pair(step) else { continue };
            let (left, right) = self.as_written(many, one);
            match elements(self.node.op, left, right)? {
                Combined::Value(holds) if self.node.return_bool => *value = f64::from(u8::from(holds.is_some())),
                Combined::Value(result) => *value = result.unwrap_or(ABSENT),
                Combined::Incompatible => mismatches.add(step, left, right),
            }
        }
        Ok(values)
    }

    /// A result; that of `bool` has a name to lose, whatever its operands had.
    fn row(&self, labels: Arc<Labels>, values: Vec<f64>) -> Option<Row> {
        let drop_name = self.node.return_bool && self.names == NameRemoval::AtTheEnd;
        Row::new(labels, values).map(|row| Row { drop_name, ..row })
    }

    /// Two elements in the order in which the query has them.
    fn as_written(&self, many: f64, one: f64) -> (f64, f64) {
        if self.swapped { (one, many) } else { (many, one) }
    }

    /// Whether the operator has a meaning for two elements: others do not count as a match.
    fn fits(&self, many: f64, one: f64) -> bool {
        let (left, right) = self.as_written(many, one);
        !matches!(elements(self.node.op, left, right), Ok(Combined::Incompatible))
    }

    fn result_labels(&self, many: &Arc<Labels>, one: &Labels) -> Arc<Labels> {
        let matching = &self.node.matching;
        let dropped = changes_meaning(self.node.op) || (self.node.return_bool && self.names == NameRemoval::AtOnce);
        let labels = if dropped { nameless(many) } else { Arc::clone(many) };
        match &matching.cardinality {
            Cardinality::OneToOne if matching.on => Arc::new(labels.keep(&matching.labels)),
            Cardinality::OneToOne if matching.labels.is_empty() => labels,
            Cardinality::OneToOne => Arc::new(Labels::drop(&labels, &matching.labels)),
            Cardinality::ManyToOne { include } | Cardinality::OneToMany { include } if !include.is_empty() => {
                let include = include.iter();
                Arc::new(include.fold((*labels).clone(), |labels, name| labels.with(name, one.get(name))))
            }
            _ => labels,
        }
    }
}
