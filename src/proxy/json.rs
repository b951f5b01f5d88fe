//! Prometheus' response format.
//!
//! Numbers are written as Go writes them: values as strings in shortest form, times as seconds with up to three decimals.
//! `resultType` stands before `result`: Grafana reads the other order slower.

use std::fmt::Write;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::model::{Labels, Sample, Timestamp};
use crate::query::{QueryError, Value};

/// At most this many warnings, and as many infos, are given out.
const ANNOTATIONS_MAX: usize = 10;

/// What stands beside a result.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
}

/// A successful answer around data that is JSON already.
pub fn success(data: &str, notes: &Notes) -> Response {
    json(StatusCode::OK, success_body(data, notes))
}

/// The text of a successful answer.
pub fn success_body(data: &str, notes: &Notes) -> String {
    let mut body = String::with_capacity(data.len() + 64);
    body.push_str("{\"status\":\"success\",\"data\":");
    body.push_str(data);
    annotations(&mut body, "warnings", &notes.warnings);
    annotations(&mut body, "infos", &notes.infos);
    body.push('}');
    body
}

fn annotations(body: &mut String, name: &str, texts: &[String]) {
    if texts.is_empty() {
        return;
    }
    let mut shown: Vec<String> = texts.iter().take(ANNOTATIONS_MAX).cloned().collect();
    if texts.len() > ANNOTATIONS_MAX {
        shown.push(format!("{} more {name} omitted", texts.len() - ANNOTATIONS_MAX));
    }
    let _ = write!(body, ",\"{name}\":{}", serde_json::Value::from(shown));
}

/// An error answer. `error_type` is one of Prometheus'.
pub fn error(status: StatusCode, error_type: &str, message: &str) -> Response {
    json(status, error_body(error_type, message))
}

/// The text of an error answer.
pub fn error_body(error_type: &str, message: &str) -> String {
    serde_json::json!({"status": "error", "errorType": error_type, "error": message}).to_string()
}

pub fn bad_data(message: &str) -> Response {
    error(StatusCode::BAD_REQUEST, "bad_data", message)
}

/// The answer to a failed evaluation.
pub fn query_error(failed: &QueryError) -> Response {
    let error_type = failed.kind.error_type();
    let status = match error_type {
        "bad_data" => StatusCode::BAD_REQUEST,
        "timeout" => StatusCode::SERVICE_UNAVAILABLE,
        "canceled" => StatusCode::from_u16(499).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
        "internal" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    error(status, error_type, &failed.message)
}

pub fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// `{"resultType":..,"result":..}`
pub fn result(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Scalar(sample) => {
            out.push_str("{\"resultType\":\"scalar\",\"result\":");
            point(&mut out, sample);
        }
        Value::String { t, text } => {
            let text = serde_json::Value::from(text.as_str());
            let _ = write!(out, "{{\"resultType\":\"string\",\"result\":[{},{text}]", seconds(*t));
        }
        Value::Vector(points) => {
            out.push_str("{\"resultType\":\"vector\",\"result\":[");
            for (at, one) in points.iter().enumerate() {
                open_series(&mut out, at, &one.labels);
                out.push_str(",\"value\":");
                point(&mut out, &one.sample);
                out.push('}');
            }
            out.push(']');
        }
        Value::Matrix(series) => {
            out.push_str("{\"resultType\":\"matrix\",\"result\":[");
            for (at, one) in series.iter().enumerate() {
                open_series(&mut out, at, &one.labels);
                out.push_str(",\"values\":[");
                for (place, sample) in one.points.iter().enumerate() {
                    if place > 0 {
                        out.push(',');
                    }
                    point(&mut out, sample);
                }
                out.push_str("]}");
            }
            out.push(']');
        }
    }
    out.push('}');
    out
}

fn open_series(out: &mut String, at: usize, labels: &Labels) {
    if at > 0 {
        out.push(',');
    }
    out.push_str("{\"metric\":");
    label_set(out, labels);
}

/// A label set as a JSON object.
pub fn label_set(out: &mut String, labels: &Labels) {
    out.push('{');
    for (at, label) in labels.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let (name, value) = (serde_json::Value::from(label.name.as_str()), serde_json::Value::from(label.value.as_str()));
        let _ = write!(out, "{comma}{name}:{value}");
    }
    out.push('}');
}

fn point(out: &mut String, sample: &Sample) {
    let _ = write!(out, "[{},\"{}\"]", seconds(sample.t), number(sample.v));
}

/// Seconds with up to three decimals.
pub fn seconds(t: Timestamp) -> String {
    let (sign, ms) = (if t.0 < 0 { "-" } else { "" }, t.0.unsigned_abs());
    match ms % 1000 {
        0 => format!("{sign}{}", ms / 1000),
        rest => format!("{sign}{}.{rest:03}", ms / 1000).trim_end_matches('0').to_owned(),
    }
}

/// A float as Go's `strconv.FormatFloat(v, 'f', -1, 64)`, with an exponent where it is very small or very large.
pub fn number(v: f64) -> String {
    if v.is_nan() {
        return "NaN".to_owned();
    }
    if v.is_infinite() {
        return if v > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    let size = v.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return v.to_string();
    }
    let text = format!("{v:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{MatrixSeries, VectorPoint};
    use std::sync::Arc;

    #[test]
    fn numbers_and_times_are_written_as_go_writes_them() {
        for (v, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-07"),
            (-2.5e300, "-2.5e+300"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(number(v), text);
        }
        for (ms, text) in [(1_435_781_451_781, "1435781451.781"), (1000, "1"), (1500, "1.5"), (-250, "-0.25"), (0, "0")] {
            assert_eq!(seconds(Timestamp(ms)), text);
        }
    }

    #[test]
    fn results_are_prometheus_json() {
        let labels = Arc::new(Labels::from_pairs([("__name__", "x"), ("a", "\"\n")]));
        let sample = Sample { t: Timestamp(1500), v: 2.5 };
        let vector = Value::Vector(vec![VectorPoint { labels: Arc::clone(&labels), sample }]);
        let expected = r#"{"resultType":"vector","result":[{"metric":{"__name__":"x","a":"\"\n"},"value":[1.5,"2.5"]}]}"#;
        assert_eq!(result(&vector), expected);
        let matrix = Value::Matrix(vec![MatrixSeries { labels, points: vec![sample, sample] }]);
        let parsed: serde_json::Value = serde_json::from_str(&result(&matrix)).unwrap();
        assert_eq!(parsed["result"][0]["values"][1][1], "2.5");
        assert_eq!(result(&Value::Vector(Vec::new())), r#"{"resultType":"vector","result":[]}"#);
    }
}
