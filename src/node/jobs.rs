//! Jobs from files: read from a directory at the start, and again when something changes there; or from a numbered set that
//! a cluster shares.
//!
//! A bad file changes nothing: the jobs in force stay, and every problem is logged with file, line, column and remedy.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::config::sources::{Sources, job_files};
use crate::plan::spec::{ReadOptions, check_jobs};
use crate::plan::{Catalog, Job};

/// How often the directory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Jobs, and what they compile to look up.
#[derive(Clone, Debug, Default)]
pub struct LoadedJobs {
    pub jobs: Arc<Vec<Job>>,
    pub catalog: Arc<Catalog>,
    /// Name and text of each file, by name: what a worker proposes to its cluster.
    pub files: Arc<Vec<(String, String)>>,
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
            Sources::default()
        }
    };
    of_files(files)
}

/// Jobs of files that are in memory, each by name and text.
///
/// # Errors
/// Every problem, one a line.
pub fn load_set(files: &[(String, String)]) -> Result<LoadedJobs, String> {
    let jobs = files.iter().map(|(name, text)| (PathBuf::from(name), text.clone())).collect();
    of_files(Sources { jobs, ..Sources::default() })
}

fn of_files(files: Sources) -> Result<LoadedJobs, String> {
    let mut checked = check_jobs(&files.jobs, &ReadOptions::default());
    checked.add(files.problems);
    let problems: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
    if checked.has_errors() {
        return Err(problems.join("\n"));
    }
    problems.iter().for_each(|problem| tracing::warn!("{problem}"));
    let catalog = Arc::new(Catalog::new(&checked.jobs));
    let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut files: Vec<(String, String)> = files.jobs.into_iter().map(|(path, text)| (name(path), text)).collect();
    files.sort_unstable();
    Ok(LoadedJobs { jobs: Arc::new(checked.jobs), catalog, files: Arc::new(files) })
}

/// Reads them again.
///
/// # Errors
/// Every problem, one a line; a directory that has gone away is one.
pub fn load_again(dir: &Path) -> Result<LoadedJobs, String> {
    if !dir.exists() {
        return Err(format!(
            "{}: there is no such directory any more; put it back, or stop to run without jobs",
            dir.display()
        ));
    }
    load(dir)
}

/// What files there are, when they were written, and which they are; `None` without a directory.
type Seen = Option<BTreeSet<(PathBuf, Option<SystemTime>, u64, u64)>>;

/// Looks at a directory once a second, whether it is there or not: unlike the kernel's notices that also works when the
/// directory is made later, replaced, or on another machine.
pub struct Watch {
    dir: PathBuf,
    seen: Seen,
}

impl Watch {
    /// From what is there now on: made before the jobs are read, so that no change goes unnoticed.
    pub fn new(dir: &Path) -> Watch {
        Watch { dir: dir.to_owned(), seen: look(dir) }
    }

    /// Tells `changed` whenever something has changed, for ever.
    pub async fn run(mut self, changed: tokio::sync::mpsc::Sender<()>) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        loop {
            every.tick().await;
            let dir = self.dir.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || look(&dir)).await else { return };
            if now != self.seen {
                self.seen = now;
                // A full channel means that a reload is due already.
                let _ = changed.try_send(());
            }
        }
    }
}

fn look(dir: &Path) -> Seen {
    let entries = std::fs::read_dir(dir).ok()?;
    let file = |path: PathBuf| {
        let metadata = std::fs::metadata(&path).ok()?;
        Some((path, metadata.modified().ok(), metadata.len(), metadata.ino()))
    };
    Some(entries.filter_map(|entry| file(entry.ok()?.path())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = r#"{"name":"one","rules":[{"expr":"sum by (a) (x)","step":"1s"}]}"#;

    #[test]
    fn a_set_in_memory_gives_what_its_directory_gives() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("one.json"), JOB).unwrap();
        std::fs::write(folder.path().join("one.test"), "").unwrap();
        let read = load(folder.path()).unwrap();
        assert_eq!(*read.files, [("one.json".to_owned(), JOB.to_owned())]);
        let set = load_set(&read.files).unwrap();
        let ids = |loaded: &LoadedJobs| loaded.catalog.entries().map(|entry| entry.view.id).collect::<Vec<_>>();
        assert_eq!((ids(&set), &set.files), (ids(&read), &read.files));
        assert_eq!(set.jobs.len(), 1);
        let bad = [("two.json".to_owned(), JOB.replace("1s", "1x"))];
        assert!(load_set(&bad).unwrap_err().starts_with("two.json:1:"), "{:?}", load_set(&bad));
    }

    #[test]
    fn whatever_happens_to_a_directory_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("jobs");
        let mut before = look(&dir);
        let mut changed = || {
            let now = look(&folder.path().join("jobs"));
            std::mem::replace(&mut before, now.clone()) != now
        };
        assert!(!changed());
        std::fs::create_dir(&dir).unwrap();
        assert!(changed() && !changed());
        std::fs::write(dir.join("a.json"), "1").unwrap();
        assert!(changed() && !changed());
        std::fs::write(dir.join("b"), "2").unwrap();
        assert!(changed());
        // Put in its place, of the same size.
        std::fs::rename(dir.join("b"), dir.join("a.json")).unwrap();
        assert!(changed() && !changed());
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(changed() && !changed());
    }
}
