//! Opening the log that is configured, and what bounds how far back it reaches: the one place that knows which there are.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

use super::cluster::ClusterNames;
use super::config::{ByteSize, Config, KafkaCompression, KafkaLogConfig, KafkaMechanism, KafkaSasl, LogTimeSource};
use crate::log::kafka::{Compression, Mechanism, Sasl, Tls};
use crate::log::{self, AppendObserver, EmbeddedLog, EmbeddedOptions, ImportReader, KafkaLog, KafkaOptions, Log};
use crate::model::time::format_duration;
use crate::model::{Clock, PartitionBy};

/// Opens the log. `known` is the one that the store has positions of.
///
/// # Errors
/// Why it cannot be opened, and what to do.
pub fn open_log(
    config: &Config,
    clock: &Arc<dyn Clock>,
    durations: &Histogram,
    known: Option<u128>,
) -> Result<Arc<dyn Log>, String> {
    let observed = durations.clone();
    let observer: AppendObserver = Arc::new(move |took: Duration| observed.observe(took.as_secs_f64()));
    match &config.log.kafka {
        Some(kafka) => {
            let options =
                KafkaOptions { known_incarnation: known, append_observer: Some(observer), ..kafka_options(config, kafka)? };
            let log = KafkaLog::open(options).map_err(|error| error.to_string())?;
            Ok(Arc::new(log))
        }
        None => open_embedded(config, clock, observer),
    }
}

/// Joins the group of those that import what others write, if there are topics of such. Gives what reads them, and how many
/// bytes may wait to be appended.
///
/// # Errors
/// Why there can be no client.
pub fn join_imports(config: &Config) -> Result<Option<(ImportReader, u64)>, String> {
    let Some(kafka) = config.log.kafka.as_ref().filter(|kafka| !kafka.import_topics.is_empty()) else { return Ok(None) };
    let topics = kafka.import_topics.iter().map(|topic| topic.topic.clone()).collect();
    let group = format!("{}.import", kafka.topic_prefix);
    let reader = ImportReader::join(&kafka_options(config, kafka)?, &group, topics).map_err(|error| error.to_string())?;
    Ok(Some((reader, kafka.queue_bytes_max.0)))
}

/// What ends how far back a log reaches. Displayed as a sentence.
#[derive(Clone, Debug)]
pub enum LogBound {
    /// Its retention by age, and the key that sets it.
    Age { kept_ms: i64, key: &'static str },
    /// Its retention by bytes, at the rate at which the log in a directory grew.
    Bytes { bytes_max: ByteSize, bytes_per_ms: f64, data_dir: PathBuf },
}

impl LogBound {
    /// How far back the log reaches by this bound.
    pub fn held_ms(&self) -> i64 {
        match self {
            LogBound::Age { kept_ms, .. } => *kept_ms,
            LogBound::Bytes { bytes_max, bytes_per_ms, .. } => (bytes_max.0 as f64 / bytes_per_ms) as i64,
        }
    }

    /// What to set so that it reaches back as far as is needed.
    pub fn remedy(&self, needed_ms: i64) -> String {
        match self {
            LogBound::Age { key, .. } => format!("set {key} to {} or more", format_duration(needed_ms)),
            LogBound::Bytes { bytes_per_ms, .. } => {
                let enough = ByteSize(((needed_ms as f64 * bytes_per_ms) as u64).next_multiple_of(1 << 20));
                format!("set log.embedded.retention_bytes to {enough} or more")
            }
        }
    }
}

impl fmt::Display for LogBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogBound::Age { kept_ms, .. } => write!(f, "the log keeps {}", format_duration(*kept_ms)),
            LogBound::Bytes { bytes_max, data_dir, .. } => {
                let held = format_duration(self.held_ms() / 1000 * 1000);
                write!(f, "at the rate of the log in {}, {bytes_max} hold {held}", data_dir.display())
            }
        }
    }
}

