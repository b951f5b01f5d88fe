//! Configuration texts and the problems they have, each at its place.

use std::path::Path;

use prefold::node::config::{
    ByteSize, Clients, Edge, HeaderSource, HeaderText, ImportFormatName, KafkaCompression, KafkaMechanism, LogTimeSource,
    Millis, NewSenders, Trust, UpstreamKind, check_config, read_config,
};
use prefold::sink::{From, Protocol, Uncovered};

use super::check_problems;

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let checked = check_config(Path::new("f"), text);
    check_problems(&checked.problems, expected, text);
    assert_eq!(checked.config.is_none(), !expected.is_empty());
}

#[test]
fn no_configuration_is_one() {
    for text in ["", "# nothing\n", "{}"] {
        let config = read_config(Path::new("f"), text).unwrap();
        assert_eq!(config.listen, "127.0.0.1:9480");
        assert_eq!((config.data_dir, config.jobs), ("./prefold-data".into(), "./jobs".into()));
        assert!(config.upstream.is_none() && config.scrape_configs.is_none() && !config.web.enable_lifecycle);
        let log = config.log.embedded;
        assert_eq!((log.partitions, log.retention, log.retention_bytes), (4, Millis(21_600_000), ByteSize(8 << 30)));
        assert_eq!((config.ingest.body_bytes_max, config.limits.query_steps_max), (ByteSize(32 << 20), 11_000));
    }
}

#[test]
fn every_key_is_read() {
    let text = r"
listen: 0.0.0.0:80
data_dir: /d
jobs: /j
upstream:
  url: https://u:9090/prometheus/
  timeout: 10s
  kind: victoriametrics
  clients: trusted
  edge: upstream
  trust: always
  headers: { Authorization: Bearer x }
log:
  embedded: { partitions: 8, retention: 1d, retention_bytes: 1TiB }
  partition_by: [job, instance]
  log_time: samples
ingest:
  sender_header: X-S
  sender_labels: [cluster]
  new_senders: whole
  drop_labels: [pod_uid]
  body_bytes_max: 1048576
limits:
  labels_per_series_max: 1
  label_name_bytes_max: 2
  label_value_bytes_max: 3
  senders_max: 11
  bodies_bytes_max: 1GiB
  query_samples_max: 4
  query_series_max: 5
  query_steps_max: 6
  query_concurrency_max: 7
  query_timeout: 8s
  edge_values_max: 10
  http_connections_max: 9
  header_read_timeout: 1s
web: { enable_lifecycle: true }
";
    let config = read_config(Path::new("f"), text).unwrap();
    let upstream = config.upstream.unwrap();
    assert_eq!((upstream.url.as_str(), upstream.timeout), ("https://u:9090/prometheus", Millis(10_000)));
    assert_eq!((upstream.kind, upstream.clients), (UpstreamKind::VictoriaMetrics, Clients::Trusted));
    assert_eq!((upstream.edge, upstream.trust), (Edge::Upstream, Trust::Always));
    assert_eq!(upstream.headers["Authorization"].reveal(), "Bearer x");
    assert!(!format!("{:?}", upstream.headers).contains("Bearer"));
    assert_eq!((config.log.embedded.retention_bytes, config.log.log_time), (ByteSize(1 << 40), LogTimeSource::Samples));
    assert_eq!((config.ingest.new_senders, config.ingest.body_bytes_max), (NewSenders::Whole, ByteSize(1 << 20)));
    assert_eq!((config.ingest.sender_labels, config.ingest.drop_labels), (vec!["cluster".into()], vec!["pod_uid".into()]));
    let l = config.limits;
    assert_eq!(l.bodies_bytes_max, ByteSize(1 << 30));
    assert_eq!([l.labels_per_series_max, l.label_name_bytes_max, l.label_value_bytes_max], [1, 2, 3]);
    assert_eq!([l.query_samples_max, l.query_series_max, l.query_steps_max, l.query_concurrency_max], [4, 5, 6, 7]);
    assert_eq!((l.query_timeout, l.http_connections_max, l.header_read_timeout), (Millis(8000), 9, Millis(1000)));
    assert!(config.web.enable_lifecycle && l.edge_values_max == 10);
}

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

