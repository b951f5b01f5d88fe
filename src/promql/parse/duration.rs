//! Durations in brackets and after `offset`: a number or a word like `5m`, perhaps signed, or arithmetic on such.

use super::super::duration::DurationExpr;
use super::super::expr::{BinaryOp, SourceRange};
use super::super::token::{Preprocessor, Token, TokenKind};
use super::binary::SIGN_BINDING;
use super::{Parsed, Parser, literal};

/// The most operators in one duration.
pub const DURATION_OPERATORS_MAX: u32 = 500;

/// Prometheus keeps durations as 64 bits of nanoseconds.
const SECONDS_MAX: f64 = 9_223_372_036.854_776;

/// A duration as far as it is known now.
pub(super) enum Span {
    /// In milliseconds.
    Known(i64),
    Computed(DurationExpr),
}

impl Span {
    /// What is kept in a plain node, and what is kept beside it: where a duration cannot be known now, one millisecond
    /// stands for it.
    pub fn into_parts(self) -> (i64, Option<DurationExpr>) {
        match self {
            Span::Known(ms) => (ms, None),
            Span::Computed(expr) => (1, Some(expr)),
        }
    }
}

/// What an error says when no duration stands where one must.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    context: &'a str,
    expected: &'a str,
}

impl Parser<'_> {
    /// A range or a step.
    pub(super) fn positive_duration(&mut self, context: &str, expected: &str) -> Parsed<Span> {
        let start = self.token.start;
        self.duration_operators = 0;
        let duration = self.duration(0, Wanted { context, expected })?;
        let source = SourceRange { start, end: self.last_end };
        match literal_seconds(&duration) {
            Some(seconds) if seconds.is_nan() || seconds <= 0.0 => self.fail(source, "duration must be greater than 0"),
            _ => Ok(span(duration)),
        }
    }

    /// What follows `offset`: one operand, so that `x offset 5m + y` adds; more only from a parenthesis or a second sign on.
    pub(super) fn offset_span(&mut self) -> Parsed<Span> {
        let wanted = Wanted { context: "offset", expected: "number, duration, step(), or range()" };
        self.duration_operators = 0;
        let sign = self.sign()?;
        let signed_again = matches!(self.token.kind, TokenKind::Operator(BinaryOp::Add | BinaryOp::Sub));
        let duration = if signed_again || (sign.is_none() && self.token.kind == TokenKind::LeftParen) {
            self.duration(0, wanted)?
        } else {
            self.duration_operand(wanted)?
        };
        let duration = if sign == Some(true) { negated(duration) } else { duration };
        Ok(match span(duration) {
            // Below a millisecond an offset is none.
            Span::Computed(DurationExpr::Number(_)) => Span::Known(0),
            span => span,
        })
    }

    fn duration(&mut self, binding_min: u8, wanted: Wanted<'_>) -> Parsed<DurationExpr> {
        self.enter()?;
        let mut lhs = match self.sign()? {
            Some(negative) => {
                let operand = self.duration(SIGN_BINDING + 1, wanted)?;
                if negative { negated(operand) } else { operand }
            }
            None => self.duration_operand(wanted)?,
        };
        while let Some(op) = arithmetic(self.token.kind).filter(|op| op.binding() >= binding_min) {
            let token = self.advance()?;
            let source = SourceRange { start: token.start, end: token.end };
            self.duration_operators += 1;
            if self.duration_operators > DURATION_OPERATORS_MAX {
                return self.fail(source, format!("the duration has more operators than {DURATION_OPERATORS_MAX}"));
            }
            let rhs = self.duration(op.binding() + u8::from(op != BinaryOp::Pow), wanted)?;
            match (op, literal_seconds(&rhs)) {
                (BinaryOp::Div, Some(0.0)) => return self.fail(source, "division by zero"),
                (BinaryOp::Mod, Some(0.0)) => return self.fail(source, "modulo by zero"),
                _ => lhs = DurationExpr::Arithmetic(op, Box::new([lhs, rhs])),
            }
        }
        self.nesting -= 1;
        Ok(lhs)
    }

    fn duration_operand(&mut self, wanted: Wanted<'_>) -> Parsed<DurationExpr> {
        let token = self.token;
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                self.advance()?;
                self.duration_literal(token)
            }
            TokenKind::Preprocessor(word @ (Preprocessor::Step | Preprocessor::Range)) => {
                self.advance()?;
                self.expect(TokenKind::LeftParen, wanted.context, wanted.expected)?;
                self.expect(TokenKind::RightParen, wanted.context, wanted.expected)?;
                Ok(if word == Preprocessor::Step { DurationExpr::Step } else { DurationExpr::Range })
            }
            TokenKind::Preprocessor(word @ (Preprocessor::MaxOf | Preprocessor::MinOf)) => {
                self.advance()?;
                self.expect(TokenKind::LeftParen, wanted.context, wanted.expected)?;
                let left = self.duration(0, wanted)?;
                self.expect(TokenKind::Comma, wanted.context, wanted.expected)?;
                let right = self.duration(0, wanted)?;
                self.expect(TokenKind::RightParen, wanted.context, wanted.expected)?;
                let sides = Box::new([left, right]);
                Ok(if word == Preprocessor::MaxOf { DurationExpr::MaxOf(sides) } else { DurationExpr::MinOf(sides) })
            }
            TokenKind::LeftParen => {
                self.advance()?;
                let inner = self.duration(0, wanted)?;
                self.expect(TokenKind::RightParen, wanted.context, wanted.expected)?;
                Ok(DurationExpr::Paren(Box::new(inner)))
            }
            _ => self.unexpected(wanted.context, wanted.expected),
        }
    }

    fn duration_literal(&self, token: Token) -> Parsed<DurationExpr> {
        let seconds = self.number(token)?;
        let source = SourceRange { start: token.start, end: token.end };
        if seconds.is_nan() || seconds > SECONDS_MAX {
            return self.fail(source, "duration out of range");
        }
        match token.kind {
            TokenKind::Duration => {
                literal::duration_ms(self.slice(token)).map(DurationExpr::Word).or_else(|message| self.fail(source, message))
            }
            _ => Ok(DurationExpr::Number(seconds)),
        }
    }
}

/// A word like `5m` is exact; a bare number is seconds, rounded to the nanosecond and cut to the millisecond. What is cut
/// to nothing stays as written, since no range of nothing can be.
fn span(duration: DurationExpr) -> Span {
    let known = match duration {
        DurationExpr::Word(ms) => Some(ms),
        DurationExpr::Number(0.0) => Some(0),
        DurationExpr::Number(seconds) => Some((seconds * 1e9).round() as i64 / 1_000_000).filter(|ms| *ms != 0),
        _ => None,
    };
    known.map_or(Span::Computed(duration), Span::Known)
}

fn negated(duration: DurationExpr) -> DurationExpr {
    match duration {
        DurationExpr::Word(ms) => DurationExpr::Word(-ms),
        DurationExpr::Number(seconds) => DurationExpr::Number(-seconds),
        other => DurationExpr::Negate(Box::new(other)),
    }
}

fn literal_seconds(duration: &DurationExpr) -> Option<f64> {
    match duration {
        DurationExpr::Word(ms) => Some(*ms as f64 / 1000.0),
        DurationExpr::Number(seconds) => Some(*seconds),
        _ => None,
    }
}

fn arithmetic(kind: TokenKind) -> Option<BinaryOp> {
    match kind {
        TokenKind::Operator(
            op @ (BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Pow),
        ) => Some(op),
        _ => None,
    }
}
