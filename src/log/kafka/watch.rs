//! A topic that was opened, and a thread that sees to it that what is known of it stays true.
//!
//! The samples' log has the keeper for that, which ticks, too.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;

use super::error::KafkaOpenError;
use super::options::KafkaOptions;
use super::survey::{self, Looks, Survey};
use super::topic::Keeping;

/// How often it is asked where the topic ends, and whether it is still the same.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long closing waits for the thread.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Watch {
    pub survey: Survey,
    pub options: KafkaOptions,
    /// What ends the thread when it is dropped, and what hears that it has; until the topic is closed.
    thread: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl Watch {
    /// Opens a topic. Returns the largest batch that it takes, too.
    pub fn open(options: KafkaOptions, keeping: Keeping) -> Result<(Watch, usize), KafkaOpenError> {
        let (survey, message_bytes_max) = survey::open(&options, keeping)?;
        Ok((Watch::over(options, survey)?, message_bytes_max))
    }

    /// Watches a topic that was found and checked.
    pub fn over(options: KafkaOptions, survey: Survey) -> Result<Watch, KafkaOpenError> {
        let ((close, closed), (end, ended)) = (bounded(1), bounded(1));
        let asking = survey.until_closed();
        let mut looks = Looks::begin(&options);
        let run = move || {
            while closed.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                asking.look(&mut looks);
            }
            drop::<Sender<()>>(end);
        };
        let thread = std::thread::Builder::new().name("prefold-kafka-watch".to_owned()).spawn(run);
        thread.map_err(|error| KafkaOpenError::Options { error: format!("cannot start a thread: {error}") })?;
        let thread = Mutex::new(Some((close, ended)));
        Ok(Watch { survey, options, thread })
    }

    /// Ends the thread. Everyone who works with the topic hears of it.
    pub fn close(&self) {
        self.survey.shared.closed.store(true, Ordering::Release);
        let Some((close, ended)) = self.thread.lock().take() else { return };
        drop::<Sender<()>>(close);
        let _ = ended.recv_timeout(CLOSE_PATIENCE);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.close();
    }
}
