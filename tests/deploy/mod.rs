//! The files that a deployment begins with: compose, image, HAProxy, Prometheus, Grafana, systemd.
//!
//! Sees: a file that cannot be read or is not there, an option, variable or key that Prefold does not know, a panel that no
//! shipped job answers, what HAProxy, Prometheus and systemd refuse, and whether the same set of processes answers from views.
//! Cannot see: whether containers run, for there is no container engine here.

mod haproxy;
mod run_local;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::process::processes::{finished, prefold};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// A service of the compose file, with what it merges in.
fn services() -> Vec<(String, Value)> {
    let compose = yaml("docker-compose.kafka.yml");
    let services = compose["services"].as_object().unwrap();
    services.iter().map(|(name, service)| (name.clone(), service.clone())).collect()
}

fn of_prefold() -> Vec<(String, Value)> {
    services().into_iter().filter(|(_, service)| service["image"] == "prefold:local").collect()
}

/// Whether clap takes a command line: it stops at the first argument it does not know, before it prints help.
#[track_caller]
fn accepted(place: &str, arguments: &[String], variables: &[String]) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["--help"]).collect();
    let (status, help, stderr) = finished(&mut prefold(&arguments));
    assert_eq!(status, 0, "{place}: prefold {arguments:?}: {stderr}");
    for variable in variables {
        assert!(help.contains(&format!("[env: {variable}=")), "{place}: prefold {} reads no {variable}", arguments[0]);
    }
}

#[test]
fn every_command_line_and_variable_is_known() {
    let mut roles = BTreeSet::new();
    for (name, service) in of_prefold() {
        let variables: Vec<String> = service["environment"].as_object().unwrap().keys().cloned().collect();
        assert!(variables.contains(&"PREFOLD_KAFKA".to_owned()), "{name}: {service}");
        let command = strings(&service["command"]);
        accepted(&name, &command, &variables);
        roles.insert(command[0].clone());
        assert_eq!(service["read_only"], true, "{name}");
    }
    assert_eq!(roles.into_iter().collect::<Vec<_>>(), ["gateway", "query", "worker"]);
    let counts =
        ["gateway-", "worker-", "query-"].map(|role| of_prefold().iter().filter(|(n, _)| n.starts_with(role)).count());
    assert_eq!(counts, [2, 3, 2]);
    for (role, unit) in units() {
        let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/prefold ")).unwrap();
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        assert_eq!(arguments[0], role);
        accepted(&role, &arguments, &[]);
    }
    let image = text("Dockerfile");
    let commands = image.lines().filter_map(|line| line.strip_prefix("CMD "));
    let commands: Vec<Vec<String>> = commands.map(|list| serde_json::from_str(list).unwrap()).collect();
    assert_eq!(commands.len(), 1);
    accepted("Dockerfile", &commands[0], &["PREFOLD_DATA_DIR".to_owned(), "PREFOLD_JOBS".to_owned()]);
    let (status, _, stderr) = finished(prefold(&["check", "deploy/prefold.yaml"]).current_dir(root()));
    assert_eq!(status, 0, "{stderr}");
}

fn units() -> Vec<(String, String)> {
    ["gateway", "worker", "query"]
        .map(|role| (role.to_owned(), text(&format!("deploy/systemd/prefold-{role}.service"))))
        .to_vec()
}

#[test]
fn every_file_and_volume_that_is_named_is_there() {
    let compose = yaml("docker-compose.kafka.yml");
    let named: BTreeSet<String> = compose["volumes"].as_object().unwrap().keys().cloned().collect();
    let (mut used, mut files) = (BTreeSet::new(), 0);
    for (name, service) in services() {
        for volume in strings(&service["volumes"]) {
            let from = volume.split(':').next().unwrap();
            match from.strip_prefix("./") {
                None => drop(used.insert(from.to_owned())),
                Some(path) => {
                    assert!(root().join(path).exists(), "{name}: there is no {path}");
                    assert!(volume.ends_with(":ro"), "{name}: {volume}");
                    files += 1;
                }
            }
        }
    }
    assert_eq!(used, named);
    assert!(files >= 7, "{files}");
    let image = text("Dockerfile");
    let copied = image.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--"));
    let ignored = text(".dockerignore");
    for line in copied {
        let (from, _) = line.rsplit_once(' ').unwrap();
        for path in from.split(' ') {
            assert!(root().join(path).exists(), "Dockerfile: there is no {path}");
            assert!(ignored.lines().any(|line| line == format!("!{path}")), ".dockerignore leaves {path} out");
        }
    }
}

