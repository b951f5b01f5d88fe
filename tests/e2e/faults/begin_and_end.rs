//! Senders and series that come later than others or end, and labels that upstream does not have.

use std::time::Duration;

use serde_json::json;

use super::sender::{Plan, Way};
use super::world::{A_MINUTE_OF_TRUST, Setting, World, page};

const ONE: &[&str] = &["a", "b", "c", "d"];

const OTHER: &[&str] = &["k", "l", "m", "n"];

const THIRD: &[&str] = &["x", "y"];

/// One of which upstream has had samples all along, and one that is new to everybody.
pub async fn sender_joins_late() {
    let late = Plan { way: Way::Cut, ..Plan::new(page("late", OTHER)) };
    let plans = vec![Plan::new(page("late", ONE)), late];
    let Some(mut world) = World::start_unserved(Setting::usual("late"), plans).await else { return };
    world.watch(Duration::from_secs(30)).await;
    assert!(!world.newest_are_rewritten().await, "upstream has series that were never written");
    world.senders[1].set(Way::Open);
    world.until_rewritten().await;
    world.join(Plan { name: Some("third"), ..Plan::new(page("late", THIRD)) });
    world.watch(Duration::from_secs(20)).await;
    world.until_rewritten().await;
}

/// They end in upstream, too, so that views answer without them in the end; which says nothing of a sender that is stuck
/// later.
pub async fn series_end_without_a_marker() {
    let plans = [ONE, OTHER, THIRD].map(|shards| Plan::new(page("ending", shards)));
    let Some(mut world) = World::start(Setting::usual("ending"), plans.into()).await else { return };
    world.senders[1].end();
    world.watch(Duration::from_secs(15)).await;
    assert!(!world.newest_are_rewritten().await, "nobody could know that they have ended");
    world.until_rewritten().await;
    world.senders[2].set(Way::Stuck);
    world.watch(Duration::from_secs(45)).await;
    assert!(!world.newest_are_rewritten().await, "upstream's series went on");
    world.senders[2].set(Way::Open);
    world.until_rewritten().await;
}

/// A view that shows a label which upstream does not have is not served, until the label is dropped.
pub async fn external_labels() {
    let (hidden, shown) =
        ("sum by (shard) (rate(external_work_total[10s]))", "sum without (shard) (count_over_time(external_level[10s]))");
    let setting = Setting {
        rules: vec![json!({ "expr": hidden }), json!({ "expr": shown })],
        queries: vec![hidden.to_owned(), shown.to_owned(), "sum(count_over_time(external_level[10s]))".to_owned()],
        ..Setting::usual("external")
    };
    let plan = Plan { external_labels: vec![("cluster", "eu"), ("replica", "1")], ..Plan::new(page("external", ONE)) };
    let Some(mut world) = World::start_unserved(setting, vec![plan]).await else { return };
    world.until_rewritten_are(vec![hidden.to_owned()]).await;
    assert!(!world.is_rewritten(shown).await);
    world.kill_and_restart(Some("ingest: {drop_labels: [cluster, replica]}")).await;
    world.until_rewritten().await;
}

/// The same labels on a second sender, which joins when the view has long been trusted.
pub async fn external_labels_of_a_second_sender() {
    let shown = "sum without (shard) (count_over_time(joining_level[10s]))";
    let setting = Setting {
        rules: vec![json!({ "expr": shown })],
        queries: vec![shown.to_owned(), "sum(count_over_time(joining_level[10s]))".to_owned()],
        ..Setting::usual("joining")
    };
    let Some(mut world) = World::start(setting, vec![Plan::new(page("joining", ONE))]).await else { return };
    world.join(Plan { name: Some("second"), external_labels: vec![("cluster", "eu")], ..Plan::new(page("joining", OTHER)) });
    world.watch(A_MINUTE_OF_TRUST).await;
    assert!(!world.is_rewritten(shown).await, "upstream does not have the label");
    world.kill_and_restart(Some("ingest: {drop_labels: [cluster]}")).await;
    world.until_rewritten().await;
}
