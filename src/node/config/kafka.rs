//! The log in Kafka, as it is configured: where the brokers are, what is asked of them, and who we are to them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{ByteSize, Millis, broker_problem};
use crate::ingest::gateway::NAME_BYTES_MAX;
use crate::model::tenant_of_header;
use crate::plan::spec::Report;
use crate::plan::spec::tree::{Node, Value, item, member};

/// More topics than this are not imported by one configuration.
const IMPORT_TOPICS_MAX: usize = 100;

/// What the names of a cluster's own topics end in.
const CLUSTER_TOPICS: [&str; 5] = ["partials", "results", "jobs", "positions", "senders"];

/// A log in Kafka.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaLogConfig {
    /// Brokers to ask for all others, each host:port.
    pub brokers: Vec<String>,
    /// What the name of the topic of samples begins with. Default prefold.
    #[serde(default = "KafkaLogConfig::default_prefix")]
    pub topic_prefix: String,
    /// How many partitions a new topic gets; an existing one keeps its own. Default 8.
    #[serde(default = "KafkaLogConfig::default_partitions")]
    #[schemars(range(min = 1, max = 1024))]
    pub partitions: u16,
    /// How many brokers keep each partition of a new topic. Default what the brokers give.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    pub replication: Option<u16>,
    /// How long a new topic keeps samples; an existing one must keep them as long. Default 6h.
    #[serde(default = "KafkaLogConfig::default_retention")]
    pub retention: Millis,
    /// How batches are compressed. Default zstd.
    #[serde(default)]
    pub compression: KafkaCompression,
    /// How long a batch waits for more records. Default 5ms.
    #[serde(default = "KafkaLogConfig::default_linger")]
    pub linger: Millis,
    /// The most bytes of a batch, before compression. Default 1MiB.
    #[serde(default = "KafkaLogConfig::default_batch")]
    pub batch_bytes: ByteSize,
    /// Bytes that may wait for the brokers; beyond it senders are told to come again. Default 256MiB.
    #[serde(default = "KafkaLogConfig::default_queue")]
    pub queue_bytes_max: ByteSize,
    /// How long the brokers may take to acknowledge; then the sender is told to come again. Default 30s.
    #[serde(default = "KafkaLogConfig::default_delivery")]
    pub delivery_timeout: Millis,
    /// What the names of a cluster's own topics and consumer groups begin with: two clusters on one topic of samples differ
    /// in it. Default topic_prefix.
    #[serde(default)]
    pub cluster_prefix: Option<String>,
    /// How many partitions a new topic of partial results gets. Default 8.
    #[serde(default = "KafkaLogConfig::default_partitions")]
    #[schemars(range(min = 1, max = 1024))]
    pub partials_partitions: u16,
    /// How long a worker may be silent before the others take its partitions over. Default 10s.
    #[serde(default = "KafkaLogConfig::default_session")]
    pub session_timeout: Millis,
    /// How long the topic of results keeps them, so that a new query replica finds them; no job may keep its results longer.
    /// Default 30d.
    #[serde(default = "KafkaLogConfig::default_results_retention")]
    pub results_retention: Millis,
    /// The name of a query replica, which stays the same over restarts. Default the name of the host.
    #[serde(default)]
    pub replica: Option<String>,
    /// Encryption. Default none; `{}` trusts the system's authorities.
    #[serde(default)]
    pub tls: Option<KafkaTls>,
    /// Who we are to the brokers. Default nobody.
    #[serde(default)]
    pub sasl: Option<KafkaSasl>,
    /// Topics that others write, whose samples are brought into the log. Default none.
    #[serde(default)]
    pub import_topics: Vec<ImportTopicConfig>,
}

/// A topic that others write.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportTopicConfig {
    /// Its name.
    pub topic: String,
    /// What its records are.
    pub format: ImportFormatName,
    /// The tenant of its samples. Default the one of the empty name.
    #[serde(default)]
    pub tenant: String,
    /// The sender of its samples. Default whom ingest.sender_labels name, else import:TOPIC.
    #[serde(default)]
    pub sender: String,
}

