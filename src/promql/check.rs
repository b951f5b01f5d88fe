//! Types: whether a piece that reads well also makes sense, in Prometheus' words when it does not.
//!
//! The parser asks for each piece as it is built, knowing the types of its parts, so that no walk is needed afterwards.

use super::expr::{Aggregate, Binary, Cardinality, Expr, ExprKind, Matching, SourceRange, ValueType};
use super::signature::{Signature, signature};
use crate::model::quote::quoted;

/// What is wrong, and with which part of the text.
pub(super) type TypeError = (SourceRange, String);

impl Expr {
    /// The type of this expression's value.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number(_) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Vector(_) | ExprKind::Aggregate(_) => ValueType::Vector,
            ExprKind::Matrix { .. } | ExprKind::Subquery { .. } => ValueType::Matrix,
            ExprKind::Call { function, .. } => signature(function).map_or(ValueType::Vector, |signature| signature.returns),
            ExprKind::Binary(binary) => binary_type(binary.lhs.value_type(), binary.rhs.value_type()),
            ExprKind::Negate(inner) | ExprKind::Paren(inner) => inner.value_type(),
            ExprKind::Modified(modified) => modified.plain.value_type(),
        }
    }
}

pub(super) fn binary_type(lhs: ValueType, rhs: ValueType) -> ValueType {
    if lhs == ValueType::Scalar && rhs == ValueType::Scalar { ValueType::Scalar } else { ValueType::Vector }
}

/// A sign stands before numbers and vectors only.
pub(super) fn check_sign(operand: ValueType, source: SourceRange) -> Option<TypeError> {
    let allowed = matches!(operand, ValueType::Scalar | ValueType::Vector);
    (!allowed).then(|| {
        let got = operand.documented();
        let rule = "unary expression only allowed on expressions of type scalar or instant vector";
        (source, format!("{rule}, got \"{got}\""))
    })
}

pub(super) fn check_subquery(inner: ValueType, source: SourceRange) -> Option<TypeError> {
    let got = match inner {
        ValueType::Vector => return None,
        ValueType::Scalar => "scalar",
        ValueType::Matrix => "matrix",
        ValueType::String => "string",
    };
    Some((source, format!("subquery is only allowed on instant vector, got {got} instead")))
}

pub(super) fn check_call(
    signature: &Signature,
    args: &[Expr],
    types: &[ValueType],
    source: SourceRange,
) -> Option<TypeError> {
    if let Some(message) = signature.count_error(args.len()) {
        return Some((source, message));
    }
    let context = format!("call to function \"{}\"", signature.name);
    let mut args = args.iter().zip(types).enumerate();
    args.find_map(|(place, (arg, got))| wrong_type(arg, *got, signature.arg_type(place)?, &context))
}

/// `types` are those of the parameter, if there is one, and of the expression.
pub(super) fn check_aggregate(aggregate: &Aggregate, types: &[ValueType]) -> Option<TypeError> {
    let expr_type = types.last().copied()?;
    if let Some(error) = wrong_type(&aggregate.expr, expr_type, ValueType::Vector, "aggregation expression") {
        return Some(error);
    }
    let param = aggregate.param.as_ref()?;
    let wanted = if aggregate.op == "count_values" { ValueType::String } else { ValueType::Scalar };
    wrong_type(param, *types.first()?, wanted, "aggregation parameter")
}

fn wrong_type(expr: &Expr, got: ValueType, wanted: ValueType, context: &str) -> Option<TypeError> {
    let message = || format!("expected type {} in {context}, got {}", wanted.documented(), got.documented());
    (got != wanted).then(|| (expr.source, message()))
}

pub(super) fn check_binary(binary: &Binary, lhs: ValueType, rhs: ValueType, text: &str) -> Option<TypeError> {
    let (place, message) = binary_error(binary, lhs, rhs)?;
    let source = match place {
        Place::Operator => operator_source(binary, text),
        Place::Left => binary.lhs.source,
        Place::Right => binary.rhs.source,
        Place::Whole => SourceRange { start: binary.lhs.source.start, end: binary.rhs.source.end },
    };
    Some((source, message))
}

