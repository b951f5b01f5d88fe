//! A partition of "partials" in a worker: its combine, and what there is to tell of it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::places::Checkpoint;
use crate::dataflow::cluster_results::{Decided, results_of};
use crate::dataflow::{ClusterCombine, EpochOutput};
use crate::log::LogRecord;
use crate::log::topics::Written;
use crate::model::{LogTime, Offset, Position, SpanReason, Timestamp, Uncover, ViewId};
use crate::node::stream::{description, settles_ms};
use crate::wire::cluster::{Described, ResultsRecord, ViewResults};

/// How often a view is described again, with its open spans: who begins to read in the middle knows it then.
const DESCRIBE_EVERY: Duration = Duration::from_secs(600);

/// Clocks of brokers may differ by this: partials may have been written by one whose clock is behind.
pub(super) const CLOCKS_APART_MS: i64 = 60_000;

/// A partition of "partials" that is ours.
pub(super) struct Home {
    pub combine: ClusterCombine,
    /// The offset behind the last record taken.
    pub next: Offset,
    pub log_time: LogTime,
    /// Records of a job set that is not known here yet.
    pub waiting: VecDeque<LogRecord>,
    /// The number of that set, else 0.
    pub behind_set: u64,
    pub described: HashMap<ViewId, Instant>,
    /// Results handed over and not durable yet, in order; checkpoints wait behind them.
    pub unacknowledged: VecDeque<Handed>,
    pub checkpointed: Instant,
    /// The answer to the last checkpoint.
    pub written: Option<Written>,
}

/// What was handed over, and what waits behind it.
pub(super) enum Handed {
    Results(Written),
    Checkpoint(Box<Checkpoint>, Position),
}

impl Home {
    pub fn new(combine: ClusterCombine, next: Offset) -> Home {
        Home {
            combine,
            next,
            log_time: Timestamp::MIN,
            waiting: VecDeque::new(),
            behind_set: 0,
            described: HashMap::new(),
            unacknowledged: VecDeque::new(),
            checkpointed: Instant::now(),
            written: None,
        }
    }

    /// What a record that cannot be read may have held: anything that is not emitted yet.
    pub fn uncover(&self, log_time: LogTime, output: &mut EpochOutput) {
        let standing = self.combine.standing();
        for planned in self.combine.held() {
            let view = planned.view();
            let latest = log_time - (view.max_delay_ms + view.step_ms + CLOCKS_APART_MS);
            let next = standing.get(&view.id).filter(|standing| standing.begun()).map_or(latest, |standing| standing.next);
            output.spans.push(Uncover { view: view.id, reason: SpanReason::Gap, from: next.min(latest), to: log_time });
        }
    }

    /// What there is to tell, with what stores must know of views that were not described for a while.
    pub fn said(&mut self, output: EpochOutput, decided: Vec<Decided>, log_incarnation: u128) -> Option<ResultsRecord> {
        let combine = &self.combine;
        let mut said = results_of(output, decided, |view| combine.open_spans(view));
        said.log_incarnation = log_incarnation;
        said.set = combine.set();
        for planned in combine.held() {
            let view = planned.view();
            if self.described.get(&view.id).is_some_and(|at| at.elapsed() < DESCRIBE_EVERY) {
                continue;
            }
            self.described.insert(view.id, Instant::now());
            let known = description(&planned.entry);
            let described = Described {
                step_ms: known.step_ms,
                fields: known.fields,
                retention_ms: known.retention_ms,
                settles_ms: settles_ms(view),
                text: known.text,
            };
            match said.views.iter_mut().find(|said| said.view == view.id) {
                Some(said) => said.described = Some(described),
                None => said.views.push(ViewResults {
                    view: view.id,
                    described: Some(described),
                    spans: combine.open_spans(view.id),
                    ..ViewResults::default()
                }),
            }
        }
        (!said.views.is_empty() || !said.senders.is_empty()).then_some(said)
    }
}

/// A record that the topic does not take, without its points: they are uncovered.
pub(super) fn too_large(payload: &[u8], bytes_max: usize) -> Vec<u8> {
    let Ok(mut said) = ResultsRecord::decode(payload) else { return Vec::new() };
    for view in &mut said.views {
        tracing::error!(
            view = %view.view, bytes = payload.len(), bytes_max,
            "the results of a grid point are larger than the topic takes, and are uncovered; raise max.message.bytes of the topic \
             of results, or let the rule have fewer groups"
        );
        view.points.clear();
        if let Some((from, to)) = view.decided {
            view.spans.push((SpanReason::Gap, from, to + 1));
        }
    }
    said.encode()
}
