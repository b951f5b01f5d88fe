//! Trees as text, the way Prometheus prints them, and so that they read back as the same tree.
//!
//! Parentheses of the text are nodes of the tree and are printed as such. Where a tree made by other means needs them and
//! has none, they are added, so that printing never changes what a tree means.

use std::fmt;

use smol_str::SmolStr;

use super::duration::DurationExpr;
use super::expr::{
    Aggregate, At, Binary, BinaryOp, Cardinality, Expr, ExprKind, Grouping, Matching, Modified, NumberLiteral, Origin,
    TimeShift, VectorSelector,
};
use super::parse::binary::{SIGN_BINDING, names_label};
use super::token::keyword;
use crate::model::matcher::{is_label_name, is_metric_name};
use crate::model::quote::quoted;
use crate::model::time::format_duration;
use crate::model::{METRIC_NAME, MatchOp, Matcher, Timestamp};

/// As text that parses to the same tree; only selectors of views, which no text can name, do not.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(NumberLiteral(value)) => write_number(f, *value),
            ExprKind::String(text) => f.write_str(&quoted(text)),
            ExprKind::Vector(selector) => write!(f, "{selector}"),
            ExprKind::Matrix { selector, range_ms } => {
                write_selector(f, selector)?;
                write!(f, "[{}]{}", format_duration(*range_ms), selector.shift)
            }
            ExprKind::Subquery { expr, range_ms, step_ms, shift } => {
                write_operand(f, expr, BINDING_OF_BRACKETS)?;
                let step = step_ms.map(format_duration).unwrap_or_default();
                write!(f, "[{}:{step}]{shift}", format_duration(*range_ms))
            }
            ExprKind::Call { function, args } => write_call(f, function, args),
            ExprKind::Aggregate(aggregate) => write!(f, "{aggregate}"),
            ExprKind::Binary(binary) => write!(f, "{binary}"),
            ExprKind::Negate(inner) => {
                f.write_str("-")?;
                match inner.kind {
                    ExprKind::Negate(_) => write!(f, "{inner}"),
                    // A sign before a bare number would become part of it.
                    ExprKind::Number(_) => write!(f, "({inner})"),
                    _ => write_operand(f, inner, SIGN_BINDING + 1),
                }
            }
            ExprKind::Paren(inner) => write!(f, "({inner})"),
            ExprKind::Modified(modified) => write!(f, "{modified}"),
        }
    }
}

/// Ranges and subqueries bind tighter than any operator.
const BINDING_OF_BRACKETS: u8 = 7;

/// How tightly an expression holds together as printed.
fn binding(expr: &Expr) -> u8 {
    match &expr.kind {
        ExprKind::Binary(binary) => binary.op.binding(),
        ExprKind::Negate(_) => SIGN_BINDING,
        ExprKind::Number(NumberLiteral(value)) if value.is_sign_negative() && !value.is_nan() => SIGN_BINDING,
        ExprKind::Number(_) => BINDING_OF_BRACKETS,
        _ => u8::MAX,
    }
}

/// An operand, in parentheses when it would fall apart.
fn write_operand(f: &mut fmt::Formatter<'_>, expr: &Expr, binding_min: u8) -> fmt::Result {
    if binding(expr) < binding_min { write!(f, "({expr})") } else { write!(f, "{expr}") }
}

/// Chains of operators lean to the left and may be thousands long: they are printed in a loop.
impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chain = vec![self];
        let mut first = self;
        while let ExprKind::Binary(inner) = &first.lhs.kind
            && inner.op.binding() >= left_binding_min(first.op)
        {
            chain.push(inner);
            first = inner;
        }
        write_operand(f, &first.lhs, left_binding_min(first.op))?;
        chain.iter().rev().try_for_each(|binary| write_right_side(f, binary))
    }
}

/// How tightly the left operand must hold together: `^` groups to the right.
fn left_binding_min(op: BinaryOp) -> u8 {
    op.binding() + u8::from(op == BinaryOp::Pow)
}

