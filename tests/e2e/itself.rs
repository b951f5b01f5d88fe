//! With nothing configured, Prefold observes itself.

use std::time::{Duration, Instant};

use super::compare::points;
use super::http::{Method, Steps};
use super::prefold::Prefold;
use super::processes::{free_port, now_ms, wait_for};

/// From start to the first results of job prefold-self.
const FIRST_RESULTS_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_self() {
    let began = Instant::now();
    let mut prefold = Prefold::start_alone(free_port()).await;
    for query in [
        "sum by (job) (rate(prefold_ingest_samples_total[15s]))",
        "min by (job) (min_over_time(up[15s]))",
        "prefold:up:min15s",
    ] {
        let left = FIRST_RESULTS_WITHIN.saturating_sub(began.elapsed());
        wait_for(query, left, async || {
            prefold.program.check_alive();
            let to = now_ms() / 5_000 * 5_000;
            let steps = Steps { from: to - 60_000, to, step: 5_000 };
            let reply = prefold.api.range(Method::Form, query, steps, &[]).await?;
            let found = points(&reply.data()?);
            match reply.answer == "rewritten" && found.values().any(|value| *value > 0.0) {
                true => Ok(()),
                false => Err(format!("{:?} {:?} {}", reply.answer, reply.reason, reply.body)),
            }
        })
        .await;
    }
}
