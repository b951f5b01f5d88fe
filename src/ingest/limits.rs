//! What a series may look like: bounded, named, and each label once.

use std::fmt;

/// Bounds on what one series may carry.
#[derive(Clone, Copy, Debug)]
pub struct SeriesLimits {
    pub labels_per_series_max: usize,
    pub label_name_bytes_max: usize,
    pub label_value_bytes_max: usize,
}

impl Default for SeriesLimits {
    fn default() -> SeriesLimits {
        SeriesLimits { labels_per_series_max: 128, label_name_bytes_max: 1024, label_value_bytes_max: 16 * 1024 }
    }
}

/// Why something was not taken. The slug is the label `reason` of `prefold_ingest_refused_total`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RefusalReason {
    MetricNameMissing,
    LabelNameEmpty,
    LabelDuplicate,
    TooManyLabels,
    LabelNameTooLong,
    LabelValueTooLong,
    LabelsMalformed,
    NoSamples,
    NativeHistogram,
    Exemplar,
    BodyMalformed,
    BodyTooLarge,
    ContentType,
    ContentEncoding,
    LogUnavailable,
}

impl RefusalReason {
    pub const ALL: [RefusalReason; 15] = [
        RefusalReason::MetricNameMissing,
        RefusalReason::LabelNameEmpty,
        RefusalReason::LabelDuplicate,
        RefusalReason::TooManyLabels,
        RefusalReason::LabelNameTooLong,
        RefusalReason::LabelValueTooLong,
        RefusalReason::LabelsMalformed,
        RefusalReason::NoSamples,
        RefusalReason::NativeHistogram,
        RefusalReason::Exemplar,
        RefusalReason::BodyMalformed,
        RefusalReason::BodyTooLarge,
        RefusalReason::ContentType,
        RefusalReason::ContentEncoding,
        RefusalReason::LogUnavailable,
    ];

    pub fn slug(self) -> &'static str {
        match self {
            RefusalReason::MetricNameMissing => "metric-name-missing",
            RefusalReason::LabelNameEmpty => "label-name-empty",
            RefusalReason::LabelDuplicate => "label-duplicate",
            RefusalReason::TooManyLabels => "too-many-labels",
            RefusalReason::LabelNameTooLong => "label-name-too-long",
            RefusalReason::LabelValueTooLong => "label-value-too-long",
            RefusalReason::LabelsMalformed => "labels-malformed",
            RefusalReason::NoSamples => "no-samples",
            RefusalReason::NativeHistogram => "native-histogram",
            RefusalReason::Exemplar => "exemplar",
            RefusalReason::BodyMalformed => "body-malformed",
            RefusalReason::BodyTooLarge => "body-too-large",
            RefusalReason::ContentType => "content-type",
            RefusalReason::ContentEncoding => "content-encoding",
            RefusalReason::LogUnavailable => "log-unavailable",
        }
    }

    /// One sentence for the sender.
    fn sentence(self) -> &'static str {
        match self {
            RefusalReason::MetricNameMissing => "the series has no metric name (label __name__)",
            RefusalReason::LabelNameEmpty => "a label has an empty name",
            RefusalReason::LabelDuplicate => "a label occurs twice",
            RefusalReason::TooManyLabels => "the series has more labels than limits.labels_per_series_max",
            RefusalReason::LabelNameTooLong => "a label's name is longer than limits.label_name_bytes_max",
            RefusalReason::LabelValueTooLong => "a label's value is longer than limits.label_value_bytes_max",
            RefusalReason::LabelsMalformed => "the labels cannot be decoded",
            RefusalReason::NoSamples => "the series has no samples",
            RefusalReason::NativeHistogram => "native histograms are not supported; send classic histograms",
            RefusalReason::Exemplar => "exemplars are not supported; set send_exemplars: false",
            RefusalReason::BodyMalformed => "the body cannot be decoded",
            RefusalReason::BodyTooLarge => "the body is larger than ingest.body_bytes_max",
            RefusalReason::ContentType => "the content type is not remote write 1.0 or 2.0",
            RefusalReason::ContentEncoding => "the content encoding is not snappy",
            RefusalReason::LogUnavailable => "the log cannot take it now",
        }
    }

    /// Whether upstream may have taken what is refused here: then views must not be served over it.
    pub fn upstream_may_have_it(self) -> bool {
        matches!(
            self,
            RefusalReason::TooManyLabels
                | RefusalReason::LabelNameTooLong
                | RefusalReason::LabelValueTooLong
                | RefusalReason::NativeHistogram
        )
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.slug(), self.sentence())
    }
}

