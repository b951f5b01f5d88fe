//! Tests that stop the store at every write, or deny it room, and look at what is left.
//!
//! They see what is lost, doubled or half applied across a crash. They do not see whether the values are right to begin
//! with: the states compared are those of an undisturbed run, which reference.rs compares with a naive model.

use std::sync::Arc;

use super::crash_disk::{Chance, CrashDisk};
use super::disk::Disk;
use super::files::FileKind;
use super::script::{Dump, commit_of, describe, dump, small_options, view_id};
use super::{Durability, Store, StoreError, StoreOptions};
use crate::model::{SpanReason, Timestamp, Uncover};

fn open(disk: &CrashDisk, options: StoreOptions) -> Result<Store, StoreError> {
    Store::on_disk(Arc::new(disk.clone()), options)
}

const STEPS: usize = 36;

/// Step `n` of a life of the store; gives whether it is durable once it returned.
fn step(store: &Store, n: usize) -> Result<bool, StoreError> {
    match n {
        0..3 => describe(store, n).map(|()| true),
        5 => store.put_note("trust", b"equal").map(|()| true),
        12 | 25 => store.flush().map(|()| true),
        18 => store.reset_log(77).map(|()| true),
        20 => store.put_note("trust", b"unequal").map(|()| true),
        22 => store.drop_note("trust").map(|()| true),
        30 => store.enforce_retention(Timestamp(45_000)).map(|()| false),
        n if n % 4 == 3 => store.apply(&script_commit(n), Durability::Later).map(|()| false),
        n => store.apply(&script_commit(n), Durability::Now).map(|()| true),
    }
}

fn script_commit(n: usize) -> crate::model::Commit {
    let mut commit = commit_of(n as i64, if n < 18 { 1 } else { 77 });
    let (from, to) =
        (Timestamp(n as i64 * 1000), if n.is_multiple_of(2) { Timestamp::MAX } else { Timestamp(n as i64 * 1000 + 700) });
    commit.spans.push(Uncover { view: view_id(0), reason: SpanReason::Overdue, from, to });
    commit
}

/// The states of an undisturbed run: after no step, after the first, and so on.
fn undisturbed() -> (Vec<Dump>, u64) {
    let disk = CrashDisk::default();
    let store = open(&disk, small_options()).unwrap();
    let mut dumps = vec![dump(&store)];
    for n in 0..STEPS {
        step(&store, n).unwrap();
        dumps.push(dump(&store));
    }
    let (flushes, blocks) = (store.stats().flushes, store.stats().blocks);
    assert!(flushes >= 4 && blocks >= 1, "the script flushes and deletes: {flushes} {blocks}");
    drop(store);
    assert_eq!(dump(&open(&disk, small_options()).unwrap()), dumps[STEPS], "a clean end");
    let changes = disk.changes();
    (dumps, changes)
}

/// Runs until the disk stops; gives the steps that returned, and the last of them that was durable, counted from 1.
fn run_until_stopped(disk: &CrashDisk) -> (usize, usize) {
    let Ok(store) = open(disk, small_options()) else { return (0, 0) };
    let mut durable = 0;
    for n in 0..STEPS {
        match step(&store, n) {
            Ok(true) => durable = n + 1,
            Ok(false) => {}
            Err(_) => return (n, durable),
        }
    }
    (STEPS, durable)
}

#[test]
fn stopped_at_any_write_the_store_is_as_after_some_step_and_goes_on_from_there() {
    let (dumps, changes) = undisturbed();
    for stop_at in 1..=changes {
        let disk = CrashDisk::stopping_at(Some(stop_at));
        let (returned, durable) = run_until_stopped(&disk);
        for seed in 1..=6 {
            let place = format!("stopped at change {stop_at} of {changes}, seed {seed}");
            let left = disk.after_crash(&mut Chance(seed * 0x9e37_79b9 + stop_at));
            let store = open(&left, small_options()).unwrap_or_else(|error| panic!("{place}: {error}"));
            let found = dump(&store);
            // The step that failed may have reached the disk whole.
            let last = (returned + 1).min(STEPS);
            let at = (durable..=last).rev().find(|at| dumps[*at] == found);
            let at =
                at.unwrap_or_else(|| panic!("{place}: not the state after any of steps {durable} to {last}: {found:#?}"));
            for n in at..STEPS {
                step(&store, n).unwrap_or_else(|error| panic!("{place}, going on: {error}"));
            }
            assert_eq!(dump(&store), dumps[STEPS], "{place}, gone on");
        }
    }
}

