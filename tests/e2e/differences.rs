//! One question with the engine's and Prometheus' answer, and the table of ways in which they may differ.

use prefold::model::Labels;
use prefold::query::{MatrixSeries, QueryError, QueryErrorKind, Value};

use super::compare::{Edge, Points, compare, points};
use super::http::Reply;

/// A way in which 2.42 differs from Prometheus 3, which is what the engine follows.
pub struct Difference {
    pub reason: &'static str,
    /// Show it, on any data: the answers must differ, else the row is out of date.
    pub examples: &'static [&'static str],
    /// Whether it explains a difference; for those that the choice of times keeps away, never.
    pub explains: fn(&Case<'_>) -> bool,
}

fn never(_: &Case<'_>) -> bool {
    false
}

fn unknown_to_upstream(case: &Case<'_>) -> bool {
    case.theirs.status == 400 && case.theirs.body.contains("parse error") && case.ours.is_ok()
}

pub const DIFFERENCES: [Difference; 5] = [
    Difference {
        reason: "windows are closed on the left: a sample exactly at the beginning counts",
        examples: &["count_over_time(vector(1)[10s:2s] @ 1000)"],
        explains: never,
    },
    Difference {
        reason: "a counter is limited to zero before, not after, the distance to the window's beginning is judged",
        examples: &["increase(((vector(time()) > 1002) - 1002)[42s:5s] @ 1022)"],
        explains: never,
    },
    Difference {
        reason: "sums are not compensated",
        examples: &["sum(label_replace(vector(1e100), \"a\", \"1\", \"\", \"\") or vector(1) \
                     or label_replace(vector(-1e100), \"a\", \"2\", \"\", \"\"))"],
        explains: never,
    },
    Difference {
        reason: "what was renamed in 3 has its old name",
        examples: &["holt_winters(vector(1)[10s:2s], 0.5, 0.5)"],
        explains: never,
    },
    Difference {
        reason: "what is newer is not there",
        examples: &[
            "double_exponential_smoothing(vector(1)[10s:2s], 0.5, 0.5)",
            "mad_over_time(vector(1)[10s:2s])",
            "sort_by_label(vector(1), \"a\")",
            "limitk(1, vector(1))",
            "vector(1) + fill(0) vector(1)",
        ],
        explains: unknown_to_upstream,
    },
];

pub type Answer = Result<Value, QueryError>;

/// One question and both answers.
pub struct Case<'a> {
    pub ours: &'a Answer,
    pub theirs: &'a Reply,
}

impl Case<'_> {
    /// How many points are equal, or the first difference in words.
    pub fn compare(&self) -> Result<usize, String> {
        let ours = match (self.ours, self.theirs.status) {
            (Ok(value), 200) => value,
            (Err(error), 200) => return Err(format!("only we fail: {error}")),
            (Ok(_), _) => return Err(format!("only Prometheus fails: {}", self.theirs.body)),
            (Err(error), _) => return self.same_error(error).map(|()| 0),
        };
        let data = self.theirs.data()?;
        let (kind, ours) = own_points(ours);
        if data["resultType"] != kind {
            return Err(format!("a {kind} instead of a {}", data["resultType"]));
        }
        if kind == "scalar" {
            let value = |data: &serde_json::Value| data.as_str().and_then(|text| text.parse::<f64>().ok());
            let theirs = Points::from([(("{}".to_owned(), 0), value(&data["result"][1]).ok_or("no scalar")?)]);
            return compare(&ours, &theirs, Edge::NONE);
        }
        compare(&ours, &points(&data), Edge::NONE)
    }

    fn same_error(&self, error: &QueryError) -> Result<(), String> {
        let kind = match error.kind {
            QueryErrorKind::BadData => "bad_data",
            QueryErrorKind::Execution | QueryErrorKind::TooLarge => "execution",
            _ => "another",
        };
        match self.theirs.json()["errorType"] == kind {
            true => Ok(()),
            false => Err(format!("{error} instead of {}", self.theirs.body)),
        }
    }
}

/// The type's name and the points, labels as Prometheus' JSON has them.
fn own_points(value: &Value) -> (&'static str, Points) {
    let json = |labels: &Labels| {
        let pairs = labels.iter().map(|label| (label.name.to_string(), label.value.to_string().into()));
        serde_json::Value::Object(pairs.collect()).to_string()
    };
    match value {
        Value::Scalar(sample) => ("scalar", Points::from([(("{}".to_owned(), 0), sample.v)])),
        Value::String { .. } => ("string", Points::new()),
        Value::Vector(vector) => ("vector", vector.iter().map(|p| ((json(&p.labels), p.sample.t.0), p.sample.v)).collect()),
        Value::Matrix(matrix) => {
            let points = |s: &MatrixSeries| {
                let labels = json(&s.labels);
                s.points.iter().map(|p| ((labels.clone(), p.t.0), p.v)).collect::<Vec<_>>()
            };
            ("matrix", matrix.iter().flat_map(points).collect())
        }
    }
}
