//! The page, written from the facts.

use std::fmt::Write;

use super::attention;
use super::facts::{ClusterFacts, Facts, QueryFacts, ViewFacts};
use super::html::{Cell, Table, ago, escape, number};
use crate::model::Timestamp;
use crate::model::time::format_duration;
use crate::node::role::Role;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --bad: #c33; --good: #282; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 100rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .3rem 0; } ul { margin: .3rem 0; padding-left: 1.2rem; }
table { border-collapse: collapse; font-size: .87rem; } .scroll { overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); }
th, .lines { white-space: nowrap; } code { display: block; min-width: 22rem; font-size: .82rem; overflow-wrap: anywhere; }
.n { text-align: right; white-space: nowrap; } .bad, .attention li { color: var(--bad); } .good { color: var(--good); }
.quiet { opacity: .7; }
";

pub fn write(facts: &Facts) -> String {
    let mut out = String::with_capacity(16 << 10);
    let now = escape(&facts.now.to_string());
    let version = env!("CARGO_PKG_VERSION");
    out.push_str("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Prefold</title>");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width\">");
    // Writing to a String cannot fail.
    let _ = write!(out, "<style>{STYLE}</style></head><body>\n<h1>Prefold {version}");
    if facts.role != Role::Run {
        let _ = write!(out, " {}", facts.role.name());
    }
    let _ = writeln!(out, "</h1><p class=\"quiet\">as of {now}; the same as JSON: {}</p>", links(facts));
    attention(facts, &mut out);
    if let Some(part) = &facts.queries {
        views(part, facts.now, &mut out);
        queries(part, facts.now, &mut out);
        upstream(part, &mut out);
        sinks(part, facts.now, &mut out);
        senders(part, facts.now, &mut out);
    }
    log(facts, &mut out);
    out.push_str("</body></html>\n");
    out
}

/// To what the role answers.
fn links(facts: &Facts) -> String {
    let pages = [
        (facts.queries.is_some(), "/prefold/api/v1/views", "views"),
        (facts.stream.is_some(), "/prefold/api/v1/jobs", "jobs"),
        (facts.queries.is_some(), "/prefold/api/v1/senders", "senders"),
        (true, "/metrics", "metrics"),
    ];
    let there = pages.iter().filter(|(is_there, ..)| *is_there);
    there.map(|(_, path, name)| format!("<a href=\"{path}\">{name}</a>")).collect::<Vec<_>>().join(", ")
}

fn attention(facts: &Facts, out: &mut String) {
    let sentences = attention::sentences(facts);
    out.push_str("<h2>What needs attention</h2>\n");
    if sentences.is_empty() {
        out.push_str("<p class=\"good\">Nothing.</p>\n");
        return;
    }
    out.push_str("<ul class=\"attention\">\n");
    for sentence in sentences {
        let _ = writeln!(out, "<li>{}</li>", escape(&sentence));
    }
    out.push_str("</ul>\n");
}

fn views(facts: &QueryFacts, now: Timestamp, out: &mut String) {
    let _ = writeln!(out, "<h2>Views ({})</h2>", facts.views_all);
    let columns = [
        "job",
        "rule",
        "expression",
        "final to",
        "served",
        "spans",
        "trust",
        "series in",
        "groups out",
        "overdue",
        "not counted",
    ];
    let mut table = Table::new(&columns);
    for view in &facts.views {
        let known = |t: Option<Timestamp>| t.map_or_else(|| "never".to_owned(), |t| ago(t, now));
        table.row(&[
            Cell::Text(view.job.clone()),
            Cell::Text(view.rule.clone()),
            Cell::Code(expression(view)),
            Cell::Lines(known(view.final_to)),
            served(view, now),
            Cell::Lines(spans(view, now)),
            trust(view, now),
            Cell::Number(view.activity.input_series),
            Cell::Number(view.activity.output_series),
            Cell::Number(view.activity.overdue_series),
            Cell::Number(view.activity.not_counted),
        ]);
    }
    out.push_str(&table.end());
    more(facts.views_all, facts.views.len(), "views", out);
}

