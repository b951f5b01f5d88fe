//! `record{MQ}`  ->  `label_replace(view{R}, "__name__", "record", "", "")`, and so for each label the rule sets
//!
//! Allowed because the series published under a recorded name are the view's finished values with the rule's labels set on
//! them, and have a staleness marker wherever the view has no value. A matcher on a label that the rule sets is decided
//! here, once; the others select among the view's groups, to which a label that they lack is empty. Not under a range, nor
//! under functions that look at the selector itself; not when setting the labels would make two groups one.

use smol_str::SmolStr;

use super::draft::{quotient, read_of};
use super::moments::Moments;
use super::refusal::{Refusal, ViewName};
use crate::function::RollUp;
use crate::model::{Labels, METRIC_NAME, Matcher};
use crate::plan::CatalogEntry;
use crate::promql::{Expr, ExprKind, Grouping, SourceRange, VectorSelector};

/// The expression that gives what an instant selector of a recorded name gives.
///
/// # Errors
/// When the view cannot give it exactly.
pub(super) fn read(
    selector: &VectorSelector,
    entry: &CatalogEntry,
    labels: &Labels,
    moments: &Moments,
    source: SourceRange,
) -> Result<Expr, Refusal> {
    let shape = &entry.view.shape;
    if let Grouping::By(kept) = &shape.grouping
        && kept.iter().any(|name| name == METRIC_NAME || !labels.get(name).is_empty())
    {
        return Err(not_rewritable(selector, "for series whose own labels the rule overwrites"));
    }
    let grid = entry.view.grid();
    moments.on_grid(selector.shift, grid).map_err(|off| {
        let (view, grid_ms) = (ViewName::of(entry), grid.step_ms());
        Refusal::StepOffGrid { view, grid_ms, off }
    })?;
    let record = selector.selector.metric().unwrap_or_default();
    let matchers = residual(selector, record, labels);
    let field = |field: u8| read_of(entry.view.id, field, matchers.clone(), selector.shift, source);
    let value = match shape.aggregation.answer(shape.aggregation.name) {
        Some(RollUp::Field { field: f, .. }) => field(f),
        Some(RollUp::Ratio { numerator, denominator }) => quotient(field(numerator), field(denominator)),
        None => return Err(not_rewritable(selector, "for a view that does not give its own value back")),
    };
    let named = labelled(value, METRIC_NAME, record);
    Ok(labels.iter().fold(named, |value, label| labelled(value, &label.name, &label.value)))
}

/// What the groups are selected by. When a label that the rule sets is refused, no group may be left: they have no name.
fn residual(selector: &VectorSelector, record: &str, labels: &Labels) -> Vec<Matcher> {
    let set = labels.with(METRIC_NAME, record);
    let (decided, open): (Vec<&Matcher>, Vec<&Matcher>) =
        selector.selector.matchers().iter().partition(|matcher| !set.get(&matcher.name).is_empty());
    if decided.iter().all(|matcher| matcher.matches(set.get(&matcher.name))) {
        open.into_iter().cloned().collect()
    } else {
        vec![Matcher::equal(METRIC_NAME, record)]
    }
}

/// `label_replace(value, "name", "text", "", "")`, in which a dollar sign stands for itself.
fn labelled(value: Expr, name: &str, text: &str) -> Expr {
    let source = value.source;
    let string = |text: String| Expr::new(ExprKind::String(text), source);
    let args =
        vec![value, string(name.to_owned()), string(text.replace('$', "$$")), string(String::new()), string(String::new())];
    Expr::new(ExprKind::Call { function: SmolStr::new_static("label_replace"), args }, source)
}

pub(super) fn not_rewritable(selector: &VectorSelector, place: &'static str) -> Refusal {
    Refusal::RecordNotRewritable { record: selector.selector.metric().unwrap_or_default().into(), place }
}
