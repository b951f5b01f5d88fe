//! label_replace and label_join: new labels from old ones.

use std::sync::Arc;

use regex::RegexBuilder;

use super::{Body, Call, Function};
use crate::model::METRIC_NAME;
use crate::query::error::QueryError;
use crate::query::evaluate::{Evaluator, Operand, is_label};
use crate::query::row::{Row, merge_equal};

pub(super) static FUNCTIONS: &[Function] = &[
    Function { name: "label_join", body: Body::Whole(label_join) },
    Function { name: "label_replace", body: Body::Whole(label_replace) },
];

/// The most bytes a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 4 << 20;

fn label_replace(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    let target = evaluator.string(call.arg(1)?)?;
    let replacement = evaluator.string(call.arg(2)?)?;
    let origin = evaluator.string(call.arg(3)?)?;
    let pattern = evaluator.string(call.arg(4)?)?;
    let regex = RegexBuilder::new(&format!("^(?s:{pattern})$"))
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|_| QueryError::execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
    check_name(target, "destination", "label_replace")?;
    let mut rows = evaluator.vector(call.arg(0)?, call.steps)?;
    for row in &mut rows {
        evaluator.check()?;
        if let Some(captures) = regex.captures(row.labels.get(origin)) {
            let mut value = String::new();
            captures.expand(replacement, &mut value);
            relabel(row, target, &value);
        }
    }
    merge_equal(rows).map(Operand::Vector)
}

fn label_join(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Operand, QueryError> {
    let target = evaluator.string(call.arg(1)?)?;
    let separator = evaluator.string(call.arg(2)?)?;
    let origins: Vec<&str> = call.args.iter().skip(3).map(|arg| evaluator.string(arg)).collect::<Result<_, _>>()?;
    origins.iter().try_for_each(|origin| check_name(origin, "source", "label_join"))?;
    check_name(target, "destination", "label_join")?;
    let mut rows = evaluator.vector(call.arg(0)?, call.steps)?;
    for row in &mut rows {
        let values: Vec<&str> = origins.iter().map(|origin| row.labels.get(origin)).collect();
        let joined = values.join(separator);
        relabel(row, target, &joined);
    }
    merge_equal(rows).map(Operand::Vector)
}

/// Sets a label. A name that is set stays.
fn relabel(row: &mut Row, target: &str, value: &str) {
    row.labels = Arc::new(row.labels.with(target, value));
    row.drop_name &= target != METRIC_NAME;
}

fn check_name(name: &str, role: &str, function: &str) -> Result<(), QueryError> {
    if !is_label(name) {
        return Err(QueryError::execution(format!("invalid {role} label name in {function}(): {name}")));
    }
    Ok(())
}
