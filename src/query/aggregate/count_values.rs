//! count_values: how many series of a group have each value, the value in a label.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use smol_str::SmolStr;

use crate::model::Labels;
use crate::promql::{Aggregate, Grouping};
use crate::query::error::QueryError;
use crate::query::evaluate::{Evaluator, is_label};
use crate::query::go_text;
use crate::query::grouping::GroupKey;
use crate::query::native::only_floats;
use crate::query::row::{ABSENT, Row, is_absent};
use crate::query::steps::Steps;

/// A label as the query writes it: bytes that are no text can only be shown so.
fn as_written(evaluator: &Evaluator<'_>, node: &Aggregate, label: &str) -> String {
    let source = node.param.as_ref().map(|param| param.source).unwrap_or_default();
    let written = evaluator.options.query.get(source.start as usize..source.end as usize);
    written.filter(|written| written.starts_with('"')).map_or_else(|| format!("{label:?}"), str::to_owned)
}

pub(super) fn count_values(evaluator: &mut Evaluator<'_>, node: &Aggregate, steps: &Steps) -> Result<Vec<Row>, QueryError> {
    let label = match &node.param {
        Some(param) => evaluator.string(param)?,
        None => return Err(QueryError::bad_data("count_values needs a label name")),
    };
    if !is_label(label) {
        return Err(QueryError::execution(format!("invalid label name {}", as_written(evaluator, node, label))));
    }
    let key = match &node.grouping {
        Grouping::By(names) => {
            let names: Vec<SmolStr> = names.iter().cloned().chain([SmolStr::from(label)]).collect();
            GroupKey::only(&names)
        }
        Grouping::Without(names) => GroupKey::all_but(names),
    };
    let mut counted: Vec<Row> = Vec::new();
    let mut places: HashMap<Labels, usize> = HashMap::new();
    for row in evaluator.vector(&node.expr, steps)? {
        evaluator.check()?;
        only_floats(row.values.iter().copied())?;
        let mut last: Option<(u64, usize)> = None;
        for (step, value) in row.values.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
            let known = last.filter(|(bits, _)| *bits == value.to_bits());
            let place = match known {
                Some((_, place)) => place,
                None => {
                    let labels = key.labels(&row.labels.with(label, &go_text::plain(*value)));
                    match places.get(&labels) {
                        Some(place) => *place,
                        None => {
                            evaluator.budget.hold(1, steps.count)?;
                            places.insert(labels.clone(), counted.len());
                            counted.push(Row {
                                labels: Arc::new(labels),
                                values: vec![ABSENT; steps.count],
                                drop_name: false,
                            });
                            counted.len() - 1
                        }
                    }
                }
            };
            last = Some((value.to_bits(), place));
            let count = &mut counted[place].values[step];
            *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
        }
    }
    Ok(counted)
}
