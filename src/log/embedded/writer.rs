//! The one thread that writes: group commit, ticks, new segments, retention.
//!
//! Each turn takes what waits, makes one frame of it, writes and syncs it, lets the readers see it, and answers. Ticks that
//! are due go into the same frame, so an idle partition costs no sync of its own while others are busy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::catalog::{Catalog, Segment, Shared};
use super::format::{PartitionEnd, SegmentHeader};
use super::frame::{FrameBuffers, FrameBuilder};
use super::journal::Journal;
use super::log_time::LogClock;
use super::queue::{Append, CloseOnDrop, Queue};
use super::retention::Retention;
use crate::log::{AppendError, AppendObserver};
use crate::model::{Clock, PartitionId};

/// A frame is closed when it holds this much; a larger append has one to itself. Bounds the memory of a reader too.
const GROUP_BYTES: usize = 8 << 20;

/// A lasting failure is reported again after this.
const COMPLAINT_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Writer {
    pub shared: Arc<Shared>,
    pub queue: Arc<Queue>,
    pub journal: Journal,
    pub clock: Arc<dyn Clock>,
    /// The log's time after the last durable frame.
    pub log_clock: LogClock,
    pub retention: Retention,
    pub segment_bytes: u64,
    pub tick_interval: Duration,
    pub observer: Option<AppendObserver>,
    /// Which partitions had a record since the last tick.
    pub heard: Vec<bool>,
    pub append_complaint: Complaint,
    pub segment_complaint: Complaint,
    pub buffers: FrameBuffers,
}

/// A frame that has become durable.
#[derive(Clone, Copy)]
struct Written {
    /// The length of the segment with it.
    segment_len: u64,
    frame_bytes: u64,
}

/// Whether something fails at present, and when that was last reported.
pub(super) struct Complaint {
    failing: &'static str,
    fine_again: &'static str,
    reported: Option<Instant>,
}

impl Writer {
    /// Until the queue is closed and empty.
    pub fn run(mut self) {
        let queue = self.queue.clone();
        let _answer_the_rest = CloseOnDrop(&queue);
        let _tell_the_readers = TellReaders(self.shared.clone());
        let mut next_tick = Instant::now() + self.tick_interval;
        loop {
            let taken = queue.take(GROUP_BYTES, next_tick);
            let tick_due = Instant::now() >= next_tick && !taken.finished;
            self.commit(taken.appends, tick_due);
            if tick_due {
                // From the end of the commit on: on a slow disk ticks must not follow each other without a pause.
                next_tick = Instant::now() + self.tick_interval;
            }
            self.retention.enforce(&self.shared, self.log_clock.at(self.clock.now()));
            if taken.finished {
                return;
            }
        }
    }

    /// One frame of these appends and, if due, ticks; all are answered.
    fn commit(&mut self, appends: Vec<Append>, tick_due: bool) {
        let (ends, sequence) = {
            let catalog = self.shared.catalog.lock();
            (catalog.ends.clone(), catalog.sequence)
        };
        let (mut frame, log_clock) = self.frame(&ends, &appends, tick_due);
        if frame.is_empty() {
            // Nothing was due because every partition was heard: from now on each has to be heard again.
            self.remember_heard(&frame, tick_due);
            self.keep(frame.into_parts().1);
            return;
        }
        let result = self.write(&mut frame, sequence);
        match &result {
            Ok(written) => {
                self.log_clock = log_clock;
                self.remember_heard(&frame, tick_due);
                self.show(frame, *written);
            }
            Err(_) => {
                self.shared.catalog.lock().stats.append_failures += appends.len() as u64;
                self.keep(frame.into_parts().1);
            }
        }
        let result = result.map(drop);
        // On a full disk a tick may still fit: only an append shows that there is room again.
        if result.is_err() || !appends.is_empty() {
            self.append_complaint.note(result.as_ref().err());
        }
        for append in appends {
            if let (Some(observer), Ok(())) = (&self.observer, &result) {
                observer(append.since.elapsed());
            }
            append.answer(result.clone());
        }
    }

    /// The frame, and the log's time behind it.
    fn frame(&mut self, ends: &[PartitionEnd], appends: &[Append], tick_due: bool) -> (FrameBuilder, LogClock) {
        let now = self.clock.now();
        let (mut frame, mut log_clock) = (FrameBuilder::new(ends, std::mem::take(&mut self.buffers)), self.log_clock);
        for record in appends.iter().flat_map(|append| &append.records) {
            frame.push(record.partition, log_clock.record(record.newest, now), &record.payload);
        }
        if tick_due && let Some(log_time) = log_clock.tick(now) {
            for index in 0..self.shared.partitions {
                let partition = PartitionId(index);
                if !self.heard[usize::from(index)] && frame.first(partition).is_none() {
                    frame.push(partition, log_time, &Bytes::new());
                }
            }
        }
        (frame, log_clock)
    }

