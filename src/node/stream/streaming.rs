//! The main lane: it follows the log for ever, and what it gives is committed with its positions.
//!
//! At the start it resumes from the store's positions, reading far enough back to fill every open window; a replay emits
//! only what the store has not. A view that the store knows nothing of, or too little, catches up in a lane of its own
//! (`catch_up`) and joins the main lane at the live position.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::catch_up::CatchUp;
use super::{Command, StreamOptions, StreamStatus, describe};
use crate::compile::{FUTURE_MS, OperatorsPlan, ViewSlot, compile};
use crate::dataflow::{ViewSet, ViewStart};
use crate::log::{Log, ReadFrom};
use crate::model::{Commit, Position, ViewId};
use crate::node::begin::{Begin, view_start};
use crate::node::lane::{Closed, Lane};
use crate::plan::{Catalog, CatalogEntry};
use crate::store::{Durability, Store};

/// How long to wait before a failed commit is tried again.
const COMMIT_RETRY: Duration = Duration::from_secs(1);

pub(super) struct Streaming {
    pub log: Arc<dyn Log>,
    pub store: Arc<Store>,
    pub options: StreamOptions,
    pub status: Arc<StreamStatus>,
    /// All views wanted, those still catching up included.
    pub catalog: Arc<Catalog>,
    pub main: Lane,
    main_plan: Arc<OperatorsPlan>,
    /// Where reading starts, until the first record is there and the views can begin.
    begins_from: Option<ReadFrom>,
    pub catching_up: Option<CatchUp>,
    /// Views waiting for the lane before them to join.
    pub waiting: BTreeSet<ViewId>,
    /// When the next attempt is due, after one that failed.
    pub catch_up_not_before: Option<Instant>,
    /// Views beyond their limits, until a reload.
    pub suspended: BTreeSet<ViewId>,
}

impl Streaming {
    pub fn start(
        log: Arc<dyn Log>,
        store: Arc<Store>,
        catalog: Arc<Catalog>,
        options: StreamOptions,
        status: Arc<StreamStatus>,
    ) -> Result<Streaming, String> {
        describe(&store, &catalog)?;
        // Partitions that were never read have no position: only from the beginning on is nothing of them left out.
        let whole = |positions: &[Position]| positions.len() == usize::from(log.partitions());
        let resume = store
            .positions()
            .filter(|(incarnation, positions)| *incarnation == log.incarnation() && whole(positions))
            .map(|(_, positions)| positions);
        let plan = compile(&catalog, &OperatorsPlan::default());
        let from = match resume.as_ref().and_then(|positions| positions.iter().map(|position| position.log_time).min()) {
            Some(log_time) => ReadFrom::LogTime(log_time - resume_ms(&plan)),
            None => ReadFrom::Beginning,
        };
        let main = Lane::start(&*log, from.clone(), options.threads, store.senders(), options.new_senders_uncover)?;
        Ok(Streaming {
            log,
            store,
            options,
            status,
            catalog,
            main,
            main_plan: Arc::default(),
            begins_from: Some(from),
            catching_up: None,
            waiting: BTreeSet::new(),
            catch_up_not_before: None,
            suspended: BTreeSet::new(),
        })
    }

    /// Puts the views in force once the first record is there; false while the log is empty.
    fn begun(&mut self) -> Result<bool, String> {
        let Some(from) = &self.begins_from else { return Ok(true) };
        let Some(begin) = Begin::of(&*self.log, from, &mut self.main)? else { return Ok(false) };
        let resumed = *from != ReadFrom::Beginning;
        self.begins_from = None;
        self.begin(begin, resumed).map(|()| true)
    }

    /// Every view that can resume does; those the log would have to be read further back for catch up.
    fn begin(&mut self, begin: Begin, resumed: bool) -> Result<(), String> {
        let catalog = Arc::clone(&self.catalog);
        let behind = |entry: &CatalogEntry| {
            let state = self.store.view(entry.view.id);
            let next = state.and_then(|state| state.final_to).map(|t| t + entry.view.step_ms);
            resumed && !begin.complete && next.is_none_or(|next| next < begin.first(&entry.view))
        };
        self.waiting = catalog.entries().filter(|entry| behind(entry)).map(|entry| entry.view.id).collect();
        let now: Vec<_> = catalog.entries().filter(|entry| !self.waiting.contains(&entry.view.id)).cloned().collect();
        self.main_plan = Arc::new(compile(&Catalog::of(now), &OperatorsPlan::default()));
        let starts = self.starts(&self.main_plan, &begin)?;
        self.main.views(Arc::new(ViewSet { plan: Arc::clone(&self.main_plan), starts, ends: Vec::new() }));
        Ok(())
    }

    /// Where each view of a plan begins, given where reading begins. What neither log nor store holds is a gap.
    pub fn starts(&self, plan: &OperatorsPlan, begin: &Begin) -> Result<Vec<ViewStart>, String> {
        let mut spans = Vec::new();
        let starts = plan.live().map(|planned| {
            let state = self.store.view(planned.view().id);
            view_start(planned, state.as_ref(), begin, &mut spans)
        });
        let starts = starts.collect();
        if !spans.is_empty() {
            self.commit(Commit { log_incarnation: self.log.incarnation(), spans, ..Commit::default() })?;
        }
        Ok(starts)
    }

