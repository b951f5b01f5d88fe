//! deploy/run-local: what the compose file describes, as processes of this machine.

use std::path::Path;
use std::process::Command;

use super::root;
use crate::e2e::processes::installed;
use crate::process::processes::finished;

/// Runs it with a binary: exit status, stdout and stderr. `None` where a program is missing, which it may not in CI.
fn run_local(binary: &str, temporary: &Path) -> Option<(i32, String, String)> {
    for program in ["java", "mvn", "haproxy", "prometheus", "prometheus-node-exporter", "curl", "setpriv"] {
        installed(program)?;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut command = Command::new(root().join("deploy/run-local"));
    command.args(["--check", "--binary", binary]).env("CARGO_TARGET_DIR", target).env("TMPDIR", temporary);
    // Not what it was started in, nor what concerns another Prefold.
    command.current_dir(temporary).env("PREFOLD_CONFIG", "/nowhere");
    Some(finished(&mut command))
}

/// Files left behind: the jars of Kafka put a few into the folder for temporary ones and forget them.
fn folders(temporary: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(temporary).unwrap().map(|entry| entry.unwrap().file_name());
    let names = entries.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("prefold-run-local.")).collect()
}

#[test]
fn alone_a_cluster_of_processes_answers_from_views_and_stops() {
    let temporary = tempfile::tempdir().unwrap();
    let Some((status, said, wrong)) = run_local(env!("CARGO_BIN_EXE_prefold"), temporary.path()) else { return };
    assert_eq!((status, wrong.as_str()), (0, ""), "{said}");
    for expected in ["answered from views", "Prometheus reaches all 10 targets", "all stopped"] {
        assert!(said.contains(expected), "{said}");
    }
    let addresses = said.split("http://").skip(1).map(|rest| rest.split(['/', ' ', '\n']).next().unwrap());
    let addresses: Vec<&str> = addresses.collect();
    assert!(addresses.len() >= 10, "{said}");
    for address in addresses {
        assert!(std::net::TcpStream::connect(address).is_err(), "{address} still listens");
    }
    assert_eq!(folders(temporary.path()), [""; 0], "nothing is left");
}

#[test]
fn a_cluster_of_which_one_ends_is_stopped_and_says_which() {
    let temporary = tempfile::tempdir().unwrap();
    let Some((status, said, wrong)) = run_local("/bin/false", temporary.path()) else { return };
    assert_eq!(status, 1, "{said}{wrong}");
    assert!(wrong.contains("gateway-1 has ended, see above") && wrong.contains("the logs stay in"), "{said}{wrong}");
    assert_eq!(folders(temporary.path()).len(), 1, "its logs are there to be read");
}
