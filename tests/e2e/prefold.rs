//! A `prefold run` with its own data and jobs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::http::{Api, Method};
use super::processes::{PATIENCE, Program, wait_for};

/// The grid of all jobs written here, in ms.
pub const STEP: i64 = 5_000;

/// Their max_delay, in ms.
pub const MAX_DELAY: i64 = 5_000;

/// A running Prefold.
pub struct Prefold {
    pub api: Api,
    pub program: Program,
    _dir: tempfile::TempDir,
}

/// A view as `/prefold/api/v1/views` tells it.
#[derive(Debug)]
pub struct View {
    /// Stretches of grid points served, inclusive, in ms.
    pub coverage: Vec<(i64, i64)>,
    pub status: Value,
}

impl Prefold {
    /// Starts one with an upstream and one job of these expressions.
    pub async fn start(port: u16, upstream: &str, exprs: &[&str], more_config: &str) -> Prefold {
        let dir = tempfile::tempdir().unwrap();
        let jobs = dir.path().join("jobs");
        std::fs::create_dir(&jobs).unwrap();
        let rules: Vec<Value> = exprs.iter().map(|expr| json!({ "expr": expr })).collect();
        let job = json!({"name": "e2e", "defaults": {"step": "5s", "max_delay": "5s"}, "rules": rules});
        std::fs::write(jobs.join("e2e.json"), job.to_string()).unwrap();
        let config = dir.path().join("config.yaml");
        // Only what is written to it counts: it does not scrape itself.
        std::fs::write(&config, format!("scrape_configs: []\nupstream: {{url: '{upstream}'{more_config}}}\n")).unwrap();
        Prefold::run(port, dir, &jobs, &["--config", config.to_str().unwrap()]).await
    }

    /// Starts one with nothing but the repository's own jobs.
    pub async fn start_alone(port: u16) -> Prefold {
        let jobs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("jobs");
        Prefold::run(port, tempfile::tempdir().unwrap(), &jobs, &[]).await
    }

    async fn run(port: u16, dir: tempfile::TempDir, jobs: &Path, more: &[&str]) -> Prefold {
        let mut command = Command::new(binary());
        command.arg("run").args(more).arg("--jobs").arg(jobs).arg("--data-dir").arg(dir.path().join("data"));
        command.args(["--listen", &format!("127.0.0.1:{port}")]).current_dir(dir.path());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PREFOLD_")) {
            command.env_remove(name);
        }
        let mut program = Program::start("prefold", &mut command, dir.path());
        let api = Api::new(port);
        wait_for("prefold to be ready", PATIENCE, async || {
            program.check_alive();
            let reply = api.ask(Method::Get, "/-/ready", &[]).await?;
            if reply.status == 200 { Ok(()) } else { Err(reply.body) }
        })
        .await;
        Prefold { api, program, _dir: dir }
    }

    /// What is kept and served now.
    pub async fn views(&self) -> Result<Vec<View>, String> {
        let data = self.api.ask(Method::Get, "/prefold/api/v1/views", &[]).await?.data()?;
        let view = |status: &Value| {
            let bounds = |pair: &Value| (pair[0].as_i64().unwrap(), pair[1].as_i64().unwrap());
            View { coverage: status["coverage"].as_array().unwrap().iter().map(bounds).collect(), status: status.clone() }
        };
        Ok(data.as_array().ok_or("no list of views")?.iter().map(view).collect())
    }

    /// Waits until all views serve the same stretch of at least this many grid points; its bounds in ms.
    pub async fn served_by_all(&mut self, points: i64, patience: Duration) -> (i64, i64) {
        wait_for("every view to be served", patience, async || {
            self.program.check_alive();
            let views = self.views().await?;
            let newest = |view: &View| view.coverage.last().copied().ok_or_else(|| format!("not served: {}", view.status));
            let stretches = views.iter().map(newest).collect::<Result<Vec<_>, String>>()?;
            let from = stretches.iter().map(|(from, _)| *from).max().ok_or("no views")?;
            let to = stretches.iter().map(|(_, to)| *to).min().ok_or("no views")?;
            if to - from >= (points - 1) * STEP { Ok((from, to)) } else { Err(format!("from {from} to {to}")) }
        })
        .await
    }
}

/// The binary under test: Cargo's, or `PREFOLD_BIN` where this is not built with it.
fn binary() -> PathBuf {
    match option_env!("CARGO_BIN_EXE_prefold") {
        Some(path) => path.into(),
        None => std::env::var_os("PREFOLD_BIN").expect("set PREFOLD_BIN to the prefold binary").into(),
    }
}
