//! The steps of a query, sorted: served from views, asked of upstream, or left out.

use std::collections::BTreeMap;

use super::request::{Asked, Range};
use crate::model::{Timestamp, ViewId};
use crate::proxy::coverage::{Coverage, PointState};
use crate::proxy::stitch::Stretch;

/// A step that is not emitted yet is left out this much longer than max_delay and step explain.
const EDGE_SLACK_MS: i64 = 30_000;

impl Asked<'_> {
    /// Sorts the steps: served from views, asked of upstream, or left out.
    pub fn plan(&self, range: Range) -> StepPlan {
        let catalog = self.proxy.catalog.load();
        let ids: Vec<ViewId> = self.outcome.reads.iter().map(|read| read.view).collect();
        let coverage: BTreeMap<ViewId, Option<Coverage>> = ids.iter().map(|id| (*id, self.proxy.coverage(*id))).collect();
        let now = self.proxy.clock.now();
        let mut plan = StepPlan::default();
        let mut reasons = Vec::new();
        for step in range.steps() {
            let (mut state, mut recent) = (PointState::Served, true);
            for read in &self.outcome.reads {
                let Some((from, to)) = read.grid_points(step) else { continue };
                let Some(Some(covered)) = coverage.get(&read.view) else {
                    state = PointState::Uncovered;
                    break;
                };
                let read_state = covered.between(from, to);
                state = state.and(read_state);
                match read_state {
                    PointState::Served => {
                        if self.proxy.upstream.is_none() {
                            reasons.extend(covered.reasons(from, to));
                        }
                    }
                    PointState::NotEmitted => {
                        let entry = catalog.get(read.view).map(|entry| &entry.view);
                        let edge_max = entry.map_or(0, |view| view.max_delay_ms + view.step_ms + EDGE_SLACK_MS);
                        recent &= now - to <= edge_max;
                    }
                    PointState::Uncovered => {}
                }
            }
            plan.add(step, range.step_ms, self.place(state, recent));
        }
        reasons.sort_unstable();
        reasons.dedup();
        let slugs: Vec<&str> = reasons.iter().map(|reason| reason.slug()).collect();
        if !slugs.is_empty() {
            plan.warnings.push(format!("prefold: some of these steps are uncovered: {}", slugs.join(", ")));
        }
        plan
    }

    fn place(&self, state: PointState, recent: bool) -> Place {
        match state {
            PointState::Served => Place::Served,
            PointState::NotEmitted if recent && self.proxy.options.edge_omit => Place::LeftOut,
            // There is nobody to ask: what is not there is left out, as by a database that has not got it.
            _ if self.proxy.upstream.is_none() => Place::LeftOut,
            _ => Place::Asked,
        }
    }
}

/// Where a step's values come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Served,
    Asked,
    LeftOut,
}

/// The steps of a query, sorted.
#[derive(Default)]
pub(super) struct StepPlan {
    pub served: Vec<Stretch>,
    pub asked: Vec<Stretch>,
    pub left_out: usize,
    pub fresh_to: Option<Timestamp>,
    pub warnings: Vec<String>,
}

impl StepPlan {
    fn add(&mut self, step: Timestamp, step_ms: i64, place: Place) {
        let stretches = match place {
            Place::Served => {
                self.fresh_to = Some(step);
                &mut self.served
            }
            Place::Asked => &mut self.asked,
            Place::LeftOut => {
                self.left_out += 1;
                return;
            }
        };
        match stretches.last_mut() {
            Some(last) if last.end + step_ms == step => last.end = step,
            _ => stretches.push(Stretch { start: step, end: step, step_ms }),
        }
    }

    pub fn reason(&self) -> &'static str {
        if self.asked.is_empty() { "not-emitted-yet" } else { "not-covered-yet" }
    }
}
