//! Catching up: views that the main lane cannot begin where it stands read the log in a lane of their own.
//!
//! When that lane has read everything, the main lane takes its views over, from a grid point on whose window lies wholly
//! ahead. What the main lane gives of them before theirs has ended is held back, so that the store sees them in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ViewProgress;
use super::streaming::{Streaming, resume_ms};
use crate::compile::{FUTURE_MS, OperatorsPlan, ViewSlot, compile};
use crate::dataflow::coverage::ViewCoverage;
use crate::dataflow::{ViewSet, ViewStart};
use crate::log::ReadFrom;
use crate::model::{Commit, Timestamp, ViewId};
use crate::node::begin::Begin;
use crate::node::lane::{Closed, Lane};
use crate::plan::Catalog;

/// When the log cannot be read for them, views wait this long before they try again.
const CATCH_UP_PAUSE: Duration = Duration::from_secs(5);

/// A lane of views that the main lane will take over.
pub(super) struct CatchUp {
    lane: Lane,
    plan: Arc<OperatorsPlan>,
    pub views: BTreeSet<ViewId>,
    /// What the main lane already gave of them, once told to take over.
    pub held: Option<Vec<Commit>>,
    /// The last grid point of each, once that is settled.
    ends: BTreeMap<ViewId, Timestamp>,
}

impl CatchUp {
    /// Takes out what is held back of one view.
    fn take_held(&mut self, view: ViewId) -> Vec<Commit> {
        let held = self.held.iter_mut().flatten();
        let parts = held.map(|commit| take(commit, |of| of == view)).filter(|part| !part.is_idle()).collect();
        self.held.iter_mut().for_each(|held| held.retain(|commit| !commit.is_idle()));
        parts
    }
}

/// Takes the results of some views out of a commit.
fn take(commit: &mut Commit, is_wanted: impl Fn(ViewId) -> bool) -> Commit {
    Commit {
        results: commit.results.extract_if(.., |result| is_wanted(result.view)).collect(),
        final_to: commit.final_to.extract_if(.., |(view, _)| is_wanted(*view)).collect(),
        log_incarnation: commit.log_incarnation,
        ..Commit::default()
    }
}

impl Streaming {
    pub fn step_catch_up(&mut self) -> Result<(), String> {
        let is_due = self.catch_up_not_before.is_none_or(|due| due <= Instant::now());
        if self.catching_up.is_none() && !self.waiting.is_empty() && is_due {
            self.start_catch_up()?;
        }
        let Some(catch_up) = &mut self.catching_up else { return Ok(()) };
        let closed = catch_up.lane.step()?;
        let mut ended = BTreeSet::new();
        for closed in closed {
            ended.extend(closed.outputs.iter().flat_map(|output| output.ended.iter().copied()));
            self.note_views(&closed);
            // Its positions are not the main lane's: a restart resumes each view from its newest grid point.
            self.commit(Commit { positions: Vec::new(), ..self.without_gone(closed.commit) })?;
        }
        self.ended_catch_up(&ended)?;
        self.join();
        Ok(())
    }

    /// Views whose jobs are gone leave the lane, and the last one takes it along.
    pub fn leave_catch_up(&mut self) {
        let Some(catch_up) = &mut self.catching_up else { return };
        let before = catch_up.views.len();
        catch_up.views.retain(|id| self.catalog.get(*id).is_some());
        if catch_up.views.len() == before {
            return;
        }
        if catch_up.views.is_empty() {
            self.catching_up = None;
            return;
        }
        // What the main lane gave of them lies behind a gap now.
        let views = &catch_up.views;
        for commit in catch_up.held.iter_mut().flatten() {
            commit.results.retain(|result| views.contains(&result.view));
            commit.final_to.retain(|(view, _)| views.contains(view));
        }
        let entries: Vec<_> = views.iter().filter_map(|id| self.catalog.get(*id)).cloned().collect();
        catch_up.plan = Arc::new(compile(&Catalog::of(entries), &catch_up.plan));
        let set = ViewSet { plan: Arc::clone(&catch_up.plan), starts: Vec::new(), ends: Vec::new() };
        catch_up.lane.views(Arc::new(set));
    }

    fn note_views(&self, closed: &Closed) {
        for emitted in closed.outputs.iter().flat_map(|output| &output.emitted) {
            let progress = ViewProgress { newest: *emitted, not_counted: 0, conflicting: 0 };
            self.status.views.entry(emitted.view).or_insert(progress).newest = *emitted;
        }
    }

