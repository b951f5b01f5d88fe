//! Threads that go on for ever: what fails begins again, and says so until it works.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::job_sets::Sets;
use super::stream::StreamStatus;

/// How long to wait before beginning again after a failure, and how often sets are looked for without being told.
const PAUSE: Duration = Duration::from_secs(1);

/// How often it is looked whether there is something to do, or to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Begins, and begins again after a failure: nothing is lost by it, for what was not committed is read again.
pub fn again_and_again<W>(
    what: &str,
    status: &StreamStatus,
    restarts: &AtomicU64,
    begin: impl Fn() -> Result<W, String>,
    mut step: impl FnMut(&mut W) -> Result<(), String>,
) {
    let stopping = || status.stopping.load(Ordering::Relaxed);
    while !stopping() {
        let failed = match begin() {
            Ok(mut one) => {
                let mut steps = 0_u64;
                loop {
                    if stopping() {
                        return;
                    }
                    if let Err(error) = step(&mut one) {
                        break error;
                    }
                    steps += 1;
                    // It works again.
                    if steps == 1 {
                        status.recovered(what);
                    }
                }
            }
            Err(error) => error,
        };
        if !stopping() {
            tracing::error!("{what} has failed and begins again, nothing is lost: {failed}");
            status.fails(what, &failed);
            restarts.fetch_add(1, Ordering::Relaxed);
            std::thread::park_timeout(PAUSE);
        }
    }
}

/// Follows the job sets until told to stop; `then` is called every time it was looked for another.
pub fn follow(sets: &Sets, status: &StreamStatus, mut then: impl FnMut()) {
    let mut changed = sets.changed();
    let mut looked: Option<Instant> = None;
    while !status.stopping.load(Ordering::Relaxed) {
        let is_due = looked.is_none_or(|at| at.elapsed() >= PAUSE);
        if changed.has_changed().unwrap_or(false) || is_due {
            looked = Some(Instant::now());
            changed.borrow_and_update();
            sets.follow();
            then();
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| format!("cannot start a thread: {error}"))
}