/// Sorts labels, drops empty values and those listed in `drop_labels`, and checks what is left.
///
/// # Errors
/// The first thing wrong with them.
pub fn check_labels<'a>(
    mut labels: Vec<(&'a str, &'a str)>,
    drop_labels: &[String],
    limits: &SeriesLimits,
) -> Result<Vec<(&'a str, &'a str)>, RefusalReason> {
    labels.retain(|(name, value)| !value.is_empty() && !drop_labels.iter().any(|dropped| dropped == name));
    if labels.len() > limits.labels_per_series_max {
        return Err(RefusalReason::TooManyLabels);
    }
    for (name, value) in &labels {
        if name.is_empty() {
            return Err(RefusalReason::LabelNameEmpty);
        }
        if name.len() > limits.label_name_bytes_max {
            return Err(RefusalReason::LabelNameTooLong);
        }
        if value.len() > limits.label_value_bytes_max {
            return Err(RefusalReason::LabelValueTooLong);
        }
    }
    labels.sort_unstable();
    if labels.windows(2).any(|two| two[0].0 == two[1].0) {
        return Err(RefusalReason::LabelDuplicate);
    }
    match labels.binary_search_by(|(name, _)| (*name).cmp(crate::model::METRIC_NAME)) {
        Ok(_) => Ok(labels),
        Err(_) => Err(RefusalReason::MetricNameMissing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(labels: &[(&str, &str)], expected: Result<&[(&str, &str)], RefusalReason>) {
        let limits = SeriesLimits { labels_per_series_max: 3, label_name_bytes_max: 8, label_value_bytes_max: 8 };
        let checked = check_labels(labels.to_vec(), &["replica".to_owned()], &limits);
        assert_eq!(checked.as_deref().map_err(|reason| *reason), expected, "{labels:?}");
    }

    #[test]
    fn labels_are_sorted_checked_and_bounded() {
        check(&[("b", "1"), ("__name__", "x"), ("a", "")], Ok(&[("__name__", "x"), ("b", "1")]));
        check(
            &[("__name__", "x"), ("replica", "0"), ("a", "1"), ("b", "2")],
            Ok(&[("__name__", "x"), ("a", "1"), ("b", "2")]),
        );
        check(&[("a", "1")], Err(RefusalReason::MetricNameMissing));
        check(&[("__name__", ""), ("a", "1")], Err(RefusalReason::MetricNameMissing));
        check(&[], Err(RefusalReason::MetricNameMissing));
        check(&[("__name__", "x"), ("", "1")], Err(RefusalReason::LabelNameEmpty));
        check(&[("__name__", "x"), ("a", "1"), ("a", "2")], Err(RefusalReason::LabelDuplicate));
        check(&[("__name__", "x"), ("a", "1"), ("b", "1"), ("c", "1")], Err(RefusalReason::TooManyLabels));
        check(&[("__name__", "x"), ("aaaaaaaaa", "1")], Err(RefusalReason::LabelNameTooLong));
        check(&[("__name__", "x"), ("a", "123456789")], Err(RefusalReason::LabelValueTooLong));
        check(&[("__name__", "x"), ("é \n", "\u{1F600}")], Ok(&[("__name__", "x"), ("é \n", "\u{1F600}")]));
    }

    #[test]
    fn every_reason_has_its_own_slug() {
        let mut slugs: Vec<_> = RefusalReason::ALL.iter().map(|reason| reason.slug()).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), RefusalReason::ALL.len());
    }
}
