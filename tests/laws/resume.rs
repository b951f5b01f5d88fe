//! The same log, cut and resumed anywhere, gives the same store.
//!
//! A stream over a random log is stopped at random moments, its store closed and opened again, and resumed with another
//! number of threads; results, final grid points and uncovered spans equal those of a stream never stopped. It sees lost,
//! doubled and half-filled windows and forgotten spans; it does not see torn writes (store and log have tests of their own).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use prefold::log::Log;
use prefold::model::{Labels, Offset, PartitionId, SpanReason, Timestamp, ViewId};
use prefold::node::stream::{Stream, StreamOptions};
use prefold::plan::Catalog;
use prefold::store::{ReadLimits, Store, StoreOptions};
use proptest::prelude::*;

use super::memory_log::MemoryLog;
use super::random::Random;
use super::streaming::{Case, case, catalog, log, raw, rule};

/// Everything that is served from a store.
#[derive(Debug, Default, PartialEq)]
pub struct Held {
    pub final_to: BTreeMap<ViewId, Option<Timestamp>>,
    pub results: BTreeMap<(ViewId, Timestamp, Labels), [u64; 2]>,
    /// By view and grid point: the reasons of the spans that hold it.
    pub uncovered: BTreeMap<(ViewId, Timestamp), Vec<SpanReason>>,
}

pub fn held(store: &Store, catalog: &Catalog) -> Held {
    let mut held = Held::default();
    for entry in catalog.entries() {
        let id = entry.view.id;
        let state = store.view(id);
        held.final_to.insert(id, state.as_ref().and_then(|state| state.final_to));
        let limits = ReadLimits { series_max: usize::MAX, points_max: usize::MAX };
        let (from, to) = (Timestamp(0), Timestamp(i64::MAX / 4));
        for group in store.read(id, &[], from, to, limits).unwrap_or_default() {
            for (at, t) in group.times.iter().enumerate() {
                let bits = |field: &Vec<f64>| field.get(at).map_or(0, |value| value.to_bits());
                let fields = [bits(&group.fields[0]), bits(&group.fields[1])];
                held.results.insert((id, *t, (*group.labels).clone()), fields);
            }
        }
        let Some((state, first, last)) = state.and_then(|state| {
            let (first, last) = (state.covered_from?, state.final_to?);
            Some((state, first, last))
        }) else {
            continue;
        };
        let mut t = first;
        while t <= last {
            let holding = state.spans.iter().filter(|span| span.from <= t && t < span.to && span.reason != SpanReason::Gone);
            let mut reasons: Vec<SpanReason> = holding.map(|span| span.reason).collect();
            reasons.sort_unstable();
            reasons.dedup();
            held.uncovered.insert((id, t), reasons);
            t = t + entry.view.step_ms;
        }
    }
    held
}

/// Whether all that is readable was folded. The newest records finish no grid point, and may still uncover some.
pub fn is_at_the_end(store: &Store, log: &MemoryLog) -> bool {
    let Some((_, positions)) = store.positions() else { return log.len() == 0 };
    let read_to = |p| positions.iter().find(|position| position.partition == p).map_or(Offset(0), |position| position.next);
    (0..log.partitions()).map(PartitionId).all(|p| read_to(p) == log.extent(p).next)
}

