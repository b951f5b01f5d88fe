//! What was asked: queries by how they were answered, and what upstream was asked for them.

use std::sync::atomic::Ordering;

use super::{Family, Number, counter, distribution, gauge, one};
use crate::proxy::upstream::Purpose;
use crate::proxy::{Answered, Proxy};

pub(super) fn families(proxy: &Proxy) -> Vec<Family> {
    let counters = &proxy.counters;
    let labels = |how: Answered| vec![("answer", how.name().to_owned())];
    let answers = Answered::ALL.iter().map(|how| (labels(*how), (counters.answers(*how) as f64).into()));
    let durations = Answered::ALL.iter().map(|how| (labels(*how), Number::Distribution(counters.durations(*how).clone())));
    let refusals = counters.refusals().into_iter();
    let refusals = refusals.map(|(slug, last)| (vec![("reason", slug.to_owned())], (last.count as f64).into()));
    let avoided = counters.samples_avoided().into_iter();
    let avoided = avoided.map(|(job, samples)| (vec![("job", job.to_string())], (samples as f64).into()));
    let of = |count: &std::sync::atomic::AtomicU64| one(count.load(Ordering::Relaxed) as f64);
    vec![
        counter(
            "prefold_query_answers",
            "Queries answered, by how; worry when forwarded grows and rewritten does not.",
            answers.collect(),
        ),
        distribution(
            "prefold_query_duration_seconds",
            "How long an answer took, by how it was made; worry when rewritten ones take over a second.",
            durations.collect(),
        ),
        counter(
            "prefold_query_refusals",
            "Why queries were not answered from views; worry at not-covered-yet that goes on: see /prefold/.",
            refusals.collect(),
        ),
        gauge(
            "prefold_query_evaluations_running",
            "Queries being evaluated here; worry when it stays at limits.query_concurrency_max: others wait.",
            one(proxy.evaluations_running() as f64),
        ),
        counter(
            "prefold_query_canceled",
            "Evaluations stopped because the client went away; worry when it grows with the load: answers are too slow.",
            of(&counters.canceled),
        ),
        counter(
            "prefold_query_timeouts",
            "Queries that took longer than they may, waiting included; worry at any.",
            of(&counters.timed_out),
        ),
        counter(
            "prefold_samples_avoided",
            "An estimate of the samples that queries would have read without the job's views; worry when it stands still \
             while dashboards are open.",
            avoided.collect(),
        ),
    ]
}

/// Nothing when there is no upstream.
pub(super) fn upstream(proxy: &Proxy) -> Vec<Family> {
    let Some(upstream) = &proxy.upstream else { return Vec::new() };
    let contact = upstream.contact();
    let requests = Purpose::ALL
        .iter()
        .map(|purpose| (vec![("reason", purpose.name().to_owned())], (contact.requests(*purpose) as f64).into()));
    vec![
        counter(
            "prefold_upstream_requests",
            "Requests to upstream, by what for; worry when stitched grows with the number of open dashboards.",
            requests.collect(),
        ),
        counter(
            "prefold_upstream_failures",
            "Requests to upstream that got no answer at all; worry at any.",
            one(contact.failures() as f64),
        ),
        gauge(
            "prefold_edge_values",
            "Values of upstream kept for steps that are not final yet; worry near limits.edge_values_max.",
            one(proxy.edge.values() as f64),
        ),
        counter(
            "prefold_edge_given_up",
            "Queries whose newest steps were asked with the query itself; worry when it grows: upstream cannot answer a \
             view's expression.",
            one(proxy.counters.edge_given_up.load(Ordering::Relaxed) as f64),
        ),
    ]
}
