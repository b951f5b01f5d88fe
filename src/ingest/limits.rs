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

/// One line a reason: its slug, one sentence for the sender, and whether upstream may have taken what is refused here.
macro_rules! refusal_reasons {
    ($($reason:ident: $slug:literal, $sentence:literal, $upstream_may_have_it:literal;)*) => {
        /// Why something was not taken. The slug is the label `reason` of `prefold_ingest_refused_total`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum RefusalReason {
            $($reason,)*
        }

        impl RefusalReason {
            pub const ALL: &[RefusalReason] = &[$(RefusalReason::$reason,)*];

            pub fn slug(self) -> &'static str {
                match self {
                    $(RefusalReason::$reason => $slug,)*
                }
            }

            /// One sentence for the sender.
            fn sentence(self) -> &'static str {
                match self {
                    $(RefusalReason::$reason => $sentence,)*
                }
            }

            /// Whether upstream may have taken what is refused here: then views must not be served over it.
            pub fn upstream_may_have_it(self) -> bool {
                match self {
                    $(RefusalReason::$reason => $upstream_may_have_it,)*
                }
            }
        }
    };
}

refusal_reasons! {
    MetricNameMissing: "metric-name-missing", "the series has no metric name (label __name__)", false;
    LabelNameEmpty: "label-name-empty", "a label has an empty name", false;
    LabelDuplicate: "label-duplicate", "a label occurs twice", false;
    TooManyLabels: "too-many-labels", "the series has more labels than limits.labels_per_series_max", true;
    LabelNameTooLong: "label-name-too-long", "a label's name is longer than limits.label_name_bytes_max", true;
    LabelValueTooLong: "label-value-too-long", "a label's value is longer than limits.label_value_bytes_max", true;
    LabelsMalformed: "labels-malformed", "the labels cannot be decoded", false;
    NoSamples: "no-samples", "the series has no samples", false;
    NativeHistogram: "native-histogram", "native histograms are not supported; send classic histograms", true;
    Exemplar: "exemplar", "exemplars are not supported; set send_exemplars: false", false;
    BodyMalformed: "body-malformed", "the body cannot be decoded", false;
    BodyTooLarge: "body-too-large", "the body is larger than ingest.body_bytes_max", false;
    ContentType: "content-type", "the content type is not remote write 1.0 or 2.0", false;
    ContentEncoding: "content-encoding", "the content encoding is not snappy", false;
    LogUnavailable: "log-unavailable", "the log cannot take it now", false;
    TooManySenders: "too-many-senders", "more senders have written than limits.senders_max", false;
    OriginTooLong: "origin-too-long", "the name of the tenant or of the sender is longer than 256 bytes", false;
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
