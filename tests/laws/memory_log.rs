//! A log in memory whose records become readable when the test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prefold::log::{Appended, Extent, Log, LogReader, LogRecord, LogStats, NewRecord, ReadError, ReadFrom};
use prefold::model::{Offset, PartitionBy, PartitionId, Timestamp};

pub struct MemoryLog {
    records: Arc<Vec<LogRecord>>,
    partitions: u16,
    partition_by: PartitionBy,
    /// How many records are there to be read.
    pub readable: Arc<AtomicUsize>,
}

impl MemoryLog {
    /// Offsets are given by the records' order within their partition.
    pub fn new(records: impl Iterator<Item = prefold::dataflow::RawRecord>, partitions: u16) -> MemoryLog {
        let mut next = vec![0; usize::from(partitions)];
        let numbered = records.map(|record| {
            let place = &mut next[usize::from(record.partition.0)];
            let offset = Offset(*place);
            *place += 1;
            LogRecord { partition: record.partition, offset, log_time: record.log_time, payload: record.payload }
        });
        let partition_by = PartitionBy::default();
        MemoryLog { records: Arc::new(numbered.collect()), partitions, partition_by, readable: Arc::default() }
    }

    pub fn partitioned_by(self, partition_by: PartitionBy) -> MemoryLog {
        MemoryLog { partition_by, ..self }
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }
}

impl Log for MemoryLog {
    fn partitions(&self) -> u16 {
        self.partitions
    }
    fn record_bytes_max(&self) -> usize {
        usize::MAX
    }
    fn partition_by(&self) -> PartitionBy {
        self.partition_by.clone()
    }
    fn incarnation(&self) -> u128 {
        7
    }
    fn append(&self, _: Vec<NewRecord>) -> Appended {
        panic!("this log is written by the test")
    }
    fn extent(&self, partition: PartitionId) -> Extent {
        let readable = self.readable.load(Ordering::Acquire);
        let mine = || self.records[..readable].iter().filter(|record| record.partition == partition);
        Extent {
            first: Offset(0),
            next: Offset(mine().count() as u64),
            first_log_time: mine().next().map_or(Timestamp::MIN, |record| record.log_time),
            newest_log_time: mine().next_back().map_or(Timestamp::MIN, |record| record.log_time),
            truncated: false,
        }
    }
    fn reader(&self, from: ReadFrom) -> Result<Box<dyn LogReader>, ReadError> {
        let from = match from {
            ReadFrom::Beginning => Timestamp::MIN,
            ReadFrom::LogTime(log_time) => log_time,
            ReadFrom::Positions(_) => panic!("nobody reads from positions"),
        };
        let (records, readable) = (Arc::clone(&self.records), Arc::clone(&self.readable));
        Ok(Box::new(Reader { records, readable, next: 0, from }))
    }
    fn stats(&self) -> LogStats {
        LogStats::default()
    }
    fn close(&self) {}
}

struct Reader {
    records: Arc<Vec<LogRecord>>,
    readable: Arc<AtomicUsize>,
    next: usize,
    from: Timestamp,
}

impl LogReader for Reader {
    fn read(&mut self, out: &mut Vec<LogRecord>, _: usize, wait: Duration) -> Result<u64, ReadError> {
        let readable = self.readable.load(Ordering::Acquire);
        let before = out.len();
        while self.next < readable && out.len() - before < 40 {
            let record = &self.records[self.next];
            self.next += 1;
            if record.log_time >= self.from {
                out.push(record.clone());
            }
        }
        if out.len() == before {
            std::thread::park_timeout(wait.min(Duration::from_millis(2)));
        }
        Ok((readable - self.next) as u64)
    }
    fn skip_gap(&mut self) -> Result<(), ReadError> {
        Ok(())
    }
}
