//! A cluster whose processes are not all of one version: job sets that some of them cannot read.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prefold::wire::cluster::PartialsRecord;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::fleet::{FURTHER_JOB, Fleet, Process, QUERIES};
use super::workers::verify;
use crate::process::processes::{now_ms, until};

/// Of a later version, for all that this one knows.
const LATER_JOB: &str =
    r#"{"name":"fleet","rules":[{"expr":"sum by (g) (last_seen_over_time(c_total[10s]))","step":"2s"}]}"#;

/// Nobody works by a set that nobody can read: it changes nothing. Once one does, a worker that cannot read it gives its partitions
/// away, until there is a set that it can read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_stands_aside_for_those_that_work_by_a_set_it_cannot_read() {
    let Some(fleet) = Fleet::start(1, 1, 2, 1).await else { return };
    let load = fleet.load(Arc::new(Mutex::new(fleet.bases())));
    folded(&fleet, 6.0).await;
    let proposal = serde_json::json!({ "proposed_by": "later", "files": [["fleet.json", LATER_JOB]] }).to_string();
    put(&fleet, BaseRecord::to("fleet.jobs").partition(0).key("set").payload(proposal.as_str()));
    let set = until("it to wait", async || {
        let [one, other] = [waiting(&fleet.workers[0]).await, waiting(&fleet.workers[1]).await];
        one.filter(|set| other == Some(*set))
    })
    .await;
    fleet.replicas[0].up().final_to(QUERIES.len(), now_ms()).await;
    folded(&fleet, 6.0).await;

    let (partition, mut record) = some_partials(&fleet);
    record.set = set;
    put(&fleet, BaseRecord::<(), _>::to("fleet.partials").partition(partition).payload(&record.encode()));
    folded(&fleet, 0.0).await;
    for worker in &fleet.workers {
        let ready = worker.up().get("/-/ready").await;
        assert!(ready.status == 503 && ready.text.contains("Run the same version everywhere"), "{ready:?}");
        let said = format!("other workers work by job set {set}, which cannot be read here");
        assert!(worker.up().logs().contains(&said), "{}", worker.up().logs());
    }

    fleet.workers[0].put_job("further.json", Some(FURTHER_JOB));
    folded(&fleet, 6.0).await;
    for worker in &fleet.workers {
        until("it to be ready", async || (worker.up().get("/-/ready").await.status == 200).then_some(())).await;
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let sent = load.stop().await;
    verify(&fleet, &sent).await;
}

/// Waits until the workers fold so many partitions.
async fn folded(fleet: &Fleet, partitions: f64) {
    until("partitions to be shared", async || {
        let mut all = 0.0;
        for worker in &fleet.workers {
            all += worker.up().metric("prefold_fold_partitions").await;
        }
        (all == partitions).then_some(())
    })
    .await;
}

/// The number of the set that a worker cannot read.
async fn waiting(worker: &Process) -> Option<u64> {
    worker.up().get("/prefold/api/v1/jobs").await.json()["set"]["waiting"]["number"].as_u64()
}

fn put<K: rdkafka::message::ToBytes + ?Sized>(
    fleet: &Fleet,
    record: BaseRecord<'_, K, impl rdkafka::message::ToBytes + ?Sized>,
) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", fleet.cluster.brokers()).create().unwrap();
    assert!(producer.send(record).is_ok());
    producer.flush(Duration::from_secs(60)).unwrap();
    assert_eq!(producer.in_flight_count(), 0);
}

/// A record of partials that a worker has written, and where.
fn some_partials(fleet: &Fleet) -> (i32, PartialsRecord) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", fleet.cluster.brokers()).set("group.id", "whoever");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut from = TopicPartitionList::new();
    (0..4).for_each(|partition| from.add_partition_offset("fleet.partials", partition, Offset::Beginning).unwrap());
    consumer.assign(&from).unwrap();
    let message = std::iter::repeat_with(|| consumer.poll(Duration::from_secs(1))).flatten().find_map(Result::ok).unwrap();
    (message.partition(), PartialsRecord::decode(message.payload().unwrap()).unwrap())
}
