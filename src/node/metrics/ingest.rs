//! What came in: remote write and scrapes.

use std::sync::atomic::Ordering;

use super::{Family, counter, gauge, one};
use crate::ingest::limits::RefusalReason;
use crate::node::assembly::Node;
use crate::node::ingest::Ingest;

pub(super) fn families(ingest: &Ingest) -> Vec<Family> {
    let counters = ingest.gateway.counters();
    let refused = RefusalReason::ALL
        .iter()
        .map(|reason| (vec![("reason", reason.slug().to_owned())], (counters.refused(*reason) as f64).into()));
    vec![
        counter(
            "prefold_ingest_samples",
            "Samples taken and durable; worry when it stands still while senders send.",
            one(counters.samples.load(Ordering::Relaxed) as f64),
        ),
        counter(
            "prefold_ingest_requests",
            "Remote-write requests taken.",
            one(counters.requests.load(Ordering::Relaxed) as f64),
        ),
        counter(
            "prefold_ingest_refused",
            "Series, samples or requests not taken, by reason; worry when it grows: views are uncovered over what was refused.",
            refused.collect(),
        ),
        gauge(
            "prefold_ingest_cached_series",
            "Label sets the gateway remembers.",
            one(ingest.gateway.cached_series() as f64),
        ),
    ]
}

/// Whether the files that are there are in force; nothing where none is read again.
pub(super) fn files(node: &Node) -> Vec<Family> {
    if !node.role.reads_again() {
        return Vec::new();
    }
    let last = node.last_reload.lock();
    vec![
        gauge(
            "prefold_reload_success",
            "Whether the files that were read last are in force; worry at 0: /prefold/ and the log say what is wrong with them.",
            one(f64::from(u8::from(last.problems.is_none()))),
        ),
        gauge(
            "prefold_reload_success_timestamp_seconds",
            "When files were last read and put in force, the start included.",
            one(last.succeeded.seconds()),
        ),
    ]
}

pub(super) fn scrapes(ingest: &Ingest) -> Vec<Family> {
    let counters = &ingest.scrape_counters;
    let of = |count: &std::sync::atomic::AtomicU64| one(count.load(Ordering::Relaxed) as f64);
    let failures = counters.failures().into_iter();
    let failures = failures.map(|(job, reason, count)| {
        (vec![("job", job.to_string()), ("reason", reason.slug().to_owned())], (count as f64).into())
    });
    vec![
        counter("prefold_scrapes", "Scrapes made, failed ones too.", of(&counters.scrapes)),
        counter(
            "prefold_scrapes_failed",
            "Scrapes that failed, by job and reason; worry when it grows: up is 0 for a target, and /prefold/ says more.",
            failures.collect(),
        ),
        counter("prefold_scrape_samples", "Samples in what was scraped.", of(&counters.samples)),
        counter("prefold_scrape_exemplars_refused", "Exemplars in what was scraped; none is kept.", of(&counters.exemplars)),
        counter(
            "prefold_scrape_duplicates",
            "Second samples of a series in one scrape; the first stays.",
            of(&counters.duplicates),
        ),
        counter(
            "prefold_scrape_batches_lost",
            "Scrapes whose samples the log never took; worry at any.",
            of(&counters.batches_lost),
        ),
    ]
}
