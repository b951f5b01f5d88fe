//! PromQL as text and as tree: parse, print, walk. Knows the model and nothing else.

mod check;
pub mod expr;
mod lexer;
pub mod parse;
mod print;
pub mod signature;
mod token;
mod walk;

pub use expr::{
    Aggregate, At, Binary, BinaryOp, Cardinality, Expr, ExprKind, Grouping, Matching, NumberLiteral, Origin, SourceRange,
    TimeShift, ValueType, VectorSelector,
};
pub use parse::{NESTING_MAX, ParseError, TEXT_BYTES_MAX, TREE_DEPTH_MAX, parse};
pub use signature::{Extra, SIGNATURES, Signature, signature};
