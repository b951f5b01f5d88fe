//! Reading a set of partitions that changes: each from a place of its own, in turn, none held up by another.
//!
//! A partition that arrives in a process is read from far back while the others go on; so there is no order between them, and
//! one that is added or taken away does not disturb what has been fetched of the rest. Within a partition the order is
//! Kafka's. A place that the topic does not hold is never passed over silently: it is told until the caller has taken note.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;

use super::client::{Listener, gathering};
use super::options::KafkaOptions;
use super::shared::Shared;
use super::source::{Drawn, Filled, Source};
use super::survey::Survey;
use crate::log::topics::{Committed, PartitionFrom};
use crate::log::{LogRecord, ReadError};
use crate::model::{Offset, PartitionId, Timestamp};

/// How often a waiting reader looks whether the topic was closed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// No read waits longer.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// How soon brokers that did not say what is missing of a partition are asked again: the others are not read meanwhile.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// What a record counts beside its payload.
const RECORD_BYTES: usize = 64;

/// Of what a read may give out, how much one partition may at a time: a part in so many.
const SHARES: usize = 4;

/// Reads partitions of one topic that come and go.
pub struct PartitionsReader {
    shared: Arc<Shared>,
    survey: Survey,
    consumer: Arc<BaseConsumer<Listener>>,
    /// What is being read.
    lanes: BTreeMap<PartitionId, Lane>,
    /// Who is first in the next read.
    turn: PartitionId,
    filled: Arc<Filled>,
    /// The partition whose gap the caller was told of last; until the gap is skipped or the partition removed.
    told: Option<PartitionId>,
    /// Whether the last read told of a gap: the next one reads what has none.
    just_told: bool,
}

/// A partition being read.
struct Lane {
    source: Source,
    paused: bool,
    /// What must be skipped before it is read on.
    gap: Option<ReadError>,
    /// When the brokers last failed to say what is missing.
    unanswered: Option<Instant>,
}

impl PartitionsReader {
    pub(super) fn new(survey: Survey, options: &KafkaOptions) -> Result<PartitionsReader, ReadError> {
        let shared = Arc::clone(&survey.shared);
        let consumer = gathering(options, shared.partitions)
            .create_with_context(shared.listener.clone())
            .map_err(|error| failed(&error))?;
        Ok(PartitionsReader {
            shared,
            survey,
            consumer: Arc::new(consumer),
            lanes: BTreeMap::new(),
            turn: PartitionId(0),
            filled: Arc::default(),
            told: None,
            just_told: false,
        })
    }

    /// Starts to read a partition; one that is being read already is read from the new place, and stays paused if it was.
    /// Others are not disturbed. The brokers are asked for the beginning and for log times; a record that is wanted by its
    /// number and is not there is told by the first read.
    ///
    /// # Errors
    /// When the brokers do not say where that is, or the topic has no such partition. The partition is not read then.
    pub fn add(&mut self, partition: PartitionId, from: PartitionFrom) -> Result<(), ReadError> {
        self.shared.readable()?;
        if partition.0 >= self.shared.partitions {
            let (topic, partitions) = (&self.shared.topic, self.shared.partitions);
            let error = format!("topic {topic} has no partition {}, it has {partitions}", partition.0);
            return Err(ReadError::Kafka { error });
        }
        let paused = self.lanes.get(&partition).is_some_and(|lane| lane.paused);
        self.remove(partition);
        let source = self.locate(partition, from)?;
        self.lanes.insert(partition, Lane { source, paused, gap: None, unanswered: None });
        self.begin(partition).inspect_err(|_| self.remove(partition))
    }

    /// Reads a partition no more. What was fetched of it is thrown away.
    pub fn remove(&mut self, partition: PartitionId) {
        let Some(lane) = self.lanes.remove(&partition) else { return };
        drop(lane);
        if self.told == Some(partition) {
            (self.told, self.just_told) = (None, false);
        }
        if let Err(error) = self.place(partition, Offset(0)).and_then(|places| self.consumer.incremental_unassign(&places)) {
            tracing::debug!(%error, partition = partition.0, "a partition is still read that nobody wants");
        }
    }