    /// A lane for all views that wait, from as far back as the log and the store leave to do.
    fn start_catch_up(&mut self) -> Result<(), String> {
        let views = std::mem::take(&mut self.waiting);
        let entries: Vec<_> = views.iter().filter_map(|id| self.catalog.get(*id)).cloned().collect();
        if entries.is_empty() {
            return Ok(());
        }
        let plan = Arc::new(compile(&Catalog::of(entries), &OperatorsPlan::default()));
        let known: Option<Vec<Timestamp>> =
            views.iter().map(|id| self.store.view(*id).and_then(|state| state.final_to)).collect();
        let from = match known.and_then(|final_to| final_to.into_iter().min()) {
            Some(final_to) => ReadFrom::LogTime(final_to - resume_ms(&plan)),
            None => ReadFrom::Beginning,
        };
        let (senders, uncover) = (self.store.senders(), self.options.new_senders_uncover);
        let mut lane = match Lane::start(&*self.log, from.clone(), self.options.threads, senders, uncover) {
            Ok(lane) => lane,
            Err(error) => {
                tracing::error!(%error, "new views cannot begin to catch up; trying again in five seconds");
                (self.waiting, self.catch_up_not_before) = (views, Some(Instant::now() + CATCH_UP_PAUSE));
                return Ok(());
            }
        };
        let begin = loop {
            // The main lane has read records, so this one will.
            if let Some(begin) = Begin::of(&*self.log, &from, &mut lane)? {
                break begin;
            }
        };
        let starts = self.starts(&plan, &begin)?;
        lane.views(Arc::new(ViewSet { plan: Arc::clone(&plan), starts, ends: Vec::new() }));
        tracing::info!(views = views.len(), "new views catch up with the log");
        self.catching_up = Some(CatchUp { lane, plan, views, held: None, ends: BTreeMap::new() });
        Ok(())
    }

    /// Hands the views of a lane that has caught up to the main lane, from a grid point on whose window lies wholly ahead.
    fn join(&mut self) {
        let Some(catch_up) = &mut self.catching_up else { return };
        if catch_up.held.is_some() || catch_up.lane.records_ahead() > 0 {
            return;
        }
        let live = self.main.log_time().max(catch_up.lane.log_time());
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        for planned in catch_up.plan.live() {
            let view = planned.view();
            let first = view.grid().ceil(live + (FUTURE_MS + view.reach_ms()));
            let end = view.grid().before(first);
            ends.push((planned.slot, end));
            catch_up.ends.insert(view.id, end);
            let start = ViewStart {
                slot: planned.slot,
                first,
                whole_from: first,
                last: Timestamp::MAX,
                coverage: ViewCoverage::default(),
            };
            starts.push((view.id, start));
        }
        catch_up.lane.views(Arc::new(ViewSet { plan: Arc::clone(&catch_up.plan), starts: Vec::new(), ends }));
        catch_up.held = Some(Vec::new());
        self.replan(starts);
    }

    /// Keeps back what the main lane gives of views whose own lane has not ended.
    pub fn hold_back(&mut self, mut commit: Commit) -> Commit {
        let Some(CatchUp { views, held: Some(held), .. }) = &mut self.catching_up else { return commit };
        let kept = take(&mut commit, |view| views.contains(&view));
        if !kept.is_idle() {
            held.push(kept);
        }
        commit
    }

    fn ended_catch_up(&mut self, ended: &BTreeSet<ViewSlot>) -> Result<(), String> {
        let (mut taken_over, mut suspended) = (Vec::new(), false);
        for slot in ended {
            let Some(catch_up) = &mut self.catching_up else { return Ok(()) };
            let Some(view) = catch_up.plan.view(*slot).map(|planned| planned.view().id) else { continue };
            catch_up.views.remove(&view);
            let held = catch_up.take_held(view);
            let final_to = self.store.view(view).and_then(|state| state.final_to);
            // One that ended before its last grid point is beyond its limits.
            match catch_up.ends.get(&view).is_some_and(|end| final_to.is_some_and(|to| to >= *end)) {
                // At once: what the main lane gives of it from now on lies behind this.
                true => taken_over.extend(held),
                false => {
                    self.suspended.insert(view);
                    suspended |= catch_up.held.is_some();
                }
            }
        }
        taken_over.into_iter().try_for_each(|commit| self.commit(commit))?;
        if self.catching_up.as_ref().is_some_and(|catch_up| catch_up.views.is_empty()) {
            self.catching_up = None;
        }
        if suspended {
            self.replan(Vec::new());
        }
        Ok(())
    }
}
