//! A worker's threads: one folds, one combines, one follows the job sets. Each begins again when it fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use super::aside::Aside;
use super::{CombineWorker, CombineWorkerOptions, FoldWorker, FoldWorkerOptions, Topics};
use crate::node::cluster_progress::ClusterProgress;
use crate::node::job_sets::Sets;
use crate::node::jobs::LoadedJobs;
use crate::node::stream::{StreamHandle, StreamStatus};
use crate::node::threads::{again_and_again, follow, spawn};

/// How long folded partials are gathered before they are written.
const FLUSH_EVERY: Duration = Duration::from_millis(200);

/// How long small pieces of samples, and of partials, are gathered before they are worked on.
const GATHER: Duration = Duration::from_millis(50);

/// Of all partitions together, bytes of partials that wait in combine for partitions that are behind. In memory they take several
/// times as much, over all workers.
const UNFINISHED_BYTES_MAX: usize = 128 << 20;

/// How often combine writes down where it stands.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(2);

/// The running halves of a worker. Dropping it stops them; their partitions go to other workers.
pub struct Worker {
    sets: Arc<Sets>,
    /// As which it proposes jobs.
    name: String,
    status: Arc<StreamStatus>,
    threads: Vec<JoinHandle<()>>,
    /// Held to the end: leaving the groups is the last thing that is done.
    topics: Option<Topics>,
}

impl Worker {
    /// Starts the threads.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        topics: Topics,
        sets: Arc<Sets>,
        name: String,
        (threads, new_senders_uncover): (usize, bool),
        status: Arc<StreamStatus>,
    ) -> Result<Worker, String> {
        let fold = {
            let (topics, in_force, told) = (topics.clone(), Arc::clone(&sets.in_force), Arc::clone(&status));
            let unfinished_bytes_max = UNFINISHED_BYTES_MAX / usize::from(topics.samples.partitions().max(1));
            let options = FoldWorkerOptions { threads, flush_every: FLUSH_EVERY, gather: GATHER, unfinished_bytes_max };
            move || {
                let begin = || FoldWorker::start(topics.clone(), Arc::clone(&in_force), options);
                again_and_again("fold", &told, &told.cluster.fold_restarts, begin, |fold| step_fold(fold, &told));
            }
        };
        let combine = {
            let (topics, in_force, told) = (topics.clone(), Arc::clone(&sets.in_force), Arc::clone(&status));
            let options = CombineWorkerOptions { new_senders_uncover, checkpoint_every: CHECKPOINT_EVERY, gather: GATHER };
            move || {
                let begin = || CombineWorker::start(topics.clone(), Arc::clone(&in_force), options);
                let step = |combine: &mut CombineWorker| step_combine(combine, &told.cluster);
                again_and_again("combine", &told, &told.cluster.combine_restarts, begin, step);
            }
        };
        let follow = {
            let (sets, told, topics) = (Arc::clone(&sets), Arc::clone(&status), topics.clone());
            let mut aside = Aside::default();
            move || follow(&sets, &told, || aside.look(&topics, &sets, &told))
        };
        let threads = vec![spawn("fold", fold)?, spawn("combine", combine)?, spawn("sets", follow)?];
        Ok(Worker { sets, name, status, threads, topics: Some(topics) })
    }
}

fn step_fold(fold: &mut FoldWorker, status: &StreamStatus) -> Result<(), String> {
    fold.step()?.iter().for_each(|folded| status.folded.note(folded));
    let ahead = fold.ahead();
    status.cluster.fold_partitions.store(ahead.len() as u64, Ordering::Relaxed);
    status.cluster.fold_held_back.store(fold.held_back() as u64, Ordering::Relaxed);
    status.records_ahead.store(ahead.iter().map(|(_, ahead)| ahead).sum(), Ordering::Relaxed);
    status.log_time.store(fold.log_time().0, Ordering::Relaxed);
    status.caught_up.store(fold.caught_up(), Ordering::Relaxed);
    Ok(())
}

fn step_combine(combine: &mut CombineWorker, progress: &ClusterProgress) -> Result<(), String> {
    combine.step()?;
    let ahead = combine.ahead();
    progress.behind_set.store(combine.behind_set(), Ordering::Relaxed);
    progress.combine_partitions.store(ahead.len() as u64, Ordering::Relaxed);
    progress.combine_remaining.store(ahead.iter().map(|(_, ahead)| ahead).sum(), Ordering::Relaxed);
    progress.partials_skipped.fetch_add(std::mem::take(&mut combine.skipped), Ordering::Relaxed);
    Ok(())
}

impl StreamHandle for Worker {
    fn reload(&self, loaded: LoadedJobs) -> Result<(), String> {
        self.sets.propose(&loaded, &self.name, false)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.status.stopping.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join();
        }
        drop(self.topics.take());
    }
}
