//! Metric families: the samples that one TYPE, HELP and UNIT speak of.
//!
//! A sample names its series, and only the declared type says which family that belongs to: `x_sum` is a part of the
//! summary `x`, or a gauge of its own. This table holds the families of one body and answers that question.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::line::{Line, UnknownEscapes, quote, unescape};
use super::{Limits, Metadata, Summary};

/// What a TYPE line says a metric is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
    /// `unknown` in OpenMetrics, `untyped` in Prometheus' text format.
    Unknown,
}

impl MetricKind {
    /// The word of OpenMetrics and of Prometheus' metadata API.
    pub fn name(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
            MetricKind::GaugeHistogram => "gaugehistogram",
            MetricKind::Summary => "summary",
            MetricKind::Info => "info",
            MetricKind::StateSet => "stateset",
            MetricKind::Unknown => "unknown",
        }
    }

    /// The suffixes under which a family of this kind has samples, besides its bare name.
    pub fn suffixes(self) -> &'static [&'static str] {
        match self {
            MetricKind::Counter => &["_total", "_created"],
            MetricKind::Histogram => &["_bucket", "_count", "_sum", "_created"],
            MetricKind::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
            MetricKind::Summary => &["_count", "_sum", "_created"],
            MetricKind::Info => &["_info"],
            MetricKind::Gauge | MetricKind::StateSet | MetricKind::Unknown => &[],
        }
    }
}

/// Every suffix that some kind has.
const SUFFIXES: [&str; 8] = ["_total", "_created", "_bucket", "_count", "_sum", "_gcount", "_gsum", "_info"];

/// What is known of one family so far.
#[derive(Default)]
pub struct Family<'b> {
    pub kind: Option<MetricKind>,
    pub help: Option<Cow<'b, str>>,
    pub unit: Option<Cow<'b, str>>,
    /// Whether a sample has come.
    pub sampled: bool,
    /// The number of runs of samples before its newest line of metadata (see [`Families::runs`]).
    pub described_at: u64,
}

/// The families of one body. Never more than the body has lines.
#[derive(Default)]
pub struct Families<'b> {
    families: Vec<Family<'b>>,
    by_name: HashMap<Cow<'b, str>, usize>,
    /// The name of the newest sample, and what it was found to belong to: the next has mostly the same.
    newest: Option<(Cow<'b, str>, Belongs)>,
    /// How many runs of samples of one family have begun.
    pub runs: u64,
    pub metadata_lines: u64,
    /// What the newest TYPE line says.
    pub newest_kind: Option<MetricKind>,
}

/// Which family a sample belongs to, and under which suffix.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Belongs {
    pub family: usize,
    pub suffix: &'static str,
}

impl<'b> Families<'b> {
    pub fn get_mut(&mut self, family: usize) -> &mut Family<'b> {
        &mut self.families[family]
    }

    /// The family of a name that a line of metadata speaks of.
    pub fn described(&mut self, name: Cow<'b, str>) -> usize {
        self.metadata_lines += 1;
        self.newest = None;
        let family = self.entry(name);
        self.families[family].described_at = self.runs;
        family
    }

    /// The family a sample belongs to: one declared under its very name, else one whose kind has samples with its suffix,
    /// else one of its own.
    pub fn sampled(&mut self, name: Cow<'b, str>) -> Belongs {
        match &self.newest {
            Some((newest, belongs)) if *newest == name => *belongs,
            _ => {
                let belongs = self.find(name.clone());
                let before = self.newest.replace((name, belongs));
                self.runs += u64::from(before.is_none_or(|(_, before)| before.family != belongs.family));
                belongs
            }
        }
    }

    fn find(&mut self, name: Cow<'b, str>) -> Belongs {
        let declared = self.by_name.get(&name).is_some_and(|at| self.families[*at].kind.is_some());
        if !declared && let Some(belongs) = self.parent(&name) {
            return belongs;
        }
        Belongs { family: self.entry(name), suffix: "" }
    }

    /// The declared family that has samples of this name under a suffix.
    pub fn parent(&self, name: &str) -> Option<Belongs> {
        SUFFIXES.into_iter().find_map(|suffix| {
            let family = *self.by_name.get(name.strip_suffix(suffix)?)?;
            let kind = self.families[family].kind?;
            kind.suffixes().contains(&suffix).then_some(Belongs { family, suffix })
        })
    }

    /// A name that a family of this kind would take although another family has it.
    pub fn taken_by(&self, name: &str, kind: MetricKind) -> Option<String> {
        kind.suffixes().iter().map(|suffix| format!("{name}{suffix}")).find(|name| self.by_name.contains_key(name.as_str()))
    }

    fn entry(&mut self, name: Cow<'b, str>) -> usize {
        let families = &mut self.families;
        *self.by_name.entry(name).or_insert_with(|| {
            families.push(Family::default());
            families.len() - 1
        })
    }

    /// What is kept of it all.
    pub fn into_summary(self, samples: u64, exemplars: u64, limits: &Limits) -> Summary {
        let mut metadata = BTreeMap::new();
        if limits.metadata_kept_max > 0 {
            for (name, at) in self.by_name {
                let family = &self.families[at];
                let described = family.kind.is_some() || family.help.is_some() || family.unit.is_some();
                if described && metadata.len() < limits.metadata_kept_max {
                    metadata.insert(name.into_owned(), describe(family));
                }
            }
        }
        Summary { samples, exemplars, metadata_lines: self.metadata_lines, metadata }
    }
}

fn describe(family: &Family<'_>) -> Metadata {
    let text = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or_default().to_owned();
    Metadata { kind: family.kind, help: text(&family.help), unit: text(&family.unit) }
}

/// The metric that a line of metadata speaks of, plain or in quotes.
pub fn described_name<'b>(line: &mut Line<'b>, word: &str, escapes: UnknownEscapes) -> Result<Cow<'b, str>, String> {
    let name = match line.peek() {
        Some(b'"') => line.quoted(escapes).map_err(|reason| format!("{word}: {reason}"))?,
        _ => Cow::Borrowed(line.metric_name()),
    };
    if name.is_empty() || !matches!(line.peek(), None | Some(b' ' | b'\t')) {
        return Err(format!("expected a metric name after {word}, found {}{}", quote(name.as_bytes()), line.found()));
    }
    Ok(name)
}

/// A HELP text with its escapes resolved as far as they are known; bytes that are not UTF-8 are replaced.
pub fn help_text(raw: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(raw) {
        text if !text.contains('\\') => text,
        text => Cow::Owned(unescape(&text, UnknownEscapes::Kept).unwrap_or_else(|_| text.into_owned())),
    }
}
