//! The topic: made when it is not there, and checked when it is.
//!
//! Everything that the log promises and Kafka leaves to a topic's configuration is looked at when the log is opened. What is
//! wrong is said with the command that mends it: Prefold changes no topic that it did not make.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;

use super::blocking::block_on;
use super::client::{Asking, Listener, asking};
use super::error::KafkaOpenError;
use super::native::{self, Described, Patience};
use super::options::KafkaOptions;
use crate::model::PartitionBy;

/// More partitions than this are not read by one process.
const PARTITIONS_MAX: usize = 1024;

/// Of a message that the brokers take at most, what is left to its frame: the batch's header, the record's own, and room for
/// what a compressor adds to what it cannot compress.
const FRAME_BYTES: usize = 1024;

/// The largest batch of topics that only our own processes write.
const RECORD_BYTES: &str = "8388608";

/// How long one request may take; and how long one that found no broker waits for the next.
const REQUEST: Duration = Duration::from_secs(5);
const PATIENCE: Patience<'_> = Patience { wait: REQUEST, ended: None };
const PAUSE: Duration = Duration::from_millis(250);

/// What a topic is for, and so what is asked of its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeping {
    /// All records, for as long as the options say.
    All,
    /// The same, between our own processes: a record may be as large as all that a view gives at an instant.
    Stream,
    /// The newest record of each key, for ever, in one partition.
    NewestOfKey,
}

/// What is known of a topic when it is opened.
pub(super) struct Topic {
    /// What it was asked with, and can be asked with further.
    pub admin: Arc<Asking>,
    pub incarnation: u128,
    pub partitions: u16,
    /// The largest batch that the brokers take.
    pub message_bytes_max: usize,
}

/// The largest payload, with its key, that fits in the largest batch.
pub(super) fn record_bytes_max(message_bytes_max: usize) -> usize {
    message_bytes_max.saturating_sub(FRAME_BYTES).max(1)
}

/// The topic's id, mixed with what says in which partition a series belongs: in its lowest 16 bits the partition count, in
/// the 32 bits above the labels. Positions mean nothing under others.
pub(super) fn incarnation(id: u128, partitions: usize, by: &PartitionBy) -> u128 {
    (id >> 16 ^ u128::from(by.fingerprint())) << 16 | (partitions as u128 & 0xffff)
}

/// Whether an incarnation is of the topic with this id.
fn is_of(id: u128, incarnation: u128) -> bool {
    id >> 48 == incarnation >> 48
}

/// What to say when a log is not the one that is known.
pub(super) fn replaced(topic: &str, id: u128, partitions: usize, by: &PartitionBy, known: u128) -> String {
    if !is_of(id, known) {
        return format!("topic {topic} was deleted and made again; restart Prefold to begin anew with it");
    }
    if known & 0xffff == partitions as u128 & 0xffff {
        return format!(
            "log.partition_by is {by}, and the results in data_dir come from topic {topic} partitioned by other labels: series \
             would move between partitions; set it back, for everybody who writes to the topic or reads it, or begin anew with \
             another topic: name it with log.kafka.topic_prefix"
        );
    }
    format!(
        "topic {topic} has {partitions} partitions now and had {}: series would move between partitions, and what was counted \
         would be counted again; make the topic anew (kafka-topics.sh --delete --topic {topic}, and Prefold begins anew with \
         it), or name another with log.kafka.topic_prefix",
        known & 0xffff
    )
}

/// Finds the topic, or makes it, and checks it.
pub(super) fn open(options: &KafkaOptions, keeping: Keeping, listener: &Listener) -> Result<Topic, KafkaOpenError> {
    let admin = asking(options, listener).map_err(|error| KafkaOpenError::Options { error: error.to_string() })?;
    let topic = options.topic.as_str();
    let described = match reach(&admin, options)? {
        Some(described) => described,
        None => {
            create(&admin, options, keeping)?;
            appears(&admin, options)?
        }
    };
    let Described { id, partitions } = described;
    if id == 0 {
        return Err(KafkaOpenError::NoTopicId { topic: topic.to_owned() });
    }
    let by = &options.partition_by;
    let now = incarnation(id, partitions, by);
    if let Some(known) = options.known_incarnation.filter(|known| is_of(id, *known) && *known != now) {
        return Err(KafkaOpenError::Replaced(replaced(topic, id, partitions, by, known)));
    }
    let config = known_configuration(&admin, options)?;
    let problems = problems(options, keeping, &config, partitions, replicas(&admin, topic)?);
    if !problems.is_empty() {
        return Err(KafkaOpenError::Unfit { topic: topic.to_owned(), problems });
    }
    warn_of_bytes(topic, &config);
    let message_bytes_max = number(&config, "max.message.bytes").unwrap_or(1_000_000).clamp(1_000, 1_000_000_000) as usize;
    Ok(Topic { admin, incarnation: now, partitions: partitions as u16, message_bytes_max })
}

