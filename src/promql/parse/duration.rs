//! Durations in brackets and after `offset`.
//!
//! A duration is a number or a word like `5m`, perhaps signed. Arithmetic on durations is valid PromQL that is not read
//! here: it is parsed so that its errors are found, and noted.

use super::super::expr::{BinaryOp, SourceRange};
use super::super::token::{Preprocessor, Token, TokenKind};
use super::binary::SIGN_BINDING;
use super::{Parsed, Parser, literal};

/// Prometheus keeps durations as 64 bits of nanoseconds.
const SECONDS_MAX: f64 = 9_223_372_036.854_776;

const NOT_READ: &str = "arithmetic on durations is not read";
const SLUG: &str = "duration-expression";

/// A duration as far as it is known now.
#[derive(Clone, Copy)]
pub(super) enum Span {
    Literal { seconds: f64, ms: i64 },
    Computed,
}

impl Span {
    fn negated(self) -> Span {
        match self {
            Span::Literal { seconds, ms } => Span::Literal { seconds: -seconds, ms: -ms },
            Span::Computed => Span::Computed,
        }
    }

    fn is_zero(self) -> bool {
        matches!(self, Span::Literal { seconds, .. } if seconds == 0.0)
    }
}

/// What an error says when no duration stands where one must.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    context: &'a str,
    expected: &'a str,
}

impl Parser<'_> {
    /// A range or a step, in milliseconds. Where it cannot be known now, one millisecond stands for it: the query is
    /// refused in the end.
    pub(super) fn positive_duration(&mut self, context: &str, expected: &str) -> Parsed<i64> {
        let start = self.token.start;
        let span = self.duration(0, Wanted { context, expected })?;
        let source = SourceRange { start, end: self.last_end };
        match span {
            Span::Literal { seconds, .. } if seconds.is_nan() || seconds <= 0.0 => {
                self.fail(source, "duration must be greater than 0")
            }
            Span::Literal { ms: 0, .. } => {
                self.note_unsupported(SLUG, source, "durations below one millisecond are not read");
                Ok(1)
            }
            Span::Literal { ms, .. } => Ok(ms),
            Span::Computed => Ok(1),
        }
    }

    /// What follows `offset`: one operand, so that `x offset 5m + y` adds; more only from a parenthesis or a second sign on.
    pub(super) fn offset_span(&mut self) -> Parsed<Span> {
        let wanted = Wanted { context: "offset", expected: "number, duration, step(), or range()" };
        let sign = self.sign()?;
        let signed_again = matches!(self.token.kind, TokenKind::Operator(BinaryOp::Add | BinaryOp::Sub));
        let span = if signed_again || (sign.is_none() && self.token.kind == TokenKind::LeftParen) {
            self.duration(0, wanted)?
        } else {
            self.duration_operand(wanted)?
        };
        Ok(if sign == Some(true) { span.negated() } else { span })
    }

    fn duration(&mut self, binding_min: u8, wanted: Wanted<'_>) -> Parsed<Span> {
        self.enter()?;
        let mut lhs = match self.sign()? {
            Some(negative) => {
                let span = self.duration(SIGN_BINDING + 1, wanted)?;
                if negative { span.negated() } else { span }
            }
            None => self.duration_operand(wanted)?,
        };
        while let Some(op) = arithmetic(self.token.kind).filter(|op| op.binding() >= binding_min) {
            let token = self.advance()?;
            let rhs = self.duration(op.binding() + u8::from(op != BinaryOp::Pow), wanted)?;
            let source = SourceRange { start: token.start, end: token.end };
            match op {
                BinaryOp::Div if rhs.is_zero() => return self.fail(source, "division by zero"),
                BinaryOp::Mod if rhs.is_zero() => return self.fail(source, "modulo by zero"),
                _ => lhs = self.computed(token),
            }
        }
        self.nesting -= 1;
        Ok(lhs)
    }

    fn duration_operand(&mut self, wanted: Wanted<'_>) -> Parsed<Span> {
        let token = self.token;
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                self.advance()?;
                self.duration_literal(token)
            }
            TokenKind::Preprocessor(Preprocessor::Step | Preprocessor::Range) => {
                self.advance()?;
                self.expect(TokenKind::LeftParen, wanted.context, wanted.expected)?;
                self.expect(TokenKind::RightParen, wanted.context, wanted.expected)?;
                Ok(self.computed(token))
            }
            TokenKind::Preprocessor(Preprocessor::MaxOf | Preprocessor::MinOf) => {
                self.advance()?;
                self.expect(TokenKind::LeftParen, wanted.context, wanted.expected)?;
                self.duration(0, wanted)?;
                self.expect(TokenKind::Comma, wanted.context, wanted.expected)?;
                self.duration(0, wanted)?;
                self.expect(TokenKind::RightParen, wanted.context, wanted.expected)?;
                Ok(self.computed(token))
            }
            TokenKind::LeftParen => {
                self.advance()?;
                self.duration(0, wanted)?;
                self.expect(TokenKind::RightParen, wanted.context, wanted.expected)?;
                Ok(self.computed(token))
            }
            _ => self.unexpected(wanted.context, wanted.expected),
        }
    }

    fn computed(&mut self, token: Token) -> Span {
        self.note_unsupported(SLUG, SourceRange { start: token.start, end: token.end }, NOT_READ);
        Span::Computed
    }

    /// A word like `5m` is exact; a bare number is seconds, rounded to the nanosecond and cut to the millisecond.
    fn duration_literal(&self, token: Token) -> Parsed<Span> {
        let seconds = self.number(token)?;
        let source = SourceRange { start: token.start, end: token.end };
        if seconds.is_nan() || seconds > SECONDS_MAX {
            return self.fail(source, "duration out of range");
        }
        let ms = match token.kind {
            TokenKind::Duration => literal::duration_ms(self.slice(token)).or_else(|message| self.fail(source, message))?,
            _ => (seconds * 1e9).round() as i64 / 1_000_000,
        };
        Ok(Span::Literal { seconds, ms })
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
