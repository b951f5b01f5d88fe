//! A body of which some partitions' records were appended before the log failed: its sender has a 503 and sends it again.
//!
//! To the log this is one half of the body, and then all of it. That the gateway answers so when a log fails half-way is
//! tested in tests/laws.

use std::time::{Duration, Instant};

use super::super::processes::PATIENCE;
use super::sender::Plan;
use super::world::{MAX_DELAY, Setting, World, page};

const SHARDS: &[&str] = &["a", "b", "c", "d", "e"];

pub async fn sent_again_at_once() {
    let Some(mut world) = World::start(Setting::usual("again"), vec![Plan::new(page("again", SHARDS))]).await else {
        return;
    };
    for _ in 0..3 {
        halve(&mut world, 1).await;
    }
    world.until_rewritten().await;
}

/// Neither half counts any more: what was there shows, and what is missing is uncovered.
pub async fn sent_again_after_max_delay() {
    let Some(mut world) = World::start(Setting::usual("later"), vec![Plan::new(page("later", SHARDS))]).await else {
        return;
    };
    halve(&mut world, MAX_DELAY + 2_000).await;
    world.watch(Duration::from_secs(15)).await;
    assert!(world.reasons().await.contains(&"late".to_owned()), "the second copy came too late");
    world.until_rewritten().await;
}

async fn halve(world: &mut World, for_ms: i64) {
    world.senders[0].halve_next(for_ms);
    let began = Instant::now();
    while !world.senders[0].is_whole() {
        world.watch(Duration::from_millis(500)).await;
        assert!(began.elapsed() < PATIENCE, "the body was never sent again");
    }
    world.watch(Duration::from_secs(3)).await;
}
