//! Reading: all partitions at once, their records in about the order of log time.
//!
//! Each partition has a queue of its own, which librdkafka fills ahead. The record with the least log time goes first, and a
//! partition that has more but has not delivered it yet is waited for: else one that is far ahead of the others would fill
//! the memory of all that waits for them. Within a partition the order is Kafka's.
//!
//! A place that the log does not hold is never passed over silently: it is found out what is missing, and that is told until
//! the caller has taken note of it.

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
use crate::log::{LogReader, LogRecord, ReadError, ReadFrom};
use crate::model::{Offset, PartitionId, Position, Timestamp};

/// No read waits longer.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// How often a waiting reader looks whether the log was closed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a record counts beside its payload.
const RECORD_BYTES: usize = 64;

pub(super) struct KafkaReader {
    shared: Arc<Shared>,
    survey: Survey,
    consumer: Arc<BaseConsumer<Listener>>,
    /// By partition.
    sources: Vec<Source>,
    filled: Arc<Filled>,
    gap: Option<ReadError>,
}

impl KafkaReader {
    pub fn new(survey: Survey, options: &KafkaOptions, from: &ReadFrom) -> Result<KafkaReader, ReadError> {
        let shared = Arc::clone(&survey.shared);
        let sources = locate(&survey, from)?;
        let consumer = gathering(options, shared.partitions)
            .create_with_context(shared.listener.clone())
            .map_err(|error| failed(&error))?;
        let (consumer, filled) = (Arc::new(consumer), Arc::default());
        let mut reader = KafkaReader { shared, survey, consumer, sources, filled, gap: None };
        reader.assign().map_err(|error| failed(&error))?;
        Ok(reader)
    }

    /// Has all partitions read from where their sources stand. Their queues are made first: then nothing goes another way, and
    /// nothing need be paused meanwhile. librdkafka numbers what it is told, and what it does by itself: a pause beside the
    /// beginning of a partition can leave that with an older number than its records must have, and all of them are thrown away.
    fn assign(&mut self) -> Result<(), KafkaError> {
        let topic = self.shared.topic.as_str();
        let mut places = TopicPartitionList::new();
        for source in &mut self.sources {
            let partition = i32::from(source.partition.0);
            places.add_partition_offset(topic, partition, rdkafka::Offset::Offset(source.next.0 as i64))?;
            source.begin();
            source.queue = self.consumer.split_partition_queue(topic, partition);
            let filled = Arc::clone(&self.filled);
            if let Some(queue) = &mut source.queue {
                queue.set_nonempty_callback(move || filled.set());
            }
        }
        self.consumer.assign(&places)
    }

    /// Brings the next record of a partition to its head, if it is there.
    fn draw(&mut self, index: usize) -> Result<(), ReadError> {
        match self.sources[index].draw() {
            Drawn::Record | Drawn::Nothing => Ok(()),
            Drawn::OutOfReach => self.out_of_reach(index),
            Drawn::Failed(error) => Err(failed(&error)),
        }
    }

    /// Serves what is no record, and what came on the way that queues of their own should have closed: then all is read again.
    fn serve(&mut self) -> Result<(), ReadError> {
        let mut astray = false;
        while let Some(event) = self.consumer.poll(Duration::ZERO) {
            match event {
                Ok(_) => astray = true,
                Err(error) => tracing::debug!(%error, "reading Kafka"),
            }
        }
        if astray { self.assign().map_err(|error| failed(&error)) } else { Ok(()) }
    }

    /// The brokers do not have the place that is to be read next. What is missing is found out by asking.
    fn out_of_reach(&mut self, index: usize) -> Result<(), ReadError> {
        let gap = self.survey.gap(self.sources[index].partition, self.sources[index].next)?;
        self.gap = Some(gap.clone());
        Err(gap)
    }

    /// The partition whose record is to go out next; `None` while one that must be waited for has none.
    fn least(&self) -> Option<usize> {
        let catalog = self.shared.catalog.lock();
        let behind =
            |source: &Source| source.head.is_none() && source.next < catalog.ends[usize::from(source.partition.0)].next;
        if self.sources.iter().any(behind) {
            return None;
        }
        drop(catalog);
        let heads =
            self.sources.iter().enumerate().filter_map(|(index, source)| Some((source.head.as_ref()?.log_time, index)));
        heads.min().map(|(_, index)| index)
    }

