//! A store with views whose groups come and go, a book of a sink over it, and all that a receiver was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;

use super::*;
use crate::model::{Commit, Labels, ResultPoint, STALE_NAN, ViewId, is_stale};
use crate::plan::spec::{ReadOptions, read_job};
use crate::sink::{From, Protocol};
use crate::store::{Durability, StoreOptions, ViewDescription};

/// The rules' step, in milliseconds. Everything that tests say and see is in seconds.
const STEP: i64 = 10_000;

pub const SAMPLES_MAX: usize = 50;

pub const JOB: &str = r#"{ "name": "j", "rules": [
  { "expr": "sum by (g) (rate(x[1m]))", "step": "10s", "record": "g:x:rate", "labels": { "team": "a" } } ] }"#;

pub const TWO: &str = r#"{ "name": "j", "rules": [
  { "expr": "sum by (g) (rate(x[1m]))", "step": "10s", "record": "g:x:rate", "labels": { "team": "a" } },
  { "expr": "sum by (g) (rate(y[1m]))", "step": "10s", "record": "g:y:rate" } ] }"#;

const GROUPS: usize = 3;

const RETENTION_MS: i64 = 1_000_000_000;

/// Labels, time in seconds, bits of the value.
pub type Sent = BTreeSet<(String, i64, u64)>;