#[test]
fn every_key_of_a_sink_is_read() {
    let text = r"
sinks:
- { name: plain, url: 'http://127.0.0.1:8428/api/v1/write' }
- name: all-of-it_2
  url: https://u:p@m/api/v1/push
  protocol: remote-write-2
  headers: { A: secret, B: { file: /run/token }, C: { env: TOKEN } }
  timeout: 5s
  from: all
  uncovered: send
  samples_per_request_max: 10000
  bytes_per_request_max: 64KiB
";
    let sinks = read_config(Path::new("f"), text).unwrap().sinks;
    let plain = &sinks[0];
    assert_eq!((plain.protocol, plain.from, plain.uncovered), (Protocol::V1, From::Now, Uncovered::Skip));
    let bounds = (plain.timeout, plain.samples_per_request_max, plain.bytes_per_request_max);
    assert_eq!((bounds, plain.headers.len()), ((Millis(30_000), 2000, ByteSize(4 << 20)), 0));
    let all = &sinks[1];
    assert_eq!((all.name.as_str(), all.url.as_str()), ("all-of-it_2", "https://u:p@m/api/v1/push"));
    assert_eq!((all.protocol, all.from, all.uncovered), (Protocol::V2, From::All, Uncovered::Send));
    assert_eq!((all.timeout, all.samples_per_request_max), (Millis(5000), 10_000));
    assert_eq!(all.bytes_per_request_max, ByteSize(64 << 10));
    assert!(matches!(&all.headers["A"], HeaderText::Value(value) if value.reveal() == "secret"));
    assert!(matches!(&all.headers["B"], HeaderText::Source(HeaderSource { file: Some(_), env: None })));
    assert!(matches!(&all.headers["C"], HeaderText::Source(HeaderSource { file: None, env: Some(_) })));
    assert!(!format!("{sinks:?}").contains("secret"));
}

#[test]
fn problems_of_a_sink_name_their_place() {
    check("sinks:\n- name: vm", &["2:3: sinks[0].url: is missing; add it: Where its remote write is"]);
    check("sinks:\n- url: http://a", &["2:3: sinks[0].name: is missing; add it: What it is called"]);
    check(
        "sinks:\n- { name: vm, url: http://a }\n- { name: vm, url: b:1 }\n- { name: a/b, url: http://a, form: all }",
        &[
            "3:11: sinks[1].name: there is a sink \"vm\" already; give it another name",
            "3:20: sinks[1].url: \"b:1\" is not an http:// or https:// address",
            "4:11: sinks[2].name: \"a/b\" cannot name a sink; use letters, digits, '-' and '_', at most 64",
            "4:31: sinks[2].form: is not a known key; did you mean `from`?",
        ],
    );
    check(
        "sinks:\n- name: vm\n  url: http://a\n  protocol: remote-write-3\n  from: then\n  uncovered: maybe\n  timeout: 1ms\n  \
         samples_per_request_max: 0\n  bytes_per_request_max: 1KiB",
        &[
            "4:13: sinks[0].protocol: must be one of remote-write-1, remote-write-2, not \"remote-write-3\"",
            "5:9: sinks[0].from: must be one of now, all, not \"then\"",
            "6:14: sinks[0].uncovered: must be one of skip, send, not \"maybe\"",
            "7:12: sinks[0].timeout: must be between 100ms and 10m, not 1ms",
            "8:28: sinks[0].samples_per_request_max: must be between 1 and 10000, not 0",
            "9:26: sinks[0].bytes_per_request_max: must be at least 64KiB, not 1KiB",
        ],
    );
    check(
        "sinks:\n- { name: vm, url: http://a, headers: { 'a b': x, C: {}, D: { file: a, env: b }, E: 1 } }",
        &[
            "2:41: sinks[0].headers: \"a b\" is not the name of a header",
            "2:54: sinks[0].headers.C: a header's value is in a file or in an environment variable; set file or env",
            "2:61: sinks[0].headers.D: a header's value is in a file or in an environment variable; set file or env",
            "2:85: sinks[0].headers.E: must be a string or an object, not a number",
        ],
    );
}

