//! One partition in a lane: what was read of it, what its epochs brought, and saying that under its scope.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::places::write_sender;
use super::unfinished::Unfinished;
use crate::dataflow::{Folded, Scope, ToCombine};
use crate::log::LogRecord;
use crate::log::topics::{StreamWrite, Table, Written};
use crate::model::{LogTime, Offset, PartitionId, Position, Timestamp};
use crate::wire::cluster::PartialsRecord;

/// How often a scope's keyframe is said again.
const KEYFRAME_EVERY: Duration = Duration::from_secs(20);

/// What was handed over, and how far it makes partitions dealt with once it is durable.
pub(super) struct Flush {
    pub written: Vec<Written>,
    pub positions: Vec<Position>,
    /// What records brought, for metrics.
    pub folded: Vec<Folded>,
}

/// One partition.
#[derive(Default)]
pub(super) struct Lane {
    /// Where reading began: nothing before it was wanted.
    pub from: LogTime,
    /// Read before it is known which views begin.
    pub held: Vec<LogRecord>,
    /// The epoch it begins with: what earlier ones bring is of one that went.
    pub begun: Option<u64>,
    /// What was fed.
    pub fed: Option<Position>,
    /// What closed epochs brought, and is not said yet.
    pub closed: Option<Position>,
    pub messages: Vec<ToCombine>,
    pub scope: Option<Scope>,
    pub keyframe_due: Option<Instant>,
    /// What was said last.
    pub said: Option<Position>,
    /// Records are lost behind this log time and before this offset.
    pub lost: Option<(LogTime, Offset)>,
    /// Of what was said under scopes before this one, what is not for combine alone.
    pub aside: Vec<ToCombine>,
    /// Under scopes before this one, not handed over yet.
    pub before: Vec<(PartitionId, PartialsRecord)>,
    pub unfinished: Unfinished,
    /// When the last grid point that was brought becomes final.
    final_at: LogTime,
}

impl Lane {
    pub fn new(from: LogTime) -> Lane {
        Lane { from, ..Lane::default() }
    }

    /// Another scope: what waits is said under the one before.
    pub fn enter(&mut self, mut scope: Scope) {
        if let Some(mut before) = self.scope.take() {
            let messages = std::mem::take(&mut self.messages);
            self.final_at = self.final_at.max(last_final_at(&before, &messages));
            self.aside.extend(messages.iter().filter(|message| is_aside(message)).cloned());
            if let Some(closed) = self.closed {
                self.before.extend(before.said(messages, closed.next, closed.log_time));
            }
            scope.feeds = before.feeds;
            scope.feeds.retain(|view, _| scope.entries.contains_key(view));
        }
        self.scope = Some(scope);
        self.keyframe_due = None;
    }

    pub fn flush(
        &mut self,
        partials: &dyn StreamWrite,
        bytes_max: usize,
        senders: &dyn Table,
        flush: &mut Flush,
    ) -> Result<(), String> {
        let (Some(scope), Some(closed)) = (&mut self.scope, self.closed) else { return Ok(()) };
        let mut records = std::mem::take(&mut self.before);
        let now = Instant::now();
        if self.keyframe_due.is_none_or(|due| due <= now) {
            self.keyframe_due = Some(now + KEYFRAME_EVERY);
            records.extend(scope.keyframe(closed.next));
        }
        let messages = std::mem::take(&mut self.messages);
        self.final_at = self.final_at.max(last_final_at(scope, &messages));
        let aside = std::mem::take(&mut self.aside);
        for message in aside.iter().chain(&messages) {
            match message {
                ToCombine::Seen(seen) => {
                    flush.written.extend(write_sender(senders, scope.log_incarnation, seen)?);
                }
                ToCombine::Folded(folded) => flush.folded.push(folded.clone()),
                _ => {}
            }
        }
        if self.said != Some(closed) || !messages.is_empty() {
            records.extend(scope.said(messages, closed.next, closed.log_time));
            self.said = Some(closed);
            flush.positions.push(closed);
        }
        for (home, record) in records {
            let waits = record.views.iter().any(|view| !view.points.is_empty());
            for payload in record.encode_within(bytes_max) {
                if waits {
                    self.unfinished.say(self.final_at, payload.len());
                }
                flush.written.push(partials.append(home, Bytes::from(payload)));
            }
        }
        Ok(())
    }
}

/// When the last grid point of messages becomes final; the least time when there is none.
fn last_final_at(scope: &Scope, messages: &[ToCombine]) -> LogTime {
    let partials = messages.iter().filter_map(|message| match message {
        ToCombine::Partial(partial) => Some((partial.slot, partial.t)),
        _ => None,
    });
    let final_at = partials.filter_map(|(slot, t)| Some(t + scope.plan.view(slot)?.view().max_delay_ms));
    final_at.max().unwrap_or(Timestamp::MIN)
}

/// Whether a message is dealt with here, too.
fn is_aside(message: &ToCombine) -> bool {
    matches!(message, ToCombine::Seen(_) | ToCombine::Folded(_))
}