/// What the records of a topic are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ImportFormatName {
    /// Bodies of remote write 1.0 or 2.0, with snappy or without.
    #[serde(rename = "remote-write")]
    RemoteWrite,
    /// A sample each, as prometheus-kafka-adapter writes it.
    #[serde(rename = "json")]
    Json,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KafkaCompression {
    None,
    Lz4,
    #[default]
    Zstd,
}

/// Encryption; files are PEM.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaTls {
    /// Who may have signed the brokers' certificates. Default the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, where brokers ask for one. Default none.
    pub certificate_file: Option<PathBuf>,
    /// The key of our certificate. Default none.
    pub key_file: Option<PathBuf>,
}

/// Name and password.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSasl {
    /// How the password is proved.
    pub mechanism: KafkaMechanism,
    /// Our name.
    pub username: String,
    /// The file that holds the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The environment variable that holds the password.
    #[serde(default)]
    pub password_env: Option<String>,
}

/// How a password is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum KafkaMechanism {
    #[serde(rename = "plain")]
    Plain,
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl KafkaLogConfig {
    /// A log of which only the brokers are given.
    pub fn new(brokers: Vec<String>) -> KafkaLogConfig {
        KafkaLogConfig {
            brokers,
            topic_prefix: KafkaLogConfig::default_prefix(),
            partitions: KafkaLogConfig::default_partitions(),
            replication: None,
            retention: KafkaLogConfig::default_retention(),
            compression: KafkaCompression::default(),
            linger: KafkaLogConfig::default_linger(),
            batch_bytes: KafkaLogConfig::default_batch(),
            queue_bytes_max: KafkaLogConfig::default_queue(),
            delivery_timeout: KafkaLogConfig::default_delivery(),
            cluster_prefix: None,
            partials_partitions: KafkaLogConfig::default_partitions(),
            session_timeout: KafkaLogConfig::default_session(),
            results_retention: KafkaLogConfig::default_results_retention(),
            replica: None,
            tls: None,
            sasl: None,
            import_topics: Vec::new(),
        }
    }

    fn default_prefix() -> String {
        "prefold".to_owned()
    }

    fn default_partitions() -> u16 {
        8
    }

    fn default_retention() -> Millis {
        Millis(6 * 3_600_000)
    }

    fn default_linger() -> Millis {
        Millis(5)
    }

    fn default_batch() -> ByteSize {
        ByteSize(1 << 20)
    }

    fn default_queue() -> ByteSize {
        ByteSize(256 << 20)
    }

    fn default_delivery() -> Millis {
        Millis(30_000)
    }

    fn default_session() -> Millis {
        Millis(10_000)
    }

    fn default_results_retention() -> Millis {
        Millis(30 * 86_400_000)
    }
}

