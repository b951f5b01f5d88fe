//! The jobs in force: read from a directory at the start, and again when something changes there.
//!
//! A bad file changes nothing: the jobs in force stay, and every problem is logged with file, line, column and remedy.

use std::path::Path;
use std::sync::Arc;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::config::sources::job_files;
use crate::plan::spec::{ReadOptions, check_jobs};
use crate::plan::{Catalog, Job};

/// Jobs and what they compile to look up.
#[derive(Clone, Debug)]
pub struct LoadedJobs {
    pub jobs: Arc<Vec<Job>>,
    pub catalog: Arc<Catalog>,
}

/// Reads every job of a directory; one that does not exist holds none.
///
/// # Errors
/// Every problem, one a line.
pub fn load(dir: &Path) -> Result<LoadedJobs, String> {
    let files = match dir.exists() {
        true => job_files(dir).map_err(|error| error.to_string())?,
        false => {
            tracing::warn!(dir = %dir.display(), "there is no such directory of jobs: nothing is kept pre-aggregated");
            Vec::new()
        }
    };
    let checked = check_jobs(&files, &ReadOptions::default());
    let problems: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
    if checked.has_errors() {
        return Err(problems.join("\n"));
    }
    problems.iter().for_each(|problem| tracing::warn!("{problem}"));
    let catalog = Arc::new(Catalog::new(&checked.jobs));
    Ok(LoadedJobs { jobs: Arc::new(checked.jobs), catalog })
}

/// Tells `changed` whenever something in a directory changes; watches while the watcher lives.
///
/// # Errors
/// When the directory cannot be watched.
pub fn watch(dir: &Path, changed: tokio::sync::mpsc::Sender<()>) -> Result<RecommendedWatcher, String> {
    let failed = |error: notify::Error| format!("cannot watch {}: {error}", dir.display());
    let tell = move |event: notify::Result<notify::Event>| {
        // Reading the files is an event too, and would go on for ever.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // A full channel means that a reload is due already.
            let _ = changed.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(tell).map_err(failed)?;
    watcher.watch(dir, RecursiveMode::NonRecursive).map_err(failed)?;
    Ok(watcher)
}