#[test]
fn without_room_nothing_is_half_applied_and_later_steps_work() {
    let (dumps, changes) = undisturbed();
    let mut refused = 0;
    for (start, count) in (1..=changes).flat_map(|start| [(start, 1), (start, 3), (start, 7)]) {
        let place = format!("no room for changes {start} to {}", start + count);
        let disk = CrashDisk::default();
        disk.deny_room(start..start + count);
        let mut tries = 0..20;
        let opened = tries.find_map(|_| open(&disk, small_options()).ok());
        let store = opened.unwrap_or_else(|| panic!("{place}: does not open with room"));
        let (mut durable, mut watched) = (0, 0);
        for n in 0..STEPS {
            for attempt in 0.. {
                match step(&store, n) {
                    Ok(now) => {
                        durable = if now { n + 1 } else { durable };
                        break;
                    }
                    Err(error) => {
                        assert!(matches!(error, StoreError::NoRoom { .. }) && error.retryable(), "{place}: {error}");
                        assert!(attempt < 20, "{place}: step {n} never works");
                        let found = dump(&store);
                        // A retention is in force before the blocks it leaves empty are deleted.
                        assert!(found == dumps[n] || n == 30 && found == dumps[31], "{place}: step {n} was half applied");
                        refused += 1;
                        watched = 4;
                    }
                }
            }
            assert_eq!(dump(&store), dumps[n + 1], "{place}: step {n}");
            // A block that could not be written is no failure of the commit after which it was tried.
            watched = if store.stats().flush_error.is_some() { 4 } else { watched };
            for seed in 1..=2 * u64::from(watched > 0) {
                let left = disk.after_crash(&mut Chance(seed * 0x9e37_79b9 + start * 31 + count));
                let again =
                    open(&left, small_options()).unwrap_or_else(|error| panic!("{place}, power cut at {n}: {error}"));
                let found = dump(&again);
                assert!(dumps[durable..=n + 1].contains(&found), "{place}: power cut after step {n}, {durable} durable");
            }
            watched = (watched - 1).max(0);
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn damage_in_what_was_durable_is_said_and_never_cut() {
    let disk = CrashDisk::default();
    let store = open(&disk, StoreOptions::default()).unwrap();
    (0..8).for_each(|n| assert!(step(&store, n).is_ok()));
    drop(store);
    let name = FileKind::Wal.name(1);
    let len = disk.after_crash(&mut Chance(1)).read_whole(&name).unwrap().len();
    let fresh = |at| {
        let copy = disk.after_crash(&mut Chance(1));
        copy.damage(&name, at);
        open(&copy, StoreOptions::default()).map(|store| store.stats().wal_cut_bytes)
    };
    for at in (8..len / 2).step_by(7) {
        let error = fresh(at).map(|_| ()).expect_err("damage in the middle");
        assert!(matches!(error, StoreError::Corrupt { .. }), "byte {at}: {error}");
        assert!(error.to_string().contains("delete it to have results rebuilt from the log"), "{error}");
    }
    assert!(fresh(len - 1).unwrap() > 0, "a torn end is cut");
    let copy = disk.after_crash(&mut Chance(1));
    copy.damage("MANIFEST", 4);
    let error = open(&copy, StoreOptions::default()).map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. } | StoreError::NewerFormat { .. }), "{error}");
    copy.remove("MANIFEST").unwrap();
    assert!(matches!(open(&copy, StoreOptions::default()), Err(StoreError::NoManifest { .. })));
}
