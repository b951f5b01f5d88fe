//! PromQL's syntax tree: our own, with source positions.
//!
//! No parser crate's type leaves promql/. Every node says which bytes of the query it came from, so that errors and
//! annotations can name a place and untouched text can be passed on untouched.

use smol_str::SmolStr;

use super::duration::DurationExpr;
use crate::model::{Selector, Timestamp, ViewId};

/// Byte offsets `[start, end)` into the query's text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct SourceRange {
    pub start: u32,
    pub end: u32,
}

/// A node and where it stands in the text.
#[derive(Debug)]
pub struct Expr {
    pub kind: ExprKind,
    pub source: SourceRange,
}

/// Chains of operators lean to the left and may be thousands long: they are cloned in a loop, not in as many calls.
impl Clone for Expr {
    fn clone(&self) -> Expr {
        let (mut chain, mut first) = (Vec::new(), self);
        while let ExprKind::Binary(binary) = &first.kind {
            chain.push((first.source, binary));
            first = &binary.lhs;
        }
        let mut cloned = Expr::new(first.kind.clone(), first.source);
        for (source, binary) in chain.into_iter().rev() {
            let Binary { op, lhs: _, rhs, return_bool, matching } = &**binary;
            let (op, rhs, return_bool, matching) = (*op, rhs.clone(), *return_bool, matching.clone());
            let binary = Binary { op, lhs: cloned, rhs, return_bool, matching };
            cloned = Expr::new(ExprKind::Binary(Box::new(binary)), source);
        }
        cloned
    }
}

/// Positions do not take part in equality: `parse(print(e)) == e`.
impl PartialEq for Expr {
    fn eq(&self, other: &Expr) -> bool {
        self.kind == other.kind
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    Number(NumberLiteral),
    String(String),
    /// An instant selector.
    Vector(VectorSelector),
    /// A range selector: `selector[range]`.
    Matrix {
        selector: VectorSelector,
        range_ms: i64,
    },
    /// `expr[range:step]`; no step means the evaluation interval.
    Subquery {
        expr: Box<Expr>,
        range_ms: i64,
        step_ms: Option<i64>,
        shift: TimeShift,
    },
    /// `function(args)`; the parser has checked name, number and types of arguments.
    Call {
        function: SmolStr,
        args: Vec<Expr>,
    },
    Aggregate(Box<Aggregate>),
    Binary(Box<Binary>),
    Negate(Box<Expr>),
    Paren(Box<Expr>),
    /// A selector or subquery with durations known only when the query runs, or with `anchored` or `smoothed`.
    Modified(Box<Modified>),
}

/// What a plain selector or subquery has no place for. Whoever evaluates a query first makes it plain
/// ([`Expr::with_known_durations`]); whoever does not know it finds neither a selector nor a subquery here.
#[derive(Clone, Debug, PartialEq)]
pub struct Modified {
    /// A vector selector, a range selector or a subquery. A duration that is computed has no meaning in it.
    pub plain: Expr,
    pub range: Option<DurationExpr>,
    /// Of a subquery.
    pub step: Option<DurationExpr>,
    pub offset: Option<DurationExpr>,
    pub edge: Option<RangeEdge>,
}

/// How the values at a range's edges are found, when not from the samples inside it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeEdge {
    Anchored,
    Smoothed,
}

impl RangeEdge {
    pub fn word(self) -> &'static str {
        match self {
            RangeEdge::Anchored => "anchored",
            RangeEdge::Smoothed => "smoothed",
        }
    }
}

/// Numbers compare by bits, so that NaN equals itself.
#[derive(Clone, Copy, Debug)]
pub struct NumberLiteral(pub f64);

impl PartialEq for NumberLiteral {
    fn eq(&self, other: &NumberLiteral) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

/// What a selector reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Series of samples, with staleness markers and lookback.
    Samples,
    /// One stored field of a view, put here by a rewrite and never by the parser. Read at exact grid points: no lookback.
    View { view: ViewId, field: u8 },
}

