//! What README's table of what dies says, row by row, as far as no other test does: all workers at once, a replica's disk, the
//! only broker, and topics that are made anew.
//!
//! Sees: results that differ from those of a process that nothing happened to (but the broker, which is shared), a process that
//! does not come back by itself, or that hides what is lost. A gateway that dies is seen in `roles.rs`, one worker in
//! `workers.rs`.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::cluster::{admin, patient};
use super::fleet::{Fleet, Process, QUERIES, answers, spans};
use super::host::Host;
use super::workers::{verify, whole_windows};
use crate::process::processes::{counted, now_ms, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_workers_a_replicas_disk_and_the_only_broker_are_lost_and_no_result_is() {
    let further = ", delivery_timeout: 3s";
    let Some(mut fleet) = Fleet::start_on(&|_| Host::here(), further, [1, 1, 2, 1]).await else { return };
    let load = fleet.load(Arc::new(Mutex::new(fleet.bases())));
    tokio::time::sleep(Duration::from_secs(14)).await;

    // Without workers views stand still; what they missed is folded when they are back.
    fleet.workers.iter_mut().for_each(Process::kill);
    tokio::time::sleep(Duration::from_secs(6)).await;
    for worker in &mut fleet.workers {
        worker.restart().await;
    }
    // A replica that has lost its disk reads the results again.
    fleet.replicas[0].kill();
    fleet.replicas[0].forget();
    fleet.replicas[0].restart().await;
    tokio::time::sleep(Duration::from_secs(10)).await;

    fleet.cluster.kill_node(0);
    let gateway = fleet.gateways[0].up();
    let refused =
        until("a write to be refused", async || Some(gateway.write(&counted("a")).await).filter(|a| a.status != 204));
    let refused = refused.await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "5"), "{refused:?}");
    let now = now_ms() / 2_000 * 2_000;
    assert!(!answers(fleet.replicas[0].up(), QUERIES[0], now - 40_000, now).await.is_empty(), "what is final is answered");
    fleet.cluster.start_node(0);
    fleet.cluster.wait().unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let sent = load.stop().await;
    verify(&fleet, &sent).await;
}

/// A topic of the cluster itself that is deleted: who works with it says so until it is started again. Partials are said again;
/// what may have been told in results is uncovered, and whatever stands there is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_of_the_cluster_that_are_made_anew_leave_gaps_and_no_wrong_value() {
    let Some(mut fleet) = Fleet::start(1, 1, 1, 1).await else { return };
    let load = fleet.load(Arc::new(Mutex::new(fleet.bases())));
    tokio::time::sleep(Duration::from_secs(12)).await;
    let from = now_ms() / 2_000 * 2_000;
    delete(&mut fleet, "partials").await;
    let to = now_ms() / 2_000 * 2_000 + 6_000;
    assert_eq!(compare(&fleet, from, to).await, 0, "grid points that are uncovered");

    delete(&mut fleet, "results").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let sent = load.stop().await;
    let uncovered = compare(&fleet, from, whole_windows(&sent).1).await;
    assert!(uncovered > 0, "a gap is to be seen");
}

/// Deletes a topic, and starts those again who work with it once they have said so.
async fn delete(fleet: &mut Fleet, topic: &str) {
    let brokers = fleet.cluster.brokers();
    let deleted = admin(&brokers).delete_topics(&[&format!("fleet.{topic}")], &patient()).await.unwrap();
    assert!(deleted[0].is_ok(), "{deleted:?}");
    for process in fleet.workers.iter_mut().chain(fleet.replicas.iter_mut().filter(|_| topic == "results")) {
        let ready =
            until("it to be said", async || Some(process.up().get("/-/ready").await).filter(|ready| ready.status == 503));
        let said = ready.await.text;
        let words = format!("topic fleet.{topic} was deleted; restart Prefold");
        assert!(said.starts_with("something fails and is begun again every second: ") && said.contains(&words), "{said}");
        let page = process.up().get("/prefold/").await.text;
        assert!(page.contains("Something fails and is begun again") && page.contains(&words), "{page}");
        process.kill();
        process.restart().await;
        until("it to be ready", async || (process.up().get("/-/ready").await.status == 200).then_some(())).await;
    }
}

/// Holds the replica to the process that does it all alone, and gives how many grid points are uncovered: there values may be
/// missing.
async fn compare(fleet: &Fleet, from: i64, to: i64) -> usize {
    let (replica, alone) = (fleet.replicas[0].up(), fleet.unbroken.up());
    for process in [replica, alone] {
        process.final_to(QUERIES.len(), to).await;
    }
    let (spans, mut uncovered) = (spans(replica, from, to).await, 0);
    for query in QUERIES {
        let (ours, theirs) = (answers(replica, query, from, to).await, answers(alone, query, from, to).await);
        let gap = |t: &i64| spans[query].iter().any(|span| span.is_gap() && span.covers(*t));
        for (labels, points) in &theirs {
            let ours = ours.get(labels).cloned().unwrap_or_default();
            assert!(ours.keys().all(|t| points.contains_key(t)), "{query} {labels}: {ours:?} instead of {points:?}");
            for (t, value) in points {
                match ours.get(t) {
                    Some(ours) => assert_eq!(ours, value, "{query} {labels} at {t}"),
                    None => assert!(gap(t), "{query} {labels} at {t} is missing: {spans:?}"),
                }
            }
        }
        assert!(!theirs.is_empty() && ours.len() <= theirs.len(), "{query}: {ours:?} instead of {theirs:?}");
        uncovered += (from..=to).step_by(2_000).filter(gap).count();
    }
    uncovered
}
