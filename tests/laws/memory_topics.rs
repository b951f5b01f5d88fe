//! Topics, tables and consumer groups in memory, driven by the test: it says who has which partition, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use prefold::log::topics::{
    Assigned, Committed, Group, PartitionFrom, PartitionsRead, Samples, Stream, StreamWrite, Table, TableEntry, Topic,
    Written,
};
use prefold::log::{Extent, LogRecord, ReadError};
use prefold::model::{Offset, PartitionBy, PartitionId, Partitioner, Position, Timestamp};
use tokio::sync::watch;

/// Events that wait for a member: more than a case makes.
const EVENTS_MAX: usize = 1 << 14;

/// A topic in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryTopic {
    partitions: Arc<Vec<Mutex<Vec<LogRecord>>>>,
    partition_by: PartitionBy,
    incarnation: u128,
    clock: Arc<Mutex<i64>>,
    /// How many records of each partition retention has deleted.
    deleted: Arc<Mutex<BTreeMap<PartitionId, usize>>>,
}

impl MemoryTopic {
    pub fn new(partitions: u16, incarnation: u128) -> MemoryTopic {
        let partitions = (0..partitions).map(|_| Mutex::default()).collect();
        let (partitions, partition_by) = (Arc::new(partitions), PartitionBy::default());
        MemoryTopic { partitions, partition_by, incarnation, clock: Arc::default(), deleted: Arc::default() }
    }

    pub fn partitioned_by(self, partition_by: PartitionBy) -> MemoryTopic {
        MemoryTopic { partition_by, ..self }
    }

    /// Deletes the first records of a partition, so many in all.
    pub fn delete(&self, partition: PartitionId, records: usize) {
        self.deleted.lock().insert(partition, records);
    }

    fn first(&self, partition: PartitionId) -> usize {
        self.deleted.lock().get(&partition).copied().unwrap_or_default()
    }

    pub fn push(&self, partition: PartitionId, log_time: Timestamp, payload: Bytes) -> Offset {
        let mut records = self.partitions[usize::from(partition.0)].lock();
        let offset = Offset(records.len() as u64);
        records.push(LogRecord { partition, offset, log_time, payload });
        offset
    }

    pub fn bytes(&self) -> usize {
        self.partitions.iter().map(|records| records.lock().iter().map(|record| record.payload.len()).sum::<usize>()).sum()
    }

    fn of(&self, partition: PartitionId) -> parking_lot::MutexGuard<'_, Vec<LogRecord>> {
        self.partitions[usize::from(partition.0)].lock()
    }
}

impl Topic for MemoryTopic {
    fn partitions(&self) -> u16 {
        self.partitions.len() as u16
    }
    fn incarnation(&self) -> u128 {
        self.incarnation
    }
    fn extent(&self, partition: PartitionId) -> Extent {
        let first = self.first(partition);
        let records = self.of(partition);
        let log_time = |record: Option<&LogRecord>| record.map_or(Timestamp::MIN, |record| record.log_time);
        Extent {
            first: Offset(first as u64),
            next: Offset(records.len() as u64),
            first_log_time: log_time(records.get(first)),
            newest_log_time: log_time(records.last()),
            truncated: first > 0,
        }
    }
    fn reader(&self) -> Result<Box<dyn PartitionsRead>, ReadError> {
        Ok(Box::new(MemoryReader { topic: self.clone(), next: BTreeMap::new(), paused: BTreeSet::new() }))
    }
}

impl Samples for MemoryTopic {
    fn partitioner(&self) -> Partitioner {
        Partitioner::new(self.partition_by.clone(), self.partitions())
    }
}

impl Stream for MemoryTopic {
    /// Small, so that records are split.
    fn record_bytes_max(&self) -> usize {
        800
    }
    fn writer(&self) -> Result<Box<dyn StreamWrite>, String> {
        Ok(Box::new(MemoryWriter(self.clone())))
    }
}

struct MemoryWriter(MemoryTopic);

impl StreamWrite for MemoryWriter {
    fn append(&self, partition: PartitionId, payload: Bytes) -> Written {
        let (answer, written) = tokio::sync::oneshot::channel();
        let now = {
            let mut clock = self.0.clock.lock();
            *clock += 1;
            *clock
        };
        answer.send(Ok(self.0.push(partition, Timestamp(now), payload))).unwrap();
        written
    }
    fn queued_bytes(&self) -> usize {
        0
    }
    fn failed(&self) -> Option<String> {
        None
    }
}

struct MemoryReader {
    topic: MemoryTopic,
    next: BTreeMap<PartitionId, usize>,
    paused: BTreeSet<PartitionId>,
}

