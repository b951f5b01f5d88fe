//! Opening the log that is configured: the one place that knows which there are.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

use super::config::{Config, KafkaCompression, KafkaLogConfig, KafkaMechanism, KafkaSasl, LogTimeSource};
use crate::log::kafka::{Compression, ImportReader, Mechanism, Sasl, Tls};
use crate::log::{self, AppendObserver, EmbeddedLog, EmbeddedOptions, KafkaLog, KafkaOptions, Log};
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
                KafkaOptions { known_incarnation: known, append_observer: Some(observer), ..options(kafka, config)? };
            let log = KafkaLog::open(options).map_err(|error| error.to_string())?;
            Ok(Arc::new(log))
        }
        None => open_embedded(config, clock, observer),
    }
}

/// Joins the group of those that import what others write, if there are topics of such.
///
/// # Errors
/// Why there can be no client.
pub fn join_imports(config: &Config) -> Result<Option<ImportReader>, String> {
    let Some(kafka) = config.log.kafka.as_ref().filter(|kafka| !kafka.import_topics.is_empty()) else { return Ok(None) };
    let topics = kafka.import_topics.iter().map(|topic| topic.topic.clone()).collect();
    let group = format!("{}.import", kafka.topic_prefix);
    ImportReader::join(&options(kafka, config)?, &group, topics).map(Some).map_err(|error| error.to_string())
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

fn options(kafka: &KafkaLogConfig, config: &Config) -> Result<KafkaOptions, String> {
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
