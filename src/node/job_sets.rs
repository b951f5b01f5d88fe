//! Job sets: which jobs a cluster keeps, numbered, the same everywhere.
//!
//! A worker proposes its directory's jobs to the table "jobs", and every worker and query replica follows what stands there;
//! the place of a proposal in the topic is the set's number. A worker whose directory differs only says so: a process that is
//! started again with old files must not bring old jobs back. What is proposed was read without a problem by who proposed it;
//! a follower that cannot read it, of an older version perhaps, stays with the set before, and says why.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::in_force::{JobSet, JobSets, JobsInForce};
use super::jobs::{LoadedJobs, load_set};
use super::worker::{InForce, ViewsInForce};
use crate::log::topics::{Table, TableEntry};
use crate::model::ViewId;
use crate::plan::Catalog;

/// Where the set stands.
const KEY: &str = "set";

/// A set that drops more than one in so many of the views in force must be forced.
const DROPPED_SHARE: usize = 5;

/// What is written.
#[derive(Serialize, Deserialize)]
struct Proposal {
    proposed_by: String,
    /// Name and text.
    files: Vec<(String, String)>,
}

/// The sets of a cluster, as one process sees them.
pub struct Sets {
    table: Arc<dyn Table>,
    /// For pages, metrics and the proxy.
    pub jobs: Arc<JobsInForce>,
    /// For whoever folds and combines.
    pub in_force: InForce,
}

impl Sets {
    pub fn new(table: Arc<dyn Table>, jobs: Arc<JobsInForce>) -> Sets {
        let in_force = Arc::new(arc_swap::ArcSwap::from_pointee(ViewsInForce::default()));
        Sets { table, jobs, in_force }
    }

    /// Rises when there may be another set.
    pub fn changed(&self) -> tokio::sync::watch::Receiver<u64> {
        self.table.changed()
    }

    /// Puts the newest set in force, if it is not.
    pub fn follow(&self) {
        let Some(entry) = self.table.get(KEY) else { return };
        let number = number(&entry);
        // A lower number is of a topic that was made anew.
        if number == self.in_force.load().set || self.jobs.sets().is_some_and(|sets| is_waiting(&sets, number)) {
            return;
        }
        let (proposed, loaded) = match read(&entry) {
            Ok(proposal) => (Some(proposal.proposed_by), load_set(&proposal.files)),
            Err(error) => (None, Err(error)),
        };
        let set = JobSet { number, proposed_by: proposed.unwrap_or_default(), proposed_at: entry.log_time };
        match loaded {
            Ok(loaded) => {
                let (views, catalog) = (loaded.catalog.len(), Arc::clone(&loaded.catalog));
                self.jobs.put(loaded);
                self.jobs.tell(JobSets { in_force: set.clone(), waiting: None });
                self.in_force.store(Arc::new(ViewsInForce { set: number, catalog }));
                tracing::info!(set = number, proposed_by = %set.proposed_by, views, "a set of jobs is in force");
            }
            Err(problems) => {
                tracing::error!(
                    set = number, proposed_by = %set.proposed_by,
                    "a proposed set of jobs cannot be read here, the one before stays; is this process of an older version? \
                     {problems}"
                );
                let before = self.jobs.sets().map(|sets| sets.in_force.clone());
                let in_force =
                    before.unwrap_or(JobSet { number: 0, proposed_by: String::new(), proposed_at: set.proposed_at });
                self.jobs.tell(JobSets { in_force, waiting: Some((set, problems)) });
            }
        }
    }

    /// Proposes jobs where none stand yet; where others do, they are followed, and a difference is said.
    ///
    /// # Errors
    /// When they cannot be written, or `force` is wanted and missing.
    pub fn propose_first(&self, loaded: &LoadedJobs, by: &str, force: bool) -> Result<(), String> {
        self.table.catch_up()?;
        let proposed = self.table.get(KEY).map(|entry| (number(&entry), read(&entry)));
        match proposed {
            None => self.write(loaded, by),
            Some(_) if force => self.propose(loaded, by, true),
            Some((number, Ok(proposal))) if proposal.files != *loaded.files => {
                tracing::warn!(
                    set = number, proposed_by = %proposal.proposed_by,
                    "the jobs in this worker's directory are not those of the set in force, which is followed; POST /-/reload or \
                     SIGHUP proposes this directory's"
                );
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    /// Proposes jobs to the cluster.
    ///
    /// # Errors
    /// When they drop more than a fifth of the views in force and are not forced, when they cannot be written.
    pub fn propose(&self, loaded: &LoadedJobs, by: &str, force: bool) -> Result<(), String> {
        self.table.catch_up()?;
        self.follow();
        let same = self.table.get(KEY).and_then(|entry| read(&entry).ok());
        if same.is_some_and(|proposal| proposal.files == *loaded.files) {
            return Ok(());
        }
        let (dropped, of) = dropped(&self.in_force.load().catalog, &loaded.catalog);
        if dropped * DROPPED_SHARE > of && !force {
            return Err(format!(
                "the jobs were not proposed: they drop {dropped} of the {of} views in force, more than a fifth; if that is meant, \
                 start a worker with them and --force"
            ));
        }
        self.write(loaded, by)
    }

    fn write(&self, loaded: &LoadedJobs, by: &str) -> Result<(), String> {
        let proposal = Proposal { proposed_by: by.to_owned(), files: (*loaded.files).clone() };
        let value = serde_json::to_vec(&proposal).map_err(|error| error.to_string())?;
        let bytes_max = self.table.value_bytes_max();
        if value.len() > bytes_max {
            return Err(format!(
                "the jobs take {} bytes, and the topic of jobs takes {bytes_max}: raise its max.message.bytes",
                value.len()
            ));
        }
        let written = self.table.put(KEY, Some(Bytes::from(value)));
        // Within a runtime nobody may block on the answer itself.
        let (answer, answered) = crossbeam_channel::bounded(1);
        std::thread::spawn(move || drop(answer.send(written.blocking_recv())));
        match answered.recv() {
            Ok(Ok(Ok(_))) => {
                tracing::info!(views = loaded.catalog.len(), "the jobs were proposed to the cluster");
                self.table.catch_up()?;
                self.follow();
                Ok(())
            }
            Ok(Ok(Err(error))) => Err(format!("the jobs cannot be proposed: {error}")),
            Ok(Err(_)) | Err(_) => Err("the jobs cannot be proposed: the topic of jobs was closed".to_owned()),
        }
    }
}

/// The number of the newest set that was proposed; 0 when there is none.
pub fn newest(jobs: &dyn Table) -> u64 {
    jobs.get(KEY).map_or(0, |entry| number(&entry))
}

/// Offsets begin at 0, and 0 means no set.
fn number(entry: &TableEntry) -> u64 {
    entry.offset.0 + 1
}

fn read(entry: &TableEntry) -> Result<Proposal, String> {
    serde_json::from_slice(&entry.value).map_err(|error| format!("what was proposed cannot be read: {error}"))
}

fn is_waiting(sets: &JobSets, number: u64) -> bool {
    sets.waiting.as_ref().is_some_and(|(waiting, _)| waiting.number == number)
}

/// How many of the views in force another catalog drops, and how many there are.
fn dropped(in_force: &Catalog, proposed: &Catalog) -> (usize, usize) {
    let ids = |catalog: &Catalog| catalog.entries().map(|entry| entry.view.id).collect::<BTreeSet<ViewId>>();
    let (before, after) = (ids(in_force), ids(proposed));
    (before.difference(&after).count(), before.len())
}
