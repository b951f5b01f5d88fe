//! Configuration of the log, in Kafka above all: what is read, and the problems that texts have, each at its place.

use std::path::Path;

use prefold::node::config::{ByteSize, ImportFormatName, KafkaCompression, KafkaMechanism, Millis, read_config};

use super::bad_configs::check;

#[test]
fn every_key_of_a_log_in_kafka_is_read() {
    let text = r"
log:
  kafka:
    brokers: [a:1, '[::1]:2']
    topic_prefix: p
    partitions: 3
    replication: 2
    retention: 1d
    compression: lz4
    linger: 1ms
    batch_bytes: 64KiB
    queue_bytes_max: 1MiB
    delivery_timeout: 9s
    cluster_prefix: c
    partials_partitions: 5
    session_timeout: 6s
    results_retention: 400d
    replica: q-1
    tls: { ca_file: ca, certificate_file: c, key_file: k }
    sasl: { mechanism: scram-sha-512, username: u, password_env: P }
    import_topics:
      - { topic: a.b, format: remote-write }
      - { topic: c, format: json, tenant: t, sender: s }
";
    let config = read_config(Path::new("f"), text).unwrap();
    assert_eq!(config.log.retention_ms(), 86_400_000);
    let kafka = config.log.kafka.unwrap();
    assert_eq!((kafka.brokers, kafka.topic_prefix.as_str()), (vec!["a:1".into(), "[::1]:2".into()], "p"));
    assert_eq!((kafka.partitions, kafka.replication, kafka.compression), (3, Some(2), KafkaCompression::Lz4));
    assert_eq!((kafka.linger, kafka.delivery_timeout), (Millis(1), Millis(9000)));
    assert_eq!((kafka.batch_bytes, kafka.queue_bytes_max), (ByteSize(64 << 10), ByteSize(1 << 20)));
    assert_eq!((kafka.cluster_prefix.as_deref(), kafka.replica.as_deref()), (Some("c"), Some("q-1")));
    assert_eq!((kafka.partials_partitions, kafka.session_timeout), (5, Millis(6000)));
    assert_eq!(kafka.results_retention, Millis(400 * 86_400_000));
    let tls = kafka.tls.unwrap();
    let files = [tls.ca_file, tls.certificate_file, tls.key_file];
    assert_eq!(files, ["ca", "c", "k"].map(|file| Some(file.into())));
    let sasl = kafka.sasl.unwrap();
    assert_eq!((sasl.mechanism, sasl.username.as_str()), (KafkaMechanism::ScramSha512, "u"));
    assert_eq!((sasl.password_env.as_deref(), sasl.password_file), (Some("P"), None));
    let topics: Vec<_> =
        kafka.import_topics.iter().map(|one| (&*one.topic, one.format, &*one.tenant, &*one.sender)).collect();
    assert_eq!(topics, [("a.b", ImportFormatName::RemoteWrite, "", ""), ("c", ImportFormatName::Json, "t", "s")]);
}

#[test]
fn problems_of_the_labels_of_a_log_name_their_place() {
    check(
        "log: { partition_by: [job, a-b, pod] }\ningest: { drop_labels: [pod] }",
        &[
            "1:28: log.partition_by[1]: \"a-b\" is not a label name",
            "1:33: log.partition_by[2]: \"pod\" is dropped by ingest.drop_labels: no series has it; leave it out of one",
        ],
    );
    check("log: { partition_by: job }", &["1:22: log.partition_by: must be a list, not a string"]);
    let many: Vec<String> = (0..17).map(|n| format!("l{n}")).collect();
    check(
        &format!("log: {{ partition_by: [{}] }}", many.join(", ")),
        &["1:22: log.partition_by: names 17 labels, the limit is 16; name those"],
    );
}