/// What the grammar leaves open: set operators match many to many, and matching means nothing beside a scalar.
pub(super) fn settle_matching(binary: &mut Binary, lhs: ValueType, rhs: ValueType) {
    if lhs != ValueType::Vector || rhs != ValueType::Vector {
        binary.matching = Matching::default();
    } else if binary.op.is_set() {
        binary.matching.cardinality = Cardinality::ManyToMany;
    }
}

/// What of a binary expression an error points at.
enum Place {
    Operator,
    Left,
    Right,
    Whole,
}

/// The operator and its modifiers, without the blanks around them.
fn operator_source(binary: &Binary, text: &str) -> SourceRange {
    let (start, end) = (binary.lhs.source.end, binary.rhs.source.start);
    let between = text.get(start as usize..end as usize).unwrap_or_default();
    let leading = between.len() - between.trim_start().len();
    SourceRange { start: start + leading as u32, end: start + between.trim_end().len().max(leading) as u32 }
}

fn binary_error(binary: &Binary, lhs: ValueType, rhs: ValueType) -> Option<(Place, String)> {
    let (op, matching) = (binary.op, &binary.matching);
    let both = |wanted: ValueType| lhs == wanted && rhs == wanted;
    let operand = |value_type: ValueType| matches!(value_type, ValueType::Scalar | ValueType::Vector);
    if binary.return_bool && !op.is_comparison() {
        return Some((Place::Operator, "bool modifier can only be used on comparison operators".to_owned()));
    }
    if op.is_comparison() && !binary.return_bool && both(ValueType::Scalar) {
        return Some((Place::Operator, "comparisons between scalars must use BOOL modifier".to_owned()));
    }
    if let Some(label) = label_on_both_sides(matching) {
        let label = quoted(label);
        return Some((Place::Operator, format!("label {label} must not occur in ON and GROUP clause at once")));
    }
    let operands = "binary expression must contain only scalar and instant vector types";
    if !operand(lhs) {
        return Some((Place::Left, operands.to_owned()));
    }
    if !operand(rhs) {
        return Some((Place::Right, operands.to_owned()));
    }
    let message = if both(ValueType::Vector) { set_error(binary)? } else { scalar_side_error(binary)? };
    Some((Place::Whole, message))
}

fn label_on_both_sides(matching: &Matching) -> Option<&str> {
    let (Cardinality::ManyToOne { include } | Cardinality::OneToMany { include }) = &matching.cardinality else {
        return None;
    };
    matching.labels.iter().find(|label| matching.on && include.contains(label)).map(|label| label.as_str())
}

/// What is wrong with a set operator between two vectors.
fn set_error(binary: &Binary) -> Option<String> {
    if !binary.op.is_set() {
        return None;
    }
    let op = binary.op.symbol();
    match binary.matching.cardinality {
        Cardinality::ManyToOne { .. } | Cardinality::OneToMany { .. } => {
            Some(format!("no grouping allowed for \"{op}\" operation"))
        }
        _ if fills(&binary.matching) => Some("filling in missing series not allowed for set operators".to_owned()),
        _ => None,
    }
}

/// What is wrong with an operator beside a scalar.
fn scalar_side_error(binary: &Binary) -> Option<String> {
    if !binary.matching.labels.is_empty() {
        return Some("vector matching only allowed between instant vectors".to_owned());
    }
    if fills(&binary.matching) {
        return Some("filling in missing series only allowed between instant vectors".to_owned());
    }
    let op = binary.op.symbol();
    binary.op.is_set().then(|| format!("set operator \"{op}\" not allowed in binary scalar expression"))
}

fn fills(matching: &Matching) -> bool {
    matching.fill_left.is_some() || matching.fill_right.is_some()
}
