//! Workers and query replicas, as processes over a real broker: what they give is what one process gives on the same log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prefold::model::Labels;

use super::fleet::{Fleet, QUERIES, Span, answers, rules, spans};
use crate::oracle::{self, Record};
use crate::process::processes::{Running, now_ms, until};

/// Everything that is final, of every replica, is what the process that does it all alone has, and what the oracle makes of what
/// was acknowledged.
pub async fn verify(fleet: &Fleet, sent: &[Record]) {
    let (from, to) = whole_windows(sent);
    assert!(from < to, "too little was sent");
    let alone = fleet.unbroken.up();
    final_to(alone, to).await;
    for replica in &fleet.replicas {
        final_to(replica.up(), to).await;
    }
    let of_queries = |mut spans: BTreeMap<String, Vec<Span>>| {
        spans.retain(|expr, _| QUERIES.contains(&expr.as_str()));
        spans
    };
    let spans_alone = of_queries(spans(alone, from, to).await);
    for replica in &fleet.replicas {
        assert_eq!(of_queries(spans(replica.up(), from, to).await), spans_alone, "what is uncovered");
    }
    let mut compared = [0; QUERIES.len()];
    for ((query, rule), compared) in QUERIES.into_iter().zip(rules()).zip(&mut compared) {
        let theirs = answers(alone, query, from, to).await;
        assert!(theirs.values().all(|points| points.len() > 1), "{query}: {theirs:?}");
        for replica in &fleet.replicas {
            assert_eq!(answers(replica.up(), query, from, to).await, theirs, "{query}");
        }
        // Nothing was there before the first sample, so that what is uncovered because nobody knows that is as it must be, too.
        let may_differ = |t: &i64| spans_alone[query].iter().any(|span| span.covers(*t) && !span.is_begin());
        for t in (from..=to).step_by(2_000).filter(|t| !may_differ(t)) {
            let expected = oracle::values_at(sent, &rule, t).into_iter().map(|(labels, value)| (json(&labels), value));
            let mut expected: BTreeMap<String, f64> = expected.collect();
            for (labels, points) in &theirs {
                let found = points.get(&t).map(|value| value.parse::<f64>().unwrap());
                let expected = expected.remove(labels);
                let equal =
                    found.zip(expected).map_or(found == expected, |(found, expected)| oracle::equal(found, expected));
                assert!(equal, "{query} {labels} at {t}: {found:?}, the oracle has {expected:?}");
                *compared += usize::from(found.is_some());
            }
            assert!(expected.is_empty(), "{query} at {t}: {expected:?} are missing");
        }
    }
    // A late sample uncovers the last one for its five minutes, which may be all of it.
    assert!(compared[..2].iter().all(|compared| *compared > 9), "{compared:?} were covered: {spans_alone:?}");
    println!("{} bodies acknowledged, {compared:?} values as the oracle has them, spans {spans_alone:?}", sent.len());
}

/// Labels as answers have them.
fn json(labels: &Labels) -> String {
    let labels: BTreeMap<&str, &str> = labels.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect();
    serde_json::json!(labels).to_string()
}

/// The grid points whose windows hold nothing but what was sent: the first and the last.
pub fn whole_windows(sent: &[Record]) -> (i64, i64) {
    let time = |record: Option<&Record>| record.unwrap().log_time / 2_000 * 2_000;
    (time(sent.first()) + 14_000, time(sent.last()))
}

/// Waits until the job's own views are final up to a time.
async fn final_to(running: &Running, t: i64) {
    until("views to be final", async || {
        let views = running.views().await;
        let own = views.iter().filter(|view| QUERIES.contains(&view["expr"].as_str().unwrap()));
        let done = own.filter(|view| view["final_to_ms"].as_i64().is_some_and(|to| to >= t)).count();
        (done == QUERIES.len()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_gives_what_one_process_gives_while_workers_die_come_and_go() {
    let Some(mut fleet) = Fleet::start(1, 2, 3, 2).await else { return };
    let gateways = Arc::new(Mutex::new(fleet.bases()));
    let load = fleet.load(Arc::clone(&gateways));
    tokio::time::sleep(Duration::from_secs(12)).await;
    fleet.workers[0].kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    fleet.workers[1].signal("STOP");
    fleet.add_worker().await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    fleet.workers[1].signal("CONT");
    fleet.workers[0].restart().await;
    fleet.replicas[1].kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    fleet.replicas[1].restart().await;
    fleet.workers[2].signal("TERM");
    tokio::time::sleep(Duration::from_secs(4)).await;
    let sent = load.stop().await;
    verify(&fleet, &sent).await;

    // With all workers dead, what is final is still answered.
    fleet.workers.iter_mut().for_each(|worker| worker.kill());
    let (from, to) = whole_windows(&sent);
    let answered = answers(fleet.replicas[0].up(), QUERIES[0], from, to).await;
    assert!(!answered.is_empty());
}

/// What one group goes through is nothing to the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_groups_of_workers_on_one_topic_give_the_same_results() {
    let Some(mut fleet) = Fleet::start(1, 1, 2, 1).await else { return };
    fleet.add_group("other", 1).await;
    let load = fleet.load(Arc::new(Mutex::new(fleet.bases())));
    tokio::time::sleep(Duration::from_secs(12)).await;
    fleet.workers[0].kill();
    tokio::time::sleep(Duration::from_secs(8)).await;
    fleet.workers[0].restart().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let sent = load.stop().await;
    assert_eq!(fleet.replicas.len(), 2);
    verify(&fleet, &sent).await;
}

/// Which set of jobs is in force is the same everywhere; other files do not bring it down, and fewer views must be forced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_numbered_sets_that_all_follow() {
    let Some(mut fleet) = Fleet::start(1, 1, 2, 1).await else { return };
    let set = async |process: &super::fleet::Process| {
        let listed = process.up().get("/prefold/api/v1/jobs").await.json();
        listed["set"]["number"].as_u64().unwrap_or(0)
    };
    let first = until("a first set", async || Some(set(&fleet.workers[0]).await).filter(|number| *number > 0)).await;
    for process in fleet.workers.iter().chain(&fleet.replicas) {
        until("it to be followed", async || (set(process).await == first).then_some(())).await;
    }
    // A directory that was changed is proposed.
    fleet.workers[1].put_job("further.json", Some(super::fleet::FURTHER_JOB));
    for process in fleet.workers.iter().chain(&fleet.replicas) {
        until("another set", async || (set(process).await > first).then_some(())).await;
    }
    let second = set(&fleet.workers[0]).await;
    // One that starts with other files follows, and says so.
    fleet.workers[0].kill();
    fleet.workers[0].restart().await;
    assert_eq!(set(&fleet.workers[0]).await, second);
    assert!(fleet.workers[0].up().logs().contains("are not those of the set in force"));
    // Most views gone: not without being forced.
    fleet.workers[1].put_job("fleet.json", None);
    until("it to be refused", async || {
        fleet.workers[1].up().logs().contains("start a worker with them and --force").then_some(())
    })
    .await;
    assert_eq!(set(&fleet.workers[1]).await, second);
    let sent = now_ms();
    let mut shown: BTreeMap<String, u64> = BTreeMap::new();
    for process in fleet.workers.iter().chain(&fleet.replicas) {
        *shown.entry(process.up().get("/prefold/api/v1/jobs").await.json()["set"].to_string()).or_default() += 1;
    }
    assert_eq!(shown.len(), 1, "all show the same at {sent}: {shown:?}");
}
