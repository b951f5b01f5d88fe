//! What topics hold: bytes on the broker's disk, and of the payloads before they were compressed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};

/// Bytes of a topic's segments.
pub fn disk_bytes(data: &Path, topic: &str) -> u64 {
    let names = fs::read_dir(data).expect("the broker's folder").flatten();
    let ours = names.filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.rsplit_once('-').is_some_and(|(of, partition)| of == topic && partition.parse::<u16>().is_ok())
    });
    let segments = ours.flat_map(|folder| fs::read_dir(folder.path()).expect("a partition's folder").flatten());
    let logs = segments.filter(|file| file.path().extension().is_some_and(|extension| extension == "log"));
    logs.map(|file| file.metadata().map_or(0, |found| found.len())).sum()
}

/// Records of a topic, and bytes of their payloads.
pub fn payloads(brokers: &str, topic: &str, partitions: usize) -> (usize, usize) {
    const WAIT: Duration = Duration::from_secs(60);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "bench").set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "false");
    let consumer: BaseConsumer = config.create().expect("a client");
    let mut places = TopicPartitionList::new();
    let mut ends = Vec::new();
    for partition in 0..partitions as i32 {
        let (first, end) = consumer.fetch_watermarks(topic, partition, WAIT).expect("the broker answers");
        places.add_partition_offset(topic, partition, Offset::Beginning).expect("a place");
        ends.push(if first < end { end } else { 0 });
    }
    consumer.assign(&places).expect("places of the topic");
    let (mut records, mut bytes) = (0, 0);
    let mut reached = vec![0; partitions];
    while reached.iter().zip(&ends).any(|(reached, end)| reached < end) {
        let message = consumer.poll(WAIT).expect("more is there").expect("it can be read");
        let partition = message.partition() as usize;
        if message.offset() < ends[partition] {
            records += 1;
            bytes += message.payload_len();
        }
        reached[partition] = message.offset() + 1;
    }
    (records, bytes)
}
