//! What the brokers are asked: where partitions begin and end, and whether the topic is still the one that was opened.
//!
//! Each question is one request to the leaders of the partitions, and blocks whoever asks for as long as that takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::native::{self, Described, Found, Wanted};
use super::producer::Appender;
use super::shared::Shared;
use super::topic;
use crate::model::{LogTime, Offset, Timestamp};

/// How long one question may take.
pub(super) const WAIT: Duration = Duration::from_secs(5);

pub(super) struct Survey {
    pub shared: Arc<Shared>,
    pub appender: Arc<Appender>,
}

/// How long an error that may pass is borne where somebody needs the answer, and the pause between two attempts: a partition
/// that was just made, or whose leader just died, has none for a moment.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(200);

impl Survey {
    /// Asks until there is an answer, or patience ends.
    pub fn patiently<T>(&self, ask: impl Fn(&Survey) -> Result<T, String>) -> Result<T, String> {
        let began = Instant::now();
        loop {
            match ask(self) {
                Err(_) if began.elapsed() < PATIENCE => std::thread::park_timeout(PAUSE),
                answer => return answer,
            }
        }
    }

    /// Where the partitions end.
    ///
    /// # Errors
    /// In librdkafka's words, as of all others here.
    pub fn ends(&self) -> Result<Vec<Offset>, String> {
        let found = self.ask(|_| Wanted::Next)?;
        let ends: Vec<Offset> = found.iter().map(|found| offset(found.offset)).collect();
        let mut catalog = self.shared.catalog.lock();
        ends.iter().enumerate().for_each(|(partition, next)| catalog.ends_at(partition, *next));
        Ok(ends)
    }

    /// Where the partitions begin, and with which log times.
    pub fn beginnings(&self) -> Result<Vec<Offset>, String> {
        let firsts: Vec<Offset> = self.ask(|_| Wanted::First)?.iter().map(|found| offset(found.offset)).collect();
        let oldest = self.ask(|_| Wanted::Since(0))?;
        let mut catalog = self.shared.catalog.lock();
        for (partition, (first, oldest)) in firsts.iter().zip(oldest).enumerate() {
            let log_time = (oldest.offset >= 0).then_some(Timestamp(oldest.timestamp));
            catalog.begins_at(partition, *first, log_time);
        }
        Ok(firsts)
    }

    /// The newest log times. Brokers older than Kafka 3.0 cannot say.
    pub fn newest(&self) -> Result<(), String> {
        let found = self.ask(|_| Wanted::Newest)?;
        let mut catalog = self.shared.catalog.lock();
        for (end, found) in catalog.ends.iter_mut().zip(found).filter(|(_, found)| found.offset >= 0) {
            end.newest_log_time = end.newest_log_time.max(Timestamp(found.timestamp));
        }
        Ok(())
    }

    /// In each partition the first record whose log time is at least this, or the end.
    pub fn since(&self, log_time: LogTime) -> Result<Vec<Offset>, String> {
        // The ends first: what is appended between the two questions lies behind them.
        let ends = self.ends()?;
        let found = self.ask(|_| Wanted::Since(log_time.0))?;
        let place = |(found, end): (Found, Offset)| if found.offset < 0 { end } else { offset(found.offset) };
        Ok(found.into_iter().zip(ends).map(place).collect())
    }

    /// Whether the topic is still the one that was opened; what it is instead is kept for everyone to say.
    pub fn identity(&self) -> Result<(), String> {
        let found = self.appender.with_client(|client| native::describe(client, &self.shared.topic, WAIT))?;
        let Shared { topic, partition_by: by, incarnation: opened, .. } = &*self.shared;
        let opened = *opened;
        let why = match found {
            None => format!("topic {topic} was deleted; restart Prefold to begin anew with another"),
            Some(Described { id, partitions }) if topic::incarnation(id, partitions, by) != opened => {
                topic::replaced(topic, id, partitions, by, opened)
            }
            Some(_) => return Ok(()),
        };
        if self.shared.replaced.set(why.clone()).is_ok() {
            tracing::error!("{why}");
        }
        Ok(())
    }

    fn ask(&self, wanted: impl Fn(u16) -> Wanted) -> Result<Vec<Found>, String> {
        let wanted: Vec<(u16, Wanted)> = (0..self.shared.partitions).map(|p| (p, wanted(p))).collect();
        self.appender.with_client(|client| native::offsets(client, &self.shared.topic, &wanted, WAIT))
    }
}

fn offset(offset: i64) -> Offset {
    Offset(offset.max(0).unsigned_abs())
}
