//! The store from outside, on a real disk: what is refused, what retention leaves, what readers see while it is written.
//!
//! Values and crashes are tested beside the code, against a naive model and a disk that stops at every write; here it is
//! the file system, the lock and threads. `cargo bench -- store` prints the numbers that the store's documentation gives.

#![allow(clippy::unwrap_used, reason = "a test that fails to read fails")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prefold::model::{
    Commit, GroupLabels, Labels, MatchOp, Matcher, Offset, PartitionId, Position, ResultPoint, SpanReason, Timestamp,
    Uncover, ViewId,
};
use prefold::store::{Durability, ReadError, ReadLimits, Store, StoreError, StoreOptions, ViewDescription};

const NO_LIMITS: ReadLimits = ReadLimits { series_max: usize::MAX, points_max: usize::MAX };
const VIEW: ViewId = ViewId(7);
const HOUR_MS: i64 = 3_600_000;

fn description(step_ms: i64, fields: u8, retention_ms: i64) -> ViewDescription {
    ViewDescription { step_ms, fields, retention_ms, text: "{\"job\":\"j\"}".to_owned() }
}

fn group(n: usize) -> GroupLabels {
    Arc::new(Labels::from_pairs([("group", n.to_string()), ("parity", ["even", ""][n % 2].to_owned())]))
}

/// The results of `groups` groups at one grid point, whose values are the time in seconds.
fn commit_at(t: i64, groups: usize) -> Commit {
    let result = |n| ResultPoint { view: VIEW, group: group(n), t: Timestamp(t), fields: [t as f64 / 1000.0, 0.0] };
    Commit {
        log_incarnation: 1,
        positions: vec![Position { partition: PartitionId(0), next: Offset(t as u64), log_time: Timestamp(t) }],
        results: (0..groups).map(result).collect(),
        final_to: vec![(VIEW, Timestamp(t))],
        covered_from: vec![(VIEW, Timestamp(t))],
        ..Commit::default()
    }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, StoreOptions::default()).unwrap()
}

fn times(store: &Store) -> Vec<i64> {
    let series = store.read(VIEW, &[], Timestamp::MIN, Timestamp::MAX, NO_LIMITS).unwrap();
    series.first().map(|one| one.times.iter().map(|t| t.0).collect()).unwrap_or_default()
}

#[test]
fn two_processes_cannot_open_one_store_and_a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = Store::open(dir.path(), StoreOptions::default()).map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("another process"), "{error}");
    drop(store);
    drop(open(dir.path()));
    let manifest = dir.path().join("MANIFEST");
    let mut bytes = std::fs::read(&manifest).unwrap();
    bytes[4] = 200;
    std::fs::write(&manifest, bytes).unwrap();
    let error = Store::open(dir.path(), StoreOptions::default()).map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::NewerFormat { found: 200, .. }), "{error}");
}

#[test]
fn what_cannot_be_stored_is_refused_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = store.apply(&commit_at(1000, 1), Durability::Now).unwrap_err();
    assert!(matches!(error, StoreError::NotDescribed { view: VIEW }) && !error.retryable(), "{error}");
    store.describe(VIEW, description(1000, 1, HOUR_MS)).unwrap();
    store.describe(VIEW, description(1000, 1, 2 * HOUR_MS)).unwrap();
    for other in [description(2000, 1, HOUR_MS), description(1000, 2, HOUR_MS)] {
        assert!(matches!(store.describe(VIEW, other), Err(StoreError::OtherShape { .. })));
    }
    for wrong in [description(0, 1, HOUR_MS), description(1000, 3, HOUR_MS), description(1000, 1, -1)] {
        assert!(matches!(store.describe(ViewId(8), wrong), Err(StoreError::Refused { .. })));
    }
    let mut early = commit_at(1000, 2);
    early.results[1].t = Timestamp(2000);
    let mut off_grid = commit_at(1000, 2);
    off_grid.results[1].t = Timestamp(999);
    let mut unknown = commit_at(1000, 2);
    unknown.spans.push(Uncover { view: ViewId(9), reason: SpanReason::Late, from: Timestamp(0), to: Timestamp(1) });
    for commit in [early, off_grid, unknown] {
        assert!(!store.apply(&commit, Durability::Now).unwrap_err().retryable());
        assert_eq!((store.positions(), store.view(VIEW).unwrap().final_to, times(&store)), (None, None, vec![]));
    }
    assert!(matches!(store.put_note(&"k".repeat(1000), b""), Err(StoreError::TooLarge { .. })));
    store.apply(&commit_at(1000, 2), Durability::Now).unwrap();
    store.apply(&commit_at(1000, 2), Durability::Now).unwrap();
    let stats = store.stats();
    assert_eq!((stats.results, stats.results_repeated, stats.points), (2, 2, 2));
}

