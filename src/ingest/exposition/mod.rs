//! Expositions: what a scrape target answers, read into samples.
//!
//! Two text formats are read, the one Prometheus began with and OpenMetrics; which one it is, the Content-Type says. The
//! parsers are pure functions over the body and refuse it as a whole, with line and reason, because half a scrape would
//! look like series that ended.
//!
//! **How strict.** The syntax is that of Prometheus' own parsers. On top stand the rules that the OpenMetrics test suite
//! and the test data of Prometheus' client library hold a body to. Where these contradict Prometheus' own test vectors, the
//! vectors win, since what Prometheus can scrape must be scraped; each place is named where the rule stands:
//! - A last line without a newline is whole if the transport says that the body is (Prometheus is handed whole bodies); read
//!   from a stream that just ends it may be half a line, as the client library says. [`Limits::body_is_whole`] tells.
//! - Families and label sets may alternate (Prometheus' vectors have summaries that do), but not those of histograms, whose
//!   buckets only make sense together (`openmetrics_families.rs`).
//! - A histogram's `_count` with an exemplar needs no `_sum`, and sums may be negative where observations may be
//!   (`histogram.rs`, `openmetrics_families.rs`).

mod families;
mod format;
mod histogram;
mod labels;
mod line;
mod number;
mod openmetrics;
mod openmetrics_families;
mod prometheus_text;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

pub use families::MetricKind;
pub use format::Format;

use crate::model::Timestamp;

/// One sample as it stands in the body, valid while it is visited.
#[derive(Clone, Copy, Debug)]
pub struct ParsedSample<'s> {
    /// Names and values in the order of the body, `__name__` first; names are unique, a value may be empty. The bounds of
    /// buckets and quantiles are written the canonical way, as Prometheus 3 stores them (`1` is `1.0`).
    pub labels: &'s [(Cow<'s, str>, Cow<'s, str>)],
    /// Any float; NaN is always the ordinary one, never the staleness marker.
    pub value: f64,
    /// The time the target gave, if it gave one.
    pub timestamp: Option<Timestamp>,
    /// Whether an exemplar stood beside it. Exemplars are checked and not kept.
    pub exemplar: bool,
}

/// Bounds on a body. Beyond one of them the whole body is refused.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Samples in a body.
    pub samples_max: u64,
    /// Labels of one sample, its name included.
    pub labels_per_sample_max: usize,
    /// Bytes of a label's name.
    pub label_name_bytes_max: usize,
    /// Bytes of a label's value, the metric's name included.
    pub label_value_bytes_max: usize,
    /// Metrics whose metadata is kept in [`Summary::metadata`]; more are checked and counted but not kept.
    pub metadata_kept_max: usize,
    /// Whether the body is known to have arrived whole, so that a last line without a newline is a line.
    pub body_is_whole: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            samples_max: 10_000_000,
            labels_per_sample_max: 128,
            label_name_bytes_max: 1024,
            label_value_bytes_max: 16 * 1024,
            metadata_kept_max: 10_000,
            body_is_whole: true,
        }
    }
}

/// What a body says about one metric.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    pub kind: Option<MetricKind>,
    pub help: String,
    pub unit: String,
}

/// What a body held.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    pub samples: u64,
    /// Exemplars, none of which is kept.
    pub exemplars: u64,
    /// Lines of HELP, TYPE and UNIT.
    pub metadata_lines: u64,
    /// By metric name; at most [`Limits::metadata_kept_max`].
    pub metadata: BTreeMap<String, Metadata>,
}

/// Why a body was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExpositionError {
    /// From 1.
    pub line: u32,
    pub reason: String,
    /// Whether the body may be well written, and holds more than [`Limits`] allow.
    pub beyond_limits: bool,
}

impl ExpositionError {
    fn new(line: u32, refused: impl Into<Refused>) -> ExpositionError {
        let Refused { reason, beyond_limits } = refused.into();
        ExpositionError { line, reason, beyond_limits }
    }
}

