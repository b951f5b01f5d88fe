//! Senders and parts of senders that fall silent while upstream goes on getting their samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prefold::model::Labels;
use serde_json::json;

use super::is_long;
use super::sender::{Plan, Way};
use super::world::{A_MINUTE_OF_TRUST, Setting, World, page};

const MINUTE: Duration = Duration::from_secs(60);

const ONE: &[&str] = &["a", "b", "c", "d"];

const OTHER: &[&str] = &["k", "l", "m", "n"];

/// The only one there is. Its views have been trusted for so long that a comparison is made while it is stuck.
pub async fn sender_stuck_for_a_minute() {
    let Some(mut world) = World::start(Setting::usual("stuck"), vec![Plan::new(page("stuck", ONE))]).await else { return };
    world.watch(A_MINUTE_OF_TRUST).await;
    world.senders[0].set(Way::Stuck);
    world.watch(MINUTE).await;
    assert!(!world.newest_are_rewritten().await, "upstream's series went on");
    world.senders[0].set(Way::Open);
    world.until_rewritten().await;
}

/// One of two; upstream has its series still.
pub async fn sender_killed_for_good() {
    let plans = [ONE, OTHER].map(|shards| Plan::new(page("killed", shards)));
    let Some(mut world) = World::start(Setting::usual("killed"), plans.into()).await else { return };
    world.watch(A_MINUTE_OF_TRUST).await;
    world.senders[1].set(Way::Cut);
    // Past the lookback, after which a series without samples is taken for gone.
    world.watch(if is_long() { Duration::from_secs(400) } else { Duration::from_secs(75) }).await;
    assert!(!world.newest_are_rewritten().await, "upstream's series went on");
}

/// While its counters stand still and its levels are below others', so that no value shows whether upstream has lost it,
/// too. Later they do.
pub async fn sender_killed_while_idle() {
    let is_busy = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_busy);
    let idle = move |n: i64| {
        let busy = if told.load(Ordering::Relaxed) { 1_000 } else { 0 };
        let series = |metric: &str, v: i64| {
            let pairs = [("__name__", metric), ("shard", "idle"), ("zone", "east")];
            (Labels::from_pairs(pairs), v as f64)
        };
        vec![series("idle_work_total", 5_000_000 + busy * n), series("idle_level", 10 + busy * 100)]
    };
    let rules = ["sum by (zone) (rate(idle_work_total[10s]))", "max by (zone) (last_over_time(idle_level[10s]))"];
    let setting = Setting {
        rules: rules.iter().map(|expr| json!({ "expr": expr })).collect(),
        queries: rules.map(str::to_owned).into(),
        ..Setting::usual("idle")
    };
    let Some(mut world) = World::start(setting, vec![Plan::new(page("idle", ONE)), Plan::new(idle)]).await else { return };
    world.watch(A_MINUTE_OF_TRUST).await;
    world.senders[1].set(Way::Cut);
    world.watch(MINUTE).await;
    is_busy.store(true, Ordering::Relaxed);
    world.watch(Duration::from_secs(20)).await;
    assert!(!world.newest_are_rewritten().await, "upstream's series went on");
}

/// Nothing but the peer's address says who they are.
pub async fn two_senders_behind_one_address() {
    let plans = [ONE, OTHER].map(|shards| Plan::new(page("address", shards)));
    let Some(mut world) = World::start(Setting::usual("address"), plans.into()).await else { return };
    world.senders[1].set(Way::Stuck);
    world.watch(MINUTE).await;
    assert!(!world.newest_are_rewritten().await, "upstream's series went on");
    world.senders[1].set(Way::Open);
    world.until_rewritten().await;
}

/// One of four shards of a sender's queue.
pub async fn quarter_of_the_series_stuck() {
    let plan = Plan { shards: 4, name: Some("quarter"), ..Plan::new(page("quarter", ONE)) };
    let Some(mut world) = World::start(Setting::usual("quarter"), vec![plan]).await else { return };
    world.watch(A_MINUTE_OF_TRUST).await;
    world.senders[0].set_shard(1, Way::Stuck);
    world.watch(MINUTE).await;
    assert!(!world.newest_are_rewritten().await, "upstream's series went on");
    world.senders[0].set_shard(1, Way::Open);
    world.until_rewritten().await;
}

/// The view on the right is final later than the one on the left: a step is answered from both or from none. Then the
/// right one's samples are stuck, so that it is uncovered where the left one is final, and the other way round.
pub async fn unless_with_a_view_behind() {
    let (left, right) =
        ("max by (shard) (last_over_time(unless_level[10s]))", "max by (shard) (rate(unless_work_total[10s]))");
    let rules = vec![json!({ "expr": left }), json!({ "expr": right, "max_delay": "12s" })];
    let queries = vec![
        format!("{left} unless {right} > 7"),
        format!("{right} > 7 unless {left}"),
        format!("{left} and {right} > 7"),
        format!("{right} > 7 or {left}"),
        format!("{left} or {right} > 7"),
        format!("{left} unless on (shard) {right} > 7.1"),
    ];
    let setting = Setting { rules, queries, config: "", max_delay_ms_most: 12_000 };
    // The levels are in one shard of the queue, the work in the other.
    let plan = Plan { shards: 2, ..Plan::new(alternating("unless")) };
    let Some(mut world) = World::start(setting, vec![plan]).await else { return };
    for shard in [0, 1] {
        world.senders[0].set_shard(shard, Way::Stuck);
        world.watch(Duration::from_secs(30)).await;
        assert!(!world.newest_are_rewritten().await, "upstream's series went on");
        for query in [format!("{left} or {right}"), format!("{right} or {left}")] {
            world.assert_answered_to_now(&query).await;
        }
        world.senders[0].set_shard(shard, Way::Open);
        world.until_rewritten().await;
    }
}

/// A page with work and levels in turn.
fn alternating(world: &str) -> impl Fn(i64) -> Vec<(Labels, f64)> + Send + Sync + 'static {
    let page = page(world, ONE);
    move |n| {
        let all = page(n);
        let (work, levels) = all.split_at(ONE.len());
        work.iter().zip(levels).flat_map(|(work, level)| [work.clone(), level.clone()]).collect()
    }
}
