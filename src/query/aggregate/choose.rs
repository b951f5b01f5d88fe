//! topk, bottomk, limitk: a choice of a group's series, labels unchanged.
//!
//! Which of several equal values is chosen follows from the heap Prometheus keeps, so the same heap is kept here.

use super::{group_key, parameter};
use crate::promql::{Aggregate, SourceRange};
use crate::query::error::QueryError;
use crate::query::evaluate::Evaluator;
use crate::query::go_text;
use crate::query::grouping::group_rows;
use crate::query::native::is_histogram;
use crate::query::row::{ABSENT, Row};
use crate::query::steps::Steps;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    Top,
    Bottom,
    First,
}

/// A row and its value at the step in question.
type Candidate = (f64, usize);

/// The chosen series; an instant query gets them best first within each group.
pub(super) fn choose(
    evaluator: &mut Evaluator<'_>,
    node: &Aggregate,
    source: SourceRange,
    steps: &Steps,
) -> Result<Vec<Row>, QueryError> {
    let choice = match node.op.as_str() {
        "topk" => Choice::Top,
        "bottomk" => Choice::Bottom,
        _ => Choice::First,
    };
    let ks = parameter(evaluator, node, steps)?;
    let rows = evaluator.vector(&node.expr, steps)?;
    let greatest = ks.iter().fold(f64::NEG_INFINITY, |greatest, k| greatest.max(*k));
    if greatest < 1.0 && !ks.iter().any(|k| k.is_nan()) {
        return Ok(Vec::new());
    }
    check_counts(&ks)?;
    let mut chosen: Vec<Option<Vec<f64>>> = vec![None; rows.len()];
    let mut order = Vec::new();
    let mut heap = Vec::new();
    let mut ignored = false;
    for group in group_rows(&rows, group_key(&node.grouping)) {
        evaluator.check()?;
        for (step, k) in ks.iter().enumerate().filter(|(_, k)| **k >= 1.0) {
            let k = (*k as usize).min(rows.len());
            heap.clear();
            for row in group.iter().filter(|row| rows[**row].has(step)) {
                let value = rows[*row].values[step];
                if choice != Choice::First && is_histogram(value) {
                    ignored = true;
                    continue;
                }
                offer(&mut heap, (value, *row), k, choice);
            }
            if steps.is_instant() {
                best_first(&mut heap, choice);
            }
            for (value, row) in &heap {
                if chosen[*row].is_none() {
                    order.push(*row);
                }
                chosen[*row].get_or_insert_with(|| vec![ABSENT; steps.count])[step] = *value;
            }
        }
    }
    if ignored {
        evaluator.notes.histogram_ignored_in_aggregation(&node.op, source);
    }
    let take = |row: usize| Some(Row { values: chosen[row].take()?, ..rows[row].without_values() });
    Ok(order.into_iter().filter_map(take).collect())
}

fn check_counts(ks: &[f64]) -> Result<(), QueryError> {
    if ks.iter().any(|k| k.is_nan()) {
        return Err(QueryError::execution("Parameter value is NaN"));
    }
    for k in ks {
        let text = go_text::general(*k);
        if *k <= i64::MIN as f64 {
            return Err(QueryError::execution(format!("Scalar value {text} underflows int64")));
        }
        if *k >= i64::MAX as f64 {
            return Err(QueryError::execution(format!("Scalar value {text} overflows int64")));
        }
    }
    Ok(())
}

/// Whether `a` is nearer the heap's root, where the worst of the chosen stands; NaN is the worst of all.
fn worse(a: f64, b: f64, choice: Choice) -> bool {
    a.is_nan() || if choice == Choice::Top { a < b } else { a > b }
}

fn offer(heap: &mut Vec<Candidate>, candidate: Candidate, k: usize, choice: Choice) {
    if heap.len() < k {
        heap.push(candidate);
        if choice != Choice::First {
            let last = heap.len() - 1;
            sift_up(heap, last, choice);
        }
        return;
    }
    let (root, value) = (heap[0].0, candidate.0);
    let better = match choice {
        Choice::Top => root < value,
        Choice::Bottom => root > value,
        Choice::First => return,
    };
    if better || (root.is_nan() && !value.is_nan()) {
        heap[0] = candidate;
        sift_down(heap, choice);
    }
}

fn sift_up(heap: &mut [Candidate], mut at: usize, choice: Choice) {
    while at > 0 {
        let parent = (at - 1) / 2;
        if !worse(heap[at].0, heap[parent].0, choice) {
            return;
        }
        heap.swap(at, parent);
        at = parent;
    }
}

fn sift_down(heap: &mut [Candidate], choice: Choice) {
    let mut at = 0;
    loop {
        let (left, right) = (2 * at + 1, 2 * at + 2);
        if left >= heap.len() {
            return;
        }
        let child = if right < heap.len() && worse(heap[right].0, heap[left].0, choice) { right } else { left };
        if !worse(heap[child].0, heap[at].0, choice) {
            return;
        }
        heap.swap(at, child);
        at = child;
    }
}

fn best_first(heap: &mut [Candidate], choice: Choice) {
    if choice != Choice::First {
        heap.sort_by(|a, b| match (a.0.is_nan(), b.0.is_nan()) {
            (false, false) if choice == Choice::Top => b.0.total_cmp(&a.0),
            (false, false) => a.0.total_cmp(&b.0),
            (a, b) => a.cmp(&b),
        });
    }
}
