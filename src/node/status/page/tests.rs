//! What the page says of a node that is well, of one that is not, and of one that has not every part.

use std::sync::Arc;

use super::*;
use crate::model::SpanReason;
use crate::node::in_force::{JobSet, JobSets};
use crate::node::status::facts::{ClusterFacts, LogFacts, SenderFacts, SinkFacts, StreamFacts, TrustFacts, UpstreamFacts};
use crate::sink::Trouble;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn stream(facts: &mut Facts) -> &mut StreamFacts {
    facts.stream.as_mut().unwrap()
}

fn queries(facts: &mut Facts) -> &mut QueryFacts {
    facts.queries.as_mut().unwrap()
}

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
    Facts {
        role: Role::Run,
        now: NOW,
        stream: Some(StreamFacts { caught_up: true, folds: true, views: 1, ..StreamFacts::default() }),
        log: Some(LogFacts::default()),
        queries: Some(QueryFacts { views: vec![view], views_all: 1, ..QueryFacts::default() }),
        reload_problems: None,
        targets_down: Vec::new(),
    }
}

#[test]
fn a_healthy_node_needs_nothing() {
    let html = write(&healthy());
    assert!(html.contains("<p class=\"good\">Nothing.</p>"), "{html}");
    assert!(html.contains("sum(rate(x[1m]))<br>every 30s") && html.contains("(40s ago)"), "{html}");
}

#[test]
fn a_role_shows_what_it_has() {
    let mut gateway = Facts { role: Role::Gateway, stream: None, queries: None, ..healthy() };
    let html = write(&gateway);
    assert!(html.contains(" gateway</h1>") && html.contains("partitions") && html.contains("/metrics"), "{html}");
    for absent in ["Views", "Queries", "Upstream", "Senders", "folded", "/prefold/api"] {
        assert!(!html.contains(absent), "{absent}: {html}");
    }
    gateway.log = Some(LogFacts { append_failures: 2, ..LogFacts::default() });
    assert!(write(&gateway).contains("senders come again. Look at Kafka."));
    let mut replica = Facts { role: Role::Query, log: None, ..healthy() };
    *stream(&mut replica) = StreamFacts { records_ahead: 7, ..StreamFacts::default() };
    let html = write(&replica);
    assert!(html.contains("Results are being read, 7 records are ahead") && html.contains("Views (1)"), "{html}");
    assert!(!html.contains("partitions") && !html.contains("folded up to"), "{html}");
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
    check(|facts| stream(facts).failed = Some("disk".to_owned()), "Streaming has stopped: disk");
    check(|facts| stream(facts).caught_up = false, "The log is being replayed");
    check(|facts| queries(facts).views[0].final_to = None, "Rule 0 of job grpc has no values yet");
    check(|facts| queries(facts).views[0].final_to = Some(NOW + -400_000), "is 5m40s later than it should be");
    check(
        |facts| queries(facts).views[0].spans = vec![(SpanReason::Overdue, NOW + -60_000, Timestamp::MAX)],
        "is not served: overdue since 2023-11-14 22:12:20 (1m ago)",
    );
    check(|facts| queries(facts).views[0].served = None, "is not served at its newest grid point");
    check(
        |facts| {
            let last_difference = Some("at 1: {a=\"1\"} is 2 upstream".to_owned());
            queries(facts).views[0].trust = TrustFacts { asked: true, last_difference, ..TrustFacts::default() };
        },
        "is not served: at 1: {a=&quot;1&quot;} is 2 upstream",
    );
    check(
        |facts| {
            let failed_before_ms = Some((1000, "refused".to_owned()));
            let reachable = Some(false);
            queries(facts).upstream = Some(UpstreamFacts { reachable, failed_before_ms, ..UpstreamFacts::default() });
        },
        "Upstream cannot be reached: refused",
    );
    check(
        |facts| {
            let trouble = Some(Trouble { since: NOW + -60_000, what: "it answered 503".to_owned() });
            queries(facts).sinks = vec![SinkFacts { name: "vm".to_owned(), trouble, ..SinkFacts::default() }];
        },
        "Sink vm has had trouble since 2023-11-14 22:12:20 (1m ago): it answered 503.",
    );
    check(
        |facts| {
            let (newest, first) = (Some(NOW + -600_000), NOW);
            queries(facts).senders = vec![SenderFacts { tenant: "".into(), sender: "eu-1".into(), first, newest }];
        },
        "Sender eu-1 is silent: its newest sample is of 2023-11-14 22:03:20 (10m ago)",
    );
}

#[test]
fn names_from_outside_are_shown_and_not_obeyed() {
    let mut facts = healthy();
    let evil = "<script>alert('&')</script>";
    queries(&mut facts).views[0].expr = evil.to_owned();
    queries(&mut facts).views[0].job = evil.to_owned();
    queries(&mut facts).senders = vec![SenderFacts { tenant: evil.into(), sender: evil.into(), first: NOW, newest: None }];
    stream(&mut facts).failed = Some(evil.to_owned());
    queries(&mut facts).upstream = Some(UpstreamFacts { identity: Some(evil.to_owned()), ..UpstreamFacts::default() });
    let html = write(&facts);
    assert!(!html.contains("<script"), "{html}");
    assert_eq!(html.matches("&lt;script&gt;alert(&#39;&amp;&#39;)").count(), 6, "{html}");
}

#[test]
fn a_process_of_a_cluster_says_what_is_its_own_and_what_fails() {
    let set = |number| JobSet { number, proposed_by: "w1/7".to_owned(), proposed_at: NOW };
    let sets = |waiting| Some(Arc::new(JobSets { in_force: set(4), waiting }));
    let cluster =
        || ClusterFacts { partitions: Some((3, 2)), combine_remaining: 11, restarts: 5, skipped: 0, sets: sets(None) };
    let worker = |cluster| {
        let stream = StreamFacts { folds: true, caught_up: true, cluster: Some(cluster), ..StreamFacts::default() };
        Facts { role: Role::Worker, log: None, queries: None, stream: Some(stream), ..healthy() }
    };
    let html = write(&worker(cluster()));
    for words in ["Nothing.", "samples that are ours", "partials that are ours", "not yet combined", "4, proposed by w1/7"] {
        assert!(html.contains(words), "{words}: {html}");
    }
    let check = |cluster: ClusterFacts, words: &str| {
        let html = write(&worker(cluster));
        assert!(html.contains(words), "{words}: {html}");
    };
    check(ClusterFacts { sets: None, ..cluster() }, "No jobs have been proposed yet");
    check(ClusterFacts { partitions: Some((0, 0)), ..cluster() }, "No partition is this worker");
    check(ClusterFacts { skipped: 3, ..cluster() }, "3 records were skipped");
    let waiting = ClusterFacts { sets: sets(Some((set(5), "unknown function zum".to_owned()))), ..cluster() };
    check(waiting, "Job set 5 cannot be read here, 4 stays in force: unknown function zum");
    let mut failing = worker(cluster());
    stream(&mut failing).failed = Some("fold: no broker".to_owned());
    let html = write(&failing);
    assert!(html.contains("begun again every second") && html.contains("fold: no broker"), "{html}");
    assert!(!html.contains("restart the process"), "{html}");
}
