//! A cluster over hosts of its own, network namespaces: links that are cut, one that is slow, a broker that hangs, and one that is
//! gone.
//!
//! Sees what a killed process does not show: connections over which nothing comes and nobody is told, as between hosts. Each
//! fault is said by whom it concerns, and at the end everything is as one process has it that no fault concerned but the
//! broker's.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::fleet::{Fleet, Process, QUERIES, answers};
use super::namespaces::Namespaces;
use super::workers::verify;
use crate::process::processes::{body_v1, labels, now_ms, sample, until};

/// Kafka is not reached, or does not answer, and what that means.
const AWAY: &str = "trying again; nothing acknowledged is lost, and all goes on from where it stopped";
const BACK: &str = "Kafka answers again, after";

/// A worker has been given a partition.
const TAKEN: &str = "a partition of samples is ours";

const HOSTS: [&str; 6] = ["brokers", "unbroken", "gateway-0", "worker-0", "worker-1", "query-0"];

/// How often a process has said something.
fn said(process: &Process, what: &str) -> usize {
    process.up().logs().matches(what).count()
}

/// Waits until a process has said something more often than before.
async fn says(process: &Process, what: &str, before: usize) {
    until(what, async || (said(process, what) > before).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_links_that_are_cut_or_slow_and_a_broker_that_hangs_are_said_and_change_no_result() {
    let Some(hosts) = Namespaces::new(&HOSTS) else { return };
    let further = ", delivery_timeout: 3s";
    let Some(mut fleet) = Fleet::start_on(&|name| hosts.host(name), further, [1, 1, 2, 1]).await else { return };
    let load = fleet.load(Arc::new(Mutex::new(fleet.bases())));
    let both = async || fleet.workers.iter().all(|worker| said(worker, TAKEN) > 0).then_some(());
    until("both workers to have partitions", both).await;
    tokio::time::sleep(Duration::from_secs(8)).await;

    a_worker_is_cut_off(&hosts, &fleet).await;
    a_gateway_is_cut_off(&hosts, &fleet).await;
    a_worker_is_far_away(&hosts, &fleet).await;
    the_broker_hangs(&fleet).await;
    the_broker_is_gone(&hosts, &mut fleet).await;

    let sent = load.stop().await;
    verify(&fleet, &sent).await;
}

/// For longer than its session, which is 4 s: the other one has its partitions, until it is back.
async fn a_worker_is_cut_off(hosts: &Namespaces, fleet: &Fleet) {
    let (cut, other) = (&fleet.workers[0], &fleet.workers[1]);
    let (taken, taken_by_other) = (said(cut, TAKEN), said(other, TAKEN));
    hosts.cut("worker-0");
    says(cut, AWAY, 0).await;
    says(other, TAKEN, taken_by_other).await;
    assert_eq!(said(other, AWAY), 0, "only who is cut off says so: {}", other.up().logs());
    hosts.mend("worker-0");
    says(cut, BACK, 0).await;
    says(cut, TAKEN, taken).await;
}

/// Those who write to it are told to come again, and when.
async fn a_gateway_is_cut_off(hosts: &Namespaces, fleet: &Fleet) {
    let gateway = &fleet.gateways[0];
    let body = || body_v1(&[(labels(&[("__name__", "other_total")]), vec![sample(now_ms(), 1.0)])]);
    let write = async || gateway.up().request("POST", "/api/v1/write", &[], body()).await;
    assert_eq!(write().await.status, 204);
    hosts.cut("gateway-0");
    let refused = write().await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "5"), "{refused:?}");
    assert!(refused.text.contains("log.kafka.delivery_timeout; check the brokers"), "{refused:?}");
    says(gateway, AWAY, 0).await;
    hosts.mend("gateway-0");
    says(gateway, BACK, 0).await;
    until("a write to be taken", async || (write().await.status == 204).then_some(())).await;
}

/// What is slow is not away: it keeps its partitions, and says nothing.
async fn a_worker_is_far_away(hosts: &Namespaces, fleet: &Fleet) {
    let far = &fleet.workers[1];
    let before = [AWAY, TAKEN].map(|what| said(far, what));
    hosts.slow("worker-1");
    tokio::time::sleep(Duration::from_secs(8)).await;
    hosts.hasten("worker-1");
    assert_eq!([AWAY, TAKEN].map(|what| said(far, what)), before, "{}", far.up().logs());
}

/// With connections that stand. What is final is answered all the while.
async fn the_broker_hangs(fleet: &Fleet) {
    let processes = [&fleet.gateways[0], &fleet.workers[0], &fleet.workers[1], &fleet.replicas[0]];
    let before = [AWAY, BACK].map(|what| processes.map(|process| said(process, what)));
    let now = now_ms() / 2_000 * 2_000;
    fleet.replicas[0].up().final_to(QUERIES.len(), now).await;
    fleet.cluster.signal_node(0, "STOP");
    tokio::time::sleep(Duration::from_secs(13)).await;
    let final_now = answers(fleet.replicas[0].up(), QUERIES[0], now - 10_000, now).await;
    fleet.cluster.signal_node(0, "CONT");
    assert!(!final_now.is_empty(), "the past is answered");
    for (what, before) in [AWAY, BACK].into_iter().zip(before) {
        for (process, before) in processes.into_iter().zip(before) {
            says(process, what, before).await;
        }
    }
}

/// Its host refuses connections at once. They are tried again with pauses, and in time: a worker has some fifteen clients, each
/// with a pause of its own.
async fn the_broker_is_gone(hosts: &Namespaces, fleet: &mut Fleet) {
    const SECONDS: u64 = 5;
    let before = [AWAY, BACK].map(|what| said(&fleet.workers[0], what));
    fleet.cluster.kill_node(0);
    says(&fleet.workers[0], AWAY, before[0]).await;
    let opened = hosts.opened("worker-0");
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let opened = hosts.opened("worker-0") - opened;
    fleet.cluster.start_node(0);
    says(&fleet.workers[0], BACK, before[1]).await;
    println!("a worker tried {opened} connections in {SECONDS} s");
    assert!((1..400 * SECONDS).contains(&opened), "{opened} connections were tried in {SECONDS} s");
}