    /// Gives out what is there, up to so many bytes.
    fn give(&mut self, out: &mut Vec<LogRecord>, bytes_max: usize) -> Result<(), ReadError> {
        (0..self.sources.len()).try_for_each(|index| self.draw(index))?;
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some(index) = self.least() else { return Ok(()) };
            let Some(record) = self.sources[index].take() else { return Ok(()) };
            bytes += record.payload.len() + RECORD_BYTES;
            self.shared.catalog.lock().seen(record.partition.0, record.offset, record.log_time);
            out.push(record);
            self.draw(index)?;
        }
        Ok(())
    }

    fn ahead(&self) -> u64 {
        let catalog = self.shared.catalog.lock();
        self.sources.iter().zip(&catalog.ends).map(|(source, end)| end.next.0.saturating_sub(source.next.0)).sum()
    }
}

impl LogReader for KafkaReader {
    fn read(&mut self, out: &mut Vec<LogRecord>, bytes_max: usize, wait: Duration) -> Result<u64, ReadError> {
        if let Some(gap) = &self.gap {
            return Err(gap.clone());
        }
        self.shared.readable()?;
        let (began, wait, given) = (Instant::now(), wait.min(WAIT_MAX), out.len());
        loop {
            self.filled.clear();
            let result = self.serve().and_then(|()| self.give(out, bytes_max.max(1)));
            // What was given out before an error comes first; the error stays, or comes again.
            if out.len() > given {
                return Ok(self.ahead());
            }
            result?;
            let waited = began.elapsed();
            if self.shared.is_closed() && self.ahead() == 0 {
                return Err(ReadError::Closed);
            }
            if waited >= wait {
                return Ok(self.ahead());
            }
            self.filled.wait((wait - waited).min(LOOK_EVERY));
        }
    }

    fn skip_gap(&mut self) -> Result<(), ReadError> {
        let (partition, next) = match &self.gap {
            Some(ReadError::Gone { partition, first, .. }) => (*partition, *first),
            Some(ReadError::Ahead { partition, next, .. }) => (*partition, *next),
            _ => return Ok(()),
        };
        if let Some(source) = self.sources.get_mut(usize::from(partition.0)) {
            source.next = next;
        }
        self.assign().map_err(|error| failed(&error))?;
        self.gap = None;
        Ok(())
    }
}

/// Where each partition is read from. Where partitions begin is asked last: what is deleted after that is found missing by
/// the first read.
fn locate(survey: &Survey, from: &ReadFrom) -> Result<Vec<Source>, ReadError> {
    let unknown = |error| ReadError::Kafka { error };
    let partitions = 0..survey.shared.partitions;
    let wanted: Vec<Option<Position>> = match from {
        ReadFrom::Beginning | ReadFrom::LogTime(_) => vec![None; partitions.len()],
        ReadFrom::Positions(positions) => {
            let of = |partition| positions.iter().find(|position| position.partition == PartitionId(partition)).copied();
            partitions.clone().map(of).collect()
        }
    };
    let (places, least) = match from {
        ReadFrom::LogTime(log_time) => (survey.patiently(|survey| survey.since(*log_time)).map_err(unknown)?, *log_time),
        ReadFrom::Beginning | ReadFrom::Positions(_) => (vec![Offset(0); partitions.len()], Timestamp::MIN),
    };
    let (first, ends) = survey.patiently(|survey| Ok((survey.beginnings()?, survey.ends()?))).map_err(unknown)?;
    if let ReadFrom::Positions(positions) = from {
        check(positions, &first, &ends)?;
    }
    let source = |partition: u16| {
        let index = usize::from(partition);
        let place = places[index].max(first[index]);
        match wanted[index] {
            Some(position) => Source::new(partition, position.next, position.log_time, Timestamp::MIN),
            None => Source::new(partition, place, Timestamp::MIN, least),
        }
    };
    Ok(partitions.map(source).collect())
}

fn check(positions: &[Position], first: &[Offset], ends: &[Offset]) -> Result<(), ReadError> {
    for Position { partition, next: wanted, .. } in positions.iter().copied() {
        let index = usize::from(partition.0);
        let (first, next) = (first.get(index).copied().unwrap_or_default(), ends.get(index).copied().unwrap_or_default());
        if wanted < first {
            return Err(ReadError::Gone { partition, wanted, first });
        }
        if index >= ends.len() || wanted > next {
            return Err(ReadError::Ahead { partition, wanted, next });
        }
    }
    Ok(())
}

fn failed(error: &KafkaError) -> ReadError {
    ReadError::Kafka { error: error.to_string() }
}
