//! Warnings and infos: what a query's author should know although there is an answer.
//!
//! Texts and positions are Prometheus'. Equal texts are kept once, where they came up last; that a histogram was forced to be
//! monotonic is counted over the whole query and said once with its extent, where it came up first.

use std::fmt::Write;

use super::go_text;
use crate::model::Timestamp;
use crate::promql::SourceRange;

/// The most texts of each kind in an answer, as in Prometheus.
const TEXTS_MAX: usize = 10;

/// The most different texts remembered; more are only counted.
const REMEMBERED_MAX: usize = 1000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Severity {
    Warning,
    Info,
}

#[derive(Debug)]
struct Annotation {
    severity: Severity,
    text: String,
    source: SourceRange,
    monotonicity: Option<ForcedMonotonicity>,
}

/// Where and by how much the buckets of histograms had to be lifted.
#[derive(Clone, Copy, Debug)]
pub(super) struct ForcedMonotonicity {
    pub from: Timestamp,
    pub to: Timestamp,
    pub bucket_min: f64,
    pub bucket_max: f64,
    pub difference_max: f64,
    /// Histograms lifted.
    pub count: usize,
}

impl ForcedMonotonicity {
    pub fn merge(&mut self, other: &ForcedMonotonicity) {
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.bucket_min = self.bucket_min.min(other.bucket_min);
        self.bucket_max = self.bucket_max.max(other.bucket_max);
        self.difference_max = self.difference_max.max(other.difference_max);
        self.count += other.count;
    }
}

/// What came up so far, each text once.
#[derive(Default, Debug)]
pub(super) struct Annotations {
    kept: Vec<Annotation>,
    omitted_warnings: usize,
    omitted_infos: usize,
}

impl Annotations {
    pub fn quantile_out_of_range(&mut self, q: f64, source: SourceRange) {
        let text = format!("quantile value should be between 0 and 1, got {}", go_text::general(q));
        self.add(Severity::Warning, text, source, None);
    }

    /// `metric` is empty when no name is to be said.
    pub fn bad_bucket_label(&mut self, label: &str, metric: &str, source: SourceRange) {
        let name = named(metric);
        let text = format!("bucket label \"le\" is missing or has a malformed value of {label:?}{name}");
        self.add(Severity::Warning, text, source, None);
    }

    pub fn ratio_out_of_range(&mut self, ratio: f64, capped: f64, source: SourceRange) {
        let (ratio, capped) = (go_text::general(ratio), go_text::general(capped));
        let text = format!("ratio value should be between -1 and 1, got {ratio}, capping to {capped}");
        self.add(Severity::Warning, text, source, None);
    }

    pub fn sort_in_range_query(&mut self, source: SourceRange) {
        let text = "sort is ineffective for range queries since results are always ordered by labels".to_owned();
        self.add(Severity::Warning, text, source, None);
    }

