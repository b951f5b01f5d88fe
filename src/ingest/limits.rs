//! What a series may look like: bounded, named, and each label once.

use std::fmt;

use crate::model::{Labels, METRIC_NAME};

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

impl SeriesLimits {
    /// Whether labels are within these.
    pub fn fit(&self, labels: &Labels) -> bool {
        labels.len() <= self.labels_per_series_max
            && labels.iter().all(|label| {
                label.name.len() <= self.label_name_bytes_max && label.value.len() <= self.label_value_bytes_max
            })
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
    BodyMalformed: "body-malformed", "the body cannot be decoded", true;
    BodyTooLarge: "body-too-large", "the body is larger than ingest.body_bytes_max, or than the log takes at once", true;
    ContentType: "content-type", "the content type is not remote write 1.0 or 2.0", false;
    ContentEncoding: "content-encoding", "the content encoding is not snappy", false;
    LogUnavailable: "log-unavailable", "the log cannot take it now", false;
    BodiesFull: "bodies-full", "the bodies in flight take limits.bodies_bytes_max", false;
    TooManySenders: "too-many-senders", "more new senders write than limits.senders_max", false;
    TenantMalformed: "tenant-malformed", "the header X-Scope-OrgID is not printable ASCII", false;
    RecordsGone: "records-gone", "records of an imported topic were deleted before they were read", true;
    OriginTooLong: "origin-too-long", "the name of the tenant or of the sender is longer than 256 bytes", true;
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.slug(), self.sentence())
    }
}

/// Bytes of names and values that are told of one refused series.
const TOLD_BYTES_MAX: usize = 64 << 10;

/// Names of labels of unknown value that are told of one refused series.
const UNTOLD_MAX: usize = 16;

/// A series that is refused, with as much of its labels as finding the views it belongs to takes: none when upstream does
/// not have it either.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedLabels<'a> {
    pub reason: RefusalReason,
    pub told: Vec<(&'a str, &'a str)>,
    /// Labels that may have any value; the empty name stands for every label that is not told.
    pub untold: Vec<&'a str>,
}

impl<'a> RefusedLabels<'a> {
    /// A series of which no label is known.
    pub fn unknown(reason: RefusalReason) -> RefusedLabels<'a> {
        let untold = if reason.upstream_may_have_it() { vec![""] } else { Vec::new() };
        RefusedLabels { reason, told: Vec::new(), untold }
    }

    fn new(reason: RefusalReason, mut labels: Vec<(&'a str, &'a str)>, limits: &SeriesLimits) -> RefusedLabels<'a> {
        let (mut told, mut untold, mut bytes, mut all) = (Vec::new(), Vec::new(), 0, true);
        if !reason.upstream_may_have_it() {
            return RefusedLabels { reason, told, untold };
        }
        // The metric's name tells most.
        labels.sort_unstable_by_key(|(name, value)| (*name != METRIC_NAME, *name, *value));
        for (name, value) in labels {
            let whole = name.len() + value.len();
            if name.len() > limits.label_name_bytes_max || bytes + name.len() > TOLD_BYTES_MAX {
                all = false;
            } else if value.len() <= limits.label_value_bytes_max
                && bytes + whole <= TOLD_BYTES_MAX
                && told.len() < limits.labels_per_series_max
            {
                told.push((name, value));
                bytes += whole;
            } else if untold.len() < UNTOLD_MAX {
                untold.push(name);
                bytes += name.len();
            } else {
                all = false;
            }
        }
        RefusedLabels { reason, told, untold: if all { untold } else { vec![""] } }
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
) -> Result<Vec<(&'a str, &'a str)>, RefusedLabels<'a>> {
    labels.retain(|(name, value)| !value.is_empty() && !drop_labels.iter().any(|dropped| dropped == name));
    if let Some(reason) = beyond_limits(&labels, limits) {
        return Err(RefusedLabels::new(reason, labels, limits));
    }
    labels.sort_unstable();
    if labels.windows(2).any(|two| two[0].0 == two[1].0) {
        return Err(RefusedLabels::new(RefusalReason::LabelDuplicate, labels, limits));
    }
    match labels.binary_search_by(|(name, _)| (*name).cmp(METRIC_NAME)) {
        Ok(_) => Ok(labels),
        Err(_) => Err(RefusedLabels::new(RefusalReason::MetricNameMissing, labels, limits)),
    }
}

fn beyond_limits(labels: &[(&str, &str)], limits: &SeriesLimits) -> Option<RefusalReason> {
    if labels.len() > limits.labels_per_series_max {
        return Some(RefusalReason::TooManyLabels);
    }
    labels.iter().find_map(|(name, value)| {
        if name.is_empty() {
            Some(RefusalReason::LabelNameEmpty)
        } else if name.len() > limits.label_name_bytes_max {
            Some(RefusalReason::LabelNameTooLong)
        } else {
            (value.len() > limits.label_value_bytes_max).then_some(RefusalReason::LabelValueTooLong)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(labels: &[(&str, &str)], expected: Result<&[(&str, &str)], RefusalReason>) {
        let limits = SeriesLimits { labels_per_series_max: 3, label_name_bytes_max: 8, label_value_bytes_max: 8 };
        let checked = check_labels(labels.to_vec(), &["replica".to_owned()], &limits);
        assert_eq!(checked.as_deref().map_err(|refused| refused.reason), expected, "{labels:?}");
    }

    /// Labels, and what is told of them when they are refused: labels, and names of those not told.
    #[track_caller]
    fn check_told(labels: &[(&str, &str)], told: &[(&str, &str)], untold: &[&str]) {
        let limits = SeriesLimits { labels_per_series_max: 3, label_name_bytes_max: 8, label_value_bytes_max: 20_000 };
        let refused = check_labels(labels.to_vec(), &["replica".to_owned()], &limits).unwrap_err();
        assert_eq!((&*refused.told, &*refused.untold), (told, untold), "{labels:?}");
    }

    #[test]
    fn of_a_refused_series_as_much_is_told_as_finds_its_views() {
        let (name, long) = (("__name__", "x"), "x".repeat(20_001));
        let wide = "x".repeat(19_000);
        check_told(&[("a", "1"), ("b", "1"), ("c", "1"), name], &[name, ("a", "1"), ("b", "1")], &["c"]);
        check_told(&[("replica", "1"), ("a", &long), ("", ""), name], &[name], &["a"]);
        check_told(&[("__name__", &long), ("a", "1")], &[("a", "1")], &["__name__"]);
        check_told(&[name, ("a", "1"), ("namenamen", "1")], &[name, ("a", "1")], &[""]);
        let names: Vec<String> = (0..20).map(|n| format!("n{n:02}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
        check_told(&many, &many[..3], &[""]);
        let heavy = [("a", wide.as_str()), ("b", &wide), ("c", &wide), ("d", &wide)];
        check_told(&heavy, &heavy[..3], &["d"]);
        // Upstream does not have these either.
        check_told(&[("a", "1")], &[], &[]);
        check_told(&[name, ("a", "1"), ("a", "2")], &[], &[]);
        let unknown = RefusedLabels::unknown;
        assert_eq!(unknown(RefusalReason::TooManyLabels).untold, [""]);
        assert!(unknown(RefusalReason::LabelsMalformed).untold.is_empty());
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
