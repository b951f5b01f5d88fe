//! Configuration texts and the problems they have, each at its place.

use std::path::Path;

use prefold::node::config::{
    ByteSize, Clients, Edge, HeaderSource, HeaderText, LogTimeSource, Millis, NewSenders, Trust, UpstreamKind, check_config,
    read_config,
};
use prefold::sink::{From, Protocol, Uncovered};

use super::check_problems;

#[track_caller]
pub fn check(text: &str, expected: &[&str]) {
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