/// Why a line was refused: it is against the format, unless it is said to be beyond the limits.
#[derive(Debug)]
struct Refused {
    reason: String,
    beyond_limits: bool,
}

impl Refused {
    fn beyond_limits(reason: String) -> Refused {
        Refused { reason, beyond_limits: true }
    }
}

impl From<String> for Refused {
    fn from(reason: String) -> Refused {
        Refused { reason, beyond_limits: false }
    }
}

impl fmt::Display for ExpositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for ExpositionError {}

/// Reads a body, handing each sample to `visit` in order.
///
/// Samples are visited before the rest of the body has been read: on an error, drop what was visited.
///
/// # Errors
/// The first line that is against the format or a limit, and why.
pub fn parse(
    body: &[u8],
    format: Format,
    limits: &Limits,
    visit: &mut dyn FnMut(ParsedSample<'_>),
) -> Result<Summary, ExpositionError> {
    match format {
        Format::PrometheusText => prometheus_text::parse(body, limits, visit),
        Format::OpenMetrics => openmetrics::parse(body, limits, visit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The samples of a body, one a line: labels, value in Rust's notation, time, `#` for an exemplar.
    fn shown(format: Format, body: &str, limits: &Limits) -> Result<String, String> {
        let mut out = String::new();
        let summary = parse(body.as_bytes(), format, limits, &mut |sample| {
            for (name, value) in sample.labels {
                out.push_str(&format!("{name}={value:?} "));
            }
            let time = sample.timestamp.map(|t| format!(" @{}", t.0)).unwrap_or_default();
            out.push_str(&format!("{:?}{time}{}\n", sample.value, if sample.exemplar { " #" } else { "" }));
        });
        summary.map(|_| out).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check(format: Format, body: &str, expected: Result<&str, &str>) {
        match (shown(format, body, &Limits::default()), expected) {
            (Err(error), Err(part)) => assert!(error.contains(part), "{body:?}: {error}"),
            (got, expected) => assert_eq!(got.as_deref().map_err(String::as_str), expected, "{body:?}"),
        }
    }

    #[test]
    fn prometheus_text_is_read() {
        for (body, expected) in [
            ("a 1\n", Ok("__name__=\"a\" 1.0\n")),
            ("a{b=\"c\"} 2 3\n", Ok("__name__=\"a\" b=\"c\" 2.0 @3\n")),
            (" a { b = \"x\\\"y\\\\\\n\" , } -Inf\t-7 \n", Ok("__name__=\"a\" b=\"x\\\"y\\\\\\n\" -inf @-7\n")),
            ("{\"a.b\",\"c.d\"=\"\"} NaN", Ok("__name__=\"a.b\" c.d=\"\" NaN\n")),
            ("# TYPE a gauge\n\n# any\na 1\nb 2\na 3\n", Ok("__name__=\"a\" 1.0\n__name__=\"b\" 2.0\n__name__=\"a\" 3.0\n")),
            ("a 1\na 1 # {b=\"c\"} 1\n", Err("line 2: timestamp \"#\"")),
            ("a 1\r\n", Err("line 1: \"1\\r\" is not a number")),
            ("a{b=\"1\",b=\"2\"} 1\n", Err("label \"b\" stands twice")),
            ("# TYPE a counter\na 1\n# TYPE a counter\n", Err("line 3: TYPE of metric \"a\" after its first sample")),
            ("# TYPE a histogram\na_bucket{le=\"x\"} 1\n", Err("label le: \"x\" is not a number")),
            (
                "# TYPE a histogram\na_bucket{le=\"1\"} 1\nb{le=\"1e6\"} 1\n# TYPE c gauge\nc{le=\"1\"} 1\n",
                Ok("__name__=\"a_bucket\" le=\"1.0\" 1.0\n__name__=\"b\" le=\"1e+06\" 1.0\n__name__=\"c\" le=\"1\" 1.0\n"),
            ),
            ("a_bucket{le=\"x\"} 1\n", Ok("__name__=\"a_bucket\" le=\"x\" 1.0\n")),
        ] {
            check(Format::PrometheusText, body, expected);
        }
    }

    #[test]
    fn openmetrics_is_read() {
        for (body, expected) in [
            ("# TYPE a counter\na_total 1 1.5 # {b=\"c\"} 2 3\n# EOF", Ok("__name__=\"a_total\" 1.0 @1500 #\n")),
            ("# TYPE a summary\na{quantile=\"1\"} 1\n# EOF", Ok("__name__=\"a\" quantile=\"1.0\" 1.0\n")),
            ("a{b=\"\\z\\n\"} 1\n# EOF\n", Ok("__name__=\"a\" b=\"\\\\z\\n\" 1.0\n")),
            ("a 1\n", Err("line 2: the body does not end with # EOF")),
            ("a{b=\"c\", d=\"e\"} 1\n# EOF\n", Err("line 1: expected a label name")),
            (
                "# TYPE a histogram\na_bucket{le=\"1\"} 1\n# EOF\n",
                Err("line 3: histogram \"a\" before this line: it has no bucket"),
            ),
            ("# TYPE a summary\na_sum -1\na_count 1\n# EOF\n", Ok("__name__=\"a_sum\" -1.0\n__name__=\"a_count\" 1.0\n")),
            ("# TYPE a summary\na_sum -1\n# EOF\n", Err("line 3: \"a_sum\" was negative in a summary without count")),
            (
                "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_bucket{x=\"2\",le=\"+Inf\"} 1\na_bucket{le=\"+Inf\"} 1\n",
                Err("line 4: a histogram's samples stand apart"),
            ),
        ] {
            check(Format::OpenMetrics, body, expected);
        }
    }

    #[test]
    fn metadata_is_kept_up_to_the_bound() {
        let body = "# HELP a x\\ny\n# TYPE a_total counter\n# TYPE b gauge\n# HELP c\n";
        let summary = parse(body.as_bytes(), Format::PrometheusText, &Limits::default(), &mut |_| ()).unwrap();
        assert_eq!((summary.metadata_lines, summary.metadata.len()), (3, 3));
        assert_eq!(summary.metadata["a"].help, "x\ny");
        assert_eq!(summary.metadata["b"].kind, Some(MetricKind::Gauge));
        let limits = Limits { metadata_kept_max: 1, ..Limits::default() };
        assert_eq!(parse(body.as_bytes(), Format::PrometheusText, &limits, &mut |_| ()).unwrap().metadata.len(), 1);
    }

    #[test]
    fn limits_are_held_and_half_a_line_is_not_taken_from_a_stream() {
        let all = Limits {
            samples_max: 2,
            labels_per_sample_max: 3,
            label_name_bytes_max: 8,
            label_value_bytes_max: 4,
            ..Limits::default()
        };
        for (body, limits, reason) in [
            ("a 1\na 1\na 1\n", all, "line 3: more than 2 samples"),
            ("a{b=\"\",c=\"\",d=\"\"} 1\n", all, "line 1: more than 3 labels"),
            ("a{bcdefghij=\"\"} 1\n", all, "line 1: label name \"bcdefghij\" is longer than 8 bytes"),
            ("a{b=\"12345\"} 1\n", all, "line 1: the value of label \"b\" is longer than 4 bytes"),
            ("a 1\nb 3.14", Limits { body_is_whole: false, ..all }, "line 2: the body ends within a line"),
        ] {
            assert_eq!(shown(Format::PrometheusText, body, &limits), Err(reason.to_owned()));
            let error = parse(body.as_bytes(), Format::PrometheusText, &limits, &mut |_| ()).unwrap_err();
            assert_eq!(error.beyond_limits, limits.body_is_whole, "{error}");
        }
        assert!(shown(Format::PrometheusText, "a{b=\"\",c=\"\"} 1\na 1", &all).is_ok());
    }
}
