//! Function calls and aggregations. Numbers and types of arguments are checked later, on the finished tree.

use super::super::check::{check_aggregate, check_call};
use super::super::expr::{Aggregate, Expr, ExprKind, Grouping, SourceRange, ValueType};
use super::super::signature::{AGGREGATIONS_WITH_PARAM, signature};
use super::super::token::{Keyword, Token, TokenKind};
use super::{Node, Parsed, Parser, begins_expression};
use crate::model::quote::quoted;

/// Arguments, their types and the depth of the deepest.
#[derive(Default)]
struct Arguments {
    exprs: Vec<Expr>,
    types: Vec<ValueType>,
    depth: u32,
}

impl Parser<'_> {
    /// `name(args)`; the name has been taken.
    pub(super) fn call(&mut self, name: Token) -> Parsed<Node> {
        let arguments = self.arguments(self.slice(name) == "info")?;
        self.call_of(name, arguments)
    }

    /// The parenthesis that closes the call has not been taken: what stands behind it does not come into an error about the
    /// name.
    #[inline(never)]
    fn call_of(&mut self, name: Token, arguments: Arguments) -> Parsed<Node> {
        let function = self.slice(name);
        let Some(signature) = signature(function) else {
            let source = SourceRange { start: name.start, end: name.end };
            return self.fail(source, format!("unknown function with name {}", quoted(function)));
        };
        self.advance()?;
        let source = SourceRange { start: name.start, end: self.last_end };
        self.note_type_error(check_call(signature, &arguments.exprs, &arguments.types, source));
        let kind = ExprKind::Call { function: function.into(), args: arguments.exprs };
        self.node(kind, name.start, signature.returns, arguments.depth)
    }

    /// All up to the parenthesis that closes them.
    fn arguments(&mut self, of_info: bool) -> Parsed<Arguments> {
        self.expect(TokenKind::LeftParen, "", "")?;
        let mut arguments = Arguments::default();
        while self.token.kind != TokenKind::RightParen {
            let node = if of_info && arguments.exprs.len() == 1 { self.info_labels()? } else { self.expression(0)? };
            self.argument(&mut arguments, node)?;
        }
        Ok(arguments)
    }

    /// Takes an argument and the comma after it.
    #[inline(never)]
    fn argument(&mut self, arguments: &mut Arguments, node: Node) -> Parsed<()> {
        arguments.depth = arguments.depth.max(node.depth);
        arguments.types.push(node.value_type);
        arguments.exprs.push(*node.expr);
        if self.token.kind == TokenKind::RightParen {
            return Ok(());
        }
        let comma = self.expect(TokenKind::Comma, "", "")?;
        if !begins_expression(self.token.kind) {
            let source = SourceRange { start: comma.start, end: comma.end };
            return self.fail(source, "trailing commas not allowed in function call args");
        }
        Ok(())
    }

    /// The second argument of `info`: matchers in braces, which may all match the empty string.
    #[inline(never)]
    fn info_labels(&mut self) -> Parsed<Node> {
        let first = self.token.kind;
        let node = if first == TokenKind::LeftBrace { self.info_selector()? } else { self.expression(0)? };
        match (&node.expr.kind, first) {
            (ExprKind::Vector(_), TokenKind::LeftBrace) => Ok(node),
            (ExprKind::Vector(_), _) => {
                self.fail(node.expr.source, "expected label selectors only, got vector selector instead")
            }
            _ => self.fail(node.expr.source, "expected label selectors only"),
        }
    }

    /// `op by (..) (args)` or `op (args) by (..)`; the operator has been taken.
    pub(super) fn aggregate(&mut self, op: Token) -> Parsed<Node> {
        let before = self.grouping()?;
        if self.token.kind != TokenKind::LeftParen {
            return self.unexpected("aggregation", "");
        }
        self.aggregations += 1;
        let arguments = self.arguments(false)?;
        self.advance()?;
        self.aggregations -= 1;
        self.aggregate_of(op, before, arguments)
    }

    #[inline(never)]
    fn aggregate_of(&mut self, op: Token, before: Option<Grouping>, arguments: Arguments) -> Parsed<Node> {
        let grouping = match before {
            Some(grouping) => grouping,
            None => self.grouping()?.unwrap_or(Grouping::By(Vec::new())),
        };
        let name = self.slice(op).to_ascii_lowercase();
        let with_param = AGGREGATIONS_WITH_PARAM.contains(&name.as_str());
        let (given, wanted) = (arguments.exprs.len(), 1 + usize::from(with_param));
        let source = SourceRange { start: op.start, end: self.last_end };
        let mut exprs = arguments.exprs.into_iter();
        let (param, expr) = match (given, exprs.next(), exprs.next()) {
            (1, Some(expr), None) if !with_param => (None, expr),
            (2, param @ Some(_), Some(expr)) if with_param => (param, expr),
            (0, ..) => return self.fail(source, "no arguments for aggregate expression provided"),
            _ => {
                let wrong = "wrong number of arguments for aggregate expression provided";
                return self.fail(source, format!("{wrong}, expected {wanted}, got {given}"));
            }
        };
        let aggregate = Box::new(Aggregate { op: name.into(), grouping, param, expr });
        self.note_type_error(check_aggregate(&aggregate, &arguments.types));
        self.node(ExprKind::Aggregate(aggregate), op.start, ValueType::Vector, arguments.depth)
    }

    #[inline(never)]
    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let TokenKind::Keyword(keyword @ (Keyword::By | Keyword::Without)) = self.token.kind else {
            return Ok(None);
        };
        self.advance()?;
        let labels = self.labels()?;
        Ok(Some(if keyword == Keyword::By { Grouping::by(labels) } else { Grouping::without(labels) }))
    }
}
