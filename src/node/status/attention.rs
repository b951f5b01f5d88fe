//! What needs attention, in sentences that say what to do; an empty list is good news.

use super::facts::{ClusterFacts, Facts, QueryFacts, StreamFacts, ViewFacts};
use super::html::ago;
use crate::model::Timestamp;
use crate::model::time::format_duration;

/// A view, a sender or the log that is this much later than it should be is worth a look.
const LATE_MS: i64 = 120_000;

/// The most sentences about views and about senders each.
const SENTENCES_MAX: usize = 20;

pub fn sentences(facts: &Facts) -> Vec<String> {
    let mut sentences = Vec::new();
    sentences.extend(facts.stream.iter().flat_map(of_stream));
    if let Some(why) = facts.queries.as_ref().and_then(|queries| queries.store_error.as_ref()) {
        sentences.push(format!("The store cannot write a block: {why}. Look at the disk."));
    }
    if let Some(log) = facts.log.as_ref().filter(|log| log.append_failures > 0) {
        let (failures, what) = (log.append_failures, log.bytes.map_or("Kafka", |_| "the disk"));
        sentences
            .push(format!("{failures} appends to the log have failed since the start; senders come again. Look at {what}."));
    }
    if let Some(upstream) = facts.queries.as_ref().and_then(|queries| queries.upstream.as_ref()) {
        if upstream.reachable == Some(false) {
            let why = upstream.failed_before_ms.as_ref().map_or("", |(_, why)| why);
            sentences
                .push(format!("Upstream cannot be reached: {why}. What views do not answer fails; check upstream.url."));
        }
        sentences.extend(upstream.difference.map(|difference| format!("Upstream differs from Prometheus 3: {difference}.")));
    }
    if let Some(problems) = &facts.reload_problems {
        let first = problems.lines().next().unwrap_or_default();
        sentences.push(format!(
            "Changed files are not in force, because of: {first}. Correct them; they are read again at once."
        ));
    }
    sentences.extend(facts.queries.iter().flat_map(|queries| &queries.sinks).filter_map(|sink| {
        let trouble = sink.trouble.as_ref()?;
        Some(format!("Sink {} has had trouble since {}: {}.", sink.name, ago(trouble.since, facts.now), trouble.what))
    }));
    let down = facts.targets_down.iter();
    let down = down.map(|(url, why)| format!("Target {url} is down: {why}. What it exposes is missing while that lasts."));
    sentences.extend(bounded(down.collect(), "targets"));
    if let Some(queries) = &facts.queries {
        sentences.extend(bounded(queries.views.iter().filter_map(|view| of_view(view, facts.now)).collect(), "views"));
        sentences.extend(bounded(senders(queries, facts.now), "senders"));
    }
    sentences
}

fn of_stream(stream: &StreamFacts) -> Vec<String> {
    let mut sentences = Vec::new();
    match (&stream.failed, &stream.cluster) {
        (None, _) => {}
        (Some(why), None) => {
            sentences.push(format!("Streaming has stopped: {why}. Results stay as they are; restart the process."));
        }
        (Some(why), Some(_)) => {
            sentences.push(format!("Something fails and is begun again every second, nothing is lost meanwhile: {why}."));
        }
    }
    sentences.extend(stream.cluster.iter().flat_map(of_cluster));
    if !stream.caught_up {
        let (what, ahead) =
            (if stream.folds { "The log is being replayed" } else { "Results are being read" }, stream.records_ahead);
        sentences.push(format!("{what}, {ahead} records are ahead; views are behind until that is done."));
    }
    sentences
}

fn of_cluster(cluster: &ClusterFacts) -> Vec<String> {
    let mut sentences = Vec::new();
    match &cluster.sets {
        None => {
            sentences.push("No jobs have been proposed yet: a worker with a directory of jobs proposes them.".to_owned())
        }
        Some(sets) => sentences.extend(sets.waiting.as_ref().map(|(set, why)| {
            let (number, why) = (set.number, why.lines().next().unwrap_or_default());
            format!(
                "Job set {number} cannot be read here, {} stays in force: {why}. Upgrade this process.",
                sets.in_force.number
            )
        })),
    }
    if cluster.partitions == Some((0, 0)) {
        sentences.push("No partition is this worker's: others have them all, or it has only just joined.".to_owned());
    }
    if cluster.skipped > 0 {
        sentences
            .push(format!("{} records were skipped since the start, the log of this process says why.", cluster.skipped));
    }
    sentences
}

fn bounded(mut sentences: Vec<String>, what: &str) -> Vec<String> {
    let more = sentences.len().saturating_sub(SENTENCES_MAX);
    sentences.truncate(SENTENCES_MAX);
    if more > 0 {
        sentences.push(format!("... and {more} more {what}, see below."));
    }
    sentences
}

/// The first thing that is wrong with a view.
fn of_view(view: &ViewFacts, now: Timestamp) -> Option<String> {
    let name = format!("Rule {} of job {}", view.rule, view.job);
    let Some(final_to) = view.final_to else {
        return Some(format!(
            "{name} has no values yet: no sample that it selects has come, or its first window is not over."
        ));
    };
    let behind_ms = (now - final_to) - view.max_delay_ms - view.step_ms;
    if behind_ms > LATE_MS {
        return Some(format!(
            "{name} is {} later than it should be: do samples still come?",
            format_duration(round(behind_ms))
        ));
    }
    if let (true, Some(difference)) = (view.trust.asked, &view.trust.last_difference) {
        return Some(format!("{name} is not served: {difference}."));
    }
    let open = view.spans.iter().find(|(_, _, to)| *to == Timestamp::MAX);
    if let Some((reason, from, _)) = open {
        return Some(format!("{name} is not served: {} since {}.", reason.slug(), ago(*from, now)));
    }
    let served_to = view.served.map(|(_, to)| to);
    if served_to != Some(final_to) {
        let why = if view.trust.asked && view.trust.last_equal.is_none() { ": not compared with upstream yet" } else { "" };
        return Some(format!("{name} is not served at its newest grid point{why}."));
    }
    None
}

fn senders(queries: &QueryFacts, now: Timestamp) -> Vec<String> {
    let late = queries.senders.iter().filter_map(|sender| Some((sender, sender.newest?)));
    let late = late.filter(|(_, newest)| now - *newest > LATE_MS);
    late.map(|(sender, newest)| format!("Sender {} is silent: its newest sample is of {}.", sender.sender, ago(newest, now)))
        .collect()
}

fn round(ms: i64) -> i64 {
    ms / 1000 * 1000
}