    pub fn possible_non_counter(&mut self, metric: &str, source: SourceRange) {
        let text = format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric:?}");
        self.add(Severity::Info, text, source, None);
    }

    pub fn type_not_counter(&mut self, metric: &str, label: &str, source: SourceRange) {
        let text = format!(
            "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {label:?}: {metric:?}"
        );
        self.add(Severity::Info, text, source, None);
    }

    /// A window that mixes floats and native histograms, under a function that takes either but not both.
    pub fn mixed_range(&mut self, metric: &str, source: SourceRange) {
        let text = format!("encountered a mix of histograms and floats for metric name {metric:?}");
        self.add(Severity::Warning, text, source, None);
    }

    /// A window of floats whose native histograms were passed over.
    pub fn histograms_ignored_in_range(&mut self, metric: &str, source: SourceRange) {
        let text = format!("ignored histograms in a range containing both floats and histograms for metric name {metric:?}");
        self.add(Severity::Info, text, source, None);
    }

    /// A group that mixes floats and native histograms.
    pub fn mixed_aggregation(&mut self, source: SourceRange) {
        let text = "encountered a mix of histograms and floats for aggregation".to_owned();
        self.add(Severity::Warning, text, source, None);
    }

    pub fn histogram_ignored_in_aggregation(&mut self, op: &str, source: SourceRange) {
        self.add(Severity::Info, format!("ignored histogram in {op} aggregation"), source, None);
    }

    /// An operator between a float and a native histogram, or two of a kind, for which it has no meaning.
    pub fn incompatible_types(&mut self, left: &str, op: &str, right: &str, source: SourceRange) {
        let text = format!("incompatible sample types encountered for binary operator {op:?}: {left} {op} {right}");
        self.add(Severity::Info, text, source, None);
    }

    /// Buckets and a native histogram of the same labels. `metric` is empty when no name is to be said.
    pub fn classic_beside_native(&mut self, metric: &str, source: SourceRange) {
        let text = format!("vector contains a mix of classic and native histograms{}", named(metric));
        self.add(Severity::Warning, text, source, None);
    }

    /// `metric` is empty when no name is to be said.
    pub fn forced_monotonicity(&mut self, forced: ForcedMonotonicity, metric: &str, source: SourceRange) {
        let text = "input to histogram_quantile needed to be fixed for monotonicity (see \
            https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
        self.add(Severity::Info, format!("{text}{}", named(metric)), source, Some(forced));
    }

    fn add(&mut self, severity: Severity, text: String, source: SourceRange, monotonicity: Option<ForcedMonotonicity>) {
        if let Some(known) = self.kept.iter_mut().find(|known| known.severity == severity && known.text == text) {
            match (&mut known.monotonicity, &monotonicity) {
                (Some(known), Some(new)) => known.merge(new),
                _ => known.source = source,
            }
            return;
        }
        if self.kept.len() < REMEMBERED_MAX {
            self.kept.push(Annotation { severity, text, source, monotonicity });
            return;
        }
        match severity {
            Severity::Warning => self.omitted_warnings += 1,
            Severity::Info => self.omitted_infos += 1,
        }
    }

    /// Warnings and infos as they are shown, with positions in `query` unless that is empty.
    pub fn render(&self, query: &str) -> (Vec<String>, Vec<String>) {
        (
            self.render_one(Severity::Warning, self.omitted_warnings, query),
            self.render_one(Severity::Info, self.omitted_infos, query),
        )
    }

    fn render_one(&self, severity: Severity, omitted: usize, query: &str) -> Vec<String> {
        let word = if severity == Severity::Warning { "warning" } else { "info" };
        let mut texts: Vec<String> =
            self.kept.iter().filter(|kept| kept.severity == severity).map(|kept| render(kept, word, query)).collect();
        let omitted = omitted + texts.len().saturating_sub(TEXTS_MAX);
        texts.truncate(TEXTS_MAX);
        if omitted > 0 {
            texts.push(format!("{omitted} more {word} annotations omitted"));
        }
        texts
    }
}

fn named(metric: &str) -> String {
    if metric.is_empty() { String::new() } else { format!(" for metric name {metric:?}") }
}

fn render(kept: &Annotation, word: &str, query: &str) -> String {
    let mut text = format!("PromQL {word}: {}", kept.text);
    if query.is_empty() {
        return text;
    }
    if let Some(forced) = &kept.monotonicity {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
            go_text::general(forced.bucket_min),
            go_text::general(forced.bucket_max),
            go_text::two_digits(forced.difference_max),
            forced.count,
            whole_second(forced.from),
            whole_second(forced.to),
        );
    }
    let _ = write!(text, " ({})", position(query, kept.source));
    text
}

/// RFC 3339 without a fraction.
fn whole_second(t: Timestamp) -> String {
    let text = Timestamp(t.0 - t.0.rem_euclid(1000)).to_string();
    text.replace(".000Z", "Z")
}

/// `line:column`, both from 1, of where a node begins.
fn position(query: &str, source: SourceRange) -> String {
    let start = source.start as usize;
    let Some(before) = query.as_bytes().get(..start) else { return "invalid position".to_owned() };
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = start - before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1) + 1;
    format!("{line}:{column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kept_once_with_their_position() {
        let mut notes = Annotations::default();
        let source = SourceRange { start: 7, end: 9 };
        notes.quantile_out_of_range(2.0, SourceRange::default());
        notes.quantile_out_of_range(2.0, source);
        notes.possible_non_counter("x", source);
        let (warnings, infos) = notes.render("rate(\n x[5m])");
        assert_eq!(warnings, ["PromQL warning: quantile value should be between 0 and 1, got 2 (2:2)"]);
        assert_eq!(infos.len(), 1);
        assert!(!notes.render("").0[0].contains("(2:2)"));
    }

    #[test]
    fn forced_monotonicity_is_counted_over_the_query() {
        let mut notes = Annotations::default();
        for t in [60_000, 30_500] {
            let (from, to) = (Timestamp(t), Timestamp(t));
            let forced = ForcedMonotonicity { from, to, bucket_min: 0.5, bucket_max: 2.0, difference_max: 0.251, count: 1 };
            notes.forced_monotonicity(forced, "", SourceRange::default());
        }
        let text = &notes.render("q").1[0];
        let end = "from buckets 0.5 to 2, with a max diff of 0.25, over 2 samples from 1970-01-01T00:00:30Z to 1970-01-01T00:01:00Z (1:1)";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn more_than_ten_are_counted() {
        let mut notes = Annotations::default();
        (0..13).for_each(|i| notes.possible_non_counter(&format!("m{i}"), SourceRange::default()));
        let infos = notes.render("q").1;
        assert_eq!((infos.len(), infos[10].as_str()), (11, "3 more info annotations omitted"));
    }
}
