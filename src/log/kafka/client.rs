//! What all clients of librdkafka are made with, and where what they say goes.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::admin::AdminClient;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::options::{KafkaOptions, Sasl, Tls};

/// Of each kind of complaint one is said in this time: a broker that is away is complained of several times a second, by every
/// client.
const COMPLAINT_EVERY: Duration = Duration::from_secs(60);

/// Where librdkafka's own lines go, those of all clients of a log. Its threads call this: it must not block.
#[derive(Clone, Default)]
pub(super) struct Listener {
    /// When a complaint of each kind was last said; there are as many kinds as librdkafka has parts and error codes. Held for
    /// a look-up.
    said: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Listener {
    /// Whether a complaint of a kind is to be said now.
    pub fn is_due(&self, kind: &str) -> bool {
        let mut said = self.said.lock();
        if said.get(kind).is_some_and(|last| last.elapsed() < COMPLAINT_EVERY) {
            return false;
        }
        said.insert(kind.to_owned(), Instant::now());
        true
    }
}

impl ClientContext for Listener {
    /// It never has passwords in it.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let grave = matches!(
            level,
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error
        );
        // That a setting is experimental was known to who chose it.
        match facility != "CONFWARN" && self.is_due(facility) {
            true if grave => tracing::warn!("Kafka: {message}"),
            true => tracing::info!("Kafka: {message}"),
            false => tracing::debug!("Kafka: {message}"),
        }
    }

    /// Something that librdkafka tries to mend by itself. That a partition was read to its end is no error.
    fn error(&self, error: KafkaError, reason: &str) {
        let at_end = matches!(error, KafkaError::Global(RDKafkaErrorCode::PartitionEOF));
        match !at_end && self.is_due(&error.to_string()) {
            true => tracing::warn!(%error, "Kafka: {reason}"),
            false => tracing::debug!(%error, "Kafka: {reason}"),
        }
    }
}

impl ConsumerContext for Listener {}

