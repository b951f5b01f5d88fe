//! Rubbish between the records of a cluster's topics: it is skipped and counted, what it may have said is uncovered, and no partition
//! stops at it.
//!
//! Topics are in memory. It sees a partition that stops, rubbish that is passed over in silence, and a value that is served although
//! it is wrong; what a query replica does with rubbish is in `replica`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use prefold::log::topics::Topic;
use prefold::model::{Labels, Matcher, PartitionBy, PartitionId, Selector, SpanReason, Timestamp, ViewId};
use prefold::node::replica::Replica;
use prefold::node::worker::ViewsInForce;
use prefold::plan::Catalog;
use prefold::store::{Store, StoreOptions};
use prefold::wire::cluster::PartialsRecord;

use super::cluster::{HOMES, World};
use super::memory_log::MemoryLog;
use super::random::Random;
use super::resume::{Held, held, run};
use super::streaming::{Case, catalog, log, raw};
use crate::oracle::{Record, Rule};

const PARTITIONS: u16 = 3;

/// A log, a view of it, and what one process gives that meets no rubbish.
fn unbroken() -> (Case, Vec<Record>, Arc<Catalog>, Held) {
    let partition_by = PartitionBy::new(["n"]);
    let case = Case { seed: 11, series: 24, senders: 2, minutes: 30, partitions: PARTITIONS, partition_by, rules: 1 };
    let records = log(&case, &mut Random(case.seed));
    let selector = Selector::new(vec![Matcher::equal("__name__", "x_total")]);
    let all = Arc::new(catalog(&[Rule { by: Some(vec!["n"]), selector, ..Rule::count(60_000, 20_000) }]));
    let memory = MemoryLog::new(records.iter().map(raw), case.partitions).partitioned_by(case.partition_by.clone());
    let memory = Arc::new(memory);
    memory.readable.store(memory.len(), Ordering::Release);
    let dir = tempfile::tempdir().unwrap();
    let expected = run(&memory, &all, dir.path(), 1, None);
    (case, records, all, expected)
}

/// A cluster over the log, with rubbish put into its topics half way; what a replica has at the end, and how many records of
/// partials were skipped.
fn with_rubbish(
    (case, records, all): (&Case, &[Record], &Arc<Catalog>),
    put: impl Fn(&World, Timestamp),
    final_to: &Held,
) -> (Held, u64) {
    let mut world = World::new(case, ViewsInForce { set: 1, catalog: Arc::clone(all) });
    let mut worker = world.worker();
    (0..HOMES).for_each(|home| worker.combiners.assign(PartitionId(home)));
    (0..PARTITIONS).for_each(|partition| worker.folders.assign(PartitionId(partition)));
    world.push(records, records.len() / 2);
    (0..200).for_each(|_| worker.step());
    put(&world, raw(&records[records.len() / 2]).log_time);
    world.push(records, records.len());
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), StoreOptions::default()).unwrap());
    let results: Arc<dyn Topic> = Arc::new(world.results.clone());
    let mut replica = Replica::start(results, Arc::clone(&store), Arc::default()).unwrap();
    let mut rounds = 0;
    while held(&store, all).final_to != final_to.final_to && rounds < 2_000 {
        worker.step();
        replica.step().unwrap();
        rounds += 1;
    }
    (held(&store, all), worker.combine.skipped)
}

/// What is covered is right, something is uncovered that was not, and everything is final.
fn check(found: &Held, expected: &Held) {
    assert_eq!(found.final_to, expected.final_to, "no partition stopped");
    let of = |held: &Held, view: ViewId, at: Timestamp| -> Vec<(Labels, [u64; 2])> {
        let points = held.results.iter().filter(|((of, t, _), _)| *of == view && *t == at);
        points.map(|((_, _, group), bits)| (group.clone(), *bits)).collect()
    };
    let mut gaps = 0;
    for ((view, t), reasons) in &found.uncovered {
        gaps += usize::from(reasons.contains(&SpanReason::Gap));
        if reasons.is_empty() {
            assert_eq!(of(found, *view, *t), of(expected, *view, *t), "{view} at {t:?}");
        }
    }
    assert!(gaps > 0 && expected.uncovered.values().all(|reasons| !reasons.contains(&SpanReason::Gap)));
}

#[test]
fn s7_rubbish_in_partials_is_skipped_and_counted_and_uncovers() {
    let (case, records, all, expected) = unbroken();
    let put = |world: &World, log_time| {
        for home in (0..HOMES).map(PartitionId) {
            world.partials.push(home, log_time, Bytes::from_static(b"rubbish"));
        }
    };
    let (found, skipped) = with_rubbish((&case, &records, &all), put, &expected);
    assert_eq!(skipped, u64::from(HOMES));
    check(&found, &expected);
}

/// Of a partition that samples do not have: nobody can have said it of these.
#[test]
fn s7_partials_of_another_log_or_of_no_partition_change_nothing() {
    let (case, records, all, expected) = unbroken();
    let put = |world: &World, log_time: Timestamp| {
        let now = world.partials.extent(PartitionId(0)).newest_log_time;
        let of_no_partition = PartialsRecord {
            log_incarnation: world.samples.incarnation(),
            partition: PartitionId(PARTITIONS),
            ..Default::default()
        };
        let of_another = PartialsRecord { log_incarnation: 1, mark: Some(log_time + 3_600_000), ..Default::default() };
        for record in [of_no_partition, of_another] {
            world.partials.push(PartitionId(0), now, Bytes::from(record.encode()));
        }
    };
    let (found, _) = with_rubbish((&case, &records, &all), put, &expected);
    assert_eq!(found, expected);
}

#[test]
fn s7_rubbish_among_samples_is_skipped_and_uncovers() {
    let (case, records, all, expected) = unbroken();
    let put = |world: &World, log_time| {
        world.samples.push(PartitionId(1), log_time, Bytes::from_static(b"rubbish"));
    };
    let (found, _) = with_rubbish((&case, &records, &all), put, &expected);
    check(&found, &expected);
}
