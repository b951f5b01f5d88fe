//! Prometheus' own command line tool, pointed at the proxy.

use std::process::Command;

use super::exporter::{Exporter, shards};
use super::http::{Api, Method, Steps, seconds};
use super::prefold::{Prefold, STEP};
use super::processes::{PATIENCE, free_port, installed};
use super::prometheus::Prometheus;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_promtool() {
    let (exporter, port) = (Exporter::start(shards), free_port());
    let Some(promtool) = installed("promtool") else { return };
    let Some(prometheus) = Prometheus::start(&[("shards", exporter.port)], false, &[port]).await else { return };
    let expr = "max by (shard) (max_over_time(e2e_level[15s]))";
    let mut prefold = Prefold::start(port, &prometheus.api.url, &[expr], ", trust: always").await;
    let (from, to) = prefold.served_by_all(3, PATIENCE).await;
    let steps = Steps { from, to, step: STEP };
    let reply = prefold.api.range(Method::Form, expr, steps, &[]).await.unwrap();
    assert_eq!(reply.answer, "rewritten", "{reply:?}");

    let (start, end) = (seconds(from), seconds(to));
    let (start_at, end_at) = (format!("--start={start}"), format!("--end={end}"));
    let shard = "--match=e2e_level{shard=~\"a|b\"}";
    for arguments in [
        vec!["instant", "URL", expr, &format!("--time={end}")],
        vec!["instant", "URL", "e2e_level{shard=\"a\"}", &format!("--time={end}")],
        vec!["range", "URL", expr, &start_at, &end_at, "--step=5s"],
        vec!["range", "URL", "sum(e2e_level)", &start_at, &end_at, "--step=7s"],
        vec!["series", "URL", shard, &start_at, &end_at],
        vec!["labels", "URL", "shard", &start_at, &end_at],
        vec!["labels", "URL", "__name__"],
    ] {
        let ours = run(&promtool, &prefold.api, &arguments);
        let theirs = run(&promtool, &prometheus.api, &arguments);
        assert!(!ours.is_empty(), "{arguments:?} says nothing");
        assert_eq!(ours, theirs, "{arguments:?}");
    }
}

/// The lines it prints, sorted: instant vectors come in any order.
fn run(promtool: &std::path::Path, api: &Api, arguments: &[&str]) -> Vec<String> {
    let arguments = arguments.iter().map(|argument| if *argument == "URL" { &api.url } else { *argument });
    let output = Command::new(promtool).arg("query").args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool: {error}");
    let mut lines: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}
