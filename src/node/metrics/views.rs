//! What is kept: freshness, series, coverage and trust, by job and rule.

use super::{Family, Values, counter, gauge, one};
use crate::model::Timestamp;
use crate::node::assembly::StreamPart;
use crate::node::queries::Queries;

/// What is known of the views where they are folded, and where their results are.
pub(super) fn families(streaming: &StreamPart, queries: Option<&Queries>) -> Vec<Family> {
    let (mut finals, mut input, mut output, mut overdue) = (Values::new(), Values::new(), Values::new(), Values::new());
    let (mut not_counted, mut conflicting) = (Values::new(), Values::new());
    let (mut bytes, mut info) = (Values::new(), Values::new());
    for entry in streaming.jobs.loaded().catalog.in_force() {
        let labels = || vec![("job", entry.job.to_string()), ("rule", entry.rule.to_string())];
        for (job, rule) in
            std::iter::once((&entry.job, &entry.rule)).chain(entry.sharing.iter().map(|(job, rule)| (job, rule)))
        {
            let id = entry.view.id.to_string();
            info.push((vec![("job", job.to_string()), ("rule", rule.to_string()), ("view", id)], 1.0.into()));
        }
        let progress = streaming.status.views.get(&entry.view.id);
        match queries {
            Some(queries) => {
                let final_to = queries.store.view(entry.view.id).and_then(|state| state.final_to);
                finals.push((labels(), final_to.map_or(0.0, Timestamp::seconds).into()));
            }
            // Of a worker's views those that it combines.
            None => finals.extend(progress.iter().map(|progress| (labels(), progress.newest.t.seconds().into()))),
        }
        if let Some(progress) = progress {
            input.push((labels(), (progress.newest.input_series as f64).into()));
            output.push((labels(), (progress.newest.output_series as f64).into()));
            overdue.push((labels(), (progress.newest.overdue as f64).into()));
            not_counted.push((labels(), (progress.not_counted as f64).into()));
            conflicting.push((labels(), (progress.conflicting as f64).into()));
            bytes.push((labels(), (progress.newest.state_bytes as f64).into()));
        }
    }
    vec![
        gauge(
            "prefold_view_info",
            "Always 1: which view each rule has; other metrics of a shared view carry the rule named first.",
            info,
        ),
        gauge(
            "prefold_view_final_timestamp_seconds",
            "The newest final grid point; worry when it lags the clock by more than max_delay and step.",
            finals,
        ),
        gauge("prefold_view_input_series", "Live series that feed the view; worry near limits.input_series.", input),
        gauge("prefold_view_output_series", "Groups of the view; worry near limits.output_series.", output),
        gauge("prefold_view_overdue_series", "Live series whose next sample has not come; worry when it stays up.", overdue),
        counter("prefold_samples_not_counted", "Samples that came later than max_delay; worry when it grows.", not_counted),
        counter(
            "prefold_samples_conflicting",
            "Samples of a series and time that had another value before; worry: one series has two sources.",
            conflicting,
        ),
        gauge("prefold_view_state_bytes", "An estimate of what the view's series take in memory.", bytes),
    ]
}

/// What is known of the views where their results are kept.
pub(super) fn kept(queries: &Queries) -> Vec<Family> {
    let (mut comparisons, mut uncovered) = (Values::new(), Values::new());
    for entry in queries.proxy.catalog.load().in_force() {
        let with = |name, value: &str| {
            vec![("job", entry.job.to_string()), ("rule", entry.rule.to_string()), (name, value.to_owned())]
        };
        let record = queries.proxy.trust.record(entry.view.id);
        let results = [record.equal, record.unequal, record.failed, record.nothing];
        for (result, count) in ["equal", "unequal", "failed", "nothing"].into_iter().zip(results) {
            comparisons.push((with("result", result), (count as f64).into()));
        }
        let state = queries.store.view(entry.view.id);
        for (reason, seconds) in queries.uncovered.seconds(entry.view.id, state.as_ref()) {
            uncovered.push((with("reason", reason.slug()), seconds.into()));
        }
    }
    vec![
        counter(
            "prefold_view_comparisons",
            "Comparisons with upstream, those at the edge included, nothing where no series has a value on either side; worry at \
             unequal ones: the view is not served.",
            comparisons,
        ),
        counter(
            "prefold_view_uncovered_seconds",
            "How much of the view's time may not be served, by reason, since the start; worry when it grows as fast as time.",
            uncovered,
        ),
        gauge("prefold_senders", "Senders known.", one(queries.senders().len() as f64)),
    ]
}
