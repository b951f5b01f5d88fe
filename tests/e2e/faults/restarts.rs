//! The process is killed and started again, at bad moments.

use std::time::Duration;

use super::super::processes::now_ms;
use super::sender::{Plan, Way};
use super::world::{Setting, World, page};

const ONE: &[&str] = &["a", "b", "c", "d"];

const OTHER: &[&str] = &["k", "l", "m", "n"];

/// What was known of the silent one before is known after.
pub async fn while_a_sender_is_silent() {
    let plans = [ONE, OTHER].map(|shards| Plan::new(page("silent", shards)));
    let Some(mut world) = World::start(Setting::usual("silent"), plans.into()).await else { return };
    world.senders[1].set(Way::Stuck);
    world.watch(Duration::from_secs(12)).await;
    for _ in 0..2 {
        world.kill_and_restart(None).await;
        world.watch(Duration::from_secs(15)).await;
        assert!(!world.newest_are_rewritten().await, "upstream's series went on");
    }
    world.senders[1].set(Way::Open);
    world.until_rewritten().await;
}

/// Partitions that no sample reaches get a tick once a second, so that most of the time a grid point is final in some
/// partitions only: killed at several moments of a second.
pub async fn killed_between_partitions() {
    let plans = vec![Plan { shards: 4, ..Plan::new(page("partitions", ONE)) }];
    let Some(mut world) = World::start(Setting::usual("partitions"), plans).await else { return };
    for tenth in [0, 3, 4, 5, 7, 9] {
        let ms = (tenth * 100 - now_ms()).rem_euclid(1_000);
        tokio::time::sleep(Duration::from_millis(ms as u64)).await;
        world.kill_and_restart(None).await;
        world.watch(Duration::from_secs(4)).await;
    }
    world.until_rewritten().await;
}
