//! Why a query has no answer, in Prometheus' error types and words.
//!
//! Clients tell errors apart by type, and people search for the texts, so both are kept as Prometheus says them.

use std::fmt;

/// Prometheus' error types, and one of our own: what this engine does not know, and upstream may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryErrorKind {
    /// The request itself is wrong.
    BadData,
    /// Evaluation failed on the data it met.
    Execution,
    /// The query needs more samples or series than it may: another engine may have other bounds.
    TooLarge,
    /// The deadline passed.
    Timeout,
    /// The asker went away.
    Canceled,
    /// A named function, aggregation or feature that this engine does not evaluate.
    Unsupported(String),
    /// A source failed, or an invariant was broken.
    Internal,
}

impl QueryErrorKind {
    /// The word in `errorType` of Prometheus' API.
    pub fn error_type(&self) -> &'static str {
        match self {
            QueryErrorKind::BadData => "bad_data",
            QueryErrorKind::Execution | QueryErrorKind::TooLarge | QueryErrorKind::Unsupported(_) => "execution",
            QueryErrorKind::Timeout => "timeout",
            QueryErrorKind::Canceled => "canceled",
            QueryErrorKind::Internal => "internal",
        }
    }
}

/// The name under which queries that need native histograms are refused.
pub const NATIVE_HISTOGRAM: &str = "native-histogram";

/// A failed evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryError {
    pub kind: QueryErrorKind,
    /// What happened and to what, as Prometheus words it.
    pub message: String,
}

impl QueryError {
    pub fn bad_data(message: impl Into<String>) -> QueryError {
        QueryError { kind: QueryErrorKind::BadData, message: message.into() }
    }

    pub fn execution(message: impl Into<String>) -> QueryError {
        QueryError { kind: QueryErrorKind::Execution, message: message.into() }
    }

    pub fn too_large(message: impl Into<String>) -> QueryError {
        QueryError { kind: QueryErrorKind::TooLarge, message: message.into() }
    }

    pub fn internal(message: impl Into<String>) -> QueryError {
        QueryError { kind: QueryErrorKind::Internal, message: message.into() }
    }

    /// `what` is a function, an aggregation or a feature, as a user would name it.
    pub fn unsupported(what: impl Into<String>) -> QueryError {
        let what = what.into();
        let message = format!("{what} is not evaluated here: ask the upstream database");
        QueryError { kind: QueryErrorKind::Unsupported(what), message }
    }

    pub(super) fn too_many_samples() -> QueryError {
        QueryError::too_large("query processing would load too many samples into memory in query execution")
    }

    pub(super) fn same_labelset() -> QueryError {
        QueryError::execution("vector cannot contain metrics with the same labelset")
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for QueryError {}
