//! Durations as expressions: `[step() + 1m]`, `offset -(2 * range())`.
//!
//! A plain duration is milliseconds in its node. Anything else is kept as written until the query's step and range are
//! known; then the tree is made plain, so that nothing behind the parser has to know of it.

use std::borrow::Cow;
use std::fmt;

use super::expr::{BinaryOp, Expr, ExprKind, Modified};
use super::print::write_number;
use crate::model::time::format_duration;

/// Arithmetic on durations, in seconds. At most [`DURATION_OPERATORS_MAX`](super::DURATION_OPERATORS_MAX) of its parts
/// hang together, so that walking it costs little stack.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationExpr {
    /// A word like `5m`, in milliseconds.
    Word(i64),
    /// A number of seconds.
    Number(f64),
    /// `step()`: the step of a range query, 0 for an instant query.
    Step,
    /// `range()`: from the query's start to its end.
    Range,
    MaxOf(Box<[DurationExpr; 2]>),
    MinOf(Box<[DurationExpr; 2]>),
    Negate(Box<DurationExpr>),
    Paren(Box<DurationExpr>),
    /// `+ - * / % ^`
    Arithmetic(BinaryOp, Box<[DurationExpr; 2]>),
}

/// What durations are computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuerySpan {
    /// 0 for an instant query.
    pub step_ms: i64,
    pub range_ms: i64,
}

impl DurationExpr {
    /// The duration in seconds.
    ///
    /// # Errors
    /// Division by zero.
    pub fn seconds(&self, query: QuerySpan) -> Result<f64, &'static str> {
        let both = |sides: &[DurationExpr; 2]| -> Result<(f64, f64), &'static str> {
            Ok((sides[0].seconds(query)?, sides[1].seconds(query)?))
        };
        Ok(match self {
            DurationExpr::Word(ms) => *ms as f64 / 1000.0,
            DurationExpr::Number(seconds) => *seconds,
            DurationExpr::Step => query.step_ms as f64 / 1000.0,
            DurationExpr::Range => query.range_ms as f64 / 1000.0,
            DurationExpr::MaxOf(sides) => both(sides).map(|(a, b)| a.max(b))?,
            DurationExpr::MinOf(sides) => both(sides).map(|(a, b)| a.min(b))?,
            DurationExpr::Negate(inner) => -inner.seconds(query)?,
            DurationExpr::Paren(inner) => inner.seconds(query)?,
            DurationExpr::Arithmetic(op, sides) => {
                let (left, right) = both(sides)?;
                match op {
                    BinaryOp::Add => left + right,
                    BinaryOp::Sub => left - right,
                    BinaryOp::Mul => left * right,
                    BinaryOp::Div if right == 0.0 => return Err("division by zero"),
                    BinaryOp::Div => left / right,
                    BinaryOp::Mod if right == 0.0 => return Err("modulo by zero"),
                    BinaryOp::Mod => left % right,
                    _ => left.powf(right),
                }
            }
        })
    }

    /// The duration in milliseconds, cut to whole ones.
    fn known_ms(&self, query: QuerySpan, negative_allowed: bool) -> Result<i64, String> {
        /// Milliseconds whose nanoseconds still fit 64 bits.
        const MS_MAX: f64 = 9_223_372_036_854.0;
        let seconds = self.seconds(query)?;
        if !negative_allowed && seconds <= 0.0 {
            return Err("duration must be greater than 0".to_owned());
        }
        let ms = (seconds * 1000.0).trunc();
        if ms.is_nan() || ms.abs() > MS_MAX {
            return Err("duration is out of range".to_owned());
        }
        Ok(ms as i64)
    }
}

impl Expr {
    /// This tree with every duration known. `anchored` and `smoothed` stay.
    ///
    /// # Errors
    /// What is wrong with a duration.
    pub fn with_known_durations(&self, query: QuerySpan) -> Result<Cow<'_, Expr>, String> {
        let mut modified = false;
        self.visit(&mut |expr| modified |= matches!(expr.kind, ExprKind::Modified(_)));
        if !modified {
            return Ok(Cow::Borrowed(self));
        }
        let mut known = self.clone();
        let mut open = vec![&mut known];
        while let Some(expr) = open.pop() {
            if let ExprKind::Modified(modified) = &mut expr.kind {
                modified.settle(query)?;
                if modified.edge.is_none() {
                    let plain = std::mem::replace(&mut modified.plain.kind, ExprKind::String(String::new()));
                    expr.kind = plain;
                }
            }
            open.extend(expr.children_mut());
        }
        Ok(Cow::Owned(known))
    }
}