    pub fn run(&mut self, commands: &Receiver<Command>) -> Result<(), String> {
        loop {
            match commands.try_recv() {
                Ok(Command::Reload(catalog, done)) => {
                    self.reload(catalog)?;
                    let _ = done.send(());
                }
                Err(crossbeam_channel::TryRecvError::Empty) => {}
                Err(crossbeam_channel::TryRecvError::Disconnected) => return Ok(()),
            }
            if self.begun()? {
                self.step_main()?;
                self.step_catch_up()?;
            }
        }
    }

    fn step_main(&mut self) -> Result<(), String> {
        for closed in self.main.step()? {
            self.note(&closed);
            let over_limit: Vec<ViewSlot> = closed.outputs.iter().flat_map(|output| output.ended.iter().copied()).collect();
            let commit = self.without_gone(closed.commit);
            let commit = self.hold_back(commit);
            let positions = commit.positions.clone();
            self.commit(commit)?;
            self.log.note_committed(&positions);
            if !over_limit.is_empty() {
                self.suspend(&over_limit);
            }
        }
        if self.main.records_ahead() == 0 {
            self.status.caught_up.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn note(&self, closed: &Closed) {
        self.status.records_ahead.store(closed.records_ahead, Ordering::Relaxed);
        self.status.log_time.store(self.main.log_time().0, Ordering::Relaxed);
        closed.outputs.iter().flat_map(|output| &output.folded).for_each(|folded| self.status.folded.note(folded));
        closed.outputs.iter().flat_map(|output| &output.emitted).for_each(|emitted| self.status.note_emitted(emitted));
    }

    /// Commits, again and again while the disk refuses: what was read stays in the log, and nothing is skipped.
    pub fn commit(&self, commit: Commit) -> Result<(), String> {
        let durability = if commit.is_idle() { Durability::Later } else { Durability::Now };
        let mut said = false;
        while let Err(error) = self.store.apply(&commit, durability) {
            if !error.retryable() {
                return Err(format!("cannot commit results: {error}"));
            }
            if !std::mem::replace(&mut said, true) {
                tracing::error!(%error, "cannot commit results; trying again every second, nothing is lost");
            }
            if self.status.stopping.load(Ordering::Relaxed) {
                tracing::warn!("stopping without the last results; they are computed again from the log at the next start");
                return Err("told to stop".to_owned());
            }
            std::thread::park_timeout(COMMIT_RETRY);
        }
        Ok(())
    }

    /// What was under way of views whose jobs are gone is not kept: a lane that left may have given nothing before it.
    pub fn without_gone(&self, mut commit: Commit) -> Commit {
        let is_there = |view: ViewId| self.catalog.get(view).is_some();
        if !commit.final_to.iter().all(|(view, _)| is_there(*view)) {
            commit.results.retain(|result| is_there(result.view));
            commit.final_to.retain(|(view, _)| is_there(*view));
            commit.covered_from.retain(|(view, _)| is_there(*view));
        }
        commit
    }

    /// Takes a view beyond its limits out of the plan, so that its state is freed.
    fn suspend(&mut self, slots: &[ViewSlot]) {
        for slot in slots {
            if let Some(planned) = self.main_plan.view(*slot) {
                let entry = &planned.entry;
                tracing::warn!(job = %entry.job, rule = %entry.rule, "the view is beyond its limits and suspended until a reload");
                self.suspended.insert(planned.view().id);
            }
        }
        self.replan(Vec::new());
    }

    /// The main lane's plan: the catalog without what is suspended, catching up or waiting to.
    pub fn replan(&mut self, starts: Vec<(ViewId, ViewStart)>) {
        let catching: BTreeSet<ViewId> =
            self.catching_up.iter().filter(|catch_up| catch_up.held.is_none()).flat_map(|c| c.views.clone()).collect();
        let out = |id: &ViewId| self.suspended.contains(id) || self.waiting.contains(id) || catching.contains(id);
        let entries: Vec<_> = self.catalog.entries().filter(|entry| !out(&entry.view.id)).cloned().collect();
        let plan = Arc::new(compile(&Catalog::of(entries), &self.main_plan));
        let slot_of = |id: ViewId| plan.live().find(|planned| planned.view().id == id).map(|planned| planned.slot);
        let starts = starts.into_iter().filter_map(|(id, start)| Some(ViewStart { slot: slot_of(id)?, ..start })).collect();
        self.main.views(Arc::new(ViewSet { plan: Arc::clone(&plan), starts, ends: Vec::new() }));
        self.main_plan = plan;
    }

    fn reload(&mut self, catalog: Arc<Catalog>) -> Result<(), String> {
        describe(&self.store, &catalog)?;
        if self.begins_from.is_some() {
            self.catalog = catalog;
            return Ok(());
        }
        let in_main: BTreeSet<ViewId> = self.main_plan.live().map(|planned| planned.view().id).collect();
        self.catalog = Arc::clone(&catalog);
        self.suspended.clear();
        self.leave_catch_up();
        self.waiting.retain(|id| catalog.get(*id).is_some());
        let catching = self.catching_up.as_ref().map(|catch_up| catch_up.views.clone()).unwrap_or_default();
        let fresh = catalog.entries().map(|entry| entry.view.id);
        self.waiting.extend(fresh.filter(|id| !in_main.contains(id) && !catching.contains(id)));
        self.status.views.retain(|id, _| catalog.get(*id).is_some());
        self.replan(Vec::new());
        Ok(())
    }
}

/// How far before a position everything that it still needs may lie.
pub(in crate::node) fn resume_ms(plan: &OperatorsPlan) -> i64 {
    plan.reach_ms_max + plan.max_delay_ms_max + plan.step_ms_max + FUTURE_MS
}
