//! Reading files again: the jobs, and what is scraped.
//!
//! A bad file changes nothing: what is in force stays, and every problem is logged with file, line, column and remedy, and
//! shown until a reload succeeds. The configuration's other keys are read at the start alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::assembly::Node;
use super::cluster::check_retention;
use super::config::{read_config, sources};
use super::jobs;
use super::role::Role;
use crate::ingest::scrape::config::ScrapeConfig;
use crate::model::Timestamp;
use crate::plan::spec::Problem;

/// Changes of files that come together are read together.
const RELOAD_AFTER: Duration = Duration::from_millis(200);

/// How the files were when they were read last.
#[derive(Clone, Debug, Default)]
pub struct LastReload {
    /// When they were all good.
    pub succeeded: Timestamp,
    /// What is wrong with those that are there now.
    pub problems: Option<String>,
}

/// What was read again.
#[derive(Clone, Copy, Debug)]
pub struct Reloaded {
    /// Views of the jobs, where jobs are read.
    pub views: Option<usize>,
}

impl Node {
    /// Reads again what the role reads, jobs and scrape configurations, and puts it in force. Needs a tokio runtime, and
    /// blocks.
    ///
    /// # Errors
    /// Every problem of the files; nothing has changed then.
    pub fn reload(&self) -> Result<Reloaded, String> {
        let result = self.try_reload();
        let mut last = self.last_reload.lock();
        match &result {
            Ok(_) => *last = LastReload { succeeded: self.clock.now(), problems: None },
            Err(problems) => last.problems = Some(problems.clone()),
        }
        result
    }

    fn try_reload(&self) -> Result<Reloaded, String> {
        let loaded = self.role.reads_jobs().then(|| jobs::load_again(&self.config.jobs)).transpose()?;
        if let (Role::Worker, Some(proposed)) = (self.role, &loaded) {
            check_retention(&self.config, proposed)?;
        }
        if let (Some(ingest), Some(file)) = (&self.ingest, self.config_file.get()) {
            let scraped = scrape_configs(file)?;
            tokio::runtime::Handle::current().block_on(self.scrape_again(ingest, scraped))?;
        }
        let views = loaded.as_ref().map(|loaded| loaded.catalog.len());
        if let (Some(streaming), Some(loaded)) = (&self.streaming, loaded) {
            match streaming.reload(loaded) {
                Err(refused) if self.role == Role::Worker => return Err(refused),
                // They come into force later.
                Err(waits) => tracing::warn!("{waits}"),
                Ok(()) => {}
            }
        }
        Ok(Reloaded { views })
    }

    /// Reads the files again whenever they change or `told` says so.
    pub async fn reload_when_told(self: Arc<Self>, mut told: tokio::sync::mpsc::Receiver<()>) {
        while told.recv().await.is_some() {
            tokio::time::sleep(RELOAD_AFTER).await;
            while told.try_recv().is_ok() {}
            let node = Arc::clone(&self);
            let reloaded = tokio::task::spawn_blocking(move || node.reload()).await;
            if let Ok(Err(problems)) = reloaded {
                tracing::error!("nothing was changed, because of:\n{problems}");
            }
        }
    }
}

fn scrape_configs(file: &Path) -> Result<Option<Vec<ScrapeConfig>>, String> {
    let text = sources::read(file).map_err(|error| error.to_string())?;
    let lines = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    Ok(read_config(file, &text).map_err(lines)?.scrape_configs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::assembly::StreamPart;
    use crate::node::clock::SystemClock;
    use crate::node::config::Config;
    use crate::node::in_force::JobsInForce;
    use crate::node::jobs::LoadedJobs;
    use crate::node::stream::{StreamHandle, StreamStatus};

    struct Refuses;

    impl StreamHandle for Refuses {
        fn reload(&self, _: LoadedJobs) -> Result<(), String> {
            Err("they drop 3 of 4 views".to_owned())
        }
    }

    /// Jobs of a directory come into force later; jobs of a cluster were not proposed, and whoever asked must hear it.
    #[test]
    fn a_worker_says_that_its_jobs_were_not_proposed() {
        for (role, expected) in [(Role::Run, None), (Role::Worker, Some("they drop 3 of 4 views"))] {
            let dir = tempfile::tempdir().unwrap();
            let config = Config { jobs: dir.path().to_owned(), ..Config::default() };
            let jobs = Arc::new(JobsInForce::new(LoadedJobs::default(), None));
            let streaming = StreamPart::new(Arc::new(StreamStatus::default()), jobs, Box::new(Refuses));
            let node = Node::assemble((role, config, Arc::new(SystemClock)), None, None, Some(streaming));
            assert_eq!(node.reload().err().as_deref(), expected);
            assert_eq!(node.last_reload.lock().problems.as_deref(), expected);
        }
    }
}
