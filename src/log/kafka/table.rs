//! A compacted topic held in memory: for each key the newest value, the same in every process.
//!
//! What is small, must outlive every process and has no order of its own lives in one: jobs, positions, senders. It has one
//! partition, so that everyone sees the same order. Useful for: up to some hundred thousand keys. Not useful for: what is
//! written often, because everything written since the last compaction is read at the next start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{oneshot, watch};

use super::bell::Bell;
use super::client::reading;
use super::error::KafkaOpenError;
use super::follow::Follower;
use super::options::{Compression, KafkaOptions};
use super::topic::{self, Keeping};
use super::watch::Watch;
use super::writer::Writer;
use crate::log::AppendError;
use crate::log::topics::{TableEntry, Written};
use crate::model::{LogTime, Offset, PartitionBy, PartitionId};

/// The partition.
pub(super) const PARTITION: PartitionId = PartitionId(0);

/// The most that a table holds: keys and values with it.
const ENTRIES_MAX: usize = 1 << 20;
const BYTES_MAX: usize = 256 << 20;

/// What an entry counts beside its key and value.
const ENTRY_BYTES: usize = 64;

/// How long closing waits for the thread.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// What a table is opened with.
#[derive(Clone)]
pub struct TableOptions {
    /// Brokers, TLS, SASL, replication and timeouts.
    pub connection: KafkaOptions,
    pub topic: String,
}

/// A compacted topic held in memory. Dropping it closes it.
pub struct KafkaTable {
    watch: Watch,
    message_bytes_max: usize,
    held: Arc<Held>,
    /// Made for the first put, and replaced when it has failed: puts have no order among keys. Held while a record is handed
    /// over.
    writer: Mutex<Option<Writer>>,
    /// What wakes the thread, and ends it when it is dropped, and what hears that it has; until the table is closed.
    thread: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

/// What is shared with the thread that follows the topic.
pub(super) struct Held {
    state: Mutex<State>,
    /// Something was read, or can never be.
    moved: Condvar,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<String, TableEntry>,
    /// Of all entries.
    bytes: usize,
    /// Behind the last record read.
    next: Offset,
    /// How far somebody wants to have it read.
    wanted: Offset,
    /// Why the table is not what the topic holds, and never will be.
    broken: Option<String>,
}

impl KafkaTable {
    /// Opens a table: its topic is made when it is not there, and read to its end. Waits for the brokers, and blocks meanwhile.
    ///
    /// # Errors
    /// When no broker answers in time, when the topic cannot be made, when its configuration does not keep what is promised,
    /// when it holds more than a table may. The message says what to do.
    pub fn open(options: TableOptions) -> Result<KafkaTable, KafkaOpenError> {
        let TableOptions { connection, topic } = options;
        let options = KafkaOptions {
            topic,
            partitions: 1,
            partition_by: PartitionBy::default(),
            compression: Compression::Zstd,
            known_incarnation: None,
            append_observer: None,
            ..connection
        };
        let (watch, message_bytes_max) = Watch::open(options, Keeping::NewestOfKey)?;
        let unable = |error: String| KafkaOpenError::Options { error };
        let shared = Arc::clone(&watch.survey.shared);
        let consumer = reading(&watch.options, 1)
            // Tells where reading has come to the end, whatever stands there.
            .set("enable.partition.eof", "true")
            .create_with_context(shared.listener.clone())
            .map_err(|error| unable(error.to_string()))?;
        let (moved, changes) = (Condvar::new(), watch::Sender::new(0));
        let held = Arc::new(Held { state: Mutex::default(), moved, changes });
        let ((words, heard), (end, ended)) = (bounded(1), bounded(1));
        let bell = Bell::of_consumer(Arc::new(consumer)).map_err(unable)?;
        let mut follower = Follower::new(bell, watch.survey.until_closed(), Arc::clone(&held), heard);
        let run = move || {
            follower.run();
            drop::<(Follower, Sender<()>)>((follower, end));
        };
        let thread = std::thread::Builder::new().name("prefold-kafka-table".to_owned()).spawn(run);
        thread.map_err(|error| unable(format!("cannot start a thread: {error}")))?;
        let thread = Mutex::new(Some((words, ended)));
        let table = KafkaTable { watch, message_bytes_max, held, writer: Mutex::new(None), thread };
        let unread = |error| KafkaOpenError::Topic { action: "read", topic: table.watch.options.topic.clone(), error };
        table.catch_up().map_err(unread)?;
        Ok(table)
    }

