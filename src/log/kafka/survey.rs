//! What the brokers are asked: where partitions begin and end, and whether the topic is still the one that was opened.
//!
//! Each question is one request to the leaders of the partitions, and blocks whoever asks for as long as that takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::{Asking, Listener};
use super::error::KafkaOpenError;
use super::native::{self, Described, Found, Patience, Wanted};
use super::options::KafkaOptions;
use super::shared::Shared;
use super::silence::Silence;
use super::topic::{self, Keeping, Topic};
use crate::log::ReadError;
use crate::model::{LogTime, Offset, PartitionId, Timestamp};

/// How long one question may take.
pub(super) const WAIT: Duration = Duration::from_secs(5);

/// How often it is asked where the partitions begin: retention deletes whole files, minutes apart.
const BEGINNINGS_EVERY: Duration = Duration::from_secs(10);

/// How long an error that may pass is borne where somebody needs the answer, and the pause between two attempts: a partition
/// that was just made, or whose leader just died, has none for a moment.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(200);

/// Who asks. Clones ask with the same client.
#[derive(Clone)]
pub(super) struct Survey {
    pub shared: Arc<Shared>,
    client: Arc<Asking>,
    /// Whether answers are not waited for any more once the topic is closed.
    ends_when_closed: bool,
}

/// What the thread that keeps a topic remembers from one look to the next.
pub(super) struct Looks {
    /// When it was last asked where the partitions begin.
    beginnings: Instant,
    silence: Silence,
}

impl Looks {
    pub fn begin(options: &KafkaOptions) -> Looks {
        Looks { beginnings: Instant::now(), silence: Silence::new(&options.topic, &options.brokers) }
    }
}

/// Opens a topic: finds or makes it, checks it, and asks what it holds. Returns the largest batch that it takes, too.
pub(super) fn open(options: &KafkaOptions, keeping: Keeping) -> Result<(Survey, usize), KafkaOpenError> {
    let listener = Listener::default();
    let topic = topic::open(options, keeping, &listener)?;
    of(options, topic, listener)
}

/// Asks what a topic that was found and checked holds.
pub(super) fn of(options: &KafkaOptions, topic: Topic, listener: Listener) -> Result<(Survey, usize), KafkaOpenError> {
    let Topic { admin, incarnation, partitions, message_bytes_max } = topic;
    let (topic, by) = (options.topic.clone(), options.partition_by.clone());
    let shared = Arc::new(Shared::new(topic, partitions, by, incarnation, listener));
    let survey = Survey { shared, client: admin, ends_when_closed: false };
    let known = survey.patiently(|survey| survey.beginnings().and_then(|_| survey.ends()));
    let unknown = |error| KafkaOpenError::Topic { action: "look into", topic: options.topic.clone(), error };
    known.map_err(unknown)?;
    if let Err(error) = survey.newest() {
        tracing::debug!(%error, "Kafka does not say what the newest log time is; it will be known from what is read");
    }
    Ok((survey, message_bytes_max))
}

impl Survey {
    /// One for a thread that nobody waits for when the topic is closed.
    pub fn until_closed(&self) -> Survey {
        Survey { ends_when_closed: true, ..self.clone() }
    }

    /// Asks what there is to know, of what changes seldom now and then.
    pub fn look(&self, looks: &mut Looks) {
        let asked = Instant::now();
        // Where a topic was deleted it has no ends: what became of it is asked all the same.
        if let Err(error) = self.ends().map(drop) {
            self.note(looks, Err(&error), asked);
            if let Err(error) = self.identity() {
                tracing::debug!(%error, "Kafka does not say whether the topic is still the same; trying again");
            }
        } else {
            self.note(looks, self.identity().as_ref().copied().map_err(String::as_str), asked);
        }
        if self.shared.replaced.get().is_none() && looks.beginnings.elapsed() >= BEGINNINGS_EVERY {
            looks.beginnings = Instant::now();
            if let Err(error) = self.beginnings() {
                tracing::debug!(%error, "Kafka does not say where the topic begins; trying again");
            }
        }
    }