#[test]
fn problems_name_their_place() {
    check("listen: [", &["1:9: not YAML: unclosed bracket"]);
    check(
        "listne: a:1\nupstream:\n  timeout: 10",
        &[
            "1:1: listne: is not a known key; did you mean `listen`?",
            "3:3: upstream.url: is missing; add it: Its address",
            "3:12: upstream.timeout: must be a string, not a number; write it like \"30s\"",
        ],
    );
    check("listen: 9480", &["1:9: listen: must be a string, not a number; write it like \"127.0.0.1:9480\""]);
    check("listen: :9480", &["1:9: listen: \":9480\" names no host; write it like"]);
    check(
        "web: { enable_admin_api: false }",
        &["1:8: web.enable_admin_api: this version does not support `enable_admin_api` yet; leave it out"],
    );
    check(
        "upstream: { url: http://a, clients: checked }",
        &["1:37: upstream.clients: this version does not support \"checked\" yet; use forward, or trusted"],
    );
    check(
        "upstream: { url: a:9090, kind: promethues, edge: none }",
        &[
            "1:18: upstream.url: \"a:9090\" is not an http:// or https:// address",
            "1:32: upstream.kind: must be one of prometheus, victoriametrics, thanos, mimir, m3, auto, \
             not \"promethues\"; did you mean prometheus?",
            "1:50: upstream.edge: must be one of omit, upstream, not \"none\"",
        ],
    );
    check(
        "log: { embedded: { partitions: 0, retention: 1m, retention_bytes: 8GB } }",
        &[
            "1:32: log.embedded.partitions: must be between 1 and 1024, not 0",
            "1:46: log.embedded.retention: must be between 10m and 1y, not 1m",
            "1:67: log.embedded.retention_bytes: not a valid size: \"8GB\"; write it like",
        ],
    );
    check(
        "ingest:\n  body_bytes_max: 1KiB\n  drop_labels: [ok, a-b]\n  sender_header: 'a b'",
        &[
            "2:19: ingest.body_bytes_max: must be at least 64KiB, not 1KiB; make it 64KiB or more",
            "3:21: ingest.drop_labels[1]: \"a-b\" is not a label name",
            "4:18: ingest.sender_header: \"a b\" is not the name of a header; use letters, digits and hyphens",
        ],
    );
    check("ingest: { body_bytes_max: 65MiB }", &["1:27: ingest.body_bytes_max: must be at most 64MiB, not 65MiB"]);
    check(
        "ingest: { body_bytes_max: 64MiB }\nlimits: { bodies_bytes_max: 127MiB }",
        &["2:29: limits.bodies_bytes_max: must be at least twice ingest.body_bytes_max (64MiB), not 127MiB"],
    );
    check(
        "limits: { query_steps_max: 0, query_timeout: 1ms }\nweb: { enable_lifecycle: yes }",
        &[
            "1:28: limits.query_steps_max: must be at least 1, not 0",
            "1:46: limits.query_timeout: must be between 100ms and 1h, not 1ms",
            "2:26: web.enable_lifecycle: must be true or false, not a string",
        ],
    );
    check(
        "upstream: { url: http://a, headers: { 'a b': x, c: \"d\\ne\" } }",
        &[
            "1:39: upstream.headers: \"a b\" is not the name of a header",
            "1:52: upstream.headers.c: a header's value has only printable",
        ],
    );
}

#[test]
fn scrape_configs_are_checked_by_their_own_type() {
    let text = "scrape_configs:\n- job_name: node\n  scrape_interval: 15s\n  static_configs: [{ targets: ['a:9100'] }]\n";
    let configs = read_config(Path::new("f"), text).unwrap().scrape_configs.unwrap();
    assert_eq!((configs.len(), configs[0].interval_ms), (1, 15_000));
    let wrong = |key: &str| format!("{text}- job_name: b\n  {key}\n");
    check(
        &wrong("relabel_configs: []"),
        &["6:3: scrape_configs[1].relabel_configs: relabel_configs is not supported yet: let Prometheus"],
    );
    check(&wrong("intervall: 5s"), &["6:3: scrape_configs[1].intervall: unknown field `intervall`"]);
    check(&wrong("scrape_interval: 5"), &["6:20: scrape_configs[1]: not a valid duration: \"5\""]);
    check(
        &wrong("scrape_interval: 15s").replace("job_name: b", "job_name: node"),
        &["2:3: scrape_configs: two scrape configs have the job_name \"node\"; rename one"],
    );
    check("scrape_configs: {}", &["1:17: scrape_configs: must be a list, not an object"]);
}
