//! A Prometheus that scrapes what it is told every second and remote-writes it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::http::{Api, Method};
use super::processes::{PATIENCE, Program, free_port, installed, wait_for};

/// Scrapes this close to a whole second could lie on a window's edge, which 2.42 and 3 treat differently.
const FROM_SECOND_MIN_S: f64 = 0.03;

/// A running Prometheus.
pub struct Prometheus {
    pub api: Api,
    program: Program,
    _data: tempfile::TempDir,
}

/// What is scraped: the name of a job and a port of 127.0.0.1.
pub type Target<'a> = (&'a str, u16);

impl Prometheus {
    /// Starts one that scrapes `targets`, and itself as job `prometheus` if asked, and writes to each of the ports. `None`
    /// where there is no Prometheus.
    pub async fn start(targets: &[Target<'_>], itself: bool, write_ports: &[u16]) -> Option<Prometheus> {
        Prometheus::start_on(free_port, targets, itself, write_ports).await
    }

    /// The same on a port of one's own: it is asked for at every attempt.
    pub async fn start_on(
        port: impl Fn() -> u16,
        targets: &[Target<'_>],
        itself: bool,
        write_ports: &[u16],
    ) -> Option<Prometheus> {
        let binary = installed("prometheus")?;
        // When scrapes happen within their second depends on a hash of the target, so another seed moves them.
        for seed in 0..20 {
            let port = port();
            let mut targets = targets.to_vec();
            targets.extend(itself.then_some(("prometheus", port)));
            let config = configuration(&targets, write_ports, port, seed);
            let mut prometheus = Prometheus::launch(&binary, port, &config, &[]);
            let distance = wait_for("the first scrapes", PATIENCE, async || {
                prometheus.program.check_alive();
                least_distance(&prometheus.api, targets.len()).await
            });
            if distance.await >= FROM_SECOND_MIN_S {
                return Some(prometheus);
            }
        }
        panic!("no seed keeps scrapes off the whole seconds");
    }

    /// Starts one that scrapes nothing and takes what is written to it. `None` where there is no Prometheus.
    pub async fn start_receiving() -> Option<Prometheus> {
        let binary = installed("prometheus")?;
        let receiver = ["--web.enable-remote-write-receiver"];
        let mut prometheus = Prometheus::launch(&binary, free_port(), "global: {scrape_interval: 1s}\n", &receiver);
        wait_for("prometheus to be ready", PATIENCE, async || {
            prometheus.program.check_alive();
            let reply = prometheus.api.ask(Method::Get, "/-/ready", &[]).await?;
            if reply.status == 200 { Ok(()) } else { Err(reply.body) }
        })
        .await;
        Some(prometheus)
    }

    fn launch(binary: &Path, port: u16, configuration: &str, more: &[&str]) -> Prometheus {
        let data = tempfile::tempdir().unwrap();
        let config = data.path().join("prometheus.yml");
        std::fs::write(&config, configuration).unwrap();
        let mut command = Command::new(binary);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", data.path().join("tsdb").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).args(more);
        let program = Program::start("prometheus", &mut command, data.path());
        Prometheus { api: Api::new(port), program, _data: data }
    }
}

/// How far from a whole second the scrape nearest to one is, in seconds, once every target was scraped.
async fn least_distance(api: &Api, targets: usize) -> Result<f64, String> {
    let reply = api.ask(Method::Get, "/api/v1/query", &[("query", "timestamp(up == 1)")]).await?;
    let data = reply.data()?;
    let up = data["result"].as_array().ok_or("no vector")?;
    if up.len() < targets {
        return Err(format!("{} of {targets} targets are up", up.len()));
    }
    let times = up.iter().map(|series| series["value"][1].as_str().unwrap().parse::<f64>().unwrap());
    Ok(times.map(|t| (t - t.round()).abs()).fold(1.0, f64::min))
}

/// The write URL says who writes: where one is started after the other, a receiver can tell them apart.
fn configuration(targets: &[Target<'_>], write_ports: &[u16], port: u16, seed: u32) -> String {
    let mut text = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nremote_write:\n".to_owned();
    for write_port in write_ports {
        write!(
            text,
            "- url: http://127.0.0.1:{write_port}/api/v1/write?prometheus={port}\n  \
               remote_timeout: 5s\n  \
               metadata_config: {{send: false}}\n  \
               queue_config: {{batch_send_deadline: 300ms, min_shards: 2, max_shards: 4, max_backoff: 1s}}\n"
        )
        .unwrap();
    }
    text.push_str("scrape_configs:\n");
    for (job, port) in targets {
        let target = format!("static_configs: [{{targets: ['127.0.0.1:{port}']}}]");
        writeln!(text, "- {{job_name: {job}, params: {{seed: ['{seed}']}}, {target}}}").unwrap();
    }
    text
}

/// A node exporter that shows processors and memory; `None` where there is none.
pub fn node_exporter(dir: &Path) -> Option<(Program, u16)> {
    let binary = installed("prometheus-node-exporter")?;
    let port = free_port();
    let mut command = Command::new(binary);
    command.args(["--collector.disable-defaults", "--collector.cpu", "--collector.meminfo"]);
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    Some((Program::start("node-exporter", &mut command, dir), port))
}