    /// Sets the value of a key; `None` deletes it. Answer: the offset, once all replicas in sync have it. The table has it a
    /// moment later, or after [`KafkaTable::catch_up`]. Of a put answered with an error the value may still come.
    pub fn put(&self, key: &str, value: Option<Bytes>) -> Written {
        let mut current = self.writer.lock();
        let bytes = key.len() + value.as_ref().map_or(0, Bytes::len);
        // What is refused now must not fail the writer: others wait in it.
        let taken = self.working(&mut current).and_then(|writer| match writer.refusal(PARTITION, bytes) {
            Some(error) => Err(error),
            None => Ok(writer.append(PARTITION, Some(key), value.as_deref())),
        });
        taken.unwrap_or_else(|error| {
            let (answer, written) = oneshot::channel();
            drop(answer.send(Err(error)));
            written
        })
    }

    /// The writer; another where there is none, or it has failed.
    fn working<'w>(&self, current: &'w mut Option<Writer>) -> Result<&'w Writer, AppendError> {
        self.held.broken().map_or(Ok(()), |error| Err(AppendError::Kafka { error }))?;
        let working = current.take().filter(|writer| writer.failed().is_none());
        let writer = working.map_or_else(|| writer(&self.watch, self.message_bytes_max), Ok);
        Ok(current.insert(writer.map_err(|error| AppendError::Kafka { error: error.to_string() })?))
    }

    /// Everything appended before this call, by anybody, is in the table when it returns. Blocks meanwhile.
    ///
    /// # Errors
    /// When the brokers do not answer in time, when the topic was deleted or holds more than a table may, when it is closed.
    pub fn catch_up(&self) -> Result<(), String> {
        let (began, patience) = (Instant::now(), self.watch.options.open_timeout);
        self.whole()?;
        let next =
            self.watch.survey.patiently(|survey| survey.next_of(PARTITION)).or_else(|error| self.whole().and(Err(error)))?;
        let mut state = self.held.state.lock();
        state.wanted = state.wanted.max(next);
        let _ = self.thread.lock().as_ref().map(|(words, _)| words.try_send(()));
        loop {
            if state.next >= next {
                return state.broken.clone().map_or(Ok(()), Err);
            }
            if began.elapsed() >= patience {
                let (topic, next, read) = (&self.watch.options.topic, next.0, state.next.0);
                let waited = patience.as_secs();
                return Err(format!("topic {topic} was read to record {read} of {next} in {waited} s; check the brokers"));
            }
            self.held.moved.wait_for(&mut state, Duration::from_millis(100));
            parking_lot::MutexGuard::unlocked(&mut state, || self.whole())?;
        }
    }

    /// Whether the table is what the topic holds, or may yet become it.
    fn whole(&self) -> Result<(), String> {
        let shared = &self.watch.survey.shared;
        shared.readable().map_err(|error| error.to_string())?;
        self.held.broken().map_or(Ok(()), Err)?;
        if shared.is_closed() { Err("the table is closed: the process is shutting down".to_owned()) } else { Ok(()) }
    }

    /// Looks at the entries. Nothing is read from the topic meanwhile: be quick.
    pub fn with<T>(&self, read: impl FnOnce(&BTreeMap<String, TableEntry>) -> T) -> T {
        read(&self.held.state.lock().entries)
    }

    /// A number that rises whenever an entry changes.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.held.changes.subscribe()
    }

    /// The most bytes of a value, together with its key.
    pub fn value_bytes_max(&self) -> usize {
        topic::record_bytes_max(self.message_bytes_max)
    }

    /// Ends what is behind the table: it takes no more, and does not change any more. Closing twice is harmless.
    pub fn close(&self) {
        self.watch.close();
        let Some((close, ended)) = self.thread.lock().take() else { return };
        drop::<Sender<()>>(close);
        let _ = ended.recv_timeout(CLOSE_PATIENCE);
    }
}

