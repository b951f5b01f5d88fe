//! `and`, `or`, `unless`: which elements stay, decided per step by whether the other side has the element's group.

use crate::promql::{Binary, BinaryOp};
use crate::query::error::QueryError;
use crate::query::evaluate::Evaluator;
use crate::query::grouping::Groups;
use crate::query::row::{Row, merge_equal};
use crate::query::steps::Steps;

use super::matching::group_key;

/// The steps at which each group of one side has an element.
struct Presence {
    groups: Groups,
    steps: Vec<Vec<bool>>,
}

impl Presence {
    fn of(rows: &[Row], node: &Binary, evaluator: &mut Evaluator<'_>, steps: &Steps) -> Result<Presence, QueryError> {
        let mut presence = Presence { groups: Groups::new(group_key(&node.matching)), steps: Vec::new() };
        for row in rows {
            evaluator.check()?;
            let number = presence.groups.number(&row.labels);
            if number == presence.steps.len() {
                evaluator.budget.hold(0, steps.count)?;
                presence.steps.push(vec![false; steps.count]);
            }
            let seen = &mut presence.steps[number];
            (0..steps.count).for_each(|step| seen[step] |= row.has(step));
        }
        Ok(presence)
    }

    /// Keeps the values of a row where its group's presence is `wanted`. False when none is left.
    fn filter(&mut self, row: &mut Row, wanted: bool) -> bool {
        let number = self.groups.number(&row.labels);
        match self.steps.get(number) {
            Some(seen) => row.retain(|step| seen[step] == wanted),
            None => !wanted,
        }
    }
}

pub(super) fn set(
    evaluator: &mut Evaluator<'_>,
    node: &Binary,
    mut lhs: Vec<Row>,
    rhs: &[Row],
    steps: &Steps,
) -> Result<Vec<Row>, QueryError> {
    if node.op == BinaryOp::Or {
        let mut left = Presence::of(&lhs, node, evaluator, steps)?;
        for row in rhs {
            let mut row = row.clone();
            if left.filter(&mut row, false) {
                evaluator.budget.hold_row(&row)?;
                lhs.push(row);
            }
        }
        return merge_equal(lhs);
    }
    let mut right = Presence::of(rhs, node, evaluator, steps)?;
    lhs.retain_mut(|row| right.filter(row, node.op == BinaryOp::And));
    Ok(lhs)
}