/// `name{matchers} offset .. @ ..`
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// All matchers, the metric's name among them.
    pub selector: Selector,
    pub shift: TimeShift,
    pub origin: Origin,
}

/// `offset` and `@` of a selector or subquery.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct TimeShift {
    /// Milliseconds back; negative for `offset -5m`; 0 without offset.
    pub offset_ms: i64,
    pub at: Option<At>,
}

/// The `@` modifier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    Time(Timestamp),
    Start,
    End,
}

/// `op by (..) (param, expr)`
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    pub op: SmolStr,
    pub grouping: Grouping,
    /// topk's k, quantile's q, count_values' label.
    pub param: Option<Expr>,
    pub expr: Expr,
}

/// Which labels an aggregation keeps. Names sorted, without duplicates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grouping {
    By(Vec<SmolStr>),
    Without(Vec<SmolStr>),
}

impl Grouping {
    pub fn by<S: Into<SmolStr>>(names: impl IntoIterator<Item = S>) -> Grouping {
        Grouping::By(sorted(names))
    }

    pub fn without<S: Into<SmolStr>>(names: impl IntoIterator<Item = S>) -> Grouping {
        Grouping::Without(sorted(names))
    }
}

fn sorted<S: Into<SmolStr>>(names: impl IntoIterator<Item = S>) -> Vec<SmolStr> {
    let mut names: Vec<SmolStr> = names.into_iter().map(Into::into).collect();
    names.sort();
    names.dedup();
    names
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    And,
    Or,
    Unless,
    /// `</`, which cuts what lies above a value off native histograms.
    TrimUpper,
    /// `>/`, which cuts off what lies below.
    TrimLower,
}

impl BinaryOp {
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Atan2 => "atan2",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Greater => ">",
            BinaryOp::Less => "<",
            BinaryOp::GreaterEqual => ">=",
            BinaryOp::LessEqual => "<=",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
            BinaryOp::TrimUpper => "</",
            BinaryOp::TrimLower => ">/",
        }
    }

    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            BinaryOp::Equal
                | BinaryOp::NotEqual
                | BinaryOp::Greater
                | BinaryOp::Less
                | BinaryOp::GreaterEqual
                | BinaryOp::LessEqual
        )
    }

    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }

    pub fn is_trim(self) -> bool {
        matches!(self, BinaryOp::TrimUpper | BinaryOp::TrimLower)
    }
}

/// `lhs op modifiers rhs`
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    pub op: BinaryOp,
    pub lhs: Expr,
    pub rhs: Expr,
    /// `bool` after a comparison.
    pub return_bool: bool,
    pub matching: Matching,
}

/// How the series of two sides find each other. The default is `ignoring ()` one-to-one.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Matching {
    /// True for `on (labels)`, false for `ignoring (labels)`.
    pub on: bool,
    pub labels: Vec<SmolStr>,
    pub cardinality: Cardinality,
    /// `fill(x)`, `fill_left(x)`, `fill_right(x)`: the value of a missing partner.
    pub fill_left: Option<NumberLiteral>,
    pub fill_right: Option<NumberLiteral>,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Cardinality {
    #[default]
    OneToOne,
    /// `group_left (include)`
    ManyToOne { include: Vec<SmolStr> },
    /// `group_right (include)`
    OneToMany { include: Vec<SmolStr> },
    /// and, or, unless
    ManyToMany,
}

/// PromQL's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    Scalar,
    Vector,
    Matrix,
    String,
}

impl ValueType {
    /// As error messages name it.
    pub fn documented(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
            ValueType::String => "string",
        }
    }
}

impl Expr {
    pub fn new(kind: ExprKind, source: SourceRange) -> Expr {
        Expr { kind, source }
    }

    /// This node without the parentheses around it.
    pub fn peel(&self) -> &Expr {
        match &self.kind {
            ExprKind::Paren(inner) => inner.peel(),
            _ => self,
        }
    }
}
