//! Store: results applied with a sync per commit, bytes per result, and points read.
//!
//! Baseline: what stands before each number; the store is its own (memory against blocks).

use std::sync::Arc;
use std::time::Instant;

use prefold::model::{Commit, GroupLabels, Labels, MatchOp, Matcher, ResultPoint, Timestamp, ViewId};
use prefold::store::{Durability, ReadLimits, Store, StoreOptions, ViewDescription};

const GROUPS: usize = 5_000;
const STEP_MS: i64 = 15_000;
const VIEW: ViewId = ViewId(1);
const NO_LIMITS: ReadLimits = ReadLimits { series_max: usize::MAX, points_max: usize::MAX };

fn groups(count: usize) -> Vec<GroupLabels> {
    let labels = |n: usize| {
        Labels::from_pairs([("le", (n % 20).to_string()), ("method", format!("m{}", n / 20)), ("env", "prod".to_owned())])
    };
    (0..count).map(|n| Arc::new(labels(n))).collect()
}

/// A quarter each: full-precision rates, rates of two decimals, integers, constants.
fn value(n: usize, step: i64) -> f64 {
    let mixed = ((n as u64) << 32 | step as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let noise = ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f64;
    match n % 4 {
        0 => 100.0 + noise / 1e5 / 3.0,
        1 => (noise / 1e4).round() / 100.0,
        2 => (noise / 1e4).round(),
        _ => 0.0,
    }
}

fn commit(groups: &[GroupLabels], view: ViewId, step: i64) -> Commit {
    let t = Timestamp(step * STEP_MS);
    let result =
        |(n, group): (usize, &GroupLabels)| ResultPoint { view, group: Arc::clone(group), t, fields: [value(n, step), 0.0] };
    let results = groups.iter().enumerate().map(result).collect();
    Commit { results, final_to: vec![(view, t)], covered_from: vec![(view, t)], ..Commit::default() }
}

fn describe(store: &Store, view: ViewId) {
    let description = ViewDescription { step_ms: STEP_MS, fields: 1, retention_ms: i64::MAX, text: String::new() };
    store.describe(view, description).expect("the bench has its own store");
}

pub fn run(_: crate::Scale) {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("the bench has its own store");
    let options = StoreOptions::default();
    let store = Store::open(dir.path(), options).expect("the bench has its own store");
    describe(&store, VIEW);
    let groups_all = groups(GROUPS);
    let commits: Vec<Commit> = (1..=400).map(|step| commit(&groups_all, VIEW, step)).collect();
    let results = |commits: &[Commit]| commits.iter().map(|commit| commit.results.len()).sum::<usize>() as f64;
    store.apply(&commits[0], Durability::Now).expect("the bench has its own store");
    let wal_before = store.stats().wal_bytes;
    let began = Instant::now();
    commits[1..].iter().for_each(|commit| store.apply(commit, Durability::Now).expect("the bench has its own store"));
    let took = began.elapsed().as_secs_f64();
    let wal = (store.stats().wal_bytes - wal_before) as f64;
    println!("apply, {GROUPS} results and an fsync each: {:.0} results/s", results(&commits[1..]) / took);
    println!("WAL: {:.2} B/result", wal / results(&commits[1..]));
    measure_reads(&store, "memory");
    let began = Instant::now();
    store.flush().expect("the bench has its own store");
    println!("block: {:.0} points/s written", results(&commits) / began.elapsed().as_secs_f64());
    println!("block: {:.2} B/result, index included", store.stats().block_bytes as f64 / results(&commits));
    measure_reads(&store, "blocks");
    commits.iter().for_each(|commit| store.apply(commit, Durability::Now).expect("the bench has its own store"));
    (401..=700).for_each(|step| {
        store.apply(&commit(&groups_all, VIEW, step), Durability::Later).expect("the bench has its own store")
    });
    store.sync().expect("the bench has its own store");
    drop(store);
    let began = Instant::now();
    let store = Store::open(dir.path(), options).expect("the bench has its own store");
    let (head, took) = (store.stats().head_points, began.elapsed().as_secs_f64());
    println!("recovery: {head} points from the WAL in {took:.2} s");
    measure_groups(&store);
}

fn measure_reads(store: &Store, place: &str) {
    let began = Instant::now();
    let series = store.read(VIEW, &[], Timestamp::MIN, Timestamp::MAX, NO_LIMITS).expect("the bench has its own store");
    let points: usize = series.iter().map(|one| one.times.len()).sum();
    println!("read all from {place}: {:.1} M points/s", points as f64 / began.elapsed().as_secs_f64() / 1e6);
    let one = [Matcher::equal("method", "m17"), Matcher::equal("le", "3")];
    let began = Instant::now();
    for _ in 0..100 {
        let (from, to) = (Timestamp(200 * STEP_MS), Timestamp(220 * STEP_MS));
        assert_eq!(store.read(VIEW, &one, from, to, NO_LIMITS).expect("the bench has its own store").len(), 1);
    }
    println!("read 5 minutes of 1 of {GROUPS} groups from {place}: {:.0} us", began.elapsed().as_secs_f64() * 1e4);
}

fn measure_groups(store: &Store) {
    describe(store, ViewId(2));
    store.apply(&commit(&groups(50_000), ViewId(2), 1), Durability::Now).expect("the bench has its own store");
    let equal = Matcher::equal("method", "m170");
    let regex = Matcher::new("method", MatchOp::Regex, "m1.*7").expect("the bench has its own store");
    for (name, matcher) in [("=", equal), ("=~", regex)] {
        let began = Instant::now();
        (0..20).for_each(|_| {
            drop(store.groups(ViewId(2), std::slice::from_ref(&matcher)).expect("the bench has its own store"))
        });
        println!("find groups among 50000 by {name}: {:.1} ms", began.elapsed().as_secs_f64() * 50.0);
    }
}
