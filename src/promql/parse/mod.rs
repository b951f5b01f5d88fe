//! From text to tree: a precedence parser with bounds.
//!
//! Left-associative chains are built in a loop; everything else that nests passes through [`Parser::expression`], which
//! counts. So neither hostile nor generated text can exhaust the stack, here or in whoever walks the tree.

pub(super) mod binary;
mod call;
mod duration;
mod error;
pub(super) mod literal;
mod selector;
#[cfg(test)]
mod tests;

pub use duration::DURATION_OPERATORS_MAX;
pub use error::ParseError;

use super::check::{TypeError, check_sign};
use super::expr::{BinaryOp, Expr, ExprKind, NumberLiteral, SourceRange, ValueType};
use super::lexer::{LexError, Lexer};
use super::token::{Keyword, Token, TokenKind};

/// The longest query that is read, in bytes.
pub const TEXT_BYTES_MAX: usize = 64 << 10;

/// The most parentheses, calls, signs and right-hand sides that may be open at once.
pub const NESTING_MAX: u32 = 250;

/// The deepest tree. A sum of as many terms is as deep, since operators lean to the left; a thread of 2 MiB can parse,
/// clone, compare, print and drop it with room to spare (a test holds this).
pub const TREE_DEPTH_MAX: u32 = 2_500;

/// Errors are boxed on the way up to keep the parser's frames small.
type Parsed<T> = Result<T, Box<ParseError>>;

/// Reads a query.
///
/// # Errors
/// Where and why the text is not PromQL; a text longer than [`TEXT_BYTES_MAX`], nested deeper than [`NESTING_MAX`] or
/// deeper as a tree than [`TREE_DEPTH_MAX`].
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    parse_boxed(text).map_err(|error| *error)
}

fn parse_boxed(text: &str) -> Parsed<Expr> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the query has {} bytes, the limit is {TEXT_BYTES_MAX}", text.len());
        return Err(ParseError::beyond_limits(text, SourceRange::default(), message));
    }
    let mut parser = Parser::new(text)?;
    if parser.token.kind == TokenKind::End {
        return Err(ParseError::new(text, SourceRange::default(), "no expression found in input"));
    }
    let expr = parser.expression(0)?.expr;
    if parser.token.kind != TokenKind::End {
        return parser.unexpected("", "");
    }
    match parser.type_error {
        Some(error) => Err(error),
        None => Ok(*expr),
    }
}