#[test]
fn notes_are_written_and_dropped_together_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { notes_max: 3, ..StoreOptions::default() };
    let store = Store::open(dir.path(), options).unwrap();
    let put = |notes: &[(&str, Option<&str>)]| {
        let owned = notes.iter().map(|(key, bytes)| ((*key).to_owned(), bytes.map(|bytes| bytes.as_bytes().to_vec())));
        store.put_notes(owned.collect())
    };
    put(&[("a", Some("1")), ("b", Some("2")), ("absent", None)]).unwrap();
    let large = "x".repeat(300 << 10);
    assert!(matches!(put(&[("a", Some("3")), ("c", Some(&large))]), Err(StoreError::TooLarge { .. })));
    let too_many = put(&[("a", Some("3")), ("c", Some("4")), ("d", Some("5"))]);
    assert!(matches!(too_many, Err(StoreError::TooManyNotes { key, limit: 3 }) if key == "d"));
    assert_eq!((store.note("a").as_deref(), store.note_keys("")), (Some(&b"1"[..]), vec!["a".to_owned(), "b".to_owned()]));
    put(&[("a", None), ("c", Some("4")), ("d", Some("5")), ("b", Some("6"))]).unwrap();
    drop(store);
    let store = Store::open(dir.path(), options).unwrap();
    let notes: Vec<_> = store.note_keys("").into_iter().map(|key| (store.note(&key).unwrap(), key)).collect();
    assert_eq!(notes, [("6", "b"), ("4", "c"), ("5", "d")].map(|(v, k)| (v.as_bytes().to_vec(), k.to_owned())));
}

#[test]
fn reads_are_filtered_limited_and_sorted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.describe(VIEW, description(1000, 1, HOUR_MS)).unwrap();
    for t in 1..=300 {
        store.apply(&commit_at(t * 1000, 12), Durability::Later).unwrap();
    }
    for flushed in [false, true] {
        let parity = |op| Matcher::new("parity", op, "").unwrap();
        let read =
            |matchers: &[Matcher], from, to| store.read(VIEW, matchers, Timestamp(from), Timestamp(to), NO_LIMITS).unwrap();
        assert_eq!(read(&[], 1000, 300_000).iter().map(|one| one.times.len()).sum::<usize>(), 3600, "{flushed}");
        let odd = read(&[parity(MatchOp::Equal)], 9_500, 12_000);
        assert_eq!(odd.len(), 6);
        assert_eq!(odd[0].times, [Timestamp(10_000), Timestamp(11_000), Timestamp(12_000)]);
        assert_eq!(odd[0].fields, [vec![10.0, 11.0, 12.0], vec![]]);
        assert!(odd.windows(2).all(|pair| pair[0].labels < pair[1].labels));
        assert_eq!(read(&[parity(MatchOp::NotEqual)], 1000, 1000).len(), 6);
        assert_eq!(read(&[], 300_001, 900_000), []);
        assert_eq!(read(&[], 5000, 4000), []);
        assert_eq!(store.groups(VIEW, &[parity(MatchOp::Equal)]).unwrap().len(), 6);
        let limited = |series_max, points_max| {
            store.read(VIEW, &[], Timestamp(1000), Timestamp(2000), ReadLimits { series_max, points_max })
        };
        assert!(limited(12, 24).is_ok());
        assert!(matches!(limited(11, 24), Err(ReadError::TooManySeries { limit: 11, .. })));
        assert!(matches!(limited(12, 23), Err(ReadError::TooManyPoints { limit: 23, .. })));
        assert!(matches!(store.groups(ViewId(1), &[]), Err(ReadError::NoView { .. })));
        store.flush().unwrap();
        assert_eq!(store.stats().blocks, 1);
    }
}