    fn remember_heard(&mut self, frame: &FrameBuilder, tick_due: bool) {
        for (index, heard) in self.heard.iter_mut().enumerate() {
            *heard = !tick_due && (*heard || frame.first(PartitionId(index as u16)).is_some());
        }
    }

    /// Makes a frame durable.
    fn write(&mut self, frame: &mut FrameBuilder, sequence: u64) -> Result<Written, AppendError> {
        self.begin_segment_if_due()?;
        let bytes = frame.encode(sequence, self.shared.incarnation);
        let segment_len = self.journal.append(bytes)?;
        Ok(Written { segment_len, frame_bytes: bytes.len() as u64 })
    }

    /// Lets the readers see a frame that is durable.
    fn show(&mut self, frame: FrameBuilder, written: Written) {
        let buffers = self.shared.catalog.lock().grow(frame, written);
        self.shared.grown.notify_all();
        self.keep(buffers);
    }

    fn keep(&mut self, mut buffers: FrameBuffers) {
        buffers.shrink(GROUP_BYTES);
        self.buffers = buffers;
    }

    /// A segment that is full but sound is written to further when no new one can begin.
    fn begin_segment_if_due(&mut self) -> Result<(), AppendError> {
        if !self.journal.is_spoiled() && self.journal.len() < self.segment_bytes {
            return Ok(());
        }
        let header = self.shared.catalog.lock().next_segment(self.shared.incarnation, &self.journal);
        match self.journal.rotate(&header) {
            Ok(len) => {
                self.segment_complaint.note(None);
                let mut catalog = self.shared.catalog.lock();
                catalog.disk.syncs += 2;
                catalog.segments.push_back(Segment::new(header, len));
                Ok(())
            }
            Err(error) if self.journal.is_spoiled() => Err(error),
            Err(error) => {
                self.segment_complaint.note(Some(&error));
                Ok(())
            }
        }
    }
}

impl Catalog {
    fn next_segment(&self, incarnation: u128, journal: &Journal) -> SegmentHeader {
        SegmentHeader {
            incarnation,
            number: journal.number() + 1,
            first_sequence: self.sequence,
            previous_len: journal.len(),
            newest: self.newest,
            ends: self.ends.clone(),
        }
    }

    /// A frame has become durable in the last segment. Gives back the frame's memory.
    fn grow(&mut self, frame: FrameBuilder, written: Written) -> FrameBuffers {
        if let Some(last) = self.segments.back_mut() {
            last.mark(self.sequence, self.newest, &self.ends);
            last.len = written.segment_len;
        }
        for (index, end) in self.ends.iter().enumerate() {
            let empty = end.next == self.segments[0].header.ends[index].next;
            if let (true, Some(first)) = (empty, frame.first(PartitionId(index as u16))) {
                self.first_log_times[index] = first;
            }
        }
        let (ends, newest) = frame.ends();
        self.ends.copy_from_slice(ends);
        self.newest = newest;
        let (records, buffers) = frame.into_parts();
        self.stats.appended_records += records.len() as u64;
        self.stats.appended_bytes += written.frame_bytes;
        self.disk.syncs += 1;
        self.recent.push(self.sequence, written.frame_bytes, records);
        self.sequence += 1;
        buffers
    }
}

impl Complaint {
    pub fn new(failing: &'static str, fine_again: &'static str) -> Complaint {
        Complaint { failing, fine_again, reported: None }
    }

    /// Logs the first failure of a row, then one a minute, then the end of it.
    fn note(&mut self, error: Option<&AppendError>) {
        match (error, self.reported) {
            (Some(_), Some(reported)) if reported.elapsed() < COMPLAINT_EVERY => {}
            (Some(error), _) => {
                tracing::error!(%error, "{}", self.failing);
                self.reported = Some(Instant::now());
            }
            (None, Some(_)) => {
                tracing::info!("{}", self.fine_again);
                self.reported = None;
            }
            (None, None) => {}
        }
    }
}

/// Lets readers know that nothing more will come, however the writer ends.
struct TellReaders(Arc<Shared>);

impl Drop for TellReaders {
    fn drop(&mut self) {
        self.0.catalog.lock().closed = true;
        self.0.grown.notify_all();
    }
}