/// Runs a stream until it has folded what is readable, or for a moment only.
pub fn run(log: &Arc<MemoryLog>, catalog: &Arc<Catalog>, dir: &Path, threads: usize, patience: Option<Duration>) -> Held {
    let store = Arc::new(Store::open(dir, StoreOptions::default()).unwrap());
    let options = StreamOptions { threads, new_senders_uncover: true };
    let shared: Arc<dyn Log> = Arc::clone(log) as Arc<dyn Log>;
    let stream = Stream::start(shared, Arc::clone(&store), Arc::clone(catalog), options).unwrap();
    let newest = |log: &MemoryLog| (0..log.partitions()).map(|p| log.extent(PartitionId(p)).newest_log_time).min();
    let began = Instant::now();
    let done = |store: &Store| {
        let mark = newest(log).unwrap_or(Timestamp::MIN);
        mark != Timestamp::MIN
            && is_at_the_end(store, log)
            && catalog.entries().all(|entry| {
                let due = entry.view.grid().before(mark - entry.view.max_delay_ms);
                let state = store.view(entry.view.id);
                let begun = log.extent(PartitionId(0)).first_log_time;
                due < entry.view.grid().ceil(begun) || state.and_then(|state| state.final_to).is_some_and(|to| to >= due)
            })
    };
    while patience.map_or_else(|| !done(&store), |patience| began.elapsed() < patience && !done(&store)) {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "the stream does not come to an end: {:?}",
            stream.status.failed.lock()
        );
        std::thread::park_timeout(Duration::from_millis(1));
    }
    drop(stream);
    held(&store, catalog)
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let mut random = Random(case.seed | 1);
    let records = log(case, &mut random);
    let rules: Vec<_> = (0..case.rules).map(|_| rule(&mut random)).collect();
    let catalog = Arc::new(catalog(&rules));
    let memory = MemoryLog::new(records.iter().map(raw), case.partitions).partitioned_by(case.partition_by.clone());
    let memory = Arc::new(memory);
    memory.readable.store(memory.len(), Ordering::Release);
    let unbroken = tempfile::tempdir().unwrap();
    let expected = run(&memory, &catalog, unbroken.path(), 1, None);
    prop_assert!(expected.final_to.values().any(Option::is_some) || case.minutes < 5);

    let broken = tempfile::tempdir().unwrap();
    let mut readable = 0;
    for _ in 0..4 {
        readable += random.below((memory.len() - readable) as i64) as usize;
        memory.readable.store(readable, Ordering::Release);
        let threads = 1 + random.below(3) as usize;
        let moment = Duration::from_millis(random.below(25) as u64);
        run(&memory, &catalog, broken.path(), threads, Some(moment));
    }
    memory.readable.store(memory.len(), Ordering::Release);
    let resumed = run(&memory, &catalog, broken.path(), 2, None);
    prop_assert_eq!(&resumed.final_to, &expected.final_to);
    prop_assert_eq!(&resumed.results, &expected.results);
    prop_assert_eq!(&resumed.uncovered, &expected.uncovered);
    Ok(())
}

/// Views added while the stream runs, at a random moment, before or after a restart.
fn check_reload(case: &Case) -> Result<(), TestCaseError> {
    let mut random = Random(case.seed | 1);
    let records = log(case, &mut random);
    let rules: Vec<_> = (0..case.rules + 1).map(|_| rule(&mut random)).collect();
    let (all, first) = (Arc::new(catalog(&rules)), Arc::new(catalog(&rules[..1])));
    let memory = MemoryLog::new(records.iter().map(raw), case.partitions).partitioned_by(case.partition_by.clone());
    let memory = Arc::new(memory);
    memory.readable.store(memory.len(), Ordering::Release);
    let unbroken = tempfile::tempdir().unwrap();
    let expected = run(&memory, &all, unbroken.path(), 1, None);

    let changed = tempfile::tempdir().unwrap();
    let readable = memory.len() / 4 + random.below(memory.len() as i64 / 4) as usize;
    memory.readable.store(readable, Ordering::Release);
    run(&memory, &first, changed.path(), 2, None);
    let store = Arc::new(Store::open(changed.path(), StoreOptions::default()).unwrap());
    let options = StreamOptions { threads: 2, new_senders_uncover: true };
    let shared: Arc<dyn Log> = Arc::clone(&memory) as Arc<dyn Log>;
    let stream = Stream::start(shared, Arc::clone(&store), Arc::clone(&first), options).unwrap();
    if random.chance(50) {
        std::thread::park_timeout(Duration::from_millis(30));
    }
    stream.reload(Arc::clone(&all)).unwrap();
    // The log goes on while the new views catch up and join.
    let mut readable = readable;
    while readable < memory.len() {
        readable = (readable + 1 + random.below(400) as usize).min(memory.len());
        memory.readable.store(readable, Ordering::Release);
        std::thread::park_timeout(Duration::from_millis(2));
    }
    // Results are appended and spans united: nothing wrong that was said once can go away again while this waits.
    let began = Instant::now();
    while held(&store, &all) != expected && began.elapsed() < Duration::from_secs(60) {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    drop(stream);
    let reloaded = held(&store, &all);
    prop_assert_eq!(&reloaded.final_to, &expected.final_to);
    prop_assert_eq!(&reloaded.results, &expected.results);
    prop_assert_eq!(&reloaded.uncovered, &expected.uncovered);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn s3_s7_a_log_cut_and_resumed_anywhere_gives_the_same_store(mut case in case()) {
        // Long enough for a resume to begin after the log's beginning.
        case.minutes += 22;
        check(&case)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases() / 2, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn s3_views_added_later_catch_up_to_what_they_would_have_been(mut case in case()) {
        // Long enough for a view to catch up, join and go on.
        case.minutes += 50;
        check_reload(&case)?;
    }
}

/// PREFOLD_LAW_CASES for longer runs.
fn cases() -> u32 {
    std::env::var("PREFOLD_LAW_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24)
}
