//! sort and its like: the order of an instant vector. A range query is ordered by labels whatever they say.

use std::cmp::Ordering;

use super::{Body, Call, Function};
use crate::query::error::QueryError;
use crate::query::evaluate::{Evaluator, Operand};
use crate::query::row::Row;

pub(super) static FUNCTIONS: &[Function] = &[
    Function { name: "sort", body: Body::Whole(|evaluator, call| by_value(evaluator, call, |a, b| a.total_cmp(&b))) },
    Function { name: "sort_desc", body: Body::Whole(|evaluator, call| by_value(evaluator, call, |a, b| b.total_cmp(&a))) },
    Function { name: "sort_by_label", body: Body::Whole(|evaluator, call| by_labels(evaluator, call, false)) },
    Function { name: "sort_by_label_desc", body: Body::Whole(|evaluator, call| by_labels(evaluator, call, true)) },
];

fn rows(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Vec<Row>, QueryError> {
    let rows = evaluator.vector(call.arg(0)?, call.steps)?;
    if !call.steps.is_instant() {
        evaluator.notes.sort_in_range_query(call.source);
    }
    Ok(rows)
}

/// NaN comes last in either direction. Native histograms have no place in it, and go.
fn by_value(evaluator: &mut Evaluator<'_>, call: &Call<'_>, order: fn(f64, f64) -> Ordering) -> Result<Operand, QueryError> {
    let mut rows = rows(evaluator, call)?;
    rows.retain_mut(|row| row.update(|_, v| Some(v)));
    if call.steps.is_instant() {
        rows.sort_by(|a, b| match (a.values[0], b.values[0]) {
            (a, b) if a.is_nan() || b.is_nan() => a.is_nan().cmp(&b.is_nan()),
            (a, b) if a == b => Ordering::Equal,
            (a, b) => order(a, b),
        });
    }
    Ok(Operand::Vector(rows))
}

fn by_labels(evaluator: &mut Evaluator<'_>, call: &Call<'_>, descending: bool) -> Result<Operand, QueryError> {
    let mut rows = rows(evaluator, call)?;
    let names: Vec<&str> = call.args.iter().skip(1).map(|arg| evaluator.string(arg)).collect::<Result<_, _>>()?;
    let compare = |a: &Row, b: &Row| {
        let by_name = names.iter().map(|name| natural(a.labels.get(name), b.labels.get(name)));
        by_name.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.labels.cmp(&b.labels))
    };
    rows.sort_by(|a, b| if descending { compare(b, a) } else { compare(a, b) });
    Ok(Operand::Vector(rows))
}

/// The order of people: runs of digits compare as numbers, everything else as text.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    while !left.is_empty() && !right.is_empty() {
        let (l, r) = (run(left), run(right));
        let order = match (left[0].is_ascii_digit(), right[0].is_ascii_digit()) {
            (true, true) => numeric(&left[..l], &right[..r]),
            _ => left[..l].cmp(&right[..r]),
        };
        if order.is_ne() {
            return order;
        }
        (left, right) = (&left[l..], &right[r..]);
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// The length of the run of digits or of other bytes at the beginning.
fn run(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit() == text[0].is_ascii_digit()).count()
}

fn numeric(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| digits.iter().skip_while(|digit| **digit == b'0').copied().collect::<Vec<u8>>();
    let (a, b) = (significant(a), significant(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_compare_as_numbers() {
        for (a, b) in [("a2", "a10"), ("4m5", "4m600"), ("a", "a1"), ("1a", "1b"), ("", "x"), ("a01", "a2")] {
            assert_eq!((natural(a, b), natural(b, a)), (Ordering::Less, Ordering::Greater), "{a} {b}");
        }
        assert_eq!(natural("a1b", "a1b"), Ordering::Equal);
    }
}
