//! promql-parser's tree as ours, for comparison.
//!
//! Its known differences are evened out here and nowhere else: a sign before a number is a node of its own in some places,
//! and matchers joined with `or`, which Prometheus does not know, are accepted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prefold::model::{METRIC_NAME, MatchOp, Matcher, Selector, Timestamp};
use prefold::promql::{
    Aggregate, At, Binary, BinaryOp, Cardinality, Expr, ExprKind, Grouping, Matching, NumberLiteral, Origin, SourceRange,
    TimeShift, ValueType, VectorSelector,
};
use promql_parser::label::MatchOp as OracleOp;
use promql_parser::parser::{
    AtModifier, BinaryExpr, Expr as Oracle, LabelModifier, Offset, VectorMatchCardinality, VectorSelector as OracleSelector,
};

pub enum Refused {
    NotPromql,
    OrMatchers,
}

/// Reads a text with promql-parser.
pub fn read(text: &str) -> Result<Expr, Refused> {
    let tree = promql_parser::parser::parse(text).map_err(|_| Refused::NotPromql)?;
    convert(&tree).ok_or(Refused::OrMatchers)
}

fn expr(kind: ExprKind) -> Expr {
    Expr::new(kind, SourceRange::default())
}

/// `None` where matchers are joined with `or`.
fn convert(tree: &Oracle) -> Option<Expr> {
    Some(expr(match tree {
        Oracle::NumberLiteral(number) => ExprKind::Number(number_literal(number.val)),
        Oracle::StringLiteral(string) => ExprKind::String(string.val.clone()),
        Oracle::VectorSelector(selector) => ExprKind::Vector(vector(selector)?),
        Oracle::MatrixSelector(matrix) => {
            ExprKind::Matrix { selector: vector(&matrix.vs)?, range_ms: milliseconds(matrix.range) }
        }
        Oracle::Subquery(subquery) => ExprKind::Subquery {
            expr: Box::new(convert(&subquery.expr)?),
            range_ms: milliseconds(subquery.range),
            step_ms: subquery.step.map(milliseconds),
            shift: shift(&subquery.offset, &subquery.at),
        },
        Oracle::Paren(paren) => ExprKind::Paren(Box::new(convert(&paren.expr)?)),
        Oracle::Unary(unary) => match convert(&unary.expr)? {
            Expr { kind: ExprKind::Number(NumberLiteral(value)), .. } => ExprKind::Number(number_literal(-value)),
            inner => ExprKind::Negate(Box::new(inner)),
        },
        Oracle::Call(call) => ExprKind::Call {
            function: call.func.name.into(),
            args: call.args.args.iter().map(|arg| convert(arg)).collect::<Option<_>>()?,
        },
        Oracle::Aggregate(aggregate) => ExprKind::Aggregate(Box::new(Aggregate {
            op: aggregate.op.to_string().into(),
            grouping: match &aggregate.modifier {
                None => Grouping::By(Vec::new()),
                Some(LabelModifier::Include(labels)) => Grouping::by(labels.labels.iter().map(String::as_str)),
                Some(LabelModifier::Exclude(labels)) => Grouping::without(labels.labels.iter().map(String::as_str)),
            },
            param: aggregate.param.as_ref().map(|param| convert(param).ok_or(())).transpose().ok()?,
            expr: convert(&aggregate.expr)?,
        })),
        Oracle::Binary(oracle) => ExprKind::Binary(Box::new(binary(oracle)?)),
        Oracle::Extension(_) => unreachable!("the parser makes no extensions"),
    }))
}

fn number_literal(value: f64) -> NumberLiteral {
    // Prometheus' NaN is one bit pattern; promql-parser's is Rust's.
    NumberLiteral(if value.is_nan() { f64::from_bits(0x7ff8_0000_0000_0001) } else { value })
}

fn binary(oracle: &BinaryExpr) -> Option<Binary> {
    let (lhs, rhs) = (convert(&oracle.lhs)?, convert(&oracle.rhs)?);
    let op = operator(&oracle.op.to_string());
    let vectors = lhs.value_type() == ValueType::Vector && rhs.value_type() == ValueType::Vector;
    let mut matching = Matching::default();
    let modifier = oracle.modifier.as_ref();
    if let Some(modifier) = modifier.filter(|_| vectors) {
        let labels = |labels: &promql_parser::label::Labels| labels.labels.iter().map(Into::into).collect();
        match &modifier.matching {
            Some(LabelModifier::Include(list)) => (matching.on, matching.labels) = (true, labels(list)),
            Some(LabelModifier::Exclude(list)) => matching.labels = labels(list),
            None => {}
        }
        matching.cardinality = match &modifier.card {
            VectorMatchCardinality::OneToOne => Cardinality::OneToOne,
            VectorMatchCardinality::ManyToOne(list) => Cardinality::ManyToOne { include: labels(list) },
            VectorMatchCardinality::OneToMany(list) => Cardinality::OneToMany { include: labels(list) },
            VectorMatchCardinality::ManyToMany => Cardinality::ManyToMany,
        };
        matching.fill_left = modifier.fill_values.lhs.map(number_literal);
        matching.fill_right = modifier.fill_values.rhs.map(number_literal);
    }
    if vectors && op.is_set() {
        matching.cardinality = Cardinality::ManyToMany;
    }
    Some(Binary { op, lhs, rhs, return_bool: modifier.is_some_and(|modifier| modifier.return_bool), matching })
}

fn operator(symbol: &str) -> BinaryOp {
    use BinaryOp::*;
    let all =
        [Add, Sub, Mul, Div, Mod, Pow, Atan2, Equal, NotEqual, Greater, Less, GreaterEqual, LessEqual, And, Or, Unless];
    all.into_iter().find(|op| op.symbol() == symbol).unwrap_or_else(|| panic!("an operator {symbol}"))
}

fn vector(oracle: &OracleSelector) -> Option<VectorSelector> {
    if !oracle.matchers.or_matchers.is_empty() {
        return None;
    }
    let mut matchers: Vec<Matcher> = Vec::new();
    matchers.extend(oracle.name.iter().map(|name| Matcher::equal(METRIC_NAME, name.as_str())));
    for matcher in &oracle.matchers.matchers {
        let op = match matcher.op {
            OracleOp::Equal => MatchOp::Equal,
            OracleOp::NotEqual => MatchOp::NotEqual,
            OracleOp::Re(_) => MatchOp::Regex,
            OracleOp::NotRe(_) => MatchOp::NotRegex,
        };
        matchers.push(Matcher::new(matcher.name.as_str(), op, matcher.value.as_str()).expect("promql-parser compiled it"));
    }
    let selector = Selector::new(matchers);
    Some(VectorSelector { selector, shift: shift(&oracle.offset, &oracle.at), origin: Origin::Samples })
}

fn shift(offset: &Option<Offset>, at: &Option<AtModifier>) -> TimeShift {
    TimeShift {
        offset_ms: match offset {
            None => 0,
            Some(Offset::Pos(length)) => milliseconds(*length),
            Some(Offset::Neg(length)) => -milliseconds(*length),
        },
        at: at.as_ref().map(|at| match at {
            AtModifier::Start => At::Start,
            AtModifier::End => At::End,
            AtModifier::At(time) => At::Time(timestamp(*time)),
        }),
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp(match time.duration_since(UNIX_EPOCH) {
        Ok(after) => milliseconds(after),
        Err(before) => -milliseconds(before.duration()),
    })
}

fn milliseconds(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).expect("a duration that Prometheus accepts")
}
