//! PromQL as text and as tree: parse, print, walk. Knows the model and nothing else.

mod check;
pub mod duration;
pub mod expr;
mod lexer;
pub mod parse;
mod print;
pub mod signature;
mod token;
mod walk;

pub use duration::{DurationExpr, QuerySpan};
pub use expr::{
    Aggregate, At, Binary, BinaryOp, Cardinality, Expr, ExprKind, Grouping, Matching, Modified, NumberLiteral, Origin,
    RangeEdge, SourceRange, TimeShift, ValueType, VectorSelector,
};
pub use parse::{DURATION_OPERATORS_MAX, NESTING_MAX, ParseError, TEXT_BYTES_MAX, TREE_DEPTH_MAX, parse};
pub use signature::{Extra, SIGNATURES, Signature, signature};