fn write_right_side(f: &mut fmt::Formatter<'_>, binary: &Binary) -> fmt::Result {
    let modifier = if binary.return_bool { " bool" } else { "" };
    write!(f, " {}{modifier}{} ", binary.op.symbol(), binary.matching)?;
    match &binary.rhs.kind {
        // To the right of an operator a sign belongs to what follows, whatever the operator.
        ExprKind::Negate(_) | ExprKind::Number(_) => write!(f, "{}", binary.rhs),
        _ => write_operand(f, &binary.rhs, binary.op.binding() + u8::from(binary.op != BinaryOp::Pow)),
    }
}

/// The modifiers after an operator, each with a space before it; nothing where they are the default.
impl fmt::Display for Matching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = match &self.cardinality {
            Cardinality::ManyToOne { include } => Some(("group_left", include)),
            Cardinality::OneToMany { include } => Some(("group_right", include)),
            Cardinality::OneToOne | Cardinality::ManyToMany => None,
        };
        if self.on || !self.labels.is_empty() || group.is_some() {
            let word = if self.on { "on" } else { "ignoring" };
            write!(f, " {word} ({})", label_list(&self.labels))?;
        }
        if let Some((word, include)) = group {
            write!(f, " {word} ({})", label_list(include))?;
        }
        if self.fill_left.is_some() && self.fill_left == self.fill_right {
            return write_fill(f, "fill", self.fill_left);
        }
        write_fill(f, "fill_left", self.fill_left)?;
        write_fill(f, "fill_right", self.fill_right)
    }
}

fn write_fill(f: &mut fmt::Formatter<'_>, word: &str, value: Option<NumberLiteral>) -> fmt::Result {
    let Some(NumberLiteral(value)) = value else { return Ok(()) };
    write!(f, " {word} (")?;
    write_number(f, value)?;
    f.write_str(")")
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.op)?;
        match &self.grouping {
            Grouping::By(labels) if labels.is_empty() => {}
            Grouping::By(labels) => write!(f, " by ({}) ", label_list(labels))?,
            Grouping::Without(labels) => write!(f, " without ({}) ", label_list(labels))?,
        }
        match &self.param {
            Some(param) => write!(f, "({param}, {})", self.expr),
            None => write!(f, "({})", self.expr),
        }
    }
}

fn write_call(f: &mut fmt::Formatter<'_>, function: &str, args: &[Expr]) -> fmt::Result {
    write!(f, "{function}(")?;
    for (place, arg) in args.iter().enumerate() {
        if place > 0 {
            f.write_str(", ")?;
        }
        match &arg.kind {
            // Here a metric's name may only stand in braces.
            ExprKind::Vector(selector) if function == "info" && place == 1 && selector.origin == Origin::Samples => {
                write!(f, "{{{}}}{}", matcher_list(selector, None), selector.shift)?;
            }
            _ => write!(f, "{arg}")?,
        }
    }
    f.write_str(")")
}

impl fmt::Display for VectorSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_selector(f, self)?;
        write!(f, "{}", self.shift)
    }
}

/// Name and matchers. A view's field has no name in PromQL and gets one that people can read.
fn write_selector(f: &mut fmt::Formatter<'_>, selector: &VectorSelector) -> fmt::Result {
    let name = match &selector.origin {
        Origin::Samples => plain_metric(selector),
        Origin::View { view, field } => {
            write!(f, "view:{:08x}.field{field}", view.0 >> 96)?;
            None
        }
    };
    f.write_str(name.unwrap_or_default())?;
    let matchers = matcher_list(selector, name);
    let nameless = name.is_none() && selector.origin == Origin::Samples;
    if nameless || !matchers.is_empty() { write!(f, "{{{matchers}}}") } else { Ok(()) }
}

/// The metric's name when it can stand before the braces: the only matcher on it, plain, and not a word of the language.
fn plain_metric(selector: &VectorSelector) -> Option<&str> {
    let mut names = selector.selector.on(METRIC_NAME);
    let only = names.next().filter(|_| names.next().is_none())?;
    let plain = only.op == MatchOp::Equal && is_metric_name(&only.value) && keyword(&only.value).is_none();
    plain.then_some(only.value.as_str())
}

