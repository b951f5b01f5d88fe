//! PromQL as text and as tree: parse, print, walk. Knows the model and nothing else.

pub mod expr;

pub use expr::{
    Aggregate, At, Binary, BinaryOp, Cardinality, Expr, ExprKind, Grouping, Matching, NumberLiteral, Origin, SourceRange,
    TimeShift, ValueType, VectorSelector,
};