/// A wait in whole milliseconds, and no shorter: librdkafka waits for whole ones, and its wrapper asks it without a pause over
/// what is left of one.
pub(super) fn whole_ms(wait: Duration) -> Duration {
    Duration::from_millis(u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
}

/// What every client needs: where the brokers are, and how to talk to them.
pub(super) fn base(options: &KafkaOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", options.brokers.join(","))
        .set("client.id", "prefold")
        .set("socket.keepalive.enable", "true")
        // A broker that comes back is found within two seconds, not ten.
        .set("reconnect.backoff.max.ms", "2000")
        .set_log_level(RDKafkaLogLevel::Warning);
    let protocol = match (options.tls.is_some(), options.sasl.is_some()) {
        (false, false) => "plaintext",
        (true, false) => "ssl",
        (false, true) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(Tls { ca_file, certificate_file, key_file }) = &options.tls {
        let files =
            [("ssl.ca.location", ca_file), ("ssl.certificate.location", certificate_file), ("ssl.key.location", key_file)];
        for (key, file) in files {
            if let Some(file) = file {
                config.set(key, file.display().to_string());
            }
        }
    }
    if let Some(sasl) = &options.sasl {
        config
            .set("sasl.mechanism", sasl.mechanism.name())
            .set("sasl.username", &sasl.username)
            .set("sasl.password", &sasl.password);
    }
    config
}

/// Who asks about topics.
pub(super) type Asking = AdminClient<Listener>;

/// Clients that ask, by what they are made with: no more than this process talks to clusters of brokers.
static ASKING: Mutex<Vec<(Connection, Weak<Asking>)>> = Mutex::new(Vec::new());

/// Brokers, and how they are talked to. (The wrapper's own list of settings will not do: all passwords look the same in it.)
type Connection = (Vec<String>, Option<Tls>, Option<Sasl>);

/// A client that asks about topics, the same for all topics of the same brokers: it connects to each of them, not only to those
/// that are asked. Else one that is asked and does not take connections would be tried again at once, without a pause, for as
/// long as the answer is waited for.
///
/// # Errors
/// When the options do not make a client.
pub(super) fn asking(options: &KafkaOptions, listener: &Listener) -> Result<Arc<Asking>, KafkaError> {
    let connection = (options.brokers.clone(), options.tls.clone(), options.sasl.clone());
    let mut clients = ASKING.lock();
    clients.retain(|(_, client)| client.strong_count() > 0);
    let same = clients.iter().find(|(of, _)| *of == connection);
    if let Some(client) = same.and_then(|(_, client)| client.upgrade()) {
        return Ok(client);
    }
    let mut config = base(options);
    config.set("enable.sparse.connections", "false");
    let client = Arc::new(config.create_with_context(listener.clone())?);
    clients.push((connection, Arc::downgrade(&client)));
    Ok(client)
}

/// A client that reads, from places it is told.
pub(super) fn reading(options: &KafkaOptions, partitions: u16) -> ClientConfig {
    const PREFETCH_KIB: usize = 64 << 10;
    let mut config = base(options);
    config
        .set("group.id", &options.group)
        .set("enable.auto.commit", "false")
        // What the log no longer holds is a gap to be told, not to be passed over.
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        // Each partition has a queue of its own: together they hold about as much as one would.
        .set("queued.max.messages.kbytes", (PREFETCH_KIB / usize::from(partitions.max(1))).max(1 << 10).to_string())
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.error.backoff.ms", "100");
    config
}

/// The same of a topic that is always written to: brokers gather records for a moment, for each answer costs both sides as much as
/// hundreds of records do.
pub(super) fn gathering(options: &KafkaOptions, partitions: u16) -> ClientConfig {
    let mut config = reading(options, partitions);
    config.set("fetch.min.bytes", "65536").set("fetch.wait.max.ms", "100");
    config
}

/// A member of a consumer group, which is taken for dead when it is not heard of for a session's length. It gives partitions
/// up one by one, and says itself how far they were dealt with.
pub(super) fn member(options: &KafkaOptions, group: &str, session: Duration) -> ClientConfig {
    let mut config = base(options);
    config
        .set("group.id", group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", session.as_millis().to_string())
        .set("heartbeat.interval.ms", (session / 5).as_millis().clamp(100, 3000).to_string())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false");
    config
}

/// A client that appends.
pub(super) fn appending(options: &KafkaOptions, message_bytes_max: usize) -> ClientConfig {
    let queue_kib = (options.queue_bytes_max / 1024).saturating_mul(2).clamp(1 << 14, 1 << 30);
    let mut config = base(options);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.codec", options.compression.name())
        .set("compression.level", options.compression.level())
        .set("linger.ms", options.linger.as_millis().to_string())
        .set("batch.size", options.batch_bytes.to_string())
        .set("message.max.bytes", message_bytes_max.to_string())
        .set("message.timeout.ms", options.delivery_timeout.as_millis().to_string())
        // Our own bound comes first: theirs is out of reach.
        .set("queue.buffering.max.messages", "0")
        .set("queue.buffering.max.kbytes", queue_kib.to_string());
    // The mock cluster of the tests beside the code takes what comes behind a record that it was told to refuse, whatever its
    // number; brokers do not.
    #[cfg(test)]
    config.set("max.in.flight.requests.per.connection", "1");
    config
}

#[cfg(test)]
mod tests {
    use super::super::options::Mechanism;
    use super::*;

    #[test]
    fn each_kind_of_complaint_is_said_once_a_while_whoever_complains() {
        let listener = Listener::default();
        assert!(listener.is_due("FAIL") && listener.is_due("GETPID"));
        assert!(!listener.clone().is_due("FAIL"), "clients share what was said");
    }

    #[test]
    fn topics_of_the_same_brokers_are_asked_about_by_one_client() {
        let options = |password: &str| {
            let sasl = Sasl { mechanism: Mechanism::Plain, username: "u".to_owned(), password: password.to_owned() };
            KafkaOptions { sasl: Some(sasl), ..KafkaOptions::new(vec!["127.0.0.1:2".to_owned()], "shared") }
        };
        let ask = |options: &KafkaOptions| asking(options, &Listener::default()).unwrap();
        let (one, other) = (ask(&options("a")), ask(&KafkaOptions { topic: "another".to_owned(), ..options("a") }));
        assert!(Arc::ptr_eq(&one, &other));
        assert!(!Arc::ptr_eq(&one, &ask(&options("b"))), "who we are is another's");
        let known = || ASKING.lock().iter().filter(|((brokers, ..), _)| brokers[0] == "127.0.0.1:2").count();
        drop((one, other));
        let again = ask(&options("b"));
        assert_eq!((known(), Arc::strong_count(&again)), (1, 1), "who has nobody to ask for is gone");
    }

    #[test]
    fn a_wait_is_rounded_up_to_milliseconds() {
        for (us, ms) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2), (999_999, 1_000)] {
            assert_eq!(whole_ms(Duration::from_micros(us)), Duration::from_millis(ms));
        }
    }
}
