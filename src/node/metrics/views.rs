//! What is kept: freshness, series, coverage and trust, by job and rule.

use super::{Family, Values, counter, gauge};
use crate::model::Timestamp;
use crate::node::assembly::Node;

pub(super) fn families(node: &Node) -> Vec<Family> {
    let (mut finals, mut input, mut output, mut overdue) = (Values::new(), Values::new(), Values::new(), Values::new());
    let (mut not_counted, mut conflicting) = (Values::new(), Values::new());
    let (mut bytes, mut comparisons, mut info, mut uncovered) = (Values::new(), Values::new(), Values::new(), Values::new());
    for entry in node.proxy.catalog.load().in_force() {
        let labels = || vec![("job", entry.job.to_string()), ("rule", entry.rule.to_string())];
        let with = |name, value: &str| [labels(), vec![(name, value.to_owned())]].concat();
        for (job, rule) in
            std::iter::once((&entry.job, &entry.rule)).chain(entry.sharing.iter().map(|(job, rule)| (job, rule)))
        {
            let id = entry.view.id.to_string();
            info.push((vec![("job", job.to_string()), ("rule", rule.to_string()), ("view", id)], 1.0.into()));
        }
        let state = node.store.view(entry.view.id);
        finals.push((labels(), state.as_ref().and_then(|state| state.final_to).map_or(0.0, Timestamp::seconds).into()));
        if let Some(progress) = node.stream_status().views.get(&entry.view.id) {
            input.push((labels(), (progress.newest.input_series as f64).into()));
            output.push((labels(), (progress.newest.output_series as f64).into()));
            overdue.push((labels(), (progress.newest.overdue as f64).into()));
            not_counted.push((labels(), (progress.not_counted as f64).into()));
            conflicting.push((labels(), (progress.conflicting as f64).into()));
            bytes.push((labels(), (progress.newest.state_bytes as f64).into()));
        }
        let record = node.proxy.trust.record(entry.view.id);
        let results = [record.equal, record.unequal, record.failed, record.nothing];
        for (result, count) in ["equal", "unequal", "failed", "nothing"].into_iter().zip(results) {
            comparisons.push((with("result", result), (count as f64).into()));
        }
        for (reason, seconds) in node.uncovered.seconds(entry.view.id, state.as_ref()) {
            uncovered.push((with("reason", reason.slug()), seconds.into()));
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
    ]
}
