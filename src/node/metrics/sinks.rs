//! What sinks have sent, and how far they have come. Nothing without sinks.

use std::sync::Arc;

use super::{Family, Values, counter, gauge};
use crate::node::queries::Queries;
use crate::sink::SinkStatus;

pub(super) fn families(queries: &Queries) -> Vec<Family> {
    let statuses = queries.sink_statuses();
    let each = |value: fn(&SinkStatus) -> Option<f64>| -> Values {
        let values = statuses.iter().filter_map(|sink| Some((vec![("sink", sink.name.clone())], value(sink)?.into())));
        values.collect()
    };
    vec![
        counter(
            "prefold_sink_samples",
            "Samples a sink's receiver has taken, staleness markers included; worry when it stands still.",
            each(|sink| Some(sink.samples() as f64)),
        ),
        counter(
            "prefold_sink_requests",
            "Requests a sink has sent, those sent again included.",
            each(|sink| Some(sink.requests() as f64)),
        ),
        counter(
            "prefold_sink_failures",
            "Requests that were not taken, by reason; worry when one keeps growing: see the log or the status page.",
            by_reason(&statuses, |sink| sink.failures().into_iter().collect()),
        ),
        counter(
            "prefold_sink_dropped_samples",
            "Samples the receiver has refused for ever, by reason; worry at any that a restart does not explain.",
            by_reason(&statuses, |sink| sink.dropped_samples().into_iter().collect()),
        ),
        gauge(
            "prefold_sink_position_timestamp_seconds",
            "The grid point up to which a sink has sent every rule's results; the least over the rules.",
            each(|sink| sink.position().map(|position| position.seconds())),
        ),
        gauge(
            "prefold_sink_behind_seconds",
            "How much of a rule's results a sink has yet to send, for the rule where that is most; worry when it grows.",
            each(|sink| Some(sink.behind_ms() as f64 / 1000.0)),
        ),
    ]
}

fn by_reason(statuses: &[Arc<SinkStatus>], of: fn(&SinkStatus) -> Vec<(&'static str, u64)>) -> Values {
    let labelled = |sink: &Arc<SinkStatus>| {
        let values = of(sink).into_iter();
        let label = |reason: &str| vec![("sink", sink.name.clone()), ("reason", reason.to_owned())];
        values.map(|(reason, count)| (label(reason), (count as f64).into())).collect::<Vec<_>>()
    };
    statuses.iter().flat_map(labelled).collect()
}
