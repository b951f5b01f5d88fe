//! A VictoriaMetrics that takes what is written to it.

use std::process::Command;

use super::http::{Api, Method};
use super::processes::{PATIENCE, Program, free_port, installed, wait_for};

/// A running VictoriaMetrics.
pub struct VictoriaMetrics {
    pub api: Api,
    _program: Program,
    _data: tempfile::TempDir,
}

impl VictoriaMetrics {
    /// Starts one with storage of its own and little memory. `None` where there is none.
    ///
    /// A second copy of a sample is none, as README tells its users to have it. A series that ends without a staleness marker
    /// goes on there for a few of its usual gaps.
    pub async fn start_receiving() -> Option<VictoriaMetrics> {
        let binary = installed("victoria-metrics")?;
        let (data, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut command = Command::new(binary);
        command.arg(format!("-storageDataPath={}", data.path().join("storage").display()));
        command.arg(format!("-httpListenAddr=127.0.0.1:{port}"));
        command.args(["-memory.allowedBytes=64MiB", "-dedup.minScrapeInterval=1ms"]);
        let mut program = Program::start("victoria-metrics", &mut command, data.path());
        let api = Api::new(port);
        wait_for("victoria-metrics to be ready", PATIENCE, async || {
            program.check_alive();
            let reply = api.ask(Method::Get, "/health", &[]).await?;
            if reply.status == 200 { Ok(()) } else { Err(reply.body) }
        })
        .await;
        Some(VictoriaMetrics { api, _program: program, _data: data })
    }
}
