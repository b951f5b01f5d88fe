//! Kafka as what a cluster is built on: see `log::topics`.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::Receiver;
use tokio::sync::watch;

use super::{KafkaLog, KafkaStream, KafkaTable, Membership, PartitionsReader, StreamWriter};
use crate::log::topics::{
    Assigned, Committed, Group, PartitionFrom, PartitionsRead, Samples, Stream, StreamWrite, Table, TableEntry, Topic,
    Written,
};
use crate::log::{Extent, Log, LogRecord, ReadError};
use crate::model::{PartitionId, Partitioner, Position};

impl Topic for KafkaLog {
    fn partitions(&self) -> u16 {
        Log::partitions(self)
    }
    fn incarnation(&self) -> u128 {
        Log::incarnation(self)
    }
    fn extent(&self, partition: PartitionId) -> Extent {
        Log::extent(self, partition)
    }
    fn reader(&self) -> Result<Box<dyn PartitionsRead>, ReadError> {
        Ok(Box::new(self.partitions_reader()?))
    }
}

impl Samples for KafkaLog {
    fn partitioner(&self) -> Partitioner {
        Log::partitioner(self)
    }
}

impl Topic for KafkaStream {
    fn partitions(&self) -> u16 {
        KafkaStream::partitions(self)
    }
    fn incarnation(&self) -> u128 {
        KafkaStream::incarnation(self)
    }
    fn extent(&self, partition: PartitionId) -> Extent {
        KafkaStream::extent(self, partition)
    }
    fn reader(&self) -> Result<Box<dyn PartitionsRead>, ReadError> {
        Ok(Box::new(self.partitions_reader()?))
    }
}

impl Stream for KafkaStream {
    fn record_bytes_max(&self) -> usize {
        KafkaStream::record_bytes_max(self)
    }
    fn writer(&self) -> Result<Box<dyn StreamWrite>, String> {
        let writer = KafkaStream::writer(self).map_err(|error| error.to_string())?;
        Ok(Box::new(writer))
    }
}

impl StreamWrite for StreamWriter {
    fn append(&self, partition: PartitionId, payload: Bytes) -> Written {
        StreamWriter::append(self, partition, payload)
    }
    fn queued_bytes(&self) -> usize {
        StreamWriter::queued_bytes(self)
    }
    fn failed(&self) -> Option<String> {
        StreamWriter::failed(self)
    }
}

impl PartitionsRead for PartitionsReader {
    fn add(&mut self, partition: PartitionId, from: PartitionFrom) -> Result<(), ReadError> {
        PartitionsReader::add(self, partition, from)
    }
    fn remove(&mut self, partition: PartitionId) {
        PartitionsReader::remove(self, partition);
    }
    fn pause(&mut self, partition: PartitionId, paused: bool) {
        PartitionsReader::pause(self, partition, paused);
    }
    fn read(&mut self, out: &mut Vec<LogRecord>, bytes_max: usize, wait: Duration) -> Result<(), ReadError> {
        PartitionsReader::read(self, out, bytes_max, wait)
    }
    fn skip_gap(&mut self) -> Result<(), ReadError> {
        PartitionsReader::skip_gap(self)
    }
    fn ahead(&self, partition: PartitionId) -> u64 {
        PartitionsReader::ahead(self, partition)
    }
}

impl Table for KafkaTable {
    fn get(&self, key: &str) -> Option<TableEntry> {
        self.with(|entries| entries.get(key).cloned())
    }
    fn entries(&self, prefix: &str) -> Vec<(String, TableEntry)> {
        self.with(|entries| {
            let from = entries.range(prefix.to_owned()..);
            from.take_while(|(key, _)| key.starts_with(prefix)).map(|(key, entry)| (key.clone(), entry.clone())).collect()
        })
    }
    fn len(&self) -> usize {
        self.with(|entries| entries.len())
    }
    fn put(&self, key: &str, value: Option<Bytes>) -> Written {
        KafkaTable::put(self, key, value)
    }
    fn catch_up(&self) -> Result<(), String> {
        KafkaTable::catch_up(self)
    }
    fn changed(&self) -> watch::Receiver<u64> {
        KafkaTable::changed(self)
    }
    fn value_bytes_max(&self) -> usize {
        KafkaTable::value_bytes_max(self)
    }
}

impl Group for Membership {
    fn events(&self) -> &Receiver<Assigned> {
        Membership::events(self)
    }
    fn committed(&self, partition: PartitionId) -> Result<Option<Committed>, String> {
        Membership::committed(self, partition)
    }
    fn commit(&self, positions: &[Position]) {
        Membership::commit(self, positions);
    }
    fn owned(&self) -> BTreeSet<PartitionId> {
        Membership::owned(self)
    }
    fn stand_aside(&self, aside: bool) {
        Membership::stand_aside(self, aside);
    }
}
