//! Programs under test: started on free ports with their own directories, killed when dropped.

use std::fs::{File, read_to_string};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use crate::ports::free_port;

/// The longest that anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How much of a program's log is shown when a test fails.
const LOG_LINES_SHOWN: usize = 60;

/// A running program; killed when dropped, and its log shown when the test has failed.
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a program whose output goes to a file in `dir`.
    pub fn start(name: &str, command: &mut Command, dir: &Path) -> Program {
        let log = dir.join(format!("{name}.log"));
        // What an earlier process wrote stays.
        let out = File::options().create(true).append(true).open(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Program { name: name.to_owned(), child, log }
    }

    /// Panics with the log when the program has ended, which none of them should.
    pub fn check_alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} ended with {status}", self.name);
        }
    }

    /// SIGKILL, and gone. It may have ended by itself.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let text = read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let shown = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
            eprintln!("--- the end of {}'s log\n{shown}\n---", self.name);
        }
    }
}

/// The program, or `None` with a message where it may be missing: everywhere but in CI.
pub fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{program} is not installed, and CI must have it");
        eprintln!("skipped: {program} is not installed; bash tests/run --install-only installs it");
    }
    found
}

/// Waits until `condition` gives something; panics with `what` and its last word when it does not in time.
pub async fn wait_for<T>(what: &str, patience: Duration, mut condition: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match condition().await {
            Ok(found) => return found,
            Err(last) => assert!(Instant::now() < deadline, "waited {patience:?} for {what}: {last}"),
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Milliseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "real programs run by the wall clock")]
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}
