//! Runs all scenarios at the same time, whatever the number of test threads: they mostly wait.
//!
//! The first test that comes starts every scenario the command line asks for, each on a thread and runtime of its own; each
//! test then waits for its own, and fails with its panic.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread::JoinHandle;

/// A scenario and the test that waits for it.
pub struct Scenario {
    pub name: &'static str,
    pub run: fn(),
}

/// Those started and not yet waited for; `None` before the first test comes.
static RUNNING: Mutex<Option<HashMap<&'static str, JoinHandle<()>>>> = Mutex::new(None);

/// Runs a scenario to its end.
pub fn block_on(scenario: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(scenario);
}

/// Waits for one scenario; panics as it did.
pub fn finish(scenarios: &[Scenario], name: &str) {
    let handle = {
        let mut running = RUNNING.lock().unwrap();
        let wanted = || scenarios.iter().filter(|scenario| is_asked_for(scenario.name));
        let running = running.get_or_insert_with(|| wanted().map(|one| (one.name, start(one))).collect());
        let alone = || scenarios.iter().find(|scenario| scenario.name == name).map(start);
        running.remove(name).or_else(alone).expect("a scenario of this name")
    };
    if let Err(panic) = handle.join() {
        std::panic::resume_unwind(panic);
    }
}

fn start(scenario: &Scenario) -> JoinHandle<()> {
    std::thread::Builder::new().name(scenario.name.to_owned()).spawn(scenario.run).unwrap()
}

/// As the test harness chooses by substrings; in doubt a test starts its scenario itself.
fn is_asked_for(name: &str) -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let listed = arguments.iter().filter(|argument| !argument.starts_with('-')).collect::<Vec<_>>();
    let test = format!(
        "{}::{name}",
        module_path!().split_once("::").map_or("", |(_, path)| path).trim_end_matches("::side_by_side")
    );
    let chooses_otherwise = arguments.iter().any(|argument| ["--exact", "--skip", "--ignored"].contains(&argument.as_str()));
    !chooses_otherwise && (listed.is_empty() || listed.iter().any(|filter| test.contains(filter.as_str())))
}