impl Modified {
    /// Whether a duration depends on where the query starts and ends.
    pub fn uses_query_range(&self) -> bool {
        let mut open: Vec<&DurationExpr> = [&self.range, &self.step, &self.offset].into_iter().flatten().collect();
        while let Some(duration) = open.pop() {
            match duration {
                DurationExpr::Range => return true,
                DurationExpr::Negate(inner) | DurationExpr::Paren(inner) => open.push(inner),
                DurationExpr::MaxOf(sides) | DurationExpr::MinOf(sides) | DurationExpr::Arithmetic(_, sides) => {
                    open.extend(sides.iter());
                }
                DurationExpr::Word(_) | DurationExpr::Number(_) | DurationExpr::Step => {}
            }
        }
        false
    }

    /// The offset so that it reads back: only a second sign makes a sum out of what follows the first operand.
    pub(super) fn offset_text(offset: &DurationExpr) -> String {
        let (sign, sum) = match offset {
            DurationExpr::Negate(inner) if matches!(**inner, DurationExpr::Arithmetic(..)) => ("-", inner.to_string()),
            DurationExpr::Arithmetic(..) => ("+", offset.to_string()),
            other => return other.to_string(),
        };
        match sum.as_bytes().first() {
            Some(b'(') if sign == "+" => sum,
            Some(b'-') => format!("{sign}{sum}"),
            _ => format!("{sign}+{sum}"),
        }
    }

    /// Puts the computed durations where plain ones stand.
    fn settle(&mut self, query: QuerySpan) -> Result<(), String> {
        if let Some(range) = self.range.take() {
            let known_ms = range.known_ms(query, false)?;
            match &mut self.plain.kind {
                ExprKind::Matrix { range_ms, .. } | ExprKind::Subquery { range_ms, .. } => *range_ms = known_ms,
                _ => {}
            }
        }
        if let Some(step) = self.step.take() {
            // A step that is cut to nothing is the one that is taken where none is named.
            let known_ms = Some(step.known_ms(query, false)?).filter(|ms| *ms > 0);
            if let ExprKind::Subquery { step_ms, .. } = &mut self.plain.kind {
                *step_ms = known_ms;
            }
        }
        if let Some(offset) = self.offset.take() {
            let known_ms = offset.known_ms(query, true)?;
            match &mut self.plain.kind {
                ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => selector.shift.offset_ms = known_ms,
                ExprKind::Subquery { shift, .. } => shift.offset_ms = known_ms,
                _ => {}
            }
        }
        Ok(())
    }
}

/// As written, with spaces around operators.
impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DurationExpr::Word(ms) => f.write_str(&format_duration(*ms)),
            DurationExpr::Number(seconds) => write_number(f, *seconds),
            DurationExpr::Step => f.write_str("step()"),
            DurationExpr::Range => f.write_str("range()"),
            DurationExpr::MaxOf(sides) => write!(f, "max_of({}, {})", sides[0], sides[1]),
            DurationExpr::MinOf(sides) => write!(f, "min_of({}, {})", sides[0], sides[1]),
            DurationExpr::Negate(inner) => write!(f, "-{inner}"),
            DurationExpr::Paren(inner) => write!(f, "({inner})"),
            DurationExpr::Arithmetic(op, sides) => write!(f, "{} {} {}", sides[0], op.symbol(), sides[1]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse;

    #[test]
    fn durations_are_known_once_the_query_is() {
        let query = QuerySpan { step_ms: 15_000, range_ms: 3_600_000 };
        for (text, known) in [
            ("x[step() * 4 + 1ms]", "x[1m1ms]"),
            ("x[7.0001 / 2]", "x[3s500ms]"),
            ("x offset -(range() % 7m)", "x offset -4m"),
            ("sum(x)[1*range():max_of(step(), 20)] offset min_of(1, 2)", "sum(x)[1h:20s] offset 1s"),
            ("sum(rate(x[2^3 * 1m] anchored))", "sum(rate(x[8m] anchored))"),
            ("x[1h:0.0001]", "x[1h:]"),
            ("max_over_time((x offset (1+1))[1m*2:])", "max_over_time((x offset 2s)[2m:])"),
            ("x", "x"),
        ] {
            let expr = parse(text).unwrap();
            assert_eq!(expr.with_known_durations(query).map(|expr| expr.to_string()).as_deref(), Ok(known), "{text}");
        }
        for (text, error) in [
            ("x[step() - 15]", "duration must be greater than 0"),
            ("x[1 / (step() - 15)]", "division by zero"),
            ("x[1 % (step() - 15)]", "modulo by zero"),
            ("x[10 ^ 30]", "duration is out of range"),
            ("x offset (-1) ^ 0.5", "duration is out of range"),
        ] {
            assert_eq!(parse(text).unwrap().with_known_durations(query).unwrap_err(), error, "{text}");
        }
    }
}
