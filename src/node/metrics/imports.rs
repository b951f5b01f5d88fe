//! What is imported from topics that others write.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Family, Number, counter, gauge};
use crate::ingest::limits::RefusalReason;
use crate::node::imports::{Imports, Topic};

pub(super) fn families(imports: &Imports) -> Vec<Family> {
    let topics = &imports.topics;
    if topics.is_empty() {
        return Vec::new();
    }
    let label = |topic: &Topic| ("topic", topic.name.clone());
    let of = |count: fn(&Topic) -> &AtomicU64| {
        let value = |topic: &Topic| (vec![label(topic)], Number::from(count(topic).load(Ordering::Relaxed) as f64));
        topics.iter().map(value).collect()
    };
    let reasons = |topic| RefusalReason::ALL.iter().map(move |reason| (topic, *reason));
    let refused = topics.iter().flat_map(reasons).map(|(topic, reason)| {
        (vec![label(topic), ("reason", reason.slug().to_owned())], (topic.refused(reason) as f64).into())
    });
    let lag = topics.iter().enumerate();
    let lag = lag.map(|(place, topic)| (vec![label(topic)], (imports.lag_records(place) as f64).into()));
    vec![
        counter("prefold_import_records", "Records of the topic dealt with, skipped ones too.", of(|topic| &topic.records)),
        counter(
            "prefold_import_samples",
            "Samples of the topic taken and durable; worry when it stands still while others write there.",
            of(|topic| &topic.samples),
        ),
        counter(
            "prefold_import_refused",
            "Records of the topic skipped, and series and samples of them not taken, by reason; worry when it grows: views are \
             uncovered over what was refused.",
            refused.collect(),
        ),
        gauge(
            "prefold_import_lag_records",
            "Records of the topic not imported yet, in the partitions that are ours; worry when it grows for minutes: samples \
             come too late to count.",
            lag.collect(),
        ),
    ]
}
