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
            streaming.reload(loaded);
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