/// The bounds of the log that is configured. That of its bytes is known only where a log has grown already.
pub fn log_bounds(config: &Config) -> Vec<LogBound> {
    let kept_ms = config.log.retention_ms();
    if config.log.kafka.is_some() {
        return vec![LogBound::Age { kept_ms, key: "log.kafka.retention" }];
    }
    // A log that cannot be read is told by whoever starts on it.
    let rate = log::embedded::bytes_per_ms(&config.data_dir.join("log")).ok().flatten();
    let (bytes_max, data_dir) = (config.log.embedded.retention_bytes, config.data_dir.clone());
    let by_bytes = rate.filter(|rate| *rate > 0.0).map(|bytes_per_ms| LogBound::Bytes { bytes_max, bytes_per_ms, data_dir });
    [LogBound::Age { kept_ms, key: "log.embedded.retention" }].into_iter().chain(by_bytes).collect()
}

fn open_embedded(config: &Config, clock: &Arc<dyn Clock>, observer: AppendObserver) -> Result<Arc<dyn Log>, String> {
    let embedded = &config.log.embedded;
    let options = EmbeddedOptions {
        partitions: embedded.partitions,
        partition_by: partition_by(config),
        retention_ms: embedded.retention.0,
        retention_bytes: embedded.retention_bytes.0,
        log_time: match config.log.log_time {
            LogTimeSource::Append => log::LogTimeSource::Append,
            LogTimeSource::Samples => log::LogTimeSource::Samples,
        },
        append_observer: Some(observer),
        ..EmbeddedOptions::new(Arc::clone(clock))
    };
    let log = EmbeddedLog::open(&config.data_dir.join("log"), options).map_err(|error| error.to_string())?;
    Ok(Arc::new(log))
}

fn partition_by(config: &Config) -> PartitionBy {
    PartitionBy::new(config.log.partition_by.iter().map(String::as_str))
}

/// What a client of Kafka is opened with.
///
/// # Errors
/// When the password cannot be read.
pub fn kafka_options(config: &Config, kafka: &KafkaLogConfig) -> Result<KafkaOptions, String> {
    let tls = kafka.tls.as_ref().map(|tls| Tls {
        ca_file: tls.ca_file.clone(),
        certificate_file: tls.certificate_file.clone(),
        key_file: tls.key_file.clone(),
    });
    Ok(KafkaOptions {
        partitions: kafka.partitions,
        partition_by: partition_by(config),
        replication: kafka.replication,
        retention_ms: kafka.retention.0,
        compression: match kafka.compression {
            KafkaCompression::None => Compression::None,
            KafkaCompression::Lz4 => Compression::Lz4,
            KafkaCompression::Zstd => Compression::Zstd,
        },
        linger: kafka.linger.std(),
        batch_bytes: kafka.batch_bytes.0 as usize,
        queue_bytes_max: kafka.queue_bytes_max.0 as usize,
        delivery_timeout: kafka.delivery_timeout.std(),
        group: ClusterNames::of(kafka).fold_group(),
        tls,
        sasl: kafka.sasl.as_ref().map(sasl).transpose()?,
        ..KafkaOptions::new(kafka.brokers.clone(), &kafka.topic_prefix)
    })
}

fn sasl(sasl: &KafkaSasl) -> Result<Sasl, String> {
    let password = match (&sasl.password_file, &sasl.password_env) {
        (Some(file), _) => std::fs::read_to_string(file)
            .map_err(|error| format!("log.kafka.sasl.password_file: cannot read {}: {error}", file.display()))?,
        (None, Some(name)) => {
            std::env::var(name).map_err(|error| format!("log.kafka.sasl.password_env: {name}: {error}"))?
        }
        (None, None) => return Err("log.kafka.sasl: set password_file or password_env".to_owned()),
    };
    let mechanism = match sasl.mechanism {
        KafkaMechanism::Plain => Mechanism::Plain,
        KafkaMechanism::ScramSha256 => Mechanism::ScramSha256,
        KafkaMechanism::ScramSha512 => Mechanism::ScramSha512,
    };
    Ok(Sasl { mechanism, username: sasl.username.clone(), password: password.trim_end_matches(['\r', '\n']).to_owned() })
}
