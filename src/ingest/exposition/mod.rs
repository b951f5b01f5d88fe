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
//! - A histogram's `_count` with an exemplar needs no `_sum` (`histogram.rs`).

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
    /// Names and values in the order of the body, `__name__` first; names are unique, a value may be empty.
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