/// Names that one file uses for what another one calls so.
#[test]
fn services_are_called_by_their_names() {
    let names: BTreeSet<String> = services().into_iter().map(|(name, _)| name).chain(["gateways".to_owned()]).collect();
    let known = |place: &str, address: &str| {
        let host = address.rsplit('/').next().unwrap().split(':').next().unwrap();
        assert!(host == "localhost" || names.contains(host), "{place}: there is no service {host}");
    };
    let scraped = yaml("deploy/prometheus.yml");
    let mut targets = 0;
    for config in scraped["scrape_configs"].as_array().unwrap() {
        for target in config["static_configs"].as_array().unwrap().iter().flat_map(|group| strings(&group["targets"])) {
            known("deploy/prometheus.yml", &target);
            targets += 1;
        }
    }
    assert_eq!(targets, 10, "seven of Prefold, and three others");
    known("deploy/prometheus.yml", scraped["remote_write"][0]["url"].as_str().unwrap().trim_end_matches("/api/v1/write"));
    let sources = yaml("deploy/grafana/provisioning/datasources/prefold.yml");
    known("the data source", sources["datasources"][0]["url"].as_str().unwrap());
    let haproxy = text("deploy/haproxy.cfg");
    let servers: Vec<&str> = haproxy.lines().filter_map(|line| line.trim().strip_prefix("server ")).collect();
    servers.iter().for_each(|server| known("deploy/haproxy.cfg", server.split(' ').nth(1).unwrap()));
    assert!(servers.len() == 3 && servers[2].ends_with(" backup"), "fails open: {servers:?}");
    for (name, service) in of_prefold() {
        strings(&service["command"]).iter().filter(|word| word.starts_with("http://")).for_each(|url| known(&name, url));
        known(&name, service["environment"]["PREFOLD_KAFKA"].as_str().unwrap());
    }
}

/// As Grafana asks: over a range whose start and step are multiples of the panel's step.
#[test]
fn every_panel_is_answered_by_a_shipped_job() {
    let dashboard: Value = serde_json::from_str(&text("deploy/grafana/dashboards/hosts.json")).unwrap();
    let source = yaml("deploy/grafana/provisioning/datasources/prefold.yml")["datasources"][0]["uid"].clone();
    let jobs = root().join("jobs").display().to_string();
    let panels = dashboard["panels"].as_array().unwrap();
    for panel in panels {
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], source);
            let (query, step) = (target["expr"].as_str().unwrap(), panel["interval"].as_str().unwrap());
            let range = ["--start", "0", "--end", "600", "--step", step];
            let (status, said, stderr) = finished(prefold(&["explain", query, "--jobs", &jobs]).args(range));
            assert_eq!(status, 0, "{query}: {said}{stderr}");
        }
    }
    assert_eq!(panels.len(), 6);
}

/// What a program that judges its configuration says. A missing one fails in CI, where tests/run installs it, and skips elsewhere.
fn judged(program: &str, arguments: &[&Path]) -> String {
    match Command::new(program).args(arguments).current_dir(root()).output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
            assert!(output.status.success(), "{program} {arguments:?}: {said}");
            said
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{program}: {error}; bash tests/run --install-only");
            println!("skipped: {program}: {error}");
            String::new()
        }
    }
}

#[test]
fn haproxy_prometheus_and_systemd_take_their_files() {
    judged("haproxy", &["-c".as_ref(), "-f".as_ref(), "deploy/haproxy.cfg".as_ref()]);
    judged("promtool", &["check".as_ref(), "config".as_ref(), "deploy/prometheus.yml".as_ref()]);
    // Where the binary is, for it is looked for.
    let folder = tempfile::tempdir().unwrap();
    for (role, unit) in units() {
        let there = unit.replace("/usr/local/bin/prefold ", concat!(env!("CARGO_BIN_EXE_prefold"), " "));
        assert_ne!(there, unit);
        let path = folder.path().join(format!("prefold-{role}.service"));
        std::fs::write(&path, there).unwrap();
        let said = judged("systemd-analyze", &["verify".as_ref(), "--man=no".as_ref(), &path]);
        // What it does not know it passes over, and says so.
        assert!(!said.contains("prefold-"), "{said}");
    }
}
