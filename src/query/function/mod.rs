//! Functions: one slice, read by dispatch.
//!
//! Functions of a window's samples are in `crate::function::range`, where the stream finds them too; what stands here is
//! everything else. To add one: an entry in the slice of the file it belongs to, or a file with an entry of its own.

mod absent;
mod buckets;
mod date;
mod histogram;
mod labels;
mod math;
mod native;
mod scalars;
mod sort;
mod timestamp;
mod window;

use date::Civil;

use super::error::QueryError;
use super::evaluate::{Evaluator, Operand};
use super::steps::Steps;
use crate::function::window_function;
use crate::promql::{Expr, ExprKind, RangeEdge, SourceRange, ValueType};

/// A registry entry.
pub(super) struct Function {
    pub name: &'static str,
    pub body: Body,
}

/// How a function is computed.
pub(super) enum Body {
    /// Each value of the only argument, an instant vector.
    Value(fn(f64) -> f64),
    /// Each value of the first argument with the scalars after it; `None` is no value.
    ValueWith(fn(f64, &[f64]) -> Option<f64>),
    /// A part of the civil date in UTC of each value, or of the step's time without arguments.
    Date(fn(&Civil) -> f64),
    /// Anything else.
    Whole(fn(&mut Evaluator<'_>, &Call<'_>) -> Result<Operand, QueryError>),
}

/// One call in a query.
pub(super) struct Call<'e> {
    pub args: &'e [Expr],
    pub source: SourceRange,
    pub steps: &'e Steps,
}

impl Call<'_> {
    /// # Errors
    /// When there are fewer arguments: the parser has counted them, a rewrite may not have.
    pub fn arg(&self, at: usize) -> Result<&Expr, QueryError> {
        self.args.get(at).ok_or_else(|| QueryError::bad_data(format!("argument {} is missing", at + 1)))
    }

    /// The values per step of the scalar arguments from `first` on.
    pub fn scalars(&self, evaluator: &mut Evaluator<'_>, first: usize) -> Result<Vec<Vec<f64>>, QueryError> {
        self.args.iter().skip(first).map(|arg| evaluator.scalar(arg, self.steps)).collect()
    }
}

/// The slices of all functions but those of `crate::function::range`.
static FUNCTIONS: &[&[Function]] = &[
    absent::FUNCTIONS,
    date::FUNCTIONS,
    histogram::FUNCTIONS,
    labels::FUNCTIONS,
    math::FUNCTIONS,
    native::FUNCTIONS,
    scalars::FUNCTIONS,
    sort::FUNCTIONS,
    timestamp::FUNCTIONS,
];

/// The values of `name(args)`.
pub(super) fn call(
    evaluator: &mut Evaluator<'_>,
    name: &str,
    args: &[Expr],
    source: SourceRange,
    steps: &Steps,
) -> Result<Operand, QueryError> {
    let call = Call { args, source, steps };
    args.iter().try_for_each(|arg| check_edge(name, arg))?;
    if let Some(entry) = window_function(name) {
        return window::registered(evaluator, entry, &call).map(Operand::Vector);
    }
    let found = FUNCTIONS.iter().flat_map(|slice| slice.iter()).find(|function| function.name == name);
    let Some(function) = found else { return Err(QueryError::unsupported(format!("{name}()"))) };
    match function.body {
        Body::Value(f) => each_value(evaluator, &call, |_, v| Some(f(v))),
        Body::ValueWith(f) => {
            let scalars = call.scalars(evaluator, 1)?;
            let mut at_step = vec![0.0; scalars.len()];
            each_value(evaluator, &call, |step, v| {
                at_step.iter_mut().zip(&scalars).for_each(|(slot, values)| *slot = values[step]);
                f(v, &at_step)
            })
        }
        Body::Date(f) => date::each(evaluator, &call, f),
        Body::Whole(f) => f(evaluator, &call),
    }
}

/// Which functions take which modifier of a range's edges.
fn check_edge(function: &str, arg: &Expr) -> Result<(), QueryError> {
    let ExprKind::Modified(modified) = &arg.peel().kind else { return Ok(()) };
    let (Some(edge), ValueType::Matrix) = (modified.edge, modified.plain.value_type()) else { return Ok(()) };
    let takers: &[&str] = match edge {
        RangeEdge::Anchored => &["changes", "delta", "increase", "rate", "resets"],
        RangeEdge::Smoothed => &["delta", "increase", "rate"],
    };
    if takers.contains(&function) {
        return Ok(());
    }
    let (word, takers) = (edge.word(), takers.join(", "));
    Err(QueryError::execution(format!("{word} modifier can only be used with: {takers} - not with {function}")))
}

fn each_value(
    evaluator: &mut Evaluator<'_>,
    call: &Call<'_>,
    mut f: impl FnMut(usize, f64) -> Option<f64>,
) -> Result<Operand, QueryError> {
    let mut rows = evaluator.vector(call.arg(0)?, call.steps)?;
    rows.retain_mut(|row| row.update(&mut f));
    evaluator.names.drop_names(rows).map(Operand::Vector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::range::{OTHER_RANGE_FUNCTIONS, RANGE_FUNCTIONS};
    use crate::promql::SIGNATURES;

    #[test]
    fn functions_are_named_once_in_lower_case() {
        let mut names: Vec<&str> = FUNCTIONS.iter().flat_map(|slice| slice.iter()).map(|f| f.name).collect();
        names.extend(RANGE_FUNCTIONS.iter().chain(OTHER_RANGE_FUNCTIONS).map(|entry| entry.name));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.iter().all(|name| *name == name.to_lowercase()));
    }
    /// What README says is not evaluated here, and no other.
    #[test]
    fn every_function_of_the_parser_is_known_or_named_as_not_evaluated() {
        let known = |name: &str| {
            window_function(name).is_some() || FUNCTIONS.iter().flat_map(|slice| slice.iter()).any(|f| f.name == name)
        };
        let unknown: Vec<&str> = SIGNATURES.iter().map(|row| row.name).filter(|name| !known(name)).collect();
        assert_eq!(unknown, ["info", "start_timestamp"]);
    }
}