impl PartitionsRead for MemoryReader {
    fn add(&mut self, partition: PartitionId, from: PartitionFrom) -> Result<(), ReadError> {
        let records = self.topic.of(partition);
        let next = match from {
            PartitionFrom::Beginning => self.topic.first(partition),
            PartitionFrom::LogTime(log_time) => records.partition_point(|record| record.log_time < log_time),
            PartitionFrom::Offset(next) | PartitionFrom::Committed(Committed { next, .. }) => next.0 as usize,
        };
        self.next.insert(partition, next);
        self.paused.remove(&partition);
        Ok(())
    }
    fn remove(&mut self, partition: PartitionId) {
        self.next.remove(&partition);
    }
    fn pause(&mut self, partition: PartitionId, paused: bool) {
        match paused {
            true => drop(self.paused.insert(partition)),
            false => drop(self.paused.remove(&partition)),
        }
    }
    fn read(&mut self, out: &mut Vec<LogRecord>, _: usize, _: Duration) -> Result<(), ReadError> {
        for (partition, next) in self.next.iter_mut().filter(|(partition, _)| !self.paused.contains(partition)) {
            let first = self.topic.first(*partition);
            if *next < first {
                let (wanted, first) = (Offset(*next as u64), Offset(first as u64));
                return Err(ReadError::Gone { partition: *partition, wanted, first });
            }
            let records = self.topic.of(*partition);
            let given = records.get(*next..).unwrap_or_default().iter().take(40).cloned();
            let before = out.len();
            out.extend(given);
            *next += out.len() - before;
        }
        Ok(())
    }
    fn skip_gap(&mut self) -> Result<(), ReadError> {
        for (partition, next) in &mut self.next {
            *next = (*next).max(self.topic.first(*partition));
        }
        Ok(())
    }
    fn ahead(&self, partition: PartitionId) -> u64 {
        let next = self.next.get(&partition).copied().unwrap_or(0);
        self.topic.of(partition).len().saturating_sub(next) as u64
    }
}

/// A table in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryTable {
    entries: Arc<Mutex<BTreeMap<String, TableEntry>>>,
    changed: watch::Sender<u64>,
}

impl MemoryTable {
    pub fn new() -> MemoryTable {
        MemoryTable { entries: Arc::default(), changed: watch::Sender::new(0) }
    }
}

impl Table for MemoryTable {
    fn get(&self, key: &str) -> Option<TableEntry> {
        self.entries.lock().get(key).cloned()
    }
    fn entries(&self, prefix: &str) -> Vec<(String, TableEntry)> {
        let entries = self.entries.lock();
        entries.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(key, entry)| (key.clone(), entry.clone())).collect()
    }
    fn len(&self) -> usize {
        self.entries.lock().len()
    }
    fn put(&self, key: &str, value: Option<Bytes>) -> Written {
        let mut entries = self.entries.lock();
        let offset = Offset(*self.changed.borrow() + 1);
        match value {
            Some(value) => drop(entries.insert(key.to_owned(), TableEntry { offset, log_time: Timestamp(0), value })),
            None => drop(entries.remove(key)),
        }
        drop(entries);
        self.changed.send_modify(|version| *version += 1);
        let (answer, written) = tokio::sync::oneshot::channel();
        answer.send(Ok(offset)).unwrap();
        written
    }
    fn catch_up(&self) -> Result<(), String> {
        Ok(())
    }
    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
    fn value_bytes_max(&self) -> usize {
        usize::MAX
    }
}

/// One member of a group, as the test lets it see things.
pub struct Member {
    /// What the member believes to have.
    owned: Mutex<BTreeSet<PartitionId>>,
    tell: Sender<Assigned>,
    events: Receiver<Assigned>,
    /// What the brokers say: who has what, and what was committed.
    group: Arc<Mutex<Brokers>>,
    id: u64,
}

/// A group as the brokers know it.
#[derive(Default)]
pub struct Brokers {
    owner: BTreeMap<PartitionId, u64>,
    committed: BTreeMap<PartitionId, Position>,
}

impl Member {
    pub fn new(id: u64, group: &Arc<Mutex<Brokers>>) -> Arc<Member> {
        let (tell, events) = bounded(EVENTS_MAX);
        Arc::new(Member { owned: Mutex::default(), tell, events, group: Arc::clone(group), id })
    }

    /// The brokers give it a partition; it hears of that at once.
    pub fn assign(&self, partition: PartitionId) {
        self.group.lock().owner.insert(partition, self.id);
        self.owned.lock().insert(partition);
        self.tell.send(Assigned::Arrived(partition)).unwrap();
    }

    /// It hears that partitions are gone that the brokers have given to others.
    pub fn hear(&self) {
        let owner = self.group.lock().owner.clone();
        self.owned.lock().retain(|partition| {
            let stays = owner.get(partition) == Some(&self.id);
            if !stays {
                self.tell.send(Assigned::Left(*partition)).unwrap();
            }
            stays
        });
    }
}

impl Group for Member {
    fn events(&self) -> &Receiver<Assigned> {
        &self.events
    }
    fn committed(&self, partition: PartitionId) -> Result<Option<Committed>, String> {
        let position = self.group.lock().committed.get(&partition).copied();
        Ok(position.map(|position| Committed { next: position.next, log_time: position.log_time }))
    }
    fn commit(&self, positions: &[Position]) {
        let mut group = self.group.lock();
        for position in positions {
            if group.owner.get(&position.partition) == Some(&self.id) {
                group.committed.insert(position.partition, *position);
            }
        }
    }
    fn owned(&self) -> BTreeSet<PartitionId> {
        self.owned.lock().clone()
    }
    fn stand_aside(&self, _: bool) {}
}