/// Checks of `log` that the schema has no words for.
pub(super) fn meaning(log: &Node, report: &mut Report) {
    let Some(kafka) = log.get("kafka") else { return };
    if let Some(embedded) = log.get("embedded") {
        report.error("log.embedded", embedded.place, "there is one log: log.embedded or log.kafka", "leave one of them out");
    }
    if let Some(Node { value: Value::Text(text), place }) = log.get("log_time")
        && text == "samples"
    {
        report.error("log.log_time", *place, "in Kafka the brokers give the time", "leave it out, or use log.embedded");
    }
    let brokers = kafka.get("brokers").map_or(&[][..], Node::items);
    if let Some(node) = kafka.get("brokers").filter(|_| brokers.is_empty()) {
        report.error("log.kafka.brokers", node.place, "names no broker", "write it like [127.0.0.1:9092]");
    }
    for (index, node) in brokers.iter().enumerate() {
        if let Value::Text(text) = &node.value
            && let Some((message, remedy)) = broker_problem(text)
        {
            report.error(item("log.kafka.brokers", index), node.place, message, remedy);
        }
    }
    for (key, problem) in [
        ("topic_prefix", "cannot begin a topic's name"),
        ("cluster_prefix", "cannot begin a topic's name"),
        ("replica", "cannot be in a consumer group's name"),
    ] {
        if let Some(Node { value: Value::Text(text), place }) = kafka.get(key)
            && !is_name(text)
        {
            let remedy = "use letters, digits, '.', '_' and '-', at most 200 of them";
            report.error(member("log.kafka", key), *place, format!("{text:?} {problem}"), remedy);
        }
    }
    if let Some(tls) = kafka.get("tls")
        && tls.get("certificate_file").is_some() != tls.get("key_file").is_some()
    {
        report.error("log.kafka.tls", tls.place, "certificate_file and key_file belong together", "set both or neither");
    }
    if let Some(sasl) = kafka.get("sasl")
        && sasl.get("password_file").is_some() == sasl.get("password_env").is_some()
    {
        let message = "the password is in a file or in an environment variable";
        report.error("log.kafka.sasl", sasl.place, message, "set password_file or password_env, one of them");
    }
    if let Some(list) = kafka.get("import_topics") {
        import_topics(list, &own_topics(kafka), report);
    }
}

/// What our topics are called.
fn own_topics(kafka: &Node) -> Vec<String> {
    let text = |key: &str| match kafka.get(key) {
        Some(Node { value: Value::Text(text), .. }) => Some(text.clone()),
        _ => None,
    };
    let prefix = text("topic_prefix").unwrap_or_else(KafkaLogConfig::default_prefix);
    let cluster = text("cluster_prefix").unwrap_or_else(|| prefix.clone());
    let of_cluster = CLUSTER_TOPICS.map(|topic| format!("{cluster}.{topic}"));
    [format!("{prefix}.samples")].into_iter().chain(of_cluster).collect()
}

/// Topics have names that can be, are no topics of ours, and are each there once; tenants and senders are such as a request
/// could name.
fn import_topics(list: &Node, ours: &[String], report: &mut Report) {
    const FIELD: &str = "log.kafka.import_topics";
    let topics = list.items();
    if topics.len() > IMPORT_TOPICS_MAX {
        let message = format!("names {} topics, the limit is {IMPORT_TOPICS_MAX}", topics.len());
        report.error(FIELD, list.place, message, "import the others with a process of another topic_prefix");
    }
    let mut seen: Vec<&str> = Vec::new();
    for (index, entry) in topics.iter().enumerate() {
        let at = |key: &str| member(&item(FIELD, index), key);
        if let Some(Node { value: Value::Text(topic), place }) = entry.get("topic") {
            if !is_topic(topic) {
                let remedy = "use letters, digits, '.', '_' and '-', at most 249 of them";
                report.error(at("topic"), *place, format!("{topic:?} cannot be a topic's name"), remedy);
            } else if ours.contains(topic) {
                let message = format!("{topic:?} is Prefold's own topic");
                report.error(at("topic"), *place, message, "name a topic that others write");
            } else if seen.contains(&topic.as_str()) {
                report.error(at("topic"), *place, format!("{topic:?} is there twice"), "name each topic once");
            }
            seen.push(topic);
        }
        for key in ["tenant", "sender"] {
            if let Some(Node { value: Value::Text(name), place }) = entry.get(key)
                && (name.len() > NAME_BYTES_MAX || tenant_of_header(Some(name.as_bytes())).is_err())
            {
                let message = format!("must be printable ASCII of at most {NAME_BYTES_MAX} bytes");
                report.error(at(key), *place, message, "use letters, digits and hyphens, and be short");
            }
        }
    }
}

/// Whether Kafka takes it as a topic's name.
fn is_topic(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=249).contains(&text.len()) && text.bytes().all(legal) && ![".", ".."].contains(&text)
}

/// Whether Kafka takes it in the name of a topic.
pub(in crate::node) fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=200).contains(&text.len()) && text.bytes().all(legal)
}
