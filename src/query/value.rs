//! What an evaluation gives back.

use std::sync::Arc;

use crate::model::{Labels, Sample, Timestamp};

/// An answer: its value, what was noted on the way, and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    pub value: Value,
    /// Prometheus' texts, without duplicates, in the order they came up.
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
    pub stats: EvalStats,
}

/// A value in one of PromQL's four types.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Scalar(Sample),
    /// In engine order, which sort, topk and their like decide.
    Vector(Vec<VectorPoint>),
    /// Sorted by labels after a range query.
    Matrix(Vec<MatrixSeries>),
    String {
        t: Timestamp,
        text: String,
    },
}

/// One series of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorPoint {
    pub labels: Arc<Labels>,
    pub sample: Sample,
}

/// One series of a matrix: at least one point, times ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSeries {
    pub labels: Arc<Labels>,
    pub points: Vec<Sample>,
}

/// What was read from the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvalStats {
    pub series_read: usize,
    pub samples_read: usize,
}
