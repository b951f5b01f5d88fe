//! Recovery: one of two workers is killed under load; how long until its partitions are where they were.
//!
//! A partition is read again as far back as windows, delays and samples ahead of their time may reach: a quarter of an hour
//! of samples every 15 s. The same number of scrapes is sent fifteen times as fast, which makes the load during recovery as
//! much heavier, or at that pace. The time until Kafka gives the partitions to the other worker is its session timeout,
//! and told apart.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use prefold::model::Clock;
use prefold::node::clock::SystemClock;

use super::load::{FAST, Pace, REAL};
use super::roles::{LOOK_EVERY, Role, until};
use super::{Kafka, Processes, assert_results};
use crate::Scale;

/// Before the kill: the window, the delay, a step and the ten minutes that samples may be ahead, at the real pace.
const SCRAPES_BEFORE: usize = 57;

/// More than recovery takes, at either pace.
const SCRAPES_AFTER: usize = 300;

pub fn run(scale: Scale) {
    run_at(FAST, scale);
}

pub fn run_at_real_pace(scale: Scale) {
    run_at(REAL, scale);
}

fn run_at(pace: Pace, scale: Scale) {
    let Some(kafka) = Kafka::start() else { return };
    let mut processes = Processes::start(&kafka.config("recovery", "zstd"), pace, 1, 2);
    let mut load = processes.load(pace, scale, SCRAPES_BEFORE + SCRAPES_AFTER);
    let before: Vec<f64> = [&processes.gateways[0], &processes.workers[0], &processes.workers[1]].map(Role::cpu).into();
    (0..SCRAPES_BEFORE).for_each(|_| load.scrape());
    let after = [&processes.gateways[0], &processes.workers[0], &processes.workers[1]].map(Role::cpu);
    let seconds: Vec<f64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    println!(
        "at this pace, {:.0} samples a second: {:.2} CPU seconds of the gateway and {:.2} of the workers a million samples",
        scale.series as f64 / pace.scrape_ms as f64 * 1e3,
        seconds[0] * 1e6 / (scale.series * SCRAPES_BEFORE) as f64,
        (seconds[1] + seconds[2]) * 1e6 / (scale.series * SCRAPES_BEFORE) as f64
    );
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) && load.sent() < SCRAPES_BEFORE + SCRAPES_AFTER {
                load.scrape();
            }
        });
        let stopping = Stops(&stop);
        kill_one(&mut processes, pace);
        drop(stopping);
        sending.join().expect("it sends");
    });
    assert!(load.sent() < SCRAPES_BEFORE + SCRAPES_AFTER, "recovery took longer than the load");
    assert_results(&processes.replica, &load, pace);
}

/// Ends the load, also when something was not as it must be.
struct Stops<'s>(&'s AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How far behind the clock the results are.
fn behind(replica: &Role) -> i64 {
    replica.final_to().map_or(i64::MAX, |to| SystemClock.now().0 - to)
}

fn kill_one(processes: &mut Processes, pace: Pace) {
    // In step with the load, results are as far behind as a job's times say, and a little for the way.
    let usual = pace.max_delay_ms + pace.step_ms + 3_000;
    until("results to keep up", || behind(&processes.replica) < usual);
    let survivor = &processes.workers[1];
    let (arrived, folded) = (survivor.arrivals(), survivor.metric("prefold_fold_samples_total"));
    let cpu = survivor.cpu();
    let killed = Instant::now();
    processes.workers[0].kill();
    let survivor = &processes.workers[1];
    until("the partitions to be given to the other", || survivor.arrivals() > arrived);
    let rebalanced = Instant::now();
    let remaining = || survivor.metric("prefold_replay_remaining_records");
    let mut most = 0.0f64;
    let began = Instant::now();
    // Until what came with the partitions is known, nothing remains.
    while most == 0.0 && began.elapsed() < Duration::from_secs(5) {
        most = most.max(remaining());
        std::thread::park_timeout(LOOK_EVERY);
    }
    until("the log to be read to its end", || remaining() == 0.0);
    let read = rebalanced.elapsed();
    let (folded, cpu) = (survivor.metric("prefold_fold_samples_total") - folded, survivor.cpu() - cpu);
    until("results to keep up again", || behind(&processes.replica) < usual);
    println!(
        "recovery   {:.1} s from the rebalance ({:.1} s after the kill) until {} partitions were read again: {:.2} M samples in {most} \
         records, {:.1} CPU seconds; results kept up {:.1} s after the rebalance",
        read.as_secs_f64(),
        rebalanced.duration_since(killed).as_secs_f64(),
        survivor.arrivals() - arrived,
        folded / 1e6,
        cpu,
        rebalanced.elapsed().as_secs_f64()
    );
}
