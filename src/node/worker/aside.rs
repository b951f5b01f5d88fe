//! A worker that cannot read the job set by which others work gives its partitions to them.
//!
//! It is of an older version, most likely, in the midst of an upgrade. What it folds lacks the views of the newer set, which are
//! final nowhere for that, and its combine stands still at the first record that was folded by it. A set that nobody works by
//! changes nothing: rubbish in the table of jobs must not stop a cluster.

use std::sync::atomic::Ordering;

use super::{Topics, places};
use crate::node::job_sets::{Sets, newest};
use crate::node::stream::StreamStatus;

/// Under which it is said that something fails.
const WHAT: &str = "following the jobs";

/// Whether this worker stands aside.
#[derive(Default)]
pub(super) struct Aside {
    /// The set that it cannot read.
    set: Option<u64>,
}

impl Aside {
    /// Stands aside, or comes back.
    pub fn look(&mut self, topics: &Topics, sets: &Sets, status: &StreamStatus) {
        let known = sets.jobs.sets();
        let waiting = known.as_ref().and_then(|known| known.waiting.as_ref()).map(|(set, why)| (set.number, why));
        match waiting {
            None => {
                if self.set.take().is_some() {
                    tracing::info!("the job set in force can be read again: this worker takes partitions again");
                    self.tell(topics);
                    status.recovered(WHAT);
                }
            }
            Some((number, why)) if self.set.is_none() => {
                let newest = newest(&*topics.jobs);
                let behind = status.cluster.behind_set.load(Ordering::Relaxed);
                let others = places::sets(&*topics.positions).chain([behind]).filter(|set| *set <= newest).max();
                if others.is_some_and(|others| others >= number) {
                    let error = format!(
                        "other workers work by job set {number}, which cannot be read here; this worker gives its partitions to \
                         them until it can. Run the same version everywhere: {}",
                        why.lines().next().unwrap_or_default()
                    );
                    tracing::error!("{error}");
                    status.fails(WHAT, &error);
                    self.set = Some(number);
                    self.tell(topics);
                }
            }
            Some(_) => {}
        }
    }

    fn tell(&self, topics: &Topics) {
        [&topics.folders, &topics.combiners].into_iter().for_each(|group| group.stand_aside(self.set.is_some()));
    }
}