    /// Whether there was an answer, unless none is wanted any more.
    fn note(&self, looks: &mut Looks, answer: Result<(), &str>, asked: Instant) {
        if let Err(error) = answer {
            tracing::debug!(%error, "Kafka does not say where the topic ends, or whether it is the same; trying again");
        }
        if self.is_of_use() {
            looks.silence.note(answer, asked, Instant::now());
        }
    }

    /// Asks until there is an answer, or patience ends, or the topic is closed or gone.
    pub fn patiently<T>(&self, ask: impl Fn(&Survey) -> Result<T, String>) -> Result<T, String> {
        let began = Instant::now();
        loop {
            match ask(self) {
                Err(_) if began.elapsed() < PATIENCE && self.is_of_use() => std::thread::park_timeout(PAUSE),
                answer => return answer,
            }
        }
    }

    fn is_of_use(&self) -> bool {
        !self.shared.is_closed() && self.shared.replaced.get().is_none()
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

    /// Where one partition begins.
    pub fn first_of(&self, partition: PartitionId) -> Result<Offset, String> {
        let first = offset(self.ask_one(partition, Wanted::First)?.offset);
        let oldest = self.ask_one(partition, Wanted::Since(0))?;
        let log_time = (oldest.offset >= 0).then_some(Timestamp(oldest.timestamp));
        self.shared.catalog.lock().begins_at(usize::from(partition.0), first, log_time);
        Ok(first)
    }

    /// Where one partition ends.
    pub fn next_of(&self, partition: PartitionId) -> Result<Offset, String> {
        let next = offset(self.ask_one(partition, Wanted::Next)?.offset);
        self.shared.catalog.lock().ends_at(usize::from(partition.0), next);
        Ok(next)
    }

    /// The first record of one partition whose log time is at least this, or its end.
    pub fn since_of(&self, partition: PartitionId, log_time: LogTime) -> Result<Offset, String> {
        let next = self.next_of(partition)?;
        let found = self.ask_one(partition, Wanted::Since(log_time.0))?;
        Ok(if found.offset < 0 { next } else { offset(found.offset) })
    }

    /// What is missing of a partition whose place to read from is not there, as the error that says so. A place that is there
    /// all the same lies in what was written anew after a loss: what was read before it may be gone, too.
    pub fn gap(&self, partition: PartitionId, wanted: Offset) -> Result<ReadError, ReadError> {
        let unknown = |error| ReadError::Kafka { error };
        self.identity().map_err(unknown)?;
        self.shared.readable()?;
        let (first, next) = (self.first_of(partition).map_err(unknown)?, self.next_of(partition).map_err(unknown)?);
        Ok(match wanted < first {
            true => ReadError::Gone { partition, wanted, first },
            false => ReadError::Ahead { partition, wanted, next: next.min(wanted) },
        })
    }

    /// Whether the topic is still the one that was opened; what it is instead is kept for everyone to say.
    pub fn identity(&self) -> Result<(), String> {
        let found = native::describe(self.client.inner(), &self.shared.topic, self.patience())?;
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
        native::offsets(self.client.inner(), &self.shared.topic, &wanted, self.patience())
    }

    fn ask_one(&self, partition: PartitionId, wanted: Wanted) -> Result<Found, String> {
        let found = native::offsets(self.client.inner(), &self.shared.topic, &[(partition.0, wanted)], self.patience())?;
        found.first().copied().ok_or_else(|| "an answer without an offset".to_owned())
    }

    fn patience(&self) -> Patience<'_> {
        Patience { wait: WAIT, ended: self.ends_when_closed.then_some(&self.shared.closed) }
    }
}

fn offset(offset: i64) -> Offset {
    Offset(offset.max(0).unsigned_abs())
}
