//! Why a log in Kafka could not be opened, or does not take a record. Each message says what to do.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Why a log in Kafka could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum KafkaOpenError {
    #[error("log.kafka: {error}")]
    Options { error: String },
    #[error(
        "cannot reach Kafka at {brokers}: {error}; check log.kafka.brokers, the network, and log.kafka.tls and log.kafka.sasl \
         if the brokers ask for them"
    )]
    Unreachable { brokers: String, error: String },
    #[error("cannot {action} topic {topic}: {error}")]
    Topic { action: &'static str, topic: String, error: String },
    #[error(
        "topic {topic} has no id: Kafka 2.8 or newer is needed, so that a topic that was deleted and made again can be told from \
         the one before"
    )]
    NoTopicId { topic: String },
    #[error("topic {topic} cannot hold the log:\n{}", problems.join("\n"))]
    Unfit { topic: String, problems: Vec<String> },
    #[error("{0}")]
    Replaced(String),
}

/// Why the brokers did not take a record, and what to do. Whoever sent it may come again after any of these: they are mended
/// where the brokers are, or by the next attempt.
pub(super) fn explained(error: &KafkaError, topic: &str) -> String {
    use RDKafkaErrorCode::{
        ClusterAuthorizationFailed, Fatal, GaplessGuarantee, InvalidProducerEpoch, InvalidRecord, InvalidTimestamp,
        MessageSizeTooLarge, MessageTimedOut, OutOfOrderSequenceNumber, PurgeInflight, PurgeQueue, TopicAuthorizationFailed,
        UnknownProducerId,
    };
    let said = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
    match error.rdkafka_error_code() {
        Some(MessageTimedOut) => {
            "the brokers have not acknowledged them within log.kafka.delivery_timeout; check the brokers".to_owned()
        }
        Some(TopicAuthorizationFailed | ClusterAuthorizationFailed) => format!(
            "the user of log.kafka.sasl may not write to topic {topic}: allow it, with kafka-acls.sh --add --operation Write \
             --topic {topic} ({said})"
        ),
        Some(MessageSizeTooLarge) => format!(
            "max.message.bytes of topic {topic} was lowered since this process has started: set it back, or restart Prefold, \
             which then sends smaller batches ({said})"
        ),
        Some(InvalidRecord | InvalidTimestamp) => format!(
            "the configuration of topic {topic} was changed since this process has started: restart Prefold, which says what \
             is wrong with it ({said})"
        ),
        // What waited in a producer that has failed is thrown away with it.
        Some(
            OutOfOrderSequenceNumber
            | UnknownProducerId
            | InvalidProducerEpoch
            | Fatal
            | GaplessGuarantee
            | PurgeQueue
            | PurgeInflight,
        ) => format!(
            "a broker has lost what it knew of this producer, and another begins; what was sent may be there or not, send it \
             again ({said})"
        ),
        _ => said,
    }
}