    /// A partition that is paused gives nothing until it is resumed. Some of it is fetched and kept meanwhile.
    pub fn pause(&mut self, partition: PartitionId, paused: bool) {
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.paused = paused;
        }
    }

    /// Appends up to about `bytes_max` of records to `out`, of each partition in turn a quarter of that at most, but one
    /// record at least; waits up to `wait` when there are none. Records of a partition are in their order.
    ///
    /// # Errors
    /// [`ReadError::Gone`] and [`ReadError::Ahead`] name the partition that has lost records. They are said again by every
    /// other call until [`PartitionsReader::skip_gap`]; the calls between read the other partitions. [`ReadError::Kafka`] may
    /// pass: read again. What was given out before an error stays in `out`.
    pub fn read(&mut self, out: &mut Vec<LogRecord>, bytes_max: usize, wait: Duration) -> Result<(), ReadError> {
        self.shared.readable()?;
        let quiet = std::mem::take(&mut self.just_told);
        if !quiet {
            self.tell_gap()?;
        }
        let (began, wait, given) = (Instant::now(), wait.min(WAIT_MAX), out.len());
        loop {
            self.filled.clear();
            let result = self.serve().and_then(|()| self.give(out, bytes_max.max(1)));
            // What was given out before an error comes first; the error stays, or comes again.
            if out.len() > given {
                return Ok(());
            }
            result?;
            let waited = began.elapsed();
            if !quiet || waited >= wait {
                self.tell_gap()?;
            }
            if self.shared.is_closed() {
                return Err(ReadError::Closed);
            }
            if waited >= wait {
                return Ok(());
            }
            self.filled.wait((wait - waited).min(LOOK_EVERY));
        }
    }

    /// Moves on to the first readable record behind the gap that was told last; without a gap nothing happens. What was in
    /// it is lost to this reader: whoever calls this has recorded that.
    ///
    /// # Errors
    /// When the place behind the gap cannot be read; the gap stays.
    pub fn skip_gap(&mut self) -> Result<(), ReadError> {
        let Some(partition) = self.told else { return Ok(()) };
        let Some(lane) = self.lanes.get_mut(&partition) else { return Ok(()) };
        match lane.gap {
            Some(ReadError::Gone { first, .. }) => lane.source.next = first,
            Some(ReadError::Ahead { next, .. }) => lane.source.next = next,
            _ => return Ok(()),
        }
        self.begin(partition)?;
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.gap = None;
        }
        (self.told, self.just_told) = (None, false);
        Ok(())
    }

    /// Records of a partition that were not read yet, as far as is known; 0 of one that is not being read.
    pub fn ahead(&self, partition: PartitionId) -> u64 {
        let Some(lane) = self.lanes.get(&partition) else { return 0 };
        let catalog = self.shared.catalog.lock();
        catalog.ends[usize::from(partition.0)].next.0.saturating_sub(lane.source.next.0)
    }

    fn locate(&self, partition: PartitionId, from: PartitionFrom) -> Result<Source, ReadError> {
        let unknown = |error| ReadError::Kafka { error };
        let source = |next, passed, from| Source::new(partition.0, next, passed, from);
        let first = || self.survey.patiently(|survey| survey.first_of(partition)).map_err(unknown);
        Ok(match from {
            PartitionFrom::Beginning => source(first()?, Timestamp::MIN, Timestamp::MIN),
            PartitionFrom::LogTime(log_time) => {
                let place = self.survey.patiently(|survey| survey.since_of(partition, log_time)).map_err(unknown)?;
                // Asked last: what is deleted after that is found missing by the first read.
                source(place.max(first()?), Timestamp::MIN, log_time)
            }
            PartitionFrom::Offset(next) => source(next, Timestamp::MIN, Timestamp::MIN),
            PartitionFrom::Committed(Committed { next, log_time }) => source(next, log_time, Timestamp::MIN),
        })
    }

    /// Has a partition read from where its source stands. Its queue is made first: then nothing goes another way.
    fn begin(&mut self, partition: PartitionId) -> Result<(), ReadError> {
        let Some(lane) = self.lanes.get_mut(&partition) else { return Ok(()) };
        let again = lane.source.queue.take().is_some();
        lane.source.begin();
        lane.unanswered = None;
        let mut queue = self.consumer.split_partition_queue(&self.shared.topic, i32::from(partition.0));
        if let Some(queue) = &mut queue {
            let filled = Arc::clone(&self.filled);
            queue.set_nonempty_callback(move || filled.set());
        }
        lane.source.queue = queue;
        let next = lane.source.next;
        let places = self.place(partition, next).map_err(|error| failed(&error))?;
        if again {
            self.consumer.incremental_unassign(&places).map_err(|error| failed(&error))?;
        }
        self.consumer.incremental_assign(&places).map_err(|error| failed(&error))
    }

    fn place(&self, partition: PartitionId, next: Offset) -> Result<TopicPartitionList, KafkaError> {
        let mut places = TopicPartitionList::new();
        let next = rdkafka::Offset::Offset(i64::try_from(next.0).unwrap_or(i64::MAX));
        places.add_partition_offset(&self.shared.topic, i32::from(partition.0), next)?;
        Ok(places)
    }

    /// Serves what is no record. A record here would have gone another way than its partition's queue: it is read again.
    fn serve(&mut self) -> Result<(), ReadError> {
        let mut astray = Vec::new();
        while let Some(event) = self.consumer.poll(Duration::ZERO) {
            match event {
                Ok(message) => astray.push(PartitionId(rdkafka::Message::partition(&message) as u16)),
                Err(error) => tracing::debug!(%error, "reading Kafka"),
            }
        }
        astray.dedup();
        astray.into_iter().try_for_each(|partition| self.begin(partition))
    }

    /// Says of the first partition that has a gap, the one that was told of before others.
    fn tell_gap(&mut self) -> Result<(), ReadError> {
        let first = self.lanes.iter().find(|(_, lane)| lane.gap.is_some()).map(|(partition, _)| *partition);
        let Some(partition) = self.told.or(first) else { return Ok(()) };
        let Some(gap) = self.lanes.get(&partition).and_then(|lane| lane.gap.clone()) else { return Ok(()) };
        (self.told, self.just_told) = (Some(partition), true);
        Err(gap)
    }

    /// Gives out what is there: rounds over all partitions, until there is enough or no more.
    fn give(&mut self, out: &mut Vec<LogRecord>, bytes_max: usize) -> Result<(), ReadError> {
        let mut bytes = 0;
        let mut failure = None;
        while bytes < bytes_max {
            let order: Vec<PartitionId> =
                self.lanes.range(self.turn..).chain(self.lanes.range(..self.turn)).map(|l| *l.0).collect();
            let before = bytes;
            for partition in order {
                if bytes >= bytes_max {
                    break;
                }
                match self.give_of(partition, out, (bytes_max / SHARES).min(bytes_max - bytes)) {
                    Ok(given) => bytes += given,
                    Err(error) => failure = Some(error),
                }
                self.turn = PartitionId(partition.0.wrapping_add(1));
            }
            if bytes == before {
                break;
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Gives out up to so many bytes of one partition, but one record if there is one.
    fn give_of(&mut self, partition: PartitionId, out: &mut Vec<LogRecord>, share: usize) -> Result<usize, ReadError> {
        let Some(lane) = self.lanes.get_mut(&partition).filter(|lane| !lane.paused && lane.gap.is_none()) else {
            return Ok(0);
        };
        let mut bytes = 0;
        while bytes == 0 || bytes < share {
            match lane.source.draw() {
                Drawn::Record => {}
                Drawn::Nothing => break,
                Drawn::OutOfReach => {
                    // Told when there is nothing else to give, and then until it is skipped.
                    if lane.unanswered.is_some_and(|at| at.elapsed() < ASK_AGAIN) {
                        break;
                    }
                    lane.unanswered = Some(Instant::now());
                    lane.gap = Some(self.survey.gap(partition, lane.source.next)?);
                    break;
                }
                Drawn::Failed(error) => return Err(failed(&error)),
            }
            let Some(record) = lane.source.take() else { break };
            bytes += record.payload.len() + RECORD_BYTES;
            self.shared.catalog.lock().seen(partition.0, record.offset, record.log_time);
            out.push(record);
        }
        Ok(bytes)
    }
}

fn failed(error: &KafkaError) -> ReadError {
    ReadError::Kafka { error: error.to_string() }
}
