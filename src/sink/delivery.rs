//! Delivering a batch: every request until it is taken or refused, in order, however long that takes.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::batch::Batch;
use super::options::{Protocol, SinkOptions};
use super::remote::{Answer, Remote};
use super::request::{cut, encode, halves, samples};
use super::retry;
use super::status::SinkStatus;
use crate::model::Clock;

/// How long a request under way may go on once the process is told to stop.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Statuses of refusals that may be about a part of a request.
const ABOUT_A_PART: [u16; 4] = [400, 409, 413, 422];

/// Sends batches of one sink, one request at a time: so the samples of a series arrive in order.
pub struct Delivery {
    remote: Remote,
    name: String,
    protocol: Protocol,
    samples_max: usize,
    bytes_max: usize,
    clock: Arc<dyn Clock>,
    status: Arc<SinkStatus>,
    stop: watch::Receiver<bool>,
}

/// What became of a request in the end.
enum Settled {
    /// Whether all of it was written.
    Taken {
        whole: bool,
    },
    Refused {
        status: u16,
        reason: &'static str,
        said: String,
    },
    /// Told to stop before that was known.
    Stopped,
}

impl Delivery {
    /// # Errors
    /// When no client can be made.
    pub fn new(
        options: &SinkOptions,
        clock: Arc<dyn Clock>,
        status: Arc<SinkStatus>,
        stop: watch::Receiver<bool>,
    ) -> Result<Delivery, String> {
        Ok(Delivery {
            remote: Remote::new(options)?,
            name: options.name.clone(),
            protocol: options.protocol,
            samples_max: options.samples_per_request_max,
            bytes_max: options.bytes_per_request_max,
            clock,
            status,
            stop,
        })
    }

    /// Sends a batch. False when it was told to stop before the receiver had all of it, or had refused what it has not.
    pub async fn deliver(&mut self, batch: &mut Batch) -> bool {
        let (units, requests) = cut(std::mem::take(&mut batch.units), &batch.series, self.samples_max, self.bytes_max);
        batch.units = units;
        // The next one to be sent is the last.
        let mut waiting: Vec<Range<usize>> = requests.into_iter().rev().collect();
        let mut all_taken = true;
        while let Some(request) = waiting.pop() {
            match self.until_settled(batch, &request).await {
                Settled::Taken { whole } => all_taken &= whole,
                Settled::Stopped => return false,
                Settled::Refused { status, reason, said } => match halves(&request) {
                    Some((first, second)) if ABOUT_A_PART.contains(&status) => waiting.extend([second, first]),
                    _ => {
                        self.drop_refused(batch, &request, reason, said);
                        all_taken = false;
                    }
                },
            }
        }
        if all_taken && !batch.units.is_empty() && self.status.troubled(self.clock.now(), None) {
            tracing::info!(sink = %self.name, "the sink delivers again");
        }
        true
    }

    async fn until_settled(&mut self, batch: &Batch, request: &Range<usize>) -> Settled {
        let units = &batch.units[request.clone()];
        let mut attempts: u32 = 0;
        loop {
            let body = encode(units, &batch.series, self.protocol);
            let Some(answer) = self.attempt(body).await else { return Settled::Stopped };
            match answer {
                Answer::Taken { written } => {
                    return Settled::Taken { whole: self.taken(samples(units) as u64, written) };
                }
                Answer::Refused { status, reason, said } => {
                    self.status.failed(reason);
                    return Settled::Refused { status, reason, said };
                }
                Answer::OtherProtocol { said } => self.fall_back(&said),
                Answer::Later { reason, said, after } => {
                    attempts += 1;
                    self.status.failed(reason);
                    self.trouble(format!("{said}; it is tried again until it works"));
                    let pause = after.unwrap_or_else(|| retry::pause(attempts, &self.name, self.clock.now()));
                    if self.stopped_within(pause).await {
                        return Settled::Stopped;
                    }
                }
            }
        }
    }

    /// `None` when the process is to stop and no answer comes soon.
    async fn attempt(&mut self, body: Vec<u8>) -> Option<Answer> {
        if *self.stop.borrow() {
            return None;
        }
        self.status.sent();
        let mut stop = self.stop.clone();
        let given_up = async {
            let _ = stop.wait_for(|stop| *stop).await;
            tokio::time::sleep(STOP_WAIT).await;
        };
        tokio::select! {
            answer = self.remote.send(body, self.protocol, self.clock.now()) => Some(answer),
            () = given_up => None,
        }
    }

    /// Waits; true when the process is to stop meanwhile.
    pub async fn stopped_within(&mut self, pause: Duration) -> bool {
        tokio::time::timeout(pause, self.stop.wait_for(|stop| *stop)).await.is_ok()
    }

    fn taken(&self, sent: u64, written: Option<u64>) -> bool {
        let missing = written.map_or(0, |written| sent.saturating_sub(written));
        self.status.taken(sent - missing);
        self.status.dropped("not-written", missing);
        if missing > 0 {
            let what = format!("the receiver wrote {} of {sent} samples; they are not sent again", sent - missing);
            self.trouble(what);
        }
        missing == 0
    }

    /// Remote write 1.0 from now on, until the process ends.
    fn fall_back(&mut self, said: &str) {
        self.status.failed("other-protocol");
        self.protocol = Protocol::V1;
        tracing::warn!(
            sink = %self.name,
            "the receiver does not take remote write 2.0 ({said}); it gets 1.0 until the next start: set protocol: remote-write-1"
        );
    }

    fn drop_refused(&self, batch: &Batch, request: &Range<usize>, reason: &'static str, said: String) {
        self.status.dropped(reason, samples(&batch.units[request.clone()]) as u64);
        self.trouble(format!("{said}; what is refused ({reason}) is not sent again"));
    }

    pub fn trouble(&self, what: String) {
        if self.status.troubled(self.clock.now(), Some(what.clone())) {
            tracing::warn!(sink = %self.name, "{what}");
        }
    }
}
