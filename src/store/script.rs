//! What the store's tests share: three small views, a steady life of them, and a dump of everything that can be read.

use std::sync::Arc;

use super::{GroupSeries, ReadLimits, Store, StoreError, StoreOptions, ViewDescription, ViewState};
use crate::model::{Commit, GroupLabels, Labels, Offset, PartitionId, Position, ResultPoint, SenderSeen, Timestamp, ViewId};

pub const NO_LIMITS: ReadLimits = ReadLimits { series_max: usize::MAX, points_max: usize::MAX };
pub const STEPS_MS: [i64; 3] = [10, 15, 1000];
pub const FIELDS: [u8; 3] = [1, 2, 1];
pub const RETENTION_MS: i64 = 20_000;

/// Options under which a few dozen points already make blocks.
pub fn small_options() -> StoreOptions {
    StoreOptions {
        wal_bytes_max: 1500,
        block_span_ms: 3000,
        block_steps_min: 5,
        open_blocks_max: 2,
        ..StoreOptions::default()
    }
}

pub fn view_id(n: usize) -> ViewId {
    ViewId(n as u128 + 1)
}

pub fn describe(store: &Store, n: usize) -> Result<(), StoreError> {
    let text = format!("view {n}");
    let description = ViewDescription { step_ms: STEPS_MS[n], fields: FIELDS[n], retention_ms: RETENTION_MS, text };
    store.describe(view_id(n), description)
}

pub fn group(n: usize) -> GroupLabels {
    let pairs = [("method", ["Get", "Put", "Del"][n % 3]), ("code", ["", "500"][n / 3 % 2])];
    Arc::new(Labels::from_pairs(pairs))
}

/// Commit `n` of a steady life: every second of each view.
pub fn commit_of(n: i64, log: u128) -> Commit {
    let mut commit = Commit { log_incarnation: log, ..Commit::default() };
    let position = Position { partition: PartitionId(1), next: Offset(n as u64 * 10), log_time: Timestamp(n) };
    commit.positions.push(position);
    let sender = SenderSeen {
        tenant: "t".into(),
        sender: format!("s{}", n / 3).into(),
        partition: PartitionId(1),
        first: Timestamp(n),
        log_time: Timestamp(n),
    };
    commit.senders.push(sender);
    // Of the finer grids only some points have values.
    for (view, step_ms) in [100, 300, 1000].into_iter().enumerate() {
        let (from, to) = (n * 1000 / step_ms + 1, (n + 1) * 1000 / step_ms);
        for (at, g) in (from..=to).flat_map(|index| (0..4).map(move |g| (index * step_ms, g))) {
            let fields = [at as f64 / 7.0, if view == 1 { g as f64 } else { 0.0 }];
            commit.results.push(ResultPoint { view: view_id(view), group: group(g), t: Timestamp(at), fields });
        }
        commit.final_to.push((view_id(view), Timestamp(to * step_ms)));
        commit.covered_from.push((view_id(view), Timestamp(from * step_ms)));
    }
    commit
}

/// Everything that can be read, in a form that compares bit by bit.
#[derive(Clone, PartialEq, Debug)]
pub struct Dump {
    views: Vec<(ViewId, ViewState)>,
    groups: Vec<Vec<GroupLabels>>,
    series: Vec<Vec<SeriesBits>>,
    positions: Option<(u128, Vec<Position>)>,
    senders: Vec<SenderSeen>,
    notes: Vec<(String, Vec<u8>)>,
}

/// A series whose values compare as bits.
type SeriesBits = (GroupLabels, Vec<Timestamp>, [Vec<u64>; 2]);

pub fn bits(series: Vec<GroupSeries>) -> Vec<SeriesBits> {
    let of = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect();
    series.into_iter().map(|one| (one.labels, one.times, one.fields.map(of))).collect()
}

pub fn dump(store: &Store) -> Dump {
    let mut views = store.views();
    let read =
        |(id, _): &(ViewId, ViewState)| bits(store.read(*id, &[], Timestamp::MIN, Timestamp::MAX, NO_LIMITS).unwrap());
    let series: Vec<_> = views.iter().map(read).collect();
    for ((_, state), series) in views.iter_mut().zip(&series) {
        // How many points that retention has passed are still kept depends on when blocks were written.
        let readable: usize = series.iter().map(|(_, times, _)| times.len()).sum();
        assert!(state.points >= readable as u64);
        state.points = 0;
    }
    let note = |key: String| (key.clone(), store.note(&key).unwrap());
    Dump {
        groups: views.iter().map(|(id, _)| store.groups(*id, &[]).unwrap()).collect(),
        series,
        views,
        positions: store.positions(),
        senders: store.senders(),
        notes: store.note_keys("").into_iter().map(note).collect(),
    }
}