fn expression(view: &ViewFacts) -> String {
    let tenant = if view.tenant.is_empty() { String::new() } else { format!("\ntenant {}", view.tenant) };
    format!("{}\nevery {}, {}{tenant}", view.expr, format_duration(view.step_ms), view.id)
}

fn served(view: &ViewFacts, now: Timestamp) -> Cell {
    match view.served {
        None => Cell::Bad("nothing".to_owned()),
        Some((from, to)) => {
            let text = format!("from {}\nto {}", ago(from, now), ago(to, now));
            if Some(to) == view.final_to { Cell::Lines(text) } else { Cell::Bad(text) }
        }
    }
}

fn spans(view: &ViewFacts, now: Timestamp) -> String {
    let one = |(reason, from, to): &(crate::model::SpanReason, Timestamp, Timestamp)| match *to {
        Timestamp::MAX => format!("{} since {}", reason.slug(), ago(*from, now)),
        to => format!("{} {} for {}", reason.slug(), ago(*from, now), format_duration(to - *from)),
    };
    let mut lines: Vec<String> = view.spans.iter().map(one).collect();
    if view.spans_all > view.spans.len() {
        lines.push(format!("and {} older", view.spans_all - view.spans.len()));
    }
    lines.join("\n")
}

fn trust(view: &ViewFacts, now: Timestamp) -> Cell {
    let trust = &view.trust;
    if !trust.asked {
        return Cell::Text("not asked".to_owned());
    }
    let mut text = format!("{} equal, {} unequal, {} failed", trust.equal, trust.unequal, trust.failed);
    if let Some(t) = trust.last_equal {
        let _ = write!(text, "\nequal {}", ago(t, now));
    }
    match &trust.last_difference {
        None => Cell::Text(text),
        Some(difference) => Cell::Bad(format!("{text}\n{difference}")),
    }
}

fn queries(facts: &QueryFacts, now: Timestamp, out: &mut String) {
    let answers = facts.answers.iter().map(|(how, count)| format!("{} {how}", number(*count)));
    let _ = writeln!(
        out,
        "<h2>Queries</h2>\n<p>{}; {} of {} evaluations running</p>",
        escape(&answers.collect::<Vec<_>>().join(", ")),
        facts.running,
        facts.running_max
    );
    if facts.refusals.is_empty() {
        return;
    }
    let mut table = Table::new(&["not answered from views", "times", "last", "the last time"]);
    let mut refusals: Vec<_> = facts.refusals.iter().collect();
    refusals.sort_by_key(|(_, last)| std::cmp::Reverse(last.at));
    for (slug, last) in refusals {
        table.row(&[
            Cell::Text((*slug).to_owned()),
            Cell::Number(last.count),
            Cell::Text(ago(last.at, now)),
            Cell::Text(last.why.clone()),
        ]);
    }
    out.push_str(&table.end());
}

fn upstream(facts: &QueryFacts, out: &mut String) {
    out.push_str("<h2>Upstream</h2>\n");
    let Some(upstream) = &facts.upstream else {
        out.push_str("<p>None: what views do not answer is refused.</p>\n");
        return;
    };
    let identity = upstream.identity.as_deref().unwrap_or("not known what it is");
    let state = match upstream.reachable {
        Some(true) => "<span class=\"good\">reachable</span>",
        Some(false) => "<span class=\"bad\">not reachable</span>",
        None => "not asked yet",
    };
    let before = |ms: i64| format_duration(ms / 1000 * 1000);
    let _ = write!(out, "<p>{state}, {}", escape(identity));
    if let Some(ms) = upstream.answered_before_ms {
        let _ = write!(out, "; it answered {} ago", before(ms));
    }
    if let Some((ms, why)) = &upstream.failed_before_ms {
        let _ = write!(out, "; a request failed {} ago: {}", before(*ms), escape(why));
    }
    let requests: Vec<String> = upstream.requests.iter().map(|(what, count)| format!("{} {what}", number(*count))).collect();
    let _ = writeln!(out, "</p>\n<p>Requests: {}</p>", escape(&requests.join(", ")));
}

