//! A query replica's threads: one follows the results, one the job sets.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use super::job_sets::Sets;
use super::jobs::LoadedJobs;
use super::replica::Replica;
use super::stream::{StreamHandle, StreamStatus};
use super::threads::{again_and_again, follow, spawn};
use crate::log::topics::{Group, Topic};
use crate::store::Store;

/// A running replica. Dropping it stops it.
pub struct Following {
    status: Arc<StreamStatus>,
    threads: Vec<JoinHandle<()>>,
}

impl Following {
    /// Starts the threads. `group` is where Kafka's own tools look how far this replica is.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        results: Arc<dyn Topic>,
        store: Arc<Store>,
        sets: Arc<Sets>,
        group: Arc<dyn Group>,
        status: Arc<StreamStatus>,
    ) -> Result<Following, String> {
        let replica = {
            let told = Arc::clone(&status);
            let jobs = Arc::clone(&sets.jobs);
            move || {
                let begin = || Replica::start(Arc::clone(&results), Arc::clone(&store), Arc::clone(&told));
                let step = |replica: &mut Replica| {
                    replica.step()?;
                    if replica.take_described() {
                        jobs.look_for_retired();
                    }
                    group.commit(&replica.positions());
                    while group.events().try_recv().is_ok() {}
                    told.cluster.results_skipped.fetch_add(std::mem::take(&mut replica.skipped), Ordering::Relaxed);
                    Ok(())
                };
                again_and_again("results", &told, &told.cluster.results_restarts, begin, step);
            }
        };
        let sets = {
            let told = Arc::clone(&status);
            move || follow(&sets, &told, || {})
        };
        let threads = vec![spawn("results", replica)?, spawn("sets", sets)?];
        Ok(Following { status, threads })
    }
}

impl StreamHandle for Following {
    fn reload(&self, _: LoadedJobs) -> Result<(), String> {
        Err("a query replica follows the jobs of its cluster: they are proposed by a worker".to_owned())
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.status.stopping.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
