//! What a log in Kafka is opened with.

use std::path::PathBuf;
use std::time::Duration;

use crate::log::AppendObserver;
use crate::model::PartitionBy;

/// What a log in Kafka is opened with.
#[derive(Clone)]
pub struct KafkaOptions {
    /// Brokers to ask for all others: `host:port`.
    pub brokers: Vec<String>,
    /// The topic of the samples.
    pub topic: String,
    /// The consumer group under which the position of what was dealt with is kept for Kafka's own tools.
    pub group: String,
    /// Of a topic that does not exist yet; 1 to 1024. An existing one keeps its own.
    pub partitions: u16,
    /// The labels that decide where series belong.
    pub partition_by: PartitionBy,
    /// How many brokers keep each partition of a topic that does not exist yet; the broker's default when `None`.
    pub replication: Option<u16>,
    /// A new topic keeps records this long; an existing one must keep them at least as long.
    pub retention_ms: i64,
    pub compression: Compression,
    /// How long a batch waits for more records.
    pub linger: Duration,
    /// The most bytes of a batch, before compression.
    pub batch_bytes: usize,
    /// Appends that would make more than this wait are refused with `Overloaded`; at least one may always wait.
    pub queue_bytes_max: usize,
    /// An append that the brokers have not acknowledged after this is answered with an error.
    pub delivery_timeout: Duration,
    /// How long to wait for the brokers when the log is opened.
    pub open_timeout: Duration,
    /// Partitions that nobody appended to for this long get a tick; from a process that does not append, for five times as
    /// long.
    pub tick_interval: Duration,
    /// Whether this process appends to the log: then it has a producer from the start. Others make one where they tick after
    /// all, because nobody who appends is there.
    pub appends: bool,
    /// Encryption, and our certificate; plain text when `None`.
    pub tls: Option<Tls>,
    /// Who we are.
    pub sasl: Option<Sasl>,
    /// The log that positions are known of, if any: the same topic with another partition count, or partitioned by other
    /// labels, is refused.
    pub known_incarnation: Option<u128>,
    pub append_observer: Option<AppendObserver>,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Lz4,
    Zstd,
}

/// Encryption. Files are PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Who may have signed the brokers' certificates; the system's authorities when `None`.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key, where brokers ask for one.
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

/// Name and password. Not `Debug`: the password is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Sasl {
    pub mechanism: Mechanism,
    pub username: String,
    pub password: String,
}

/// How the password is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl KafkaOptions {
    /// 8 partitions kept for 6 h, zstd, batches of 1 MiB after 5 ms at the latest, 256 MiB may wait.
    pub fn new(brokers: Vec<String>, topic_prefix: &str) -> KafkaOptions {
        KafkaOptions {
            brokers,
            topic: format!("{topic_prefix}.samples"),
            group: format!("{topic_prefix}.fold"),
            partitions: 8,
            partition_by: PartitionBy::default(),
            replication: None,
            retention_ms: 6 * 3_600_000,
            compression: Compression::Zstd,
            linger: Duration::from_millis(5),
            batch_bytes: 1 << 20,
            queue_bytes_max: 256 << 20,
            delivery_timeout: Duration::from_secs(30),
            open_timeout: Duration::from_secs(30),
            tick_interval: Duration::from_secs(1),
            appends: true,
            tls: None,
            sasl: None,
            known_incarnation: None,
            append_observer: None,
        }
    }
}

impl Compression {
    pub(super) fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// What a codec does by itself, but zstd as fast as it can: its usual level 3 gains less than 1 % on our records and costs
    /// gateways a tenth of their rate (`cargo bench -- cluster`).
    pub(super) fn level(self) -> &'static str {
        match self {
            Compression::None | Compression::Lz4 => "-1",
            Compression::Zstd => "1",
        }
    }
}

impl Mechanism {
    pub(super) fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}
