//! The gateway: series of a request become records of the log, by partition.
//!
//! A sender writes the same labels in the same bytes every time, so a series seen before is found by the hash of those
//! bytes, with its id, partition and symbols; only a new one is decoded, checked and sorted. The cache is bounded: full, it
//! is emptied, and fills again with what is alive.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;
use smol_str::SmolStr;

use super::body_budget::{BodiesFull, BodyBudget};
use super::buffers::Buffers;
pub use super::counters::Counters;
use super::encoding::{EncodeError, Encoding};
use super::limits::{RefusalReason, SeriesLimits};
use super::records::{Encoded, Split};
pub use super::senders::NAME_BYTES_MAX;
use super::senders::{NotAdmitted, Senders};
use super::series_cache::SeriesCache;
use super::writers::Writers;
use crate::log::{AppendError, Log, NewRecord};
use crate::model::{Clock, Labels, Partitioner, Sample, Tenant, Timestamp};
pub use crate::wire::Protocol;
use crate::wire::record::{Interner, SymbolTable};
use crate::wire::{Problem, WireError, snappy};

/// How long a failed append speaks of the log: without writes nobody would see that it is well again.
const FAILING_MS: i64 = 10_000;

/// What the symbol table may take; a full one is replaced by an empty one.
const SYMBOL_BYTES_MAX: usize = 512 << 20;

/// How the gateway treats what it is sent.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    pub limits: SeriesLimits,
    /// Senders that may write beside those of the commit; one that has been idle for an hour makes room.
    pub senders_max: usize,
    /// Tenant and name of the senders in the commit; `None` when it is not known who has written.
    pub senders: Option<Vec<(Tenant, SmolStr)>>,
    /// Bytes of all bodies in flight, as they come and unpacked.
    pub bodies_bytes_max: usize,
    /// Labels taken off every series: a sender's external labels that upstream does not have.
    pub drop_labels: Vec<String>,
    /// Labels whose values name the sender, when no header does.
    pub sender_labels: Vec<String>,
}

impl Default for GatewayOptions {
    fn default() -> GatewayOptions {
        let limits = SeriesLimits::default();
        GatewayOptions {
            limits,
            senders_max: 10_000,
            senders: Some(Vec::new()),
            bodies_bytes_max: 512 << 20,
            drop_labels: Vec::new(),
            sender_labels: Vec::new(),
        }
    }
}

/// Turns requests into records and has them appended.
pub struct Gateway {
    pub(super) log: Arc<dyn Log>,
    /// The log's.
    pub(super) partitioner: Partitioner,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: GatewayOptions,
    /// Read once per request, written when one brought new series.
    pub(super) cache: RwLock<SeriesCache>,
    pub(super) interner: Interner,
    /// Record writers, between requests.
    pub(super) writers: Writers,
    /// Memory of bodies, between requests.
    pub(super) buffers: Buffers,
    /// Memory of bodies, in flight.
    pub(super) bodies: Arc<BodyBudget>,
    pub(super) senders: Senders,
    /// When and why the last append failed, if it did.
    failing: parking_lot::Mutex<Option<(Timestamp, String)>>,
    pub(super) counters: Counters,
}

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub tenant: Tenant,
    pub sender: SmolStr,
    /// Whether `sender` came from a header; else `sender_labels` of the request go first.
    pub named: bool,
}

/// What became of a request that could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub samples: u64,
    /// What was refused, with how often, in the order of first occurrence.
    pub refused: Vec<(RefusalReason, u64)>,
}

/// Why nothing of a request was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("body-malformed: {0}")]
    Malformed(WireError),
    #[error("{0}")]
    NotAdmitted(NotAdmitted),
    #[error("{0}")]
    BodiesFull(BodiesFull),
    #[error("{0}")]
    Append(AppendError),
}

impl WriteError {
    /// Why the sender will not come again with what it sent, if so.
    pub(super) fn lost(&self) -> Option<RefusalReason> {
        match self {
            WriteError::Malformed(_) => Some(RefusalReason::BodyMalformed),
            WriteError::NotAdmitted(NotAdmitted::TooLong { .. }) => Some(RefusalReason::OriginTooLong),
            WriteError::Append(error) if !error.retryable() => Some(RefusalReason::BodyTooLarge),
            WriteError::NotAdmitted(NotAdmitted::TooMany { .. }) | WriteError::BodiesFull(_) | WriteError::Append(_) => None,
        }
    }
}

