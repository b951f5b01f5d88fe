//! Selectors and what may follow them: ranges, subqueries, `offset` and `@`.

use super::super::check::check_subquery;
use super::super::duration::DurationExpr;
use super::super::expr::{
    At, BinaryOp, Expr, ExprKind, Modified, Origin, RangeEdge, SourceRange, TimeShift, ValueType, VectorSelector,
};
use super::super::token::{Keyword, Preprocessor, Token, TokenKind};
use super::{Node, Parsed, Parser};
use crate::model::quote::quoted;
use crate::model::{METRIC_NAME, MatchOp, Matcher, Selector, Timestamp};

const LABEL_CONTEXT: &str = "label matching";

/// What has been said about the node at hand that a plain one does not hold.
#[derive(Default)]
struct Said {
    range: Option<DurationExpr>,
    step: Option<DurationExpr>,
    offset: Option<DurationExpr>,
    edge: Option<RangeEdge>,
}

impl Parser<'_> {
    /// A selector by name, by matchers in braces, or both; the name has been taken.
    #[inline(never)]
    pub(super) fn selector(&mut self, name: Option<Token>) -> Parsed<Node> {
        let start = name.map_or(self.token.start, |name| name.start);
        let (node, matches_empty) = self.any_selector(name, start)?;
        if matches_empty {
            return self.fail(node.expr.source, "vector selector must contain at least one non-empty matcher");
        }
        Ok(node)
    }

    /// The selector in `info`'s second argument, and what may follow it.
    #[inline(never)]
    pub(super) fn info_selector(&mut self) -> Parsed<Node> {
        let (node, _) = self.any_selector(None, self.token.start)?;
        let mut node = self.modified(node)?;
        while let Some((infix, binding)) = super::binary::infix(self.token.kind) {
            let mut joint = self.joint(infix)?;
            let rhs = self.expression(joint.rhs_binding_min(binding))?;
            node = self.joined(node, &mut joint, rhs)?;
        }
        Ok(node)
    }

    fn any_selector(&mut self, name: Option<Token>, start: u32) -> Parsed<(Node, bool)> {
        let mut matchers = if self.token.kind == TokenKind::LeftBrace { self.matchers()? } else { Vec::new() };
        if let Some(name) = name {
            let name = self.slice(name);
            if let Some(other) = matchers.iter().find(|matcher| matcher.name == METRIC_NAME) {
                let (name, other) = (quoted(name), quoted(&other.value));
                let source = SourceRange { start, end: self.last_end };
                return self.fail(source, format!("metric name must not be set twice: {name} or {other}"));
            }
            matchers.push(Matcher::equal(METRIC_NAME, name));
        }
        let matches_empty = matchers.iter().all(Matcher::matches_empty);
        let selector = Selector::new(matchers);
        let vector = VectorSelector { selector, shift: TimeShift::default(), origin: Origin::Samples };
        Ok((self.node(ExprKind::Vector(vector), start, ValueType::Vector, 0)?, matches_empty))
    }

    fn matchers(&mut self) -> Parsed<Vec<Matcher>> {
        self.advance()?;
        let mut matchers = Vec::new();
        while self.token.kind != TokenKind::RightBrace {
            matchers.push(self.matcher()?);
            if !self.accept(TokenKind::Comma)? && self.token.kind != TokenKind::RightBrace {
                return self.unexpected(LABEL_CONTEXT, "\",\" or \"}\"");
            }
        }
        self.advance()?;
        Ok(matchers)
    }

    /// `label="value"`, `"label"="value"` or `"metric"`.
    fn matcher(&mut self) -> Parsed<Matcher> {
        let label = self.token;
        let name = match label.kind {
            TokenKind::Identifier => self.slice(label).to_owned(),
            TokenKind::String => self.unquoted_text(label)?,
            _ => return self.unexpected(LABEL_CONTEXT, "identifier or \"}\""),
        };
        self.advance()?;
        let op = match match_op(self.token.kind) {
            Some(op) => op,
            None if label.kind == TokenKind::String => return Ok(Matcher::equal(METRIC_NAME, name)),
            None => return self.unexpected(LABEL_CONTEXT, "label matching operator"),
        };
        self.advance()?;
        let value = self.expect(TokenKind::String, LABEL_CONTEXT, "string")?;
        let source = SourceRange { start: label.start, end: value.end };
        Matcher::new(name, op, self.unquoted_text(value)?).or_else(|message| self.fail(source, message))
    }

    /// Everything that may follow an operand, as often as it does.
    pub(super) fn modified(&mut self, mut node: Node) -> Parsed<Node> {
        let mut said = Said::default();
        loop {
            match self.token.kind {
                TokenKind::LeftBracket => node = self.bracketed(node, &mut said)?,
                TokenKind::At => self.at(&mut node.expr)?,
                TokenKind::Keyword(Keyword::Offset) => self.offset(&mut node.expr, &mut said)?,
                TokenKind::Keyword(Keyword::Anchored) => self.edge(&mut node.expr, RangeEdge::Anchored, &mut said)?,
                TokenKind::Keyword(Keyword::Smoothed) => self.edge(&mut node.expr, RangeEdge::Smoothed, &mut said)?,
                _ => return self.with_what_was_said(node, said),
            }
        }
    }

    /// A node with what its plain form cannot hold.
    #[inline(never)]
    fn with_what_was_said(&mut self, node: Node, said: Said) -> Parsed<Node> {
        let Said { range, step, offset, edge } = said;
        if range.is_none() && step.is_none() && offset.is_none() && edge.is_none() {
            return Ok(node);
        }
        let (start, value_type, depth) = (node.expr.source.start, node.value_type, node.depth);
        let modified = Box::new(Modified { plain: *node.expr, range, step, offset, edge });
        self.node(ExprKind::Modified(modified), start, value_type, depth)
    }

    /// `[5m]`, `[5m:]` or `[5m:1m]`
    #[inline(never)]
    fn bracketed(&mut self, node: Node, said: &mut Said) -> Parsed<Node> {
        let bracket = self.advance()?;
        let range = self.positive_duration("subquery or range selector", "number, duration, step(), or range()")?;
        let (range_ms, range) = range.into_parts();
        if self.accept(TokenKind::Colon)? {
            let inner = self.with_what_was_said(node, std::mem::take(said))?;
            said.range = range;
            return self.subquery(inner, range_ms, said);
        }
        self.expect(TokenKind::RightBracket, "subquery or range", "\":\" or \"]\"")?;
        let source = SourceRange { start: bracket.start, end: self.last_end };
        let start = node.expr.source.start;
        let ExprKind::Vector(selector) = node.expr.kind else {
            return self.fail(source, "ranges only allowed for vector selectors");
        };
        if selector.shift.offset_ms != 0 || said.offset.is_some() {
            return self.fail(source, "no offset modifiers allowed before range");
        }
        if selector.shift.at.is_some() {
            return self.fail(source, "no @ modifiers allowed before range");
        }
        said.range = range;
        self.node(ExprKind::Matrix { selector, range_ms }, start, ValueType::Matrix, 0)
    }

    fn subquery(&mut self, node: Node, range_ms: i64, said: &mut Said) -> Parsed<Node> {
        let step_ms = if self.token.kind == TokenKind::RightBracket {
            None
        } else {
            let step = self.positive_duration("subquery selector", "number, duration, step(), range(), or \"]\"")?;
            let (step_ms, step) = step.into_parts();
            said.step = step;
            Some(step_ms)
        };
        self.expect(TokenKind::RightBracket, "subquery selector", "\"]\"")?;
        let start = node.expr.source.start;
        self.note_type_error(check_subquery(node.value_type, SourceRange { start, end: self.last_end }));
        let (expr, shift) = (node.expr, TimeShift::default());
        self.node(ExprKind::Subquery { expr, range_ms, step_ms, shift }, start, ValueType::Matrix, node.depth)
    }

    #[inline(never)]
    fn offset(&mut self, expr: &mut Expr, said: &mut Said) -> Parsed<()> {
        self.advance()?;
        let (offset_ms, computed) = self.offset_span()?.into_parts();
        let source = expr.source;
        let Some(shift) = shift_of(expr) else {
            let takers = "an instant vector selector or range vector selector or a subquery";
            return self.fail(source, format!("offset modifier must be preceded by {takers}"));
        };
        if shift.offset_ms != 0 || said.offset.is_some() {
            return self.fail(source, "offset may not be set multiple times");
        }
        match computed {
            Some(computed) => said.offset = Some(computed),
            None => shift.offset_ms = offset_ms,
        }
        expr.source.end = self.last_end;
        Ok(())
    }

    #[inline(never)]
    fn at(&mut self, expr: &mut Expr) -> Parsed<()> {
        self.advance()?;
        let source = expr.source;
        let at = self.at_time(source)?;
        let Some(shift) = shift_of(expr) else {
            let takers = "an instant vector selector or range vector selector or a subquery";
            return self.fail(source, format!("@ modifier must be preceded by {takers}"));
        };
        if shift.at.is_some() {
            return self.fail(source, "@ <timestamp> may not be set multiple times");
        }
        shift.at = Some(at);
        expr.source.end = self.last_end;
        Ok(())
    }

    /// A time in seconds, `start()` or `end()`.
    fn at_time(&mut self, source: SourceRange) -> Parsed<At> {
        let (context, expected) = ("@", "timestamp");
        if let TokenKind::Preprocessor(word @ (Preprocessor::Start | Preprocessor::End)) = self.token.kind {
            self.advance()?;
            self.expect(TokenKind::LeftParen, context, expected)?;
            self.expect(TokenKind::RightParen, context, expected)?;
            return Ok(if word == Preprocessor::Start { At::Start } else { At::End });
        }
        let negative = self.sign()?.unwrap_or(false);
        let token = self.token;
        if !matches!(token.kind, TokenKind::Number | TokenKind::Duration) {
            return self.unexpected(context, expected);
        }
        self.advance()?;
        let value = self.number(token)?;
        let seconds = if negative { -value } else { value };
        match Timestamp::from_seconds(seconds) {
            Some(time) => Ok(At::Time(time)),
            None => {
                let sign = if seconds == f64::INFINITY { "+" } else { "" };
                let seconds = if seconds.is_infinite() { format!("{sign}{seconds}") } else { format!("{seconds:.6}") };
                let seconds = seconds.replace("inf", "Inf");
                self.fail(source, format!("timestamp out of bounds for @ modifier: {seconds}"))
            }
        }
    }

    /// `anchored` or `smoothed`, of a selector.
    #[inline(never)]
    fn edge(&mut self, expr: &mut Expr, edge: RangeEdge, said: &mut Said) -> Parsed<()> {
        self.advance()?;
        let word = edge.word();
        match &expr.kind {
            ExprKind::Vector(_) | ExprKind::Matrix { .. } => {}
            ExprKind::Subquery { .. } => {
                return self.fail(expr.source, format!("{word} modifier is not supported for subqueries"));
            }
            _ => return self.fail(expr.source, format!("{word} modifier not implemented")),
        }
        if said.edge.is_some_and(|other| other != edge) {
            return self.fail(expr.source, "anchored and smoothed modifiers cannot be used together");
        }
        said.edge = Some(edge);
        expr.source.end = self.last_end;
        Ok(())
    }
}

/// Where the offset and time of a selector or subquery are kept; nothing else has them.
fn shift_of(expr: &mut Expr) -> Option<&mut TimeShift> {
    match &mut expr.kind {
        ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => Some(&mut selector.shift),
        ExprKind::Subquery { shift, .. } => Some(shift),
        _ => None,
    }
}

fn match_op(kind: TokenKind) -> Option<MatchOp> {
    match kind {
        TokenKind::Equal => Some(MatchOp::Equal),
        TokenKind::Operator(BinaryOp::NotEqual) => Some(MatchOp::NotEqual),
        TokenKind::EqualRegex => Some(MatchOp::Regex),
        TokenKind::NotRegex => Some(MatchOp::NotRegex),
        _ => None,
    }
}
