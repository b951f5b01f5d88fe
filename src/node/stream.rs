//! Streaming: which lanes run, where they begin, and what they commit.
//!
//! At the start the main lane resumes from the store's positions, reading far enough back to fill every open window; a
//! replay emits only what the store has not. A view that the store knows nothing of, or too little, catches up in a lane
//! of its own and joins the main lane at the live position. All of it is one thread; commands come through a channel.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use dashmap::DashMap;

use super::begin::{Begin, view_start};
use super::fold_progress::FoldProgress;
use super::lane::{Closed, Lane};
use crate::compile::{FUTURE_MS, OperatorsPlan, ViewSlot, compile};
use crate::dataflow::{Emitted, ViewSet, ViewStart};
use crate::log::{Log, ReadFrom};
use crate::model::{Commit, Timestamp, ViewId};
use crate::plan::{Catalog, CatalogEntry};
use crate::store::{Durability, Store, ViewDescription};

/// How long to wait before a failed commit is tried again.
const COMMIT_RETRY: Duration = Duration::from_secs(1);

/// What streaming is made with.
#[derive(Clone, Copy, Debug)]
pub struct StreamOptions {
    pub threads: usize,
    pub new_senders_uncover: bool,
}

/// What is known of the running stream, for status pages, metrics and readiness.
#[derive(Default)]
pub struct StreamStatus {
    /// Whether the replay at the start is done.
    pub caught_up: AtomicBool,
    pub records_ahead: AtomicU64,
    pub log_time: AtomicI64,
    pub views: DashMap<ViewId, ViewProgress>,
    pub folded: FoldProgress,
    /// Why streaming has stopped, if it has.
    pub failed: parking_lot::Mutex<Option<String>>,
}

/// The newest grid point of a view, and sums over all of them.
#[derive(Clone, Copy, Debug)]
pub struct ViewProgress {
    pub newest: Emitted,
    pub not_counted: u64,
}

/// The running stream. Dropping it stops it.
pub struct Stream {
    commands: Option<Sender<Command>>,
    thread: Option<std::thread::JoinHandle<()>>,
    pub status: Arc<StreamStatus>,
}

enum Command {
    Reload(Arc<Catalog>, Sender<()>),
}

impl Stream {
    /// # Errors
    /// When the log cannot be read from where the store stands, or the workers cannot be started.
    pub fn start(
        log: Arc<dyn Log>,
        store: Arc<Store>,
        catalog: Arc<Catalog>,
        options: StreamOptions,
    ) -> Result<Stream, String> {
        let (commands, takes) = bounded(4);
        let status = Arc::new(StreamStatus::default());
        let mut streaming = Streaming::start(log, store, catalog, options, Arc::clone(&status))?;
        let told = Arc::clone(&status);
        let run = move || {
            if let Err(error) = streaming.run(&takes) {
                tracing::error!(%error, "streaming has stopped; results stay as they are until the process is restarted");
                *told.failed.lock() = Some(error);
            }
        };
        let thread = std::thread::Builder::new().name("stream".to_owned()).spawn(run).map_err(|error| error.to_string())?;
        Ok(Stream { commands: Some(commands), thread: Some(thread), status })
    }

