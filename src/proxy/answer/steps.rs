//! The steps of a query, sorted: served from views, at the edge, asked of upstream, or left out (semantics.md S5).
//!
//! A step is answered or not as a whole: every grid point of every view that its evaluation reads must be covered. A step
//! at the edge reads points that are not emitted yet; upstream gives those per view, so it is evaluated like a served one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::request::Range;
use crate::model::{SpanReason, Timestamp, ViewId};
use crate::plan::Catalog;
use crate::proxy::Proxy;
use crate::proxy::coverage::{Coverage, PointState};
use crate::proxy::stitch::Stretch;
use crate::rewrite::ViewRead;

/// A step that is not emitted yet is taken for the edge this much longer than max_delay and step explain.
pub const EDGE_SLACK_MS: i64 = 30_000;

/// The most grid points one query asks for at the edge; beyond it upstream gets the query itself.
const EDGE_POINTS_MAX: usize = 500;

/// What is done about steps that are not final yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AtTheEdge {
    LeaveOut,
    /// Upstream is asked once per view and grid point, for all queries.
    PerView,
    /// Upstream is asked with the query itself.
    Query,
}

/// Where a step's values come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Served,
    Edge,
    Asked,
    LeftOut,
}

/// The steps of a query, sorted.
#[derive(Default, Debug)]
pub(super) struct StepPlan {
    /// Evaluated here, those at the edge included.
    pub served: Vec<Stretch>,
    pub asked: Vec<Stretch>,
    /// The grid points that upstream gives per view.
    pub edge: BTreeSet<(ViewId, Timestamp)>,
    /// The last step answered from views alone.
    pub fresh_to: Option<Timestamp>,
    pub warnings: Vec<String>,
}

/// What may be served of the views at one moment, looked up once per view.
pub(super) struct Survey<'a> {
    proxy: &'a Proxy,
    catalog: &'a Catalog,
    at_the_edge: AtTheEdge,
    now: Timestamp,
    coverage: RefCell<BTreeMap<ViewId, Option<Arc<Coverage>>>>,
}

/// How the reads of a step stand, taken together.
struct StepState {
    state: PointState,
    /// What is missing is not older than the edge.
    recent: bool,
    /// Nor is the step that wants it.
    step_recent: bool,
    /// What is missing lies in the past.
    begun: bool,
}

