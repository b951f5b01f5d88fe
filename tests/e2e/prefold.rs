//! A `prefold run` with its own data and jobs.

use std::ffi::OsString;
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
    port: u16,
    dir: tempfile::TempDir,
    arguments: Vec<OsString>,
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
        let rules: Vec<Value> = exprs.iter().map(|expr| json!({ "expr": expr })).collect();
        let job = json!({"name": "e2e", "defaults": {"step": "5s", "max_delay": "5s"}, "rules": rules});
        Prefold::start_job(port, &job, &format!("upstream: {{url: '{upstream}'{more_config}}}")).await
    }

    /// Starts one with a job and a configuration.
    pub async fn start_job(port: u16, job: &Value, config: &str) -> Prefold {
        let dir = tempfile::tempdir().unwrap();
        let (jobs, file) = (dir.path().join("jobs"), dir.path().join("config.yaml"));
        std::fs::create_dir(&jobs).unwrap();
        std::fs::write(jobs.join("e2e.json"), job.to_string()).unwrap();
        configure(&file, config);
        Prefold::run(port, dir, &jobs, &["--config", file.to_str().unwrap()]).await
    }

    /// Starts one with nothing but the repository's own jobs.
    pub async fn start_alone(port: u16) -> Prefold {
        let jobs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("jobs");
        Prefold::run(port, tempfile::tempdir().unwrap(), &jobs, &[]).await
    }

    async fn run(port: u16, dir: tempfile::TempDir, jobs: &Path, more: &[&str]) -> Prefold {
        let mut arguments: Vec<OsString> = vec!["run".into()];
        arguments.extend(more.iter().map(OsString::from));
        arguments.extend(["--jobs".into(), jobs.into(), "--data-dir".into(), dir.path().join("data").into()]);
        arguments.extend(["--listen".into(), format!("127.0.0.1:{port}").into()]);
        let program = launch(&arguments, dir.path());
        let mut prefold = Prefold { api: Api::new(port), program, port, dir, arguments };
        prefold.ready().await;
        prefold
    }

    async fn ready(&mut self) {
        wait_for("prefold to be ready", PATIENCE, async || {
            self.program.check_alive();
            let reply = self.api.ask(Method::Get, "/-/ready", &[]).await?;
            if reply.status == 200 { Ok(()) } else { Err(reply.body) }
        })
        .await;
    }

    /// SIGKILL, and a new process over the same data; with another configuration if one is given.
    pub async fn kill_and_restart(&mut self, config: Option<&str>) {
        self.program.kill();
        if let Some(config) = config {
            configure(&self.dir.path().join("config.yaml"), config);
        }
        self.program = launch(&self.arguments, self.dir.path());
        // Connections to the one before are gone.
        self.api = Api::new(self.port);
        self.ready().await;
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

/// Only what is written to it counts: it does not scrape itself.
fn configure(file: &Path, config: &str) {
    std::fs::write(file, format!("scrape_configs: []\n{config}\n")).unwrap();
}

fn launch(arguments: &[OsString], dir: &Path) -> Program {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(dir);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PREFOLD_")) {
        command.env_remove(name);
    }
    Program::start("prefold", &mut command, dir)
}

/// The binary under test: Cargo's, or `PREFOLD_BIN` where this is not built with it.
fn binary() -> PathBuf {
    match option_env!("CARGO_BIN_EXE_prefold") {
        Some(path) => path.into(),
        None => std::env::var_os("PREFOLD_BIN").expect("set PREFOLD_BIN to the prefold binary").into(),
    }
}