#[test]
fn what_a_removed_job_left_stays_until_retention_ends_and_a_view_in_force_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { block_steps_min: 10, ..StoreOptions::default() };
    let store = Store::open(dir.path(), options).unwrap();
    store.describe(VIEW, description(60_000, 1, HOUR_MS)).unwrap();
    for minute in 1..=120 {
        store.apply(&commit_at(minute * 60_000, 3), Durability::Later).unwrap();
        if minute % 40 == 0 {
            store.flush().unwrap();
        }
    }
    assert_eq!(store.stats().blocks, 3);
    store.enforce_retention(Timestamp(120 * 60_000)).unwrap();
    assert_eq!((times(&store).len(), times(&store)[0]), (61, 60 * 60_000), "an hour of the two is left");
    assert_eq!(store.view(VIEW).unwrap().covered_from, Some(Timestamp(60 * 60_000)), "absence before it says nothing");
    assert_eq!(store.stats().blocks, 2);
    store.describe(VIEW, description(60_000, 1, 100 * HOUR_MS)).unwrap();
    assert_eq!(times(&store).len(), 61, "what is gone stays gone");
    store.describe(VIEW, description(60_000, 1, HOUR_MS)).unwrap();
    store.enforce_retention(Timestamp(179 * 60_000)).unwrap();
    assert_eq!(times(&store).len(), 2);
    drop(store);
    let store = Store::open(dir.path(), options).unwrap();
    assert_eq!(times(&store).len(), 2, "as before");
    store.enforce_retention(Timestamp(181 * 60_000)).unwrap();
    assert_eq!((store.view(VIEW), store.views(), store.stats().blocks), (None, vec![], 0));
    assert!(matches!(store.read(VIEW, &[], Timestamp::MIN, Timestamp::MAX, NO_LIMITS), Err(ReadError::NoView { .. })));
    let files: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!files.iter().any(|file| file.starts_with("block")), "{files:?}");
    // Its job was in force after all, and only the log had been silent.
    store.apply(&commit_at(182 * 60_000, 3), Durability::Now).unwrap();
    assert_eq!(times(&store), [182 * 60_000]);
    drop(store);
    assert_eq!(times(&open(dir.path())), [182 * 60_000]);
}

#[test]
fn a_view_that_never_progressed_goes_after_its_retention() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.describe(VIEW, description(1000, 1, HOUR_MS)).unwrap();
    store.enforce_retention(Timestamp(10 * HOUR_MS)).unwrap();
    store.flush().unwrap();
    drop(store);
    let store = open(dir.path());
    store.enforce_retention(Timestamp(11 * HOUR_MS)).unwrap();
    assert!(store.view(VIEW).is_some());
    store.enforce_retention(Timestamp(11 * HOUR_MS + 1)).unwrap();
    assert!(store.view(VIEW).is_none());
}

#[test]
fn another_log_drops_positions_and_keeps_results() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.describe(VIEW, description(1000, 1, HOUR_MS)).unwrap();
    store.apply(&commit_at(2000, 1), Durability::Now).unwrap();
    store.apply(&commit_at(1000, 1), Durability::Now).unwrap();
    let next = |store: &Store| store.positions().map(|(log, positions)| (log, positions.iter().map(|p| p.next.0).collect()));
    assert_eq!(next(&store), Some((1, vec![2000])), "positions do not go back");
    store.reset_log(2).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!((next(&store), times(&store)), (Some((2, vec![])), vec![2000]));
}

/// Groups per commit while readers look on: all of a commit's results are there, or none.
const WATCHED: usize = 40;

#[test]
fn readers_see_whole_commits_while_blocks_are_written_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { wal_bytes_max: 60_000, block_steps_min: 20, open_blocks_max: 2, ..StoreOptions::default() };
    let store = Arc::new(Store::open(dir.path(), options).unwrap());
    store.describe(VIEW, description(1000, 1, 400_000)).unwrap();
    store.apply(&commit_at(1000, WATCHED), Durability::Now).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let watch = |store: Arc<Store>, done: Arc<AtomicBool>| {
        let mut reads = 0;
        while !done.load(Ordering::Relaxed) {
            let before = store.view(VIEW).unwrap().final_to.unwrap();
            let (state, series) = store.read_with_state(VIEW, &[], Timestamp::MIN, Timestamp::MAX, NO_LIMITS).unwrap();
            assert_eq!(series.len(), WATCHED);
            let (first, last) = (state.covered_from.unwrap(), state.final_to.unwrap());
            assert!(before <= last);
            for one in &series {
                let expected: Vec<_> = (first.0 / 1000..=last.0 / 1000).map(|s| Timestamp(s * 1000)).collect();
                assert_eq!(one.times, expected, "every grid point once, of every group");
                assert!(one.times.iter().zip(&one.fields[0]).all(|(t, v)| t.0 as f64 / 1000.0 == *v));
            }
            reads += 1;
        }
        reads
    };
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (store, done) = (Arc::clone(&store), Arc::clone(&done));
            std::thread::spawn(move || watch(store, done))
        })
        .collect();
    for t in 2..=1500 {
        store.apply(&commit_at(t * 1000, WATCHED), Durability::Later).unwrap();
        if t % 50 == 0 {
            store.enforce_retention(Timestamp(t * 1000)).unwrap();
        }
    }
    done.store(true, Ordering::Relaxed);
    let reads: i32 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
    let stats = store.stats();
    assert!(reads > 0 && stats.flushes > 3 && stats.flush_error.is_none(), "{reads} reads, {stats:?}");
}
