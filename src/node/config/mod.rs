//! The configuration: what `prefold run` can be told in a YAML file.
//!
//! Reading is pure: text in, values or problems with line, column and remedy out. Every key has a default, so that no file
//! is needed; every key that stands here is read by some code, and every other key is an error.

mod kafka;
mod limits;
mod overrides;
mod read;
mod sinks;
pub mod sources;
mod value;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

pub(in crate::node) use kafka::is_name;
pub use kafka::{
    ImportFormatName, ImportTopicConfig, KafkaCompression, KafkaLogConfig, KafkaMechanism, KafkaSasl, KafkaTls,
};
pub use limits::LimitsConfig;
pub use overrides::Overrides;
pub use read::{CONFIG_BYTES_MAX, CheckedConfig, check_config, read_config, schema};
pub use sinks::{HeaderSource, HeaderText, SinkConfig};
pub use value::{ByteSize, Millis, Secret};

use crate::ingest::scrape::config::ScrapeConfig;

/// Everything that can be configured.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Prefold configuration")]
pub struct Config {
    /// Where to listen for HTTP: host and port. Default 127.0.0.1:9480.
    #[schemars(extend("format" = "listen-address"), example = "127.0.0.1:9480")]
    pub listen: String,
    /// Where the log and the store live. Default ./prefold-data.
    pub data_dir: PathBuf,
    /// The directory of job files. Default ./jobs.
    pub jobs: PathBuf,
    /// The database that answers what views do not. Default none.
    pub upstream: Option<UpstreamConfig>,
    /// The log of samples.
    pub log: LogConfig,
    /// What is written to us.
    pub ingest: IngestConfig,
    /// What we scrape, in Prometheus' own keys; without it, only ourselves.
    #[schemars(with = "Option<Vec<serde_json::Value>>")]
    pub scrape_configs: Option<Vec<ScrapeConfig>>,
    /// Where results are also sent, under the record names of their rules. Default nowhere.
    pub sinks: Vec<SinkConfig>,
    /// Bounds, each with its unit in its name.
    pub limits: LimitsConfig,
    /// The HTTP interface.
    pub web: WebConfig,
}

/// What holds without a file.
impl Default for Config {
    fn default() -> Config {
        Config {
            listen: "127.0.0.1:9480".to_owned(),
            data_dir: PathBuf::from("./prefold-data"),
            jobs: PathBuf::from("./jobs"),
            upstream: None,
            log: LogConfig::default(),
            ingest: IngestConfig::default(),
            scrape_configs: None,
            sinks: Vec::new(),
            limits: LimitsConfig::default(),
            web: WebConfig::default(),
        }
    }
}

/// The database behind us.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Its address, with the path before /api/v1 if there is one.
    #[schemars(extend("format" = "http-url"), example = "http://127.0.0.1:9090")]
    pub url: String,
    /// How long one request to it may take. Default 2m.
    #[serde(default = "UpstreamConfig::default_timeout")]
    pub timeout: Millis,
    /// What it is, so that its differences from Prometheus 3 are told; auto asks its buildinfo. Default auto.
    #[serde(default)]
    pub kind: UpstreamKind,
    /// What is done with requests that carry credentials. Default forward.
    #[serde(default)]
    pub clients: Clients,
    /// What is done about steps that are not final yet. Default omit.
    #[serde(default)]
    pub edge: Edge,
    /// When a view is believed. Default compare.
    #[serde(default)]
    pub trust: Trust,
    /// Headers sent with every request to it.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
}

impl UpstreamConfig {
    /// An upstream of which only the address is given.
    pub fn new(url: impl Into<String>) -> UpstreamConfig {
        UpstreamConfig {
            url: url.into(),
            timeout: UpstreamConfig::default_timeout(),
            kind: UpstreamKind::default(),
            clients: Clients::default(),
            edge: Edge::default(),
            trust: Trust::default(),
            headers: BTreeMap::new(),
        }
    }

    fn default_timeout() -> Millis {
        Millis(120_000)
    }
}

