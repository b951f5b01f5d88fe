//! Binary operators: how tightly they bind, and the modifiers that may follow them.

use smol_str::SmolStr;

use super::super::check::{binary_type, check_binary, settle_matching};
use super::super::expr::{Binary, BinaryOp, Cardinality, ExprKind, Matching, NumberLiteral, SourceRange};
use super::super::token::{Keyword, Token, TokenKind};
use super::{Node, Parsed, Parser};
use crate::model::quote::quoted;

/// A sign before an operand binds like multiplication.
pub(in crate::promql) const SIGN_BINDING: u8 = 5;

/// The operator a token stands for between two operands, and how tightly it binds.
pub(super) fn infix(kind: TokenKind) -> Option<(BinaryOp, u8)> {
    match kind {
        TokenKind::Operator(op) => Some((op, op.binding())),
        _ => None,
    }
}

impl BinaryOp {
    /// How tightly an operator binds, from 1. `^` is right-associative, all others left.
    pub(in crate::promql) fn binding(self) -> u8 {
        match self {
            BinaryOp::Or => 1,
            BinaryOp::And | BinaryOp::Unless => 2,
            _ if self.is_comparison() || self.is_trim() => 3,
            BinaryOp::Add | BinaryOp::Sub => 4,
            BinaryOp::Pow => 6,
            _ => SIGN_BINDING,
        }
    }
}

/// An operator with its modifiers, between two operands.
pub(super) struct Joint {
    op: BinaryOp,
    return_bool: bool,
    matching: Matching,
}

impl Joint {
    /// How tightly the operators in the right-hand side must bind at least.
    pub fn rhs_binding_min(&self, binding: u8) -> u8 {
        binding + u8::from(self.op != BinaryOp::Pow)
    }
}

impl Parser<'_> {
    #[inline(never)]
    pub(super) fn joint(&mut self, op: BinaryOp) -> Parsed<Box<Joint>> {
        self.advance()?;
        let return_bool = self.accept(TokenKind::Keyword(Keyword::Bool))?;
        Ok(Box::new(Joint { op, return_bool, matching: self.matching()? }))
    }

    #[inline(never)]
    pub(super) fn joined(&mut self, lhs: Node, joint: &mut Joint, rhs: Node) -> Parsed<Node> {
        let (op, return_bool, matching) = (joint.op, joint.return_bool, std::mem::take(&mut joint.matching));
        let (start, depth) = (lhs.expr.source.start, lhs.depth.max(rhs.depth));
        let mut binary = Box::new(Binary { op, lhs: *lhs.expr, rhs: *rhs.expr, return_bool, matching });
        self.note_type_error(check_binary(&binary, lhs.value_type, rhs.value_type, self.text));
        settle_matching(&mut binary, lhs.value_type, rhs.value_type);
        self.node(ExprKind::Binary(binary), start, binary_type(lhs.value_type, rhs.value_type), depth)
    }

    /// `on (..) group_left (..) fill (..)` and their like, each optional.
    fn matching(&mut self) -> Parsed<Matching> {
        let mut matching = Matching::default();
        if let TokenKind::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = self.token.kind {
            self.advance()?;
            matching.on = keyword == Keyword::On;
            matching.labels = self.labels()?;
            matching.cardinality = self.cardinality()?;
        }
        match self.token.kind {
            TokenKind::Keyword(Keyword::Fill) => {
                let value = self.fill_value()?;
                (matching.fill_left, matching.fill_right) = (Some(value), Some(value));
            }
            TokenKind::Keyword(Keyword::FillLeft) => {
                matching.fill_left = Some(self.fill_value()?);
                if self.token.kind == TokenKind::Keyword(Keyword::FillRight) {
                    matching.fill_right = Some(self.fill_value()?);
                }
            }
            TokenKind::Keyword(Keyword::FillRight) => {
                matching.fill_right = Some(self.fill_value()?);
                if self.token.kind == TokenKind::Keyword(Keyword::FillLeft) {
                    matching.fill_left = Some(self.fill_value()?);
                }
            }
            _ => {}
        }
        Ok(matching)
    }

    fn cardinality(&mut self) -> Parsed<Cardinality> {
        let TokenKind::Keyword(keyword @ (Keyword::GroupLeft | Keyword::GroupRight)) = self.token.kind else {
            return Ok(Cardinality::OneToOne);
        };
        self.advance()?;
        let include = if self.token.kind == TokenKind::LeftParen { self.labels()? } else { Vec::new() };
        Ok(match keyword {
            Keyword::GroupLeft => Cardinality::ManyToOne { include },
            _ => Cardinality::OneToMany { include },
        })
    }

    /// `fill (-1)`: the keyword and a number, perhaps signed, in parentheses.
    fn fill_value(&mut self) -> Parsed<NumberLiteral> {
        self.advance()?;
        self.expect(TokenKind::LeftParen, "", "")?;
        let negative = self.sign()?.unwrap_or(false);
        let token = self.token;
        if !matches!(token.kind, TokenKind::Number | TokenKind::Duration) {
            return self.unexpected("", "");
        }
        self.advance()?;
        let value = self.number(token)?;
        self.expect(TokenKind::RightParen, "", "")?;
        Ok(NumberLiteral(if negative && !value.is_nan() { -value } else { value }))
    }

    /// A sign, if one stands here: whether it is a minus.
    pub(super) fn sign(&mut self) -> Parsed<Option<bool>> {
        let negative = match self.token.kind {
            TokenKind::Operator(BinaryOp::Add) => false,
            TokenKind::Operator(BinaryOp::Sub) => true,
            _ => return Ok(None),
        };
        self.advance()?;
        Ok(Some(negative))
    }

    /// Label names in parentheses, as written; a comma may trail.
    pub(super) fn labels(&mut self) -> Parsed<Vec<SmolStr>> {
        const CONTEXT: &str = "grouping opts";
        self.expect(TokenKind::LeftParen, CONTEXT, "\"(\"")?;
        let mut labels = Vec::new();
        while self.token.kind != TokenKind::RightParen {
            let token = self.token;
            labels.push(self.label(token)?);
            if !self.accept(TokenKind::Comma)? && self.token.kind != TokenKind::RightParen {
                return self.unexpected(CONTEXT, "\",\" or \")\"");
            }
        }
        self.advance()?;
        Ok(labels)
    }

    fn label(&mut self, token: Token) -> Parsed<SmolStr> {
        if names_label(token.kind) {
            self.advance()?;
            return Ok(self.slice(token).into());
        }
        if token.kind != TokenKind::String {
            return self.unexpected("grouping opts", "label");
        }
        self.advance()?;
        let name = self.unquoted_text(token)?;
        if name.is_empty() {
            let message = format!("invalid label name for grouping: {}", quoted(&name));
            return self.fail(SourceRange { start: token.start, end: token.end }, message);
        }
        Ok(name.into())
    }
}

/// Words that may stand unquoted where labels are listed, keywords among them.
pub(in crate::promql) fn names_label(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Aggregation | TokenKind::Preprocessor(_) => true,
        TokenKind::Operator(op) => op.is_set() || op == BinaryOp::Atan2,
        TokenKind::Keyword(keyword) => keyword != Keyword::Without,
        _ => false,
    }
}
