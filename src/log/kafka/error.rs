//! Why a log in Kafka could not be opened. Each message says what to do.

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
