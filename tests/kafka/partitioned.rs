//! Logs that are partitioned by labels: groups stay whole in both logs, and no log changes what it is partitioned by.
//!
//! Sees: a gateway and a log that do not agree where a series belongs, a rule that is forgotten or replaced in silence. What
//! is done with series that lie elsewhere is judged where records are filtered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use prefold::ingest::gateway::{Gateway, GatewayOptions, Origin, Protocol};
use prefold::log::{EmbeddedLog, EmbeddedOptions, KafkaOptions, Log, ReadFrom};
use prefold::model::{Labels, PartitionBy, Sample, Timestamp};
use prefold::node::clock::SystemClock;
use prefold::wire::record::Record;
use prefold::wire::{remote_write_v1, snappy};

use super::cluster::shared;
use super::topics::{open, options, prefix};

fn by(names: &[&str]) -> PartitionBy {
    PartitionBy::new(names.iter().copied())
}

fn embedded(dir: &std::path::Path, partition_by: PartitionBy) -> Result<EmbeddedLog, prefold::log::OpenError> {
    let options = EmbeddedOptions::new(Arc::new(SystemClock));
    EmbeddedLog::open(dir, EmbeddedOptions { partition_by, ..options })
}

/// Writes series of two tenants through a gateway, and reads where they went: by tenant and group the partitions.
async fn places(log: Arc<dyn Log>) -> BTreeMap<(String, String), BTreeSet<u16>> {
    let gateway = Gateway::new(Arc::clone(&log), Arc::new(SystemClock), GatewayOptions::default());
    let series = |n: usize| {
        let group = if n.is_multiple_of(10) { String::new() } else { format!("g{}", n % 10) };
        let pairs = [("__name__", "m".to_owned()), ("g", group), ("n", n.to_string())];
        (Labels::from_pairs(pairs), vec![Sample { t: Timestamp(1_700_000_000_000), v: 1.0 }])
    };
    let body = snappy::compress(&remote_write_v1::encode(&(0..200).map(series).collect::<Vec<_>>()));
    // The second time all series are in the gateway's cache.
    for (tenant, _) in [("a", 1), ("b", 1), ("a", 2), ("b", 2)] {
        let origin = Origin { tenant: tenant.into(), sender: "s".into(), named: true };
        assert_eq!(gateway.write(&origin, Protocol::V1, &body, 1 << 20).await.unwrap().samples, 200);
    }
    let (mut reader, mut records, mut samples) = (log.reader(ReadFrom::Beginning).unwrap(), Vec::new(), 0);
    let mut places: BTreeMap<(String, String), BTreeSet<u16>> = BTreeMap::new();
    while samples < 800 {
        reader.read(&mut records, 1 << 20, Duration::from_secs(1)).unwrap();
        for record in records.drain(..).filter(|record| !record.is_tick()) {
            let decoded = Record::parse(&record.payload).unwrap();
            for series in decoded.series() {
                samples += series.samples().len();
                let group = series.labels().unwrap().get("g").to_owned();
                places.entry((decoded.tenant().to_owned(), group)).or_default().insert(record.partition.0);
            }
        }
    }
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_stay_whole_in_both_logs() {
    let folder = tempfile::tempdir().unwrap();
    let mut logs: Vec<Arc<dyn Log>> = vec![Arc::new(embedded(folder.path(), by(&["g"])).unwrap())];
    if let Some(cluster) = shared() {
        let options = KafkaOptions { partition_by: by(&["g"]), ..options(&cluster.brokers(), &prefix()) };
        logs.push(tokio::task::spawn_blocking(|| open(options).unwrap()).await.unwrap());
    }
    let mut seen = Vec::new();
    for log in logs {
        let places = places(log).await;
        assert_eq!(places.len(), 20, "ten groups of two tenants, one of them without the label");
        assert!(places.values().all(|partitions| partitions.len() == 1), "{places:?}");
        assert!(places.values().flatten().collect::<BTreeSet<_>>().len() > 1, "groups are spread: {places:?}");
        seen.push(places);
    }
    assert!(seen.windows(2).all(|two| two[0] == two[1]), "of as many partitions, both logs agree");
    let folder = tempfile::tempdir().unwrap();
    let hashed = places(Arc::new(embedded(folder.path(), by(&[])).unwrap())).await;
    assert!(hashed.values().any(|partitions| partitions.len() > 1), "without labels each series goes by itself");
}

#[test]
fn a_log_stays_partitioned_by_what_it_was_made_with() {
    let folder = tempfile::tempdir().unwrap();
    let opened = |names: &[&str]| embedded(folder.path(), by(names)).map(drop).map_err(|error| error.to_string());
    opened(&["job", "a"]).unwrap();
    opened(&["a", "job"]).unwrap();
    for (names, wanted) in [(&[][..], "[]"), (&["job"], "[job]")] {
        let error = opened(names).unwrap_err();
        let told = format!("partitioned by [a, job], but log.partition_by is {wanted}");
        assert!(error.contains(&told) && error.contains("another data_dir"), "{error}");
    }
    let Some(cluster) = shared() else { return };
    let usual = KafkaOptions { partition_by: by(&["job"]), ..options(&cluster.brokers(), &prefix()) };
    let known = open(usual.clone()).unwrap().incarnation();
    // Whoever has no results of it cannot know; whoever has some refuses to go on with others.
    let other = KafkaOptions { partition_by: by(&[]), ..usual.clone() };
    assert_ne!(open(other.clone()).unwrap().incarnation(), known);
    let error = open(KafkaOptions { known_incarnation: Some(known), ..other }).err().unwrap().to_string();
    assert!(error.contains("log.partition_by is []") && error.contains("log.kafka.topic_prefix"), "{error}");
    assert_eq!(open(KafkaOptions { known_incarnation: Some(known), ..usual }).unwrap().incarnation(), known);
}