    /// Puts another catalog in force. Views in both are not touched; new ones catch up first.
    pub fn reload(&self, catalog: Arc<Catalog>) {
        let (done, wait) = bounded(1);
        if let Some(commands) = &self.commands
            && commands.send(Command::Reload(catalog, done)).is_ok()
        {
            let _ = wait.recv();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Streaming {
    log: Arc<dyn Log>,
    store: Arc<Store>,
    options: StreamOptions,
    status: Arc<StreamStatus>,
    /// All views wanted, those still catching up included.
    catalog: Arc<Catalog>,
    main: Lane,
    main_plan: Arc<OperatorsPlan>,
    /// Where reading starts, until the first record is there and the views can begin.
    begins_from: Option<ReadFrom>,
    catching_up: Option<CatchUp>,
    /// Views waiting for the lane before them to join.
    waiting: BTreeSet<ViewId>,
    /// Views beyond their limits, until a reload.
    suspended: BTreeSet<ViewId>,
}

/// A lane of views that the main lane will take over.
struct CatchUp {
    lane: Lane,
    plan: Arc<OperatorsPlan>,
    views: BTreeSet<ViewId>,
    /// What the main lane already gave of them, once told to take over.
    held: Option<Vec<Commit>>,
}

impl Streaming {
    fn start(
        log: Arc<dyn Log>,
        store: Arc<Store>,
        catalog: Arc<Catalog>,
        options: StreamOptions,
        status: Arc<StreamStatus>,
    ) -> Result<Streaming, String> {
        describe(&store, &catalog)?;
        let resume =
            store.positions().filter(|(incarnation, _)| *incarnation == log.incarnation()).map(|(_, positions)| positions);
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
    fn starts(&self, plan: &OperatorsPlan, begin: &Begin) -> Result<Vec<ViewStart>, String> {
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

    fn run(&mut self, commands: &Receiver<Command>) -> Result<(), String> {
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
            let commit = self.hold_back(closed.commit);
            self.commit(commit)?;
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
        for emitted in closed.outputs.iter().flat_map(|output| &output.emitted) {
            let mut progress =
                self.status.views.entry(emitted.view).or_insert(ViewProgress { newest: *emitted, not_counted: 0 });
            progress.newest = *emitted;
            progress.not_counted += emitted.not_counted;
        }
    }

    /// Commits, again and again while the disk refuses: what was read stays in the log, and nothing is skipped.
    fn commit(&self, commit: Commit) -> Result<(), String> {
        let durability = if commit.is_idle() { Durability::Later } else { Durability::Now };
        let mut said = false;
        while let Err(error) = self.store.apply(&commit, durability) {
            if !error.retryable() {
                return Err(format!("cannot commit results: {error}"));
            }
            if !std::mem::replace(&mut said, true) {
                tracing::error!(%error, "cannot commit results; trying again every second, nothing is lost");
            }
            std::thread::park_timeout(COMMIT_RETRY);
        }
        Ok(())
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
    fn replan(&mut self, starts: Vec<(ViewId, ViewStart)>) {
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
        self.waiting.retain(|id| catalog.get(*id).is_some());
        let catching = self.catching_up.as_ref().map(|catch_up| catch_up.views.clone()).unwrap_or_default();
        let fresh = catalog.entries().map(|entry| entry.view.id);
        self.waiting.extend(fresh.filter(|id| !in_main.contains(id) && !catching.contains(id)));
        self.status.views.retain(|id, _| catalog.get(*id).is_some());
        self.replan(Vec::new());
        Ok(())
    }

    fn step_catch_up(&mut self) -> Result<(), String> {
        if self.catching_up.is_none() && !self.waiting.is_empty() {
            self.start_catch_up()?;
        }
        let Some(catch_up) = &mut self.catching_up else { return Ok(()) };
        let closed = catch_up.lane.step()?;
        let mut ended = BTreeSet::new();
        for closed in closed {
            ended.extend(closed.outputs.iter().flat_map(|output| output.ended.iter().copied()));
            self.note_views(&closed);
            // Its positions are not the main lane's: a restart resumes each view from its newest grid point.
            self.commit(Commit { positions: Vec::new(), ..closed.commit })?;
        }
        self.ended_catch_up(&ended)?;
        self.join();
        Ok(())
    }

    fn note_views(&self, closed: &Closed) {
        for emitted in closed.outputs.iter().flat_map(|output| &output.emitted) {
            let progress = ViewProgress { newest: *emitted, not_counted: 0 };
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
        let mut lane = Lane::start(&*self.log, from.clone(), self.options.threads, senders, uncover)?;
        let begin = loop {
            // The main lane has read records, so this one will.
            if let Some(begin) = Begin::of(&*self.log, &from, &mut lane)? {
                break begin;
            }
        };
        let starts = self.starts(&plan, &begin)?;
        lane.views(Arc::new(ViewSet { plan: Arc::clone(&plan), starts, ends: Vec::new() }));
        tracing::info!(views = views.len(), "new views catch up with the log");
        self.catching_up = Some(CatchUp { lane, plan, views, held: None });
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
            ends.push((planned.slot, view.grid().before(first)));
            let start =
                ViewStart { slot: planned.slot, first, whole_from: first, last: Timestamp::MAX, overdue_since: None };
            starts.push((view.id, start));
        }
        catch_up.lane.views(Arc::new(ViewSet { plan: Arc::clone(&catch_up.plan), starts: Vec::new(), ends }));
        catch_up.held = Some(Vec::new());
        self.replan(starts);
    }

    /// Keeps back what the main lane gives of views whose own lane has not ended.
    fn hold_back(&mut self, mut commit: Commit) -> Commit {
        let Some(CatchUp { views, held: Some(held), .. }) = &mut self.catching_up else { return commit };
        let kept = Commit {
            results: commit.results.extract_if(.., |result| views.contains(&result.view)).collect(),
            final_to: commit.final_to.extract_if(.., |(view, _)| views.contains(view)).collect(),
            log_incarnation: commit.log_incarnation,
            ..Commit::default()
        };
        if !kept.is_idle() {
            held.push(kept);
        }
        commit
    }

    fn ended_catch_up(&mut self, ended: &BTreeSet<ViewSlot>) -> Result<(), String> {
        let Some(catch_up) = &mut self.catching_up else { return Ok(()) };
        for slot in ended {
            if let Some(planned) = catch_up.plan.view(*slot) {
                catch_up.views.remove(&planned.view().id);
                if catch_up.held.is_none() {
                    // It ended before the main lane was told to take over: it is beyond its limits.
                    self.suspended.insert(planned.view().id);
                }
            }
        }
        if !catch_up.views.is_empty() {
            return Ok(());
        }
        let held = self.catching_up.take().and_then(|catch_up| catch_up.held).unwrap_or_default();
        held.into_iter().try_for_each(|commit| self.commit(commit))
    }
}

/// How far before a position everything that it still needs may lie.
fn resume_ms(plan: &OperatorsPlan) -> i64 {
    plan.reach_ms_max + plan.max_delay_ms_max + plan.step_ms_max + FUTURE_MS
}

/// Tells the store what each view is, so that its results stay readable when its job is gone.
pub fn describe(store: &Store, catalog: &Catalog) -> Result<(), String> {
    for entry in catalog.entries() {
        let view = &entry.view;
        let text = serde_json::json!({
            "job": entry.job, "rule": entry.rule, "expr": entry.expr, "view": view.shape.to_string(), "tenant": view.tenant,
        });
        let description = ViewDescription {
            step_ms: view.step_ms,
            fields: view.shape.aggregation.fields.len() as u8,
            retention_ms: entry.retention_ms,
            text: text.to_string(),
        };
        store.describe(view.id, description).map_err(|error| format!("cannot store what view {} is: {error}", view.id))?;
    }
    Ok(())
}