fn sinks(facts: &QueryFacts, now: Timestamp, out: &mut String) {
    if facts.sinks.is_empty() {
        return;
    }
    let mut table = Table::new(&["sink", "address", "sent up to", "behind", "samples taken", "samples refused"]);
    for sink in &facts.sinks {
        table.row(&[
            Cell::Text(sink.name.clone()),
            Cell::Text(sink.url.clone()),
            Cell::Text(sink.position.map_or_else(|| "nothing yet".to_owned(), |t| ago(t, now))),
            Cell::Text(format_duration(sink.behind_ms / 1000 * 1000)),
            Cell::Number(sink.samples),
            Cell::Number(sink.dropped),
        ]);
    }
    let _ = write!(out, "<h2>Sinks</h2>\n{}", table.end());
}

fn senders(facts: &QueryFacts, now: Timestamp, out: &mut String) {
    let _ = writeln!(out, "<h2>Senders ({})</h2>", facts.senders_all);
    let mut table = Table::new(&["sender", "tenant", "newest sample folded here", "first sample"]);
    for sender in &facts.senders {
        let newest = sender.newest.map_or_else(|| "none since the start".to_owned(), |t| ago(t, now));
        table.row(&[
            Cell::Text(sender.sender.to_string()),
            Cell::Text(sender.tenant.to_string()),
            Cell::Text(newest),
            Cell::Text(ago(sender.first, now)),
        ]);
    }
    out.push_str(&table.end());
    more(facts.senders_all, facts.senders.len(), "senders", out);
}

/// The log as it is appended to, and as it is folded.
fn cluster(cluster: &ClusterFacts) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some((samples, partials)) = cluster.partitions {
        rows.push(("partitions of samples that are ours", number(samples)));
        rows.push(("partitions of partials that are ours", number(partials)));
        rows.push(("records of partials not yet combined", number(cluster.combine_remaining)));
    }
    if let Some(sets) = &cluster.sets {
        let set = &sets.in_force;
        rows.push(("job set in force", format!("{}, proposed by {}", set.number, set.proposed_by)));
    }
    rows.push(("begun again after a failure", number(cluster.restarts)));
    rows
}

fn log(facts: &Facts, out: &mut String) {
    let known = |t: Option<Timestamp>| t.map_or_else(|| "never".to_owned(), |t| ago(t, facts.now));
    let mut rows = Vec::new();
    if let Some(log) = &facts.log {
        rows.push(("newest record appended", known(log.newest)));
    }
    if let Some(stream) = &facts.stream {
        rows.push(("views of the jobs in force", stream.views.to_string()));
        if stream.folds {
            rows.push(("folded up to", known(Some(stream.log_time).filter(|t| t.0 > 0))));
            rows.push(("records not yet folded", number(stream.records_ahead)));
            rows.push(("samples folded since the start", number(stream.samples)));
        } else {
            rows.push(("records of results not yet read", number(stream.records_ahead)));
        }
        rows.extend(stream.cluster.iter().flat_map(cluster));
    }
    if let Some(log) = &facts.log {
        rows.push(("oldest record kept", known(log.oldest)));
        rows.push(("bytes on the disk", log.bytes.map_or_else(|| "none here".to_owned(), number)));
        rows.push(("partitions", log.partitions.to_string()));
        rows.push(("appends failed", number(log.append_failures)));
    }
    let mut table = Table::new(&["log", ""]);
    for (name, value) in rows {
        table.row(&[Cell::Text(name.to_owned()), Cell::Text(value)]);
    }
    let _ = write!(out, "<h2>Log</h2>\n{}", table.end());
}

fn more(all: usize, shown: usize, what: &str, out: &mut String) {
    if all > shown {
        let _ = writeln!(out, "<p>{} more {what} are not shown.</p>", all - shown);
    }
}

#[cfg(test)]
mod tests;