impl Gateway {
    pub fn new(log: Arc<dyn Log>, clock: Arc<dyn Clock>, options: GatewayOptions) -> Gateway {
        Gateway {
            partitioner: log.partitioner(),
            log,
            clock,
            senders: Senders::new(options.senders_max, options.senders.as_deref()),
            failing: parking_lot::Mutex::default(),
            cache: RwLock::default(),
            interner: Interner::new(SYMBOL_BYTES_MAX),
            writers: Writers::default(),
            buffers: Buffers::default(),
            bodies: BodyBudget::new(options.bodies_bytes_max),
            counters: Counters::default(),
            options,
        }
    }

    pub fn limits(&self) -> &SeriesLimits {
        &self.options.limits
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Label sets remembered now.
    pub fn cached_series(&self) -> usize {
        self.cache.read().len()
    }

    /// Takes a request as it was sent, of at most so many bytes when decompressed: what is valid is durable when this
    /// returns, and what is not is told.
    ///
    /// # Errors
    /// When the body cannot be read as a whole, or the log did not take it; nothing of it was written then.
    pub async fn write(
        &self,
        origin: &Origin,
        protocol: Protocol,
        compressed: &[u8],
        body_bytes_max: usize,
    ) -> Result<Written, WriteError> {
        let written = match self.decode(origin, protocol, compressed, body_bytes_max) {
            Ok((records, written)) => self.append(records).await.map(|()| written).map_err(WriteError::Append),
            Err(error) => Err(error),
        };
        if let Some(reason) = written.as_ref().err().and_then(WriteError::lost) {
            self.note_unreadable(origin, reason).await;
        }
        let written = written?;
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        self.counters.count(&written);
        Ok(written)
    }

    /// Decompresses a body and encodes it; its memory is free again before the records are durable.
    fn decode(
        &self,
        origin: &Origin,
        protocol: Protocol,
        compressed: &[u8],
        body_bytes_max: usize,
    ) -> Result<(Vec<NewRecord>, Written), WriteError> {
        if !self.is_labelled(origin) {
            self.check_sender(origin).map_err(WriteError::NotAdmitted)?;
        }
        let mut held = self.bodies.hold();
        let unpacked = snappy::claimed_len(compressed, body_bytes_max).map_err(WriteError::Malformed)?;
        held.grow(unpacked).map_err(WriteError::BodiesFull)?;
        let mut body = self.buffers.take();
        let decompressed = snappy::decompress_into(compressed, body_bytes_max, &mut body).map_err(WriteError::Malformed);
        let encoded = decompressed.and_then(|()| self.encode(origin, protocol, &body));
        self.buffers.give_back(body);
        encoded
    }

    /// Takes our own scraper's series.
    ///
    /// # Errors
    /// When the log did not take them.
    pub async fn deliver(&self, origin: &Origin, series: &[(Labels, Sample)]) -> Result<(), WriteError> {
        let Encoded { records, written, .. } = self.with_table(|table, split| {
            let mut encoding = Encoding::new(self, origin, table, split);
            for (labels, sample) in series {
                encoding.scraped(labels, *sample)?;
            }
            encoding.finish()
        })?;
        self.append(records).await.map_err(WriteError::Append)?;
        self.counters.count(&written);
        Ok(())
    }

    fn encode(&self, origin: &Origin, protocol: Protocol, body: &[u8]) -> Result<(Vec<NewRecord>, Written), WriteError> {
        let Encoded { records, written, senders } = self.with_table(|table, split| {
            let mut encoding = Encoding::new(self, origin, table, split);
            match protocol {
                Protocol::V1 => encoding.request_v1(body)?,
                Protocol::V2 => encoding.request_v2(body)?,
            }
            encoding.finish()
        })?;
        self.remember(origin, &senders);
        Ok((records, written))
    }

    /// Remembers who wrote what was encoded.
    pub(super) fn remember(&self, origin: &Origin, senders: &[Origin]) {
        let now = self.clock.now();
        if self.is_labelled(origin) && !senders.is_empty() {
            self.senders.remember_address(origin, now);
        }
        senders.iter().for_each(|sender| self.senders.remember(sender, now));
    }

    /// Whether the sender of a request is named by its series' labels.
    pub(super) fn is_labelled(&self, origin: &Origin) -> bool {
        !origin.named && !self.options.sender_labels.is_empty()
    }

    /// Whether a sender may write.
    pub(super) fn check_sender(&self, origin: &Origin) -> Result<(), NotAdmitted> {
        self.senders.check(origin, self.clock.now())
    }

    /// Runs an encoding with the symbol table in use and large records; again with small records when one became too large,
    /// and with an empty table when it was full: at most three times.
    pub(super) fn with_table<T>(
        &self,
        encode: impl Fn(&SymbolTable, Split) -> Result<T, EncodeError>,
    ) -> Result<T, WriteError> {
        let bytes_max = self.log.record_bytes_max();
        let (mut table, mut split, mut is_new) = (self.interner.table(), Split::half(bytes_max), false);
        let error = loop {
            match encode(&table, split) {
                Ok(encoded) => return Ok(encoded),
                Err(EncodeError::RecordTooLarge) if !split.is_apart() => split = Split::apart(bytes_max),
                Err(EncodeError::Full(_)) if !is_new => (table, is_new) = (self.interner.replace(&table), true),
                Err(error) => break error,
            }
        };
        Err(match error {
            EncodeError::Wire(error) => WriteError::Malformed(error),
            EncodeError::Full(full) => WriteError::Malformed(Problem::SymbolsTooLarge { max: full.bytes_max }.into()),
            EncodeError::NotAdmitted(error) => WriteError::NotAdmitted(error),
            EncodeError::TooLarge { bytes, bytes_max } => WriteError::Append(AppendError::TooLarge { bytes, bytes_max }),
            // Records of one series each are given to the log, which says by how much they are too large.
            EncodeError::RecordTooLarge => WriteError::Append(AppendError::TooLarge { bytes: bytes_max, bytes_max }),
        })
    }

    pub(super) async fn append(&self, records: Vec<NewRecord>) -> Result<(), AppendError> {
        if records.is_empty() {
            return Ok(());
        }
        let appended = self.log.append(records).await.unwrap_or(Err(AppendError::Closed));
        *self.failing.lock() = appended.as_ref().err().map(|error| (self.clock.now(), error.to_string()));
        appended
    }

    /// Why the log took nothing the last time, if that was a moment ago: whoever is told so tries again soon.
    pub fn failing(&self) -> Option<String> {
        let (at, why) = self.failing.lock().clone()?;
        (self.clock.now() - at < FAILING_MS).then_some(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{EmbeddedLog, EmbeddedOptions};
    use crate::model::Timestamp;
    use crate::wire::remote_write_v1;

    struct StandingClock;

    impl Clock for StandingClock {
        fn now(&self) -> Timestamp {
            Timestamp(1_700_000_000_000)
        }
    }

    #[tokio::test]
    async fn a_full_symbol_table_makes_room_and_a_body_of_more_than_one_holds_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(StandingClock);
        let log = EmbeddedLog::open(folder.path(), EmbeddedOptions::new(Arc::clone(&clock))).unwrap();
        let mut gateway = Gateway::new(Arc::new(log), clock, GatewayOptions::default());
        gateway.interner = Interner::new(1000);
        let origin = Origin { tenant: Tenant::default(), sender: "s".into(), named: true };
        let write = async |value: String| {
            let labels = Labels::from_pairs([("__name__", "a".to_owned()), ("b", value)]);
            let body = remote_write_v1::encode(&[(labels, vec![Sample { t: Timestamp(1), v: 1.0 }])]);
            gateway.write(&origin, Protocol::V1, &snappy::compress(&body), 1 << 20).await.map_err(|e| e.to_string())
        };
        for n in 0..20 {
            assert_eq!(write(format!("{n:0300}")).await.map(|written| written.samples), Ok(1), "{n}");
        }
        let refused = write("x".repeat(1000)).await.unwrap_err();
        assert!(
            refused.starts_with("body-malformed: the names and values of labels take more than 1000 bytes"),
            "{refused}"
        );
        assert_eq!(write("1".to_owned()).await.map(|written| written.samples), Ok(1));
    }
}