fn failed(action: &'static str, topic: &str, error: String) -> KafkaOpenError {
    KafkaOpenError::Topic { action, topic: topic.to_owned(), error }
}

/// Asks for the topic until a broker answers.
fn reach(admin: &Asking, options: &KafkaOptions) -> Result<Option<Described>, KafkaOpenError> {
    let (began, mut said) = (Instant::now(), false);
    loop {
        match native::describe(admin.inner(), &options.topic, PATIENCE) {
            Ok(found) => return Ok(found),
            Err(error) if began.elapsed() >= options.open_timeout => {
                return Err(KafkaOpenError::Unreachable { brokers: options.brokers.join(","), error });
            }
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(brokers = %options.brokers.join(","), %error, "waiting for Kafka");
                }
                std::thread::park_timeout(PAUSE);
            }
        }
    }
}

/// A topic just made, by us or another, is known everywhere a moment later.
fn appears(admin: &Asking, options: &KafkaOptions) -> Result<Described, KafkaOpenError> {
    let began = Instant::now();
    loop {
        match native::describe(admin.inner(), &options.topic, PATIENCE) {
            Ok(Some(described)) => return Ok(described),
            _ if began.elapsed() < options.open_timeout => std::thread::park_timeout(PAUSE),
            Ok(None) => return Err(failed("create", &options.topic, "it was created and is not there".to_owned())),
            Err(error) => return Err(failed("describe", &options.topic, error)),
        }
    }
}

fn create(admin: &Asking, options: &KafkaOptions, keeping: Keeping) -> Result<(), KafkaOpenError> {
    let topic = options.topic.as_str();
    let replication = match options.replication {
        Some(replication) => i32::from(replication),
        None => default_replication(admin).map_err(|error| failed("create", topic, error))?,
    };
    let retention = options.retention_ms.to_string();
    let mut new = NewTopic::new(topic, i32::from(options.partitions), TopicReplication::Fixed(replication))
        .set("message.timestamp.type", "LogAppendTime");
    new = match keeping {
        Keeping::All | Keeping::Stream => {
            new.set("cleanup.policy", "delete").set("retention.ms", &retention).set("retention.bytes", "-1")
        }
        // Whoever opens it reads all of it: files are closed soon, so that they can be compacted.
        Keeping::NewestOfKey => {
            new.set("cleanup.policy", "compact").set("segment.ms", "600000").set("min.cleanable.dirty.ratio", "0.1")
        }
    };
    if keeping != Keeping::All {
        new = new.set("max.message.bytes", RECORD_BYTES);
    }
    if replication > 1 {
        new = new.set("min.insync.replicas", "2").set("unclean.leader.election.enable", "false");
    }
    let made = block_on(admin.create_topics([&new], &request()));
    let made = made.map_err(|error| failed("create", topic, error.to_string()))?;
    match made.into_iter().next() {
        Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => {
            let hint = "set log.kafka.replication to the number of brokers or less, or make the topic by hand";
            Err(failed("create", topic, format!("{code}; {hint}")))
        }
        _ => {
            tracing::info!(topic, partitions = options.partitions, replication, "topic created");
            Ok(())
        }
    }
}

/// A topic's configuration. A broker that has not heard of the topic yet tells of an empty one.
fn known_configuration(admin: &Asking, options: &KafkaOptions) -> Result<ConfigResource, KafkaOpenError> {
    let (began, topic) = (Instant::now(), options.topic.as_str());
    loop {
        match configuration(admin, ResourceSpecifier::Topic(topic)) {
            Ok(config) if !text(&config, "cleanup.policy").is_empty() => return Ok(config),
            _ if began.elapsed() < options.open_timeout => std::thread::park_timeout(PAUSE),
            Ok(_) => return Err(failed("describe", topic, "its configuration is not told".to_owned())),
            Err(error) => return Err(failed("describe", topic, error)),
        }
    }
}

/// What the brokers give a topic that does not say.
fn default_replication(admin: &Asking) -> Result<i32, String> {
    let metadata = admin.inner().fetch_metadata(None, REQUEST).map_err(|error| error.to_string())?;
    let broker = metadata.brokers().first().map_or(metadata.orig_broker_id(), |broker| broker.id());
    let config = configuration(admin, ResourceSpecifier::Broker(broker))?;
    Ok(number(&config, "default.replication.factor").unwrap_or(1) as i32)
}

fn request() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST * 4)).operation_timeout(Some(REQUEST * 4))
}

fn configuration(admin: &Asking, of: ResourceSpecifier<'_>) -> Result<ConfigResource, String> {
    let described = block_on(admin.describe_configs([&of], &request())).map_err(|error| error.to_string())?;
    let first = described.into_iter().next().ok_or("nothing was described")?;
    first.map_err(|code| code.to_string())
}

