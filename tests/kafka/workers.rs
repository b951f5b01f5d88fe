//! Workers and query replicas, as processes over a real broker: what they give is what one process gives on the same log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::fleet::{Fleet, QUERIES, SERIES, answers, spans};
use crate::process::processes::{Running, now_ms, until};

/// Everything that is final, of every replica, is what the process that does it all alone has, and each sample acknowledged is
/// counted once.
pub async fn verify(fleet: &Fleet, queries: &[&str], sent: &[i64]) {
    let (first, last) = (sent.first().unwrap(), sent.last().unwrap());
    let (from, to) = (first / 2_000 * 2_000 + 14_000, last / 2_000 * 2_000);
    assert!(from < to, "too little was sent");
    let alone = fleet.unbroken.up();
    final_to(alone, to).await;
    for replica in &fleet.replicas {
        final_to(replica.up(), to).await;
    }
    let of_queries = |mut spans: BTreeMap<String, Vec<String>>| {
        spans.retain(|expr, _| queries.contains(&expr.as_str()));
        spans
    };
    let expected = of_queries(spans(alone, from, to).await);
    for replica in &fleet.replicas {
        assert_eq!(of_queries(spans(replica.up(), from, to).await), expected, "what is uncovered");
        for query in queries {
            let (ours, theirs) = (answers(replica.up(), query, from, to).await, answers(alone, query, from, to).await);
            assert!(theirs.values().all(|points| points.len() > 1), "{query}: {theirs:?}");
            assert_eq!(ours, theirs, "{query}");
        }
    }
    // The oracle: windows hold what was acknowledged, unless they are uncovered.
    let counts = answers(alone, QUERIES[0], from, to).await;
    let mut counted = 0;
    for t in (from..=to).step_by(2_000) {
        if expected[QUERIES[0]].iter().any(|span| covers(span, t)) {
            continue;
        }
        let in_window = sent.iter().filter(|sent| t - 10_000 < **sent && **sent <= t).count();
        for points in counts.values() {
            let found: f64 = points.get(&t).map_or(0.0, |value| value.parse().unwrap());
            assert_eq!(found, (in_window * SERIES / 3) as f64, "samples counted at {t}");
            counted += 1;
        }
    }
    assert!(counted > 9, "{counted} counts were covered: {expected:?}");
    println!("{} bodies acknowledged, {counted} counts as they must be, spans {expected:?}", sent.len());
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

/// Whether a span, as [`spans`] tells it, holds an instant.
pub fn covers(span: &str, t: i64) -> bool {
    let mut parts = span.split(' ').skip(1);
    let from: i64 = parts.next().unwrap().parse().unwrap();
    let to = parts.next().unwrap();
    let to = to.strip_prefix("Some(").and_then(|to| to.strip_suffix(')')).map_or(i64::MAX, |to| to.parse().unwrap());
    from <= t && t < to
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
    verify(&fleet, &QUERIES, &sent).await;

    // With all workers dead, what is final is still answered.
    fleet.workers.iter_mut().for_each(|worker| worker.kill());
    let (from, to) = (sent[0] / 2_000 * 2_000 + 14_000, sent.last().unwrap() / 2_000 * 2_000);
    let answered = answers(fleet.replicas[0].up(), QUERIES[0], from, to).await;
    assert!(!answered.is_empty());
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