#[test]
fn problems_of_topics_to_import_name_their_place() {
    let with =
        |topics: &str| format!("log:\n  kafka:\n    brokers: [a:1]\n    topic_prefix: p\n    import_topics:\n{topics}");
    check(&with("    - { topic: p.x, format: json }\n    - { topic: p, format: json }"), &[]);
    check(
        &with(
            "    - { topic: a/b, format: json }\n    - { topic: p.samples, format: json }\n    - { topic: .., format: json }",
        ),
        &[
            "6:16: log.kafka.import_topics[0].topic: \"a/b\" cannot be a topic's name; use letters",
            "7:16: log.kafka.import_topics[1].topic: \"p.samples\" is Prefold's own topic; name a topic that others",
            "8:16: log.kafka.import_topics[2].topic: \"..\" cannot be a topic's name",
        ],
    );
    check(
        &with(
            "    - { topic: c.positions, format: json }\n    - { topic: p.positions, format: json }\n    - { topic: p.samples, format: json }\n    cluster_prefix: c",
        ),
        &[
            "6:16: log.kafka.import_topics[0].topic: \"c.positions\" is Prefold's own topic",
            "8:16: log.kafka.import_topics[2].topic: \"p.samples\" is Prefold's own topic",
        ],
    );
    check(
        &with(
            "    - { topic: a, format: json }\n    - { topic: a, format: csv, tenant: é }\n    - { topic: b }\n    - { x: 1 }",
        ),
        &[
            "7:16: log.kafka.import_topics[1].topic: \"a\" is there twice; name each topic once",
            "7:27: log.kafka.import_topics[1].format: must be one of remote-write, json, not \"csv\"",
            "7:40: log.kafka.import_topics[1].tenant: must be printable ASCII of at most 256 bytes; use letters",
            "8:7: log.kafka.import_topics[2].format: is missing",
            "9:7: log.kafka.import_topics[3].format: is missing",
            "9:7: log.kafka.import_topics[3].topic: is missing",
            "9:9: log.kafka.import_topics[3].x: is not a known key",
        ],
    );
}

#[test]
fn problems_of_a_log_in_kafka_name_their_place() {
    check(
        "log:\n  kafka: { brokers: [a] }",
        &["2:22: log.kafka.brokers[0]: \"a\" is not the address of a broker; write it like 127.0.0.1:9092"],
    );
    check(
        "log:\n  embedded: {}\n  log_time: samples\n  kafka:\n    brokers: [a:1]\n    topic_prefix: a/b\n    linger: 2s",
        &[
            "2:13: log.embedded: there is one log: log.embedded or log.kafka; leave one of them out",
            "3:13: log.log_time: in Kafka the brokers give the time; leave it out, or use log.embedded",
            "6:19: log.kafka.topic_prefix: \"a/b\" cannot begin a topic's name; use letters",
            "7:13: log.kafka.linger: must be between 0s and 1s, not 2s",
        ],
    );
    check(
        "log: { kafka: { brokers: [], tls: { key_file: k }, sasl: { mechanism: plain, username: u } } }",
        &[
            "1:26: log.kafka.brokers: names no broker; write it like [127.0.0.1:9092]",
            "1:35: log.kafka.tls: certificate_file and key_file belong together; set both or neither",
            "1:58: log.kafka.sasl: the password is in a file or in an environment variable; set password_file",
        ],
    );
    check(
        "log: { kafka: { brokers: [a:1], compression: gzip, sasl: { mechanism: gssapi, username: u, password: p } } }",
        &[
            "1:46: log.kafka.compression: must be one of none, lz4, zstd, not \"gzip\"",
            "1:58: log.kafka.sasl: the password is in a file or in an environment variable",
            "1:71: log.kafka.sasl.mechanism: must be one of plain, scram-sha-256, scram-sha-512, not \"gssapi\"",
            "1:92: log.kafka.sasl.password: is not a known key",
        ],
    );
}

#[test]
fn problems_of_a_cluster_in_kafka_name_their_place() {
    check(
        "log:\n  kafka:\n    brokers: [a:1]\n    cluster_prefix: ''\n    replica: q 1\n    partials_partitions: 0\n    \
         session_timeout: 1h\n    results_retention: 1s",
        &[
            "4:21: log.kafka.cluster_prefix: \"\" cannot begin a topic's name; use letters",
            "5:14: log.kafka.replica: \"q 1\" cannot be in a consumer group's name; use letters",
            "6:26: log.kafka.partials_partitions: must be between 1 and 1024, not 0",
            "7:22: log.kafka.session_timeout: must be between 1s and 30m, not 1h",
            "8:24: log.kafka.results_retention: must be between 10m and 10y, not 1s",
        ],
    );
}