/// What an upstream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamKind {
    /// Found out from its buildinfo.
    #[default]
    Auto,
    Prometheus,
    VictoriaMetrics,
    Thanos,
    Mimir,
    M3,
}

/// What is done with requests that carry credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Clients {
    /// Upstream decides: they are forwarded untouched.
    #[default]
    Forward,
    /// Whoever reaches us may read everything: they are answered like others.
    Trusted,
}

/// What is done about steps of a range query that are not final yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Edge {
    /// They are left out.
    #[default]
    Omit,
    /// Upstream is asked for them, once per view and grid point.
    Upstream,
}

/// When a view is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// Once a comparison with upstream was equal.
    #[default]
    Compare,
    /// From its first covered grid point on.
    Always,
}

/// The log of samples.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// A log in the data directory.
    pub embedded: EmbeddedLogConfig,
    /// A log in Kafka, in place of the one in the data directory. Default none.
    pub kafka: Option<KafkaLogConfig>,
    /// The labels whose values decide in which partition a series lies; fixed when the log is made. Default none: each
    /// series for itself.
    pub partition_by: Vec<String>,
    /// What time a record has. Default append.
    pub log_time: LogTimeSource,
}

impl LogConfig {
    /// How long samples are kept.
    pub fn retention_ms(&self) -> i64 {
        self.kafka.as_ref().map_or(self.embedded.retention.0, |kafka| kafka.retention.0)
    }

    /// Topics that others write.
    pub fn import_topics(&self) -> &[ImportTopicConfig] {
        self.kafka.as_ref().map_or(&[], |kafka| &kafka.import_topics)
    }

    /// Whether the log is in Kafka.
    pub fn is_in_kafka(&self) -> bool {
        self.kafka.is_some()
    }

    /// How long results are kept in Kafka, where the log is there.
    pub fn results_retention(&self) -> Option<Millis> {
        self.kafka.as_ref().map(|kafka| kafka.results_retention)
    }
}

/// A log in the data directory.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedLogConfig {
    /// How many partitions the log is made with; another number is refused afterwards. Default 4.
    #[schemars(range(min = 1, max = 1024))]
    pub partitions: u16,
    /// How long samples are kept. Default 6h.
    pub retention: Millis,
    /// How many bytes of samples are kept at most. Default 8GiB.
    pub retention_bytes: ByteSize,
}

impl Default for EmbeddedLogConfig {
    fn default() -> EmbeddedLogConfig {
        EmbeddedLogConfig { partitions: 4, retention: Millis(6 * 3_600_000), retention_bytes: ByteSize(8 << 30) }
    }
}

/// What time a record of the log has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogTimeSource {
    /// When it was appended, by the clock.
    #[default]
    Append,
    /// The newest sample so far: for one sender that writes the past in time order, such as an import.
    Samples,
}

/// What is written to us.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IngestConfig {
    /// The header that names a sender. Default X-Prefold-Sender.
    #[schemars(extend("format" = "header-name"))]
    pub sender_header: String,
    /// The labels whose values name a sender when the header is absent. Default none.
    pub sender_labels: Vec<String>,
    /// What is done when a sender is first seen. Default uncover.
    pub new_senders: NewSenders,
    /// Labels that are dropped from every series, before anything else sees it. Default none.
    pub drop_labels: Vec<String>,
    /// The largest body of a write, unpacked. Default 32MiB.
    pub body_bytes_max: ByteSize,
}

impl Default for IngestConfig {
    fn default() -> IngestConfig {
        IngestConfig {
            sender_header: "X-Prefold-Sender".to_owned(),
            sender_labels: Vec::new(),
            new_senders: NewSenders::default(),
            drop_labels: Vec::new(),
            body_bytes_max: ByteSize(32 << 20),
        }
    }
}

/// What is done when a sender is first seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NewSenders {
    /// The views it feeds are uncovered for one window: what it saw before, upstream may have.
    #[default]
    Uncover,
    /// It has no past anywhere: nothing is uncovered.
    Whole,
}

/// The HTTP interface.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebConfig {
    /// Whether /-/reload and /-/quit are there. Default false.
    pub enable_lifecycle: bool,
}
