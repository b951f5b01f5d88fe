//! One question with the engine's and Prometheus' answer, and the table of ways in which they may differ.

use prefold::model::Labels;
use prefold::query::{MatrixSeries, QueryError, QueryErrorKind, Value, almost_equal};

use super::compare::{Edge, Points, compare, points};
use super::http::Reply;

/// A way in which 2.42 differs from Prometheus 3, which is what the engine follows.
pub struct Difference {
    pub reason: &'static str,
    /// Show it, on any data: the answers must differ, else the row is out of date.
    pub examples: &'static [&'static str],
    /// Whether it explains a difference; for those that the choice of times or of words keeps away, never.
    pub explains: fn(&Case<'_>) -> bool,
}

fn never(_: &Case<'_>) -> bool {
    false
}

fn unknown_to_upstream(case: &Case<'_>) -> bool {
    case.theirs.status == 400 && case.theirs.body.contains("parse error") && case.ours.is_ok()
}

/// Whether an evaluation fails there alone, and how.
fn only_they_fail(case: &Case<'_>, with: &[&str]) -> bool {
    case.theirs.status == 422 && case.ours.is_ok() && with.iter().any(|text| case.theirs.body.contains(text))
}

pub const DIFFERENCES: [Difference; 14] = [
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
    Difference {
        reason: "labels have names of letters, digits and underscores",
        examples: &["count_values(\"é\", vector(1))", "label_join(vector(1), \"a\", \"-\", \"%\")"],
        explains: |case| {
            only_they_fail(case, &["invalid label name", "invalid source label name", "invalid destination label name"])
        },
    },
    Difference {
        reason: "a k that no integer holds is an error, however negative",
        examples: &["topk(-Inf, vector(1))", "bottomk(-1e300, vector(1))"],
        explains: |case| only_they_fail(case, &["overflows int64"]),
    },
    Difference {
        reason: "what stands in parentheses and is the same at every step has to be a vector or a scalar",
        examples: &["(\"a\")", "(vector(1)[10s:2s] @ 1000)"],
        explains: |case| {
            only_they_fail(case, &["unexpected result in StepInvariantExpr evaluation", "unexpected number of samples"])
        },
    },
    Difference {
        reason: "elements that are compared, but not kept, do not count as a match",
        examples: &["(label_replace(vector(1), \"a\", \"1\", \"\", \"\") or vector(2)) > on () vector(1)"],
        explains: |case| {
            let matches = "multiple matches for labels";
            case.theirs.status == 200 && case.ours.as_ref().is_err_and(|error| error.message.starts_with(matches))
        },
    },
    // No example: it takes a range query, and the memory that happens to be free.
    Difference {
        reason: "in a range, what `@` fixes is overwritten between steps where a scalar is computed beside it",
        examples: &[],
        explains: |case| {
            let beside = case.text.contains("predict_linear(") || case.text.contains("scalar(");
            beside && case.text.contains('@') && matches!(case.ours, Ok(Value::Matrix(_))) && case.theirs.status == 200
        },
    },
    Difference {
        reason: "a single infinite value has the spread 0",
        examples: &["stdvar(vector(Inf))"],
        explains: |case| {
            let of_spread = case.text.contains("stddev") || case.text.contains("stdvar");
            of_spread && case.unequal().iter().all(|(ours, _)| ours.is_some_and(f64::is_nan))
        },
    },
    Difference {
        reason: "of several NaN the last ones are chosen",
        examples: &["topk(1, label_replace(vector(NaN), \"a\", \"1\", \"\", \"\") \
                     or label_replace(vector(NaN), \"a\", \"2\", \"\", \"\"))"],
        explains: |case| {
            let of_choice = case.text.contains("topk") || case.text.contains("bottomk");
            let is_swapped = |(ours, theirs): &(Option<f64>, Option<f64>)| {
                ours.is_some() != theirs.is_some() && ours.or(*theirs).is_some_and(f64::is_nan)
            };
            let unequal = case.unequal();
            let chosen = unequal.iter().filter(|(ours, _)| ours.is_some()).count();
            of_choice && chosen * 2 == unequal.len() && unequal.iter().all(is_swapped)
        },
    },
    Difference { reason: "`atan2` keeps the metric's name", examples: &["e2e_level atan2 1"], explains: never },
    Difference {
        reason: "histogram_fraction() passes buckets over",
        examples: &["histogram_fraction(0, 1, e2e_latency_bucket)"],
        explains: never,
    },
];

pub type Answer = Result<Value, QueryError>;

/// One question and both answers.
pub struct Case<'a> {
    pub text: &'a str,
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
        if kind == "string" {
            return Ok(0);
        }
        if kind == "scalar" {
            let value = |data: &serde_json::Value| data.as_str().and_then(|text| text.parse::<f64>().ok());
            let theirs = Points::from([(("{}".to_owned(), 0), value(&data["result"][1]).ok_or("no scalar")?)]);
            return compare(&ours, &theirs, Edge::NONE);
        }
        compare(&ours, &points(&data), Edge::NONE)
    }

    /// The points of both answers, where both have some.
    fn both(&self) -> (Points, Points) {
        match (self.ours, self.theirs.data()) {
            (Ok(ours), Ok(theirs)) => (own_points(ours).1, points(&theirs)),
            _ => (Points::new(), Points::new()),
        }
    }

    /// The values of points that are on one side only, or not the same.
    fn unequal(&self) -> Vec<(Option<f64>, Option<f64>)> {
        let (ours, theirs) = self.both();
        let pair = |key| (ours.get(key).copied(), theirs.get(key).copied());
        let keys: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
        let unequal = keys.into_iter().map(pair).filter(|pair| match pair {
            (Some(ours), Some(theirs)) => !almost_equal(*ours, *theirs, 1e-9),
            _ => true,
        });
        unequal.collect()
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