#[derive(Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    pub fn set(&self, seconds: i64) {
        self.0.store(seconds * 1000, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

pub struct World {
    _dir: tempfile::TempDir,
    pub store: Arc<Store>,
    catalog: Arc<ArcSwap<Catalog>>,
    pub clock: Arc<ManualClock>,
    pub book: Book,
    random: u64,
    /// Which groups have a value at each grid point, by its number.
    present: BTreeMap<i64, Vec<bool>>,
    /// How many record names there are.
    names: usize,
    /// In the order in which they came, doubles included.
    log: Vec<(String, i64, u64)>,
}

impl World {
    pub fn new(jobs: &str, from: From, uncovered: Uncovered, seed: u64) -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), StoreOptions::default()).unwrap());
        let (catalog, clock) = (Arc::new(ArcSwap::from_pointee(read(jobs))), Arc::new(ManualClock::default()));
        let options = SinkOptions {
            name: "s".to_owned(),
            url: "http://a".to_owned(),
            protocol: Protocol::V1,
            headers: Arc::new(|| Ok(Vec::new())),
            timeout: std::time::Duration::from_secs(1),
            from,
            uncovered,
            samples_per_request_max: SAMPLES_MAX,
            bytes_per_request_max: 1 << 20,
        };
        let book = open(&options, &store, &catalog, &clock).unwrap();
        let (present, names) = (BTreeMap::new(), catalog.load().len());
        let mut world = World { _dir: dir, store, catalog, clock, book, random: seed, present, names, log: Vec::new() };
        world.describe();
        world
    }

    pub fn chance(&mut self, of: u64) -> bool {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33).is_multiple_of(of)
    }

    fn views(&self) -> Vec<ViewId> {
        self.catalog.load().in_force().map(|entry| entry.view.id).collect()
    }

    fn describe(&mut self) {
        for id in self.views() {
            let text = String::new();
            let description = ViewDescription { step_ms: STEP, fields: 1, retention_ms: RETENTION_MS, text };
            self.store.describe(id, description).unwrap();
        }
    }

    pub fn put_jobs(&mut self, jobs: &str) {
        let before = self.catalog.load_full();
        // As the node does: what jobs left behind can still be read.
        let retired = before.entries().map(|entry| (**entry).clone());
        let catalog = read(jobs).with_retired(retired);
        self.catalog.store(Arc::new(catalog));
        self.describe();
    }

    pub fn commit(&mut self, k: i64, spans: &[(SpanReason, i64, i64)]) {
        let present: Vec<bool> = (0..GROUPS).map(|_| !self.chance(3)).collect();
        self.present.insert(k, present);
        self.apply(k..=k, spans);
    }

    pub fn commit_many(&mut self, first: i64, last: i64) {
        for k in first..=last {
            let present: Vec<bool> = (0..GROUPS).map(|_| !self.chance(3)).collect();
            self.present.insert(k, present);
        }
        self.apply(first..=last, &[]);
    }

    fn apply(&self, ks: std::ops::RangeInclusive<i64>, spans: &[(SpanReason, i64, i64)]) {
        let mut commit = Commit { log_incarnation: 1, ..Commit::default() };
        for view in self.views() {
            commit.covered_from.push((view, Timestamp(ks.start() * STEP)));
            commit.final_to.push((view, Timestamp(ks.end() * STEP)));
            for k in ks.clone() {
                for group in (0..GROUPS).filter(|group| self.present[&k][*group]) {
                    let labels = Arc::new(Labels::from_pairs([("g", group.to_string())]));
                    let fields = [value(k, group), 0.0];
                    commit.results.push(ResultPoint { view, group: labels, t: Timestamp(k * STEP), fields });
                }
            }
            let of_view = |(reason, from, to): &(SpanReason, i64, i64)| Uncover {
                view,
                reason: *reason,
                from: Timestamp(from * 1000),
                to: Timestamp(to.saturating_mul(1000)),
            };
            commit.spans.extend(spans.iter().map(of_view));
        }
        self.store.apply(&commit, Durability::Now).unwrap();
    }

    pub fn say(&self, reason: SpanReason, from: i64, to: i64) {
        let span = |view| Uncover { view, reason, from: Timestamp(from * 1000), to: Timestamp(to.saturating_mul(1000)) };
        let spans = self.views().into_iter().map(span).collect();
        self.store.apply(&Commit { log_incarnation: 1, spans, ..Commit::default() }, Durability::Now).unwrap();
    }

    /// A span that reaches back before a grid point, to where values may have been sent.
    pub fn span(&mut self, k: i64) -> (SpanReason, i64, i64) {
        let (back, on) = (i64::from(self.chance(2)) * 25 + i64::from(self.chance(2)) * 10, i64::from(self.chance(2)) * 20);
        (SpanReason::Late, k * 10 - back, k * 10 + on + 1)
    }

    /// Sends one batch; now and then the process dies before or after it has heard of the answer.
    pub fn deliver(&mut self) {
        let batch = self.book.next().unwrap();
        if self.chance(5) {
            return self.restart();
        }
        self.receive(&batch);
        if self.chance(3) {
            return self.restart();
        }
        self.book.settle(batch);
        if self.chance(4) {
            self.restart();
        }
    }

    /// Until nothing is left to send.
    pub fn deliver_all(&mut self) {
        // All is looked at closely once so much time has passed.
        self.clock.0.fetch_add(LOOK_CLOSELY_MS, Ordering::Relaxed);
        loop {
            let batch = self.book.next().unwrap();
            if batch.is_empty() {
                return;
            }
            self.receive(&batch);
            self.book.settle(batch);
        }
    }

    pub fn receive(&mut self, batch: &Batch) {
        for unit in &batch.units {
            for (at, v) in &unit.values {
                self.log.push((batch.series[*at as usize].to_string(), unit.t.0 / 1000, v.to_bits()));
            }
        }
    }

    /// What was not saved is lost.
    pub fn restart(&mut self) {
        self.book = self.reopened().unwrap();
    }

    pub fn reopened(&self) -> Result<Book, String> {
        open(&self.book.options, &self.store, &self.catalog, &self.clock)
    }

    pub fn expire_before(&self, k: i64) {
        self.store.enforce_retention(Timestamp(k * STEP + RETENTION_MS)).unwrap();
    }

    pub fn received(&self) -> Sent {
        self.log.iter().cloned().collect()
    }

    /// What is to be received, where `skip` tells which grid points are left out.
    pub fn naive(&self, skip: impl Fn(i64) -> bool) -> Sent {
        let last = self.present.keys().next_back().copied().unwrap_or(0);
        self.naive_to(last, skip)
    }

    pub fn naive_to(&self, last: i64, skip: impl Fn(i64) -> bool) -> Sent {
        let mut sent = Sent::new();
        let is_sent = |k: i64, group: usize| !skip(k) && self.present.get(&k).is_some_and(|groups| groups[group]);
        for k in 1..=last {
            for group in 0..GROUPS {
                let v = match (is_sent(k, group), is_sent(k - 1, group)) {
                    (true, _) => value(k, group),
                    (false, true) => STALE_NAN,
                    (false, false) => continue,
                };
                sent.extend(self.names(group).into_iter().map(|name| (name, k * 10, v.to_bits())));
            }
        }
        sent
    }

    fn names(&self, group: usize) -> Vec<String> {
        let names = [(format!("g:x:rate{{g=\"{group}\", team=\"a\"}}")), format!("g:y:rate{{g=\"{group}\"}}")];
        names.into_iter().take(self.names).collect()
    }

    /// One value per series and time, and times only go on, but for what is sent again.
    pub fn check_order(&self) {
        let mut values: BTreeMap<(&str, i64), u64> = BTreeMap::new();
        let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
        for (name, t, bits) in &self.log {
            match values.insert((name, *t), *bits) {
                Some(before) => assert_eq!(before, *bits, "{name} has two values at {t}"),
                None => {
                    let before = newest.insert(name, *t);
                    assert!(before.is_none_or(|before| before < *t), "{name} at {t} comes after {before:?}");
                }
            }
        }
    }

    /// At every grid point a reader sees all groups as they are, or none: how many of each.
    pub fn check_reader(&self) -> (usize, usize) {
        let received = self.received();
        let (mut left_out, mut whole) = (0, 0);
        for (k, present) in &self.present {
            let seen = |group: usize| {
                let name = &self.names(group)[0];
                let newest = received.iter().filter(|(n, t, _)| n == name && *t <= k * 10).max_by_key(|(_, t, _)| *t);
                newest.map(|(_, _, bits)| f64::from_bits(*bits)).filter(|v| !is_stale(*v))
            };
            let expected: Vec<Option<f64>> = (0..GROUPS).map(|group| present[group].then(|| value(*k, group))).collect();
            let found: Vec<Option<f64>> = (0..GROUPS).map(seen).collect();
            match found == expected {
                true => whole += 1,
                false if found.iter().all(Option::is_none) => left_out += 1,
                false => panic!("at {k}: {found:?} for {expected:?}"),
            }
        }
        (left_out, whole)
    }
}

fn value(k: i64, group: usize) -> f64 {
    (k * 100) as f64 + group as f64
}

fn read(jobs: &str) -> Catalog {
    let job = (!jobs.is_empty()).then(|| read_job("j.json".as_ref(), jobs, &ReadOptions::default()).unwrap());
    Catalog::new(&job.into_iter().collect::<Vec<_>>())
}

fn open(
    options: &SinkOptions,
    store: &Arc<Store>,
    catalog: &Arc<ArcSwap<Catalog>>,
    clock: &Arc<ManualClock>,
) -> Result<Book, String> {
    let catalog = Arc::clone(catalog);
    let read: ReadCatalog = Arc::new(move || catalog.load_full());
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    let status = Arc::new(SinkStatus::new("s", "http://a"));
    Book::open(options.clone(), Arc::clone(store), read, clock, status)
}