impl Drop for KafkaTable {
    fn drop(&mut self) {
        self.close();
    }
}

fn writer(watch: &Watch, message_bytes_max: usize) -> Result<Writer, KafkaOpenError> {
    Writer::new(&watch.survey.shared, &watch.options, message_bytes_max, Some(watch.options.delivery_timeout))
}

impl Held {
    fn broken(&self) -> Option<String> {
        self.state.lock().broken.clone()
    }

    /// Where reading goes on, and how far it is wanted.
    pub fn progress(&self) -> (Offset, Offset) {
        let state = self.state.lock();
        (state.next, state.wanted)
    }

    /// A record was read: the newest of its key. Without a value the key is gone.
    pub fn apply(&self, key: Option<&str>, value: Option<Bytes>, offset: Offset, log_time: LogTime) {
        let mut state = self.state.lock();
        state.next = offset.next().max(state.next);
        let changed = key.is_some_and(|key| state.set(key, value.map(|value| TableEntry { offset, log_time, value })));
        drop(state);
        self.moved.notify_all();
        if changed {
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    /// Everything before this offset was read.
    pub fn reached(&self, next: Offset) {
        let mut state = self.state.lock();
        state.next = next.max(state.next);
        drop(state);
        self.moved.notify_all();
    }

    /// What was read is not in the topic any more: it is read from its beginning.
    pub fn restart(&self, first: Offset) {
        let mut state = self.state.lock();
        (state.entries, state.bytes, state.next) = (BTreeMap::new(), 0, first);
        drop(state);
        self.changes.send_modify(|changes| *changes += 1);
    }
}

impl State {
    /// Whether something has changed.
    fn set(&mut self, key: &str, entry: Option<TableEntry>) -> bool {
        let size = |value: &TableEntry| key.len() + value.value.len() + ENTRY_BYTES;
        let before = self.entries.get(key).map_or(0, size);
        let Some(entry) = entry else {
            self.bytes -= before;
            return self.entries.remove(key).is_some();
        };
        let bytes = self.bytes - before + size(&entry);
        let entries = self.entries.len() + usize::from(before == 0);
        if bytes > BYTES_MAX || entries > ENTRIES_MAX {
            self.broken.get_or_insert_with(|| {
                format!(
                    "it holds more than a table may, which is {ENTRIES_MAX} keys and {BYTES_MAX} bytes: somebody else writes to \
                     it, or keys are not deleted; restart Prefold once there are fewer"
                )
            });
            return false;
        }
        self.bytes = bytes;
        self.entries.insert(key.to_owned(), entry);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn more_than_a_table_may_hold_is_said_and_not_held() {
        let entry = |len: usize| TableEntry { offset: Offset(0), log_time: Timestamp(0), value: vec![0; len].into() };
        let mut state = State::default();
        assert!(state.set("a", Some(entry(BYTES_MAX / 2))) && state.set("a", Some(entry(BYTES_MAX / 4))));
        assert!(state.set("b", Some(entry(BYTES_MAX / 2))) && state.broken.is_none());
        assert!(!state.set("c", Some(entry(BYTES_MAX / 2))) && !state.entries.contains_key("c"));
        assert!(state.broken.as_ref().is_some_and(|why| why.contains("more than a table may")));
        assert!(state.set("a", None) && !state.set("a", None) && state.set("b", None));
        assert_eq!((state.bytes, state.entries.len()), (0, 0));
    }
}
