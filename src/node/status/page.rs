//! The page, written from the facts.

use std::fmt::Write;

use super::attention;
use super::facts::{Facts, ViewFacts};
use super::html::{Cell, Table, ago, escape, number};
use crate::model::Timestamp;
use crate::model::time::format_duration;

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
    let _ = write!(out, "<style>{STYLE}</style></head><body>\n<h1>Prefold {version}</h1>");
    let _ = writeln!(out, "<p class=\"quiet\">as of {now}; the same as JSON: <a href=\"/prefold/api/v1/views\">views</a>,");
    out.push_str("<a href=\"/prefold/api/v1/jobs\">jobs</a>, <a href=\"/prefold/api/v1/senders\">senders</a>,");
    out.push_str(" <a href=\"/metrics\">metrics</a></p>\n");
    attention(facts, &mut out);
    views(facts, &mut out);
    queries(facts, &mut out);
    upstream(facts, &mut out);
    sinks(facts, &mut out);
    senders(facts, &mut out);
    log(facts, &mut out);
    out.push_str("</body></html>\n");
    out
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

fn views(facts: &Facts, out: &mut String) {
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
        let known = |t: Option<Timestamp>| t.map_or_else(|| "never".to_owned(), |t| ago(t, facts.now));
        table.row(&[
            Cell::Text(view.job.clone()),
            Cell::Text(view.rule.clone()),
            Cell::Code(expression(view)),
            Cell::Lines(known(view.final_to)),
            served(view, facts.now),
            Cell::Lines(spans(view, facts.now)),
            trust(view, facts.now),
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

fn queries(facts: &Facts, out: &mut String) {
    let answers = facts.queries.answers.iter().map(|(how, count)| format!("{} {how}", number(*count)));
    let _ = writeln!(
        out,
        "<h2>Queries</h2>\n<p>{}; {} of {} evaluations running</p>",
        escape(&answers.collect::<Vec<_>>().join(", ")),
        facts.queries.running,
        facts.queries.running_max
    );
    if facts.queries.refusals.is_empty() {
        return;
    }
    let mut table = Table::new(&["not answered from views", "times", "last", "the last time"]);
    let mut refusals: Vec<_> = facts.queries.refusals.iter().collect();
    refusals.sort_by_key(|(_, last)| std::cmp::Reverse(last.at));
    for (slug, last) in refusals {
        table.row(&[
            Cell::Text((*slug).to_owned()),
            Cell::Number(last.count),
            Cell::Text(ago(last.at, facts.now)),
            Cell::Text(last.why.clone()),
        ]);
    }
    out.push_str(&table.end());
}

fn upstream(facts: &Facts, out: &mut String) {
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

fn sinks(facts: &Facts, out: &mut String) {
    if facts.sinks.is_empty() {
        return;
    }
    let mut table = Table::new(&["sink", "address", "sent up to", "behind", "samples taken", "samples refused"]);
    for sink in &facts.sinks {
        table.row(&[
            Cell::Text(sink.name.clone()),
            Cell::Text(sink.url.clone()),
            Cell::Text(sink.position.map_or_else(|| "nothing yet".to_owned(), |t| ago(t, facts.now))),
            Cell::Text(format_duration(sink.behind_ms / 1000 * 1000)),
            Cell::Number(sink.samples),
            Cell::Number(sink.dropped),
        ]);
    }
    let _ = write!(out, "<h2>Sinks</h2>\n{}", table.end());
}

fn senders(facts: &Facts, out: &mut String) {
    let _ = writeln!(out, "<h2>Senders ({})</h2>", facts.senders_all);
    let mut table = Table::new(&["sender", "tenant", "newest sample folded", "first sample"]);
    for sender in &facts.senders {
        let newest = sender.newest.map_or_else(|| "none since the start".to_owned(), |t| ago(t, facts.now));
        table.row(&[
            Cell::Text(sender.sender.to_string()),
            Cell::Text(sender.tenant.to_string()),
            Cell::Text(newest),
            Cell::Text(ago(sender.first, facts.now)),
        ]);
    }
    out.push_str(&table.end());
    more(facts.senders_all, facts.senders.len(), "senders", out);
}

fn log(facts: &Facts, out: &mut String) {
    let known = |t: Option<Timestamp>| t.map_or_else(|| "never".to_owned(), |t| ago(t, facts.now));
    let folded = Some(facts.stream.log_time).filter(|t| t.0 > 0);
    let mut table = Table::new(&["log", ""]);
    let rows = [
        ("newest record appended", known(facts.log.newest)),
        ("folded up to", known(folded)),
        ("records not yet folded", number(facts.stream.records_ahead)),
        ("samples folded since the start", number(facts.stream.samples)),
        ("oldest record kept", known(facts.log.oldest)),
        ("bytes on the disk", facts.log.bytes.map_or_else(|| "none here".to_owned(), number)),
        ("partitions", facts.log.partitions.to_string()),
        ("appends failed", number(facts.log.append_failures)),
    ];
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
mod tests {
    use super::*;
    use crate::model::SpanReason;
    use crate::node::status::facts::{SenderFacts, SinkFacts, TrustFacts, UpstreamFacts};
    use crate::sink::Trouble;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn healthy() -> Facts {
        let view = ViewFacts {
            job: "grpc".to_owned(),
            rule: "0".to_owned(),
            expr: "sum(rate(x[1m]))".to_owned(),
            step_ms: 30_000,
            max_delay_ms: 30_000,
            final_to: Some(NOW + -40_000),
            served: Some((NOW + -3_600_000, NOW + -40_000)),
            ..ViewFacts::default()
        };
        let mut facts = Facts { now: NOW, views: vec![view], views_all: 1, ..Facts::default() };
        facts.stream.caught_up = true;
        facts
    }

    #[test]
    fn a_healthy_node_needs_nothing() {
        let html = write(&healthy());
        assert!(html.contains("<p class=\"good\">Nothing.</p>"), "{html}");
        assert!(html.contains("sum(rate(x[1m]))<br>every 30s") && html.contains("(40s ago)"), "{html}");
    }

    #[test]
    fn what_is_wrong_is_said_first_and_with_its_cause() {
        let check = |change: fn(&mut Facts), words: &str| {
            let mut facts = healthy();
            change(&mut facts);
            let html = write(&facts);
            let (attention, _) = html.split_once("<h2>Views").unwrap();
            assert!(attention.contains(words), "{words}: {attention}");
        };
        check(|facts| facts.stream.failed = Some("disk".to_owned()), "Streaming has stopped: disk");
        check(|facts| facts.stream.caught_up = false, "The log is being replayed");
        check(|facts| facts.views[0].final_to = None, "Rule 0 of job grpc has no values yet");
        check(|facts| facts.views[0].final_to = Some(NOW + -400_000), "is 5m40s later than it should be");
        check(
            |facts| facts.views[0].spans = vec![(SpanReason::Overdue, NOW + -60_000, Timestamp::MAX)],
            "is not served: overdue since 2023-11-14 22:12:20 (1m ago)",
        );
        check(|facts| facts.views[0].served = None, "is not served at its newest grid point");
        check(
            |facts| {
                let last_difference = Some("at 1: {a=\"1\"} is 2 upstream".to_owned());
                facts.views[0].trust = TrustFacts { asked: true, last_difference, ..TrustFacts::default() };
            },
            "is not served: at 1: {a=&quot;1&quot;} is 2 upstream",
        );
        check(
            |facts| {
                let failed_before_ms = Some((1000, "refused".to_owned()));
                let reachable = Some(false);
                facts.upstream = Some(UpstreamFacts { reachable, failed_before_ms, ..UpstreamFacts::default() });
            },
            "Upstream cannot be reached: refused",
        );
        check(
            |facts| {
                let trouble = Some(Trouble { since: NOW + -60_000, what: "it answered 503".to_owned() });
                facts.sinks = vec![SinkFacts { name: "vm".to_owned(), trouble, ..SinkFacts::default() }];
            },
            "Sink vm has had trouble since 2023-11-14 22:12:20 (1m ago): it answered 503.",
        );
        check(
            |facts| {
                let (newest, first) = (Some(NOW + -600_000), NOW);
                facts.senders = vec![SenderFacts { tenant: "".into(), sender: "eu-1".into(), first, newest }];
            },
            "Sender eu-1 is silent: its newest sample is of 2023-11-14 22:03:20 (10m ago)",
        );
    }

    #[test]
    fn names_from_outside_are_shown_and_not_obeyed() {
        let mut facts = healthy();
        let evil = "<script>alert('&')</script>";
        facts.views[0].expr = evil.to_owned();
        facts.views[0].job = evil.to_owned();
        facts.senders = vec![SenderFacts { tenant: evil.into(), sender: evil.into(), first: NOW, newest: None }];
        facts.stream.failed = Some(evil.to_owned());
        facts.upstream = Some(UpstreamFacts { identity: Some(evil.to_owned()), ..UpstreamFacts::default() });
        let html = write(&facts);
        assert!(!html.contains("<script"), "{html}");
        assert_eq!(html.matches("&lt;script&gt;alert(&#39;&amp;&#39;)").count(), 6, "{html}");
    }
}