fn replicas(admin: &Asking, topic: &str) -> Result<usize, KafkaOpenError> {
    let metadata = admin.inner().fetch_metadata(Some(topic), REQUEST * 2);
    let metadata = metadata.map_err(|error| failed("describe", topic, error.to_string()))?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    Ok(partitions.map(|partition| partition.replicas().len()).min().unwrap_or(1))
}

fn text<'c>(config: &'c ConfigResource, key: &str) -> &'c str {
    config.get(key).and_then(|entry| entry.value.as_deref()).unwrap_or_default()
}

fn number(config: &ConfigResource, key: &str) -> Option<i64> {
    text(config, key).parse().ok()
}

/// What is wrong, each with what mends it.
fn problems(
    options: &KafkaOptions,
    keeping: Keeping,
    config: &ConfigResource,
    partitions: usize,
    replicas: usize,
) -> Vec<String> {
    let broker = options.brokers.first().map_or("", String::as_str);
    let (topic, retention_ms) = (options.topic.as_str(), options.retention_ms);
    let mend = |set: &str| {
        format!(
            "kafka-configs.sh --bootstrap-server {broker} --alter --entity-type topics --entity-name {topic} --add-config {set}"
        )
    };
    let mut problems = Vec::new();
    let mut problem = |wrong: bool, what: String, set: &str| {
        if wrong {
            problems.push(format!("  {what}: {}", mend(set)));
        }
    };
    let stamps = text(config, "message.timestamp.type");
    let set = "message.timestamp.type=LogAppendTime";
    problem(
        stamps != "LogAppendTime",
        format!("message.timestamp.type is {stamps}, and the brokers must give the time"),
        set,
    );
    let cleanup = text(config, "cleanup.policy");
    let (policy, why) = match keeping {
        Keeping::All | Keeping::Stream => ("delete", "records must not be compacted"),
        Keeping::NewestOfKey => ("compact", "the newest record of each key must stay"),
    };
    let set = format!("cleanup.policy={policy}");
    problem(cleanup != policy, format!("cleanup.policy is {cleanup}, and {why}"), &set);
    let kept_ms = number(config, "retention.ms").filter(|kept| *kept >= 0).unwrap_or(i64::MAX);
    let set = format!("retention.ms={retention_ms}");
    let short = keeping != Keeping::NewestOfKey && kept_ms < retention_ms;
    problem(short, format!("retention.ms is {kept_ms}, and {retention_ms} is needed"), &set);
    if replicas > 1 {
        let in_sync = number(config, "min.insync.replicas").unwrap_or(1);
        let what = format!("min.insync.replicas is {in_sync}: one broker alone may acknowledge, and be lost");
        problem(in_sync < 2, what, "min.insync.replicas=2");
        let unclean = text(config, "unclean.leader.election.enable") == "true";
        let what = "unclean.leader.election.enable is true: what was acknowledged may be lost".to_owned();
        problem(unclean, what, "unclean.leader.election.enable=false");
    }
    if keeping == Keeping::NewestOfKey && partitions != 1 {
        problems.push(format!(
            "  it has {partitions} partitions and must have one: kafka-topics.sh --bootstrap-server {broker} --delete --topic {topic}, \
             and Prefold makes it anew"
        ));
    }
    if partitions > PARTITIONS_MAX {
        problems.push(format!(
            "  it has {partitions} partitions, the limit is {PARTITIONS_MAX}: name another with log.kafka.topic_prefix"
        ));
    }
    problems
}

/// How long bytes last depends on what is written: a limit on them is worth a word.
fn warn_of_bytes(topic: &str, config: &ConfigResource) {
    if let Some(bytes) = number(config, "retention.bytes").filter(|bytes| *bytes >= 0) {
        tracing::warn!(
            topic,
            bytes,
            "retention.bytes of the topic limits what is kept: a restart needs what the longest window reaches back"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_tell_topics_partition_counts_and_labels_apart() {
        let (one, other) = (0x1234_5678_9abc_def0_1111_2222_3333_4444_u128, 0x9999_5678_9abc_def0_1111_2222_3333_4444_u128);
        let (none, job) = (PartitionBy::default(), PartitionBy::new(["job"]));
        let known = incarnation(one, 4, &none);
        assert_eq!(known, 0x1234_5678_9abc_def0_1111_2222_3333_0004);
        for another in [incarnation(one, 8, &none), incarnation(other, 4, &none), incarnation(one, 4, &job)] {
            assert_ne!(known, another);
        }
        assert!(replaced("t", one, 8, &none, known).contains("has 8 partitions now and had 4"));
        assert!(replaced("t", other, 4, &none, known).contains("made again"));
        assert!(replaced("t", one, 4, &job, known).contains("log.partition_by is [job]"));
    }
}
