//! A query replica that sends results on: a receiver gets what queries answer, also when the replica is killed meanwhile.
//!
//! Sees: a value or a staleness marker that a kill loses, changes or sends in the wrong order, a position that a restart
//! forgets. What a receiver may answer is tried on one process that does everything, in `process/sink.rs`.

use std::time::Duration;

use super::cluster::shared;
use super::fleet::Process;
use super::host::Host;
use super::process::config;
use super::topics::prefix;
use crate::process::processes::{Running, labels, now_ms, sample, until};
use crate::process::sink::{JOB, RECORDS, STEP, arrived, expected, sink};
use crate::process::sink_receiver::{Manner, SinkReceiver};

const KILLS: usize = 5;

/// Of a request, so that there are many.
const SAMPLES_MAX: usize = 9;

/// How long after its last sample a series has ended in every view.
const ENDS_AFTER: i64 = 5_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_query_replica_sends_is_whole_and_once_however_often_it_is_killed() {
    let Some(cluster) = shared() else { return };
    let receiver = SinkReceiver::start(Manner::Slow(Duration::from_millis(15))).await;
    let kafka = config(cluster, &prefix());
    let sinks = sink("one", &receiver.url, &format!(", samples_per_request_max: {SAMPLES_MAX}"));
    let start = async |role, config: &str| Process::start(role, Host::here(), &[("sent.json", JOB)], config).await;
    let (gateway, _worker) = (start("gateway", &kafka).await, start("worker", &kafka).await);
    let mut replica = start("query", &format!("{kafka}\nsinks:\n{sinks}")).await;

    let begin = now_ms() / STEP * STEP;
    for kill in 0..KILLS {
        write_for(gateway.up(), Duration::from_secs(6)).await;
        let so_far = receiver.samples().len();
        until("more to arrive", async || (receiver.samples().len() > so_far).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(7 * kill as u64)).await;
        replica.kill();
        replica.restart().await;
    }
    let last = now_ms() / STEP * STEP + ENDS_AFTER;
    let whole = expected(replica.up(), &RECORDS, begin, last).await;
    arrived(&receiver, &whole, last).await;
    let again = receiver.samples().len() - receiver.distinct().len();
    println!("{} samples, of which {again} were sent twice", whole.len());
    assert!(again <= KILLS * SAMPLES_MAX, "{again}: more than one request a kill");

    // A clean stop sends nothing again.
    let behind = "prefold_sink_behind_seconds{sink=\"one\"}";
    until("everything to be settled", async || (replica.up().metric(behind).await == 0.0).then_some(())).await;
    let stopped = replica.running.as_mut().unwrap();
    stopped.signal("TERM");
    assert!(stopped.ended().await.success());
    let sent_to = receiver.samples().iter().map(|(_, t, _)| *t).max().unwrap();
    receiver.forget();
    replica.restart().await;
    write_for(gateway.up(), Duration::from_secs(3)).await;
    until("what is new to arrive", async || (!receiver.samples().is_empty()).then_some(())).await;
    let again: Vec<_> = receiver.samples().into_iter().filter(|(_, t, _)| *t <= sent_to).collect();
    assert!(again.is_empty(), "{again:?}");
}

/// Writes for a while, four times a second, series that come and go.
async fn write_for(gateway: &Running, how_long: Duration) {
    let end = now_ms() + how_long.as_millis() as i64;
    while now_ms() < end {
        let (t, turn) = (now_ms(), now_ms() / 3_000);
        let there = |group: i64| group == 0 || (turn + group) % 3 != 0;
        let series = (0..4).filter(|group| there(*group)).map(|group| {
            let labels = labels(&[("__name__", "c_total"), ("g", &format!("g{group}")), ("i", "1")]);
            (labels, vec![sample(t, (t % 10_007 + group) as f64 / 7.0)])
        });
        let series: Vec<_> = series.collect();
        until("a write to be taken", async || (gateway.write(&series).await.status == 204).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