/// The matchers but the one printed as name, sorted as text.
fn matcher_list(selector: &VectorSelector, name: Option<&str>) -> String {
    let rest = selector.selector.matchers().iter().filter(|matcher| name.is_none() || matcher.name != METRIC_NAME);
    let mut matchers: Vec<String> = rest.map(matcher_text).collect();
    matchers.sort();
    matchers.join(",")
}

fn matcher_text(matcher: &Matcher) -> String {
    let name = if is_label_name(&matcher.name) { matcher.name.to_string() } else { quoted(&matcher.name) };
    format!("{name}{}{}", matcher.op.symbol(), quoted(&matcher.value))
}

/// Label names as lists take them: quoted when they are no plain names or words that cannot stand there.
fn label_list(labels: &[SmolStr]) -> String {
    let texts: Vec<String> = labels
        .iter()
        .map(|label| {
            let plain = is_label_name(label) && keyword(label).is_none_or(names_label);
            if plain { label.to_string() } else { quoted(label) }
        })
        .collect();
    texts.join(", ")
}

/// ` @ .. offset ..`, as far as they are set.
impl fmt::Display for TimeShift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(At::Time(time)) => write!(f, " @ {}", seconds_text(time))?,
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
            None => {}
        }
        match self.offset_ms {
            0 => Ok(()),
            offset_ms => write!(f, " offset {}", format_duration(offset_ms)),
        }
    }
}

/// As the plain expression, with everything that it could not hold in its place.
impl fmt::Display for Modified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = |computed: &Option<DurationExpr>, ms: i64| match computed {
            Some(expr) => expr.to_string(),
            None => format_duration(ms),
        };
        let edge = self.edge.map(|edge| format!(" {}", edge.word())).unwrap_or_default();
        let shift = match &self.plain.kind {
            ExprKind::Vector(selector) => {
                write_selector(f, selector)?;
                selector.shift
            }
            ExprKind::Matrix { selector, range_ms } => {
                write_selector(f, selector)?;
                write!(f, "[{}]", duration(&self.range, *range_ms))?;
                selector.shift
            }
            ExprKind::Subquery { expr, range_ms, step_ms, shift } => {
                write_operand(f, expr, BINDING_OF_BRACKETS)?;
                let step = step_ms.map(|ms| duration(&self.step, ms)).unwrap_or_default();
                write!(f, "[{}:{step}]", duration(&self.range, *range_ms))?;
                *shift
            }
            _ => return write!(f, "{}", self.plain),
        };
        write!(f, "{edge}")?;
        match &self.offset {
            Some(offset) => {
                write!(f, "{} offset {}", TimeShift { offset_ms: 0, ..shift }, Modified::offset_text(offset))
            }
            None => write!(f, "{shift}"),
        }
    }
}

/// A time in seconds, with milliseconds. Beyond 2^53 ms, seconds in a float no longer name every millisecond: there the
/// neighbour that reads back as this time is taken.
fn seconds_text(time: Timestamp) -> String {
    let seconds = time.seconds();
    let text = format!("{seconds:.3}");
    let reads_back = |seconds: f64| Timestamp::from_seconds(seconds) == Some(time);
    if text.parse().is_ok_and(reads_back) {
        return text;
    }
    let neighbours = [seconds, seconds.next_up(), seconds.next_down()];
    neighbours.into_iter().find(|seconds| reads_back(*seconds)).map_or(text, |seconds| seconds.to_string())
}

/// Without exponent, as Prometheus prints numbers.
pub(super) fn write_number(f: &mut fmt::Formatter<'_>, value: f64) -> fmt::Result {
    match value {
        _ if value.is_nan() => f.write_str("NaN"),
        f64::INFINITY => f.write_str("+Inf"),
        f64::NEG_INFINITY => f.write_str("-Inf"),
        _ => write!(f, "{value}"),
    }
}