impl<'a> Survey<'a> {
    pub fn new(proxy: &'a Proxy, catalog: &'a Catalog, at_the_edge: AtTheEdge) -> Survey<'a> {
        Survey { proxy, catalog, at_the_edge, now: proxy.clock.now(), coverage: RefCell::default() }
    }

    fn coverage(&self, view: ViewId) -> Option<Arc<Coverage>> {
        let mut known = self.coverage.borrow_mut();
        known.entry(view).or_insert_with(|| self.proxy.coverage(view).map(Arc::new)).clone()
    }

    /// How much of a read would have to be got elsewhere: steps that are missing count double, having none at all once.
    pub fn shortfall(&self, read: &ViewRead, range: Range) -> u64 {
        let (mut missing, mut any) = (0, false);
        for step in range.steps() {
            let found = self.state(std::slice::from_ref(read), step);
            match self.place(&found) {
                Place::Served | Place::Edge => any = true,
                Place::LeftOut if found.state == PointState::NotEmitted && found.recent => {}
                Place::Asked | Place::LeftOut => missing += 1,
            }
        }
        missing * 2 + u64::from(!any)
    }

    pub fn plan(&self, reads: &[ViewRead], range: Range) -> StepPlan {
        let mut plan = StepPlan::default();
        let mut reasons: BTreeSet<SpanReason> = BTreeSet::new();
        for step in range.steps() {
            let mut place = self.place(&self.state(reads, step));
            if place == Place::Edge && !self.add_edge(reads, step, &mut plan.edge) {
                place = Place::Asked;
            }
            if place == Place::Served && self.proxy.upstream.is_none() {
                reasons.extend(self.reasons(reads, step));
            }
            plan.add(step, range.step_ms, place);
        }
        let slugs: Vec<&str> = reasons.iter().map(|reason| reason.slug()).collect();
        if !slugs.is_empty() {
            plan.warnings.push(format!("prefold: some of these steps are uncovered: {}", slugs.join(", ")));
        }
        plan
    }

    fn state(&self, reads: &[ViewRead], step: Timestamp) -> StepState {
        let mut found = StepState { state: PointState::Served, recent: true, step_recent: true, begun: true };
        for read in reads {
            let Some((from, to)) = read.grid_points(step) else { continue };
            let state = self.coverage(read.view).map_or(PointState::Uncovered, |covered| covered.between(from, to));
            found.state = found.state.and(state);
            match state {
                PointState::Served => {}
                PointState::NotEmitted => {
                    let edge_max_ms = self.edge_max_ms(read.view);
                    found.recent &= self.now - to <= edge_max_ms;
                    found.step_recent &= self.now - step <= edge_max_ms;
                    found.begun &= to <= self.now;
                }
                PointState::Uncovered => return found,
            }
        }
        found
    }

    /// How long after its time a grid point may be missing without anything being wrong.
    fn edge_max_ms(&self, view: ViewId) -> i64 {
        // Nothing more comes of a view whose job is gone.
        let going_on = self.catalog.get(view).filter(|entry| !entry.retired);
        going_on.map_or(i64::MIN, |entry| entry.view.max_delay_ms + entry.view.step_ms + EDGE_SLACK_MS)
    }

    fn place(&self, found: &StepState) -> Place {
        match (found.state, self.at_the_edge) {
            (PointState::Served, _) => Place::Served,
            (PointState::NotEmitted, AtTheEdge::LeaveOut) if found.recent && found.step_recent => Place::LeftOut,
            // There is nobody to ask: what is not there is left out, as by a database that has not got it.
            _ if self.proxy.upstream.is_none() => Place::LeftOut,
            (PointState::NotEmitted, AtTheEdge::PerView) if found.recent && found.begun => Place::Edge,
            _ => Place::Asked,
        }
    }

    /// Adds the grid points that a step wants of upstream; false, and nothing added, when these are too many.
    fn add_edge(&self, reads: &[ViewRead], step: Timestamp, edge: &mut BTreeSet<(ViewId, Timestamp)>) -> bool {
        let mut wanted = Vec::new();
        for read in reads {
            let Some((from, to)) = read.grid_points(step) else { continue };
            let Some(covered) = self.coverage(read.view) else { continue };
            wanted.extend(covered.not_emitted(from, to).take(EDGE_POINTS_MAX + 1).map(|t| (read.view, t)));
            if wanted.len() > EDGE_POINTS_MAX {
                return false;
            }
        }
        let more = wanted.iter().filter(|point| !edge.contains(point)).count();
        if edge.len() + more > EDGE_POINTS_MAX {
            return false;
        }
        edge.extend(wanted);
        true
    }

    fn reasons(&self, reads: &[ViewRead], step: Timestamp) -> Vec<SpanReason> {
        let of_read = |read: &ViewRead| {
            let (from, to) = read.grid_points(step)?;
            Some(self.coverage(read.view)?.reasons(from, to))
        };
        reads.iter().filter_map(of_read).flatten().collect()
    }
}

impl StepPlan {
    fn add(&mut self, step: Timestamp, step_ms: i64, place: Place) {
        let stretches = match place {
            Place::Served => {
                self.fresh_to = Some(step);
                &mut self.served
            }
            Place::Edge => &mut self.served,
            Place::Asked => &mut self.asked,
            Place::LeftOut => return,
        };
        match stretches.last_mut() {
            Some(last) if last.end + step_ms == step => last.end = step,
            _ => stretches.push(Stretch { start: step, end: step, step_ms }),
        }
    }

    /// How many steps are evaluated here.
    pub fn steps_served(&self) -> u64 {
        self.served.iter().map(|stretch| ((stretch.end - stretch.start) / stretch.step_ms + 1).unsigned_abs()).sum()
    }

    /// Why nothing is served.
    pub fn reason(&self) -> &'static str {
        if self.asked.is_empty() { "not-emitted-yet" } else { "not-covered-yet" }
    }
}