/// A parsed piece, its type and the depth of its tree. Boxed, because many wait on the stack while nested ones are parsed.
struct Node {
    expr: Box<Expr>,
    value_type: ValueType,
    depth: u32,
}

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    /// The next token, not yet taken.
    token: Token,
    /// Where the last token taken ends.
    last_end: u32,
    /// Open levels of nesting, at most [`NESTING_MAX`].
    nesting: u32,
    /// Open aggregations: errors inside one say so.
    aggregations: u32,
    /// The first piece whose type is wrong. Reported only if the text is PromQL otherwise.
    type_error: Option<Box<ParseError>>,
    /// Operators in the duration at hand, at most [`DURATION_OPERATORS_MAX`].
    duration_operators: u32,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parsed<Parser<'a>> {
        let token = Token { kind: TokenKind::End, start: 0, end: 0 };
        let mut parser = Parser {
            text,
            lexer: Lexer::new(text),
            token,
            last_end: 0,
            nesting: 0,
            aggregations: 0,
            type_error: None,
            duration_operators: 0,
        };
        parser.advance()?;
        Ok(parser)
    }

    /// Takes the next token and looks at the one after it.
    fn advance(&mut self) -> Parsed<Token> {
        let taken = self.token;
        self.last_end = taken.end;
        self.token = self.lexer.next().map_err(|LexError { message, start }| {
            let source = SourceRange { start: start as u32, end: self.text.len() as u32 };
            ParseError::new(self.text, source, message)
        })?;
        Ok(taken)
    }

    /// Takes the next token if it is of a kind.
    fn accept(&mut self, kind: TokenKind) -> Parsed<bool> {
        let accepted = self.token.kind == kind;
        if accepted {
            self.advance()?;
        }
        Ok(accepted)
    }

    fn expect(&mut self, kind: TokenKind, context: &str, expected: &str) -> Parsed<Token> {
        if self.token.kind == kind { self.advance() } else { self.unexpected(context, expected) }
    }

    fn slice(&self, token: Token) -> &'a str {
        &self.text[token.start as usize..token.end as usize]
    }

    fn fail<T>(&self, source: SourceRange, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError::new(self.text, source, message))
    }

    /// The next token cannot stand here.
    fn unexpected<T>(&self, context: &str, expected: &str) -> Parsed<T> {
        let context = if context.is_empty() && self.aggregations > 0 { "aggregation" } else { context };
        let mut message = format!("unexpected {}", self.token.describe(self.text));
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        self.fail(SourceRange { start: self.token.start, end: self.token.end }, message)
    }

    /// Notes that a piece has the wrong type, and goes on to see whether the text is PromQL otherwise.
    fn note_type_error(&mut self, error: Option<TypeError>) {
        if let (None, Some((source, message))) = (&self.type_error, error) {
            self.type_error = Some(ParseError::new(self.text, source, message));
        }
    }

    fn enter(&mut self) -> Parsed<()> {
        if self.nesting > NESTING_MAX {
            let source = SourceRange { start: self.token.start, end: self.token.end };
            let message = format!("the query is nested deeper than the limit of {NESTING_MAX}");
            return Err(ParseError::beyond_limits(self.text, source, message));
        }
        self.nesting += 1;
        Ok(())
    }

    /// A node over children of which the deepest is `depth_below` deep.
    fn node(&self, kind: ExprKind, start: u32, value_type: ValueType, depth_below: u32) -> Parsed<Node> {
        let source = SourceRange { start, end: self.last_end };
        if depth_below >= TREE_DEPTH_MAX {
            let message = format!("the query's tree is deeper than the limit of {TREE_DEPTH_MAX}");
            return Err(ParseError::beyond_limits(self.text, source, message));
        }
        Ok(Node { expr: Box::new(Expr::new(kind, source)), value_type, depth: depth_below + 1 })
    }

    /// Operands joined by operators that bind at least as tightly as `binding_min`.
    ///
    /// All that nests comes through here. What is built on the way is built in functions of its own that are not inlined,
    /// so that their variables do not wait on the stack.
    fn expression(&mut self, binding_min: u8) -> Parsed<Node> {
        self.enter()?;
        let mut lhs = self.operand()?;
        while let Some((op, binding)) = binary::infix(self.token.kind) {
            if binding < binding_min {
                break;
            }
            let mut joint = self.joint(op)?;
            let rhs = self.expression(joint.rhs_binding_min(binding))?;
            lhs = self.joined(lhs, &mut joint, rhs)?;
        }
        self.nesting -= 1;
        Ok(lhs)
    }

    fn operand(&mut self) -> Parsed<Node> {
        match self.token.kind {
            TokenKind::Operator(BinaryOp::Add | BinaryOp::Sub) => {
                let sign = self.advance()?;
                let operand = self.expression(binary::SIGN_BINDING + 1)?;
                self.signed(sign, operand)
            }
            TokenKind::LeftParen => {
                let open = self.advance()?;
                let inner = self.expression(0)?;
                let paren = self.parenthesised(open, inner)?;
                self.modified(paren)
            }
            TokenKind::LeftBrace => {
                let selector = self.selector(None)?;
                self.modified(selector)
            }
            kind if names_metric(kind) => {
                let name = self.advance()?;
                let named = self.named(name)?;
                self.modified(named)
            }
            _ => {
                let literal = self.literal()?;
                self.modified(literal)
            }
        }
    }

    /// A sign binds like `*`: looser than `^`, tighter than `+`. Signs of literals become part of the number, and a plus
    /// sign, which means nothing, leaves no trace.
    #[inline(never)]
    fn signed(&mut self, sign: Token, mut node: Node) -> Parsed<Node> {
        let negative = sign.kind == TokenKind::Operator(BinaryOp::Sub);
        self.note_type_error(check_sign(node.value_type, SourceRange { start: sign.start, end: self.last_end }));
        match &mut node.expr.kind {
            ExprKind::Number(NumberLiteral(value)) if negative && !value.is_nan() => *value = -*value,
            ExprKind::Number(_) => {}
            _ if negative => {
                let negated = ExprKind::Negate(node.expr);
                return self.node(negated, sign.start, node.value_type, node.depth);
            }
            _ => {}
        }
        node.expr.source.start = sign.start;
        Ok(node)
    }

    #[inline(never)]
    fn parenthesised(&mut self, open: Token, inner: Node) -> Parsed<Node> {
        self.expect(TokenKind::RightParen, "", "")?;
        self.node(ExprKind::Paren(inner.expr), open.start, inner.value_type, inner.depth)
    }

    #[inline(never)]
    fn literal(&mut self) -> Parsed<Node> {
        let token = self.token;
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                self.advance()?;
                let value = self.number(token)?;
                self.node(ExprKind::Number(NumberLiteral(value)), token.start, ValueType::Scalar, 0)
            }
            TokenKind::String => {
                self.advance()?;
                let text = String::from_utf8_lossy(&self.unquoted(token)?).into_owned();
                self.node(ExprKind::String(text), token.start, ValueType::String, 0)
            }
            _ => self.unexpected("", ""),
        }
    }

    /// What follows a word decides what it was: a call, an aggregation or a metric.
    fn named(&mut self, name: Token) -> Parsed<Node> {
        match (name.kind, self.token.kind) {
            (TokenKind::Identifier | TokenKind::Preprocessor(_), TokenKind::LeftParen) => self.call(name),
            (
                TokenKind::Aggregation,
                TokenKind::LeftParen | TokenKind::Keyword(Keyword::By) | TokenKind::Keyword(Keyword::Without),
            ) => self.aggregate(name),
            _ => self.selector(Some(name)),
        }
    }

    /// The value of a number; a duration is its length in seconds.
    fn number(&self, token: Token) -> Parsed<f64> {
        let text = self.slice(token);
        let value = match token.kind {
            TokenKind::Duration => literal::duration_ms(text).map(|ms| ms as f64 / 1000.0),
            _ => literal::number(text),
        };
        value.or_else(|message| self.fail(SourceRange { start: token.start, end: token.end }, message))
    }

    fn unquoted(&self, token: Token) -> Parsed<Vec<u8>> {
        let source = SourceRange { start: token.start, end: token.end };
        literal::unquote(self.slice(token)).or_else(|message| self.fail(source, message))
    }

    /// A quoted name or a matcher's value. Labels are UTF-8, so other bytes could only ever match nothing.
    fn unquoted_text(&self, token: Token) -> Parsed<String> {
        String::from_utf8(self.unquoted(token)?).or_else(|_| {
            let message = format!("{} is not valid UTF-8, labels always are", self.slice(token));
            self.fail(SourceRange { start: token.start, end: token.end }, message)
        })
    }
}

/// What may stand where an operand is expected.
fn begins_expression(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Number | TokenKind::Duration | TokenKind::String | TokenKind::LeftParen | TokenKind::LeftBrace => true,
        TokenKind::Operator(op) => op.is_set() || matches!(op, BinaryOp::Add | BinaryOp::Sub),
        kind => names_metric(kind),
    }
}

/// Words that may stand for a metric where an operand is expected, keywords among them.
fn names_metric(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Aggregation | TokenKind::Preprocessor(_) => true,
        TokenKind::Operator(op) => op.is_set(),
        TokenKind::Keyword(keyword) => {
            !matches!(keyword, Keyword::Bool | Keyword::On | Keyword::Ignoring | Keyword::GroupLeft | Keyword::GroupRight)
        }
        _ => false,
    }
}
