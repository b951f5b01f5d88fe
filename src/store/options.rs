//! What can be set about the store, with units and defaults.

/// Bounds and switching points. The defaults suit a store of some million results an hour.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// A WAL longer than this is turned into a block and a checkpoint. Past four times this, when that keeps failing,
    /// nothing more is applied.
    pub wal_bytes_max: u64,
    /// So is a WAL once recent results of one view span this long and [`StoreOptions::block_steps_min`] grid points.
    pub block_span_ms: i64,
    /// A view's recent results stay out of blocks until they span this many grid points: short chunks compress badly.
    pub block_steps_min: i64,
    /// The most points kept in memory; beyond it every view's go to a block, however few.
    pub head_points_max: u64,
    /// The most closed uncovered spans kept per view and reason; beyond it the oldest are joined with what lies between.
    pub spans_max: usize,
    /// The most senders remembered, times the partitions they write to. One beyond it is not remembered, and so is new
    /// again after a restart.
    pub senders_max: usize,
    /// The most notes kept.
    pub notes_max: usize,
    /// The most block files open at once.
    pub open_blocks_max: usize,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            wal_bytes_max: 64 << 20,
            block_span_ms: 2 * 3_600_000,
            block_steps_min: 120,
            head_points_max: 16_000_000,
            spans_max: 1024,
            senders_max: 100_000,
            notes_max: 100_000,
            open_blocks_max: 64,
        }
    }
}

/// When a commit must be on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Before `apply` returns.
    Now,
    /// With the next commit of [`Durability::Now`], or the next `sync`. For commits that move nothing but positions.
    Later,
}

/// The most that one read may return; beyond either it fails.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    pub series_max: usize,
    /// Points over all series; a point of two fields counts once.
    pub points_max: usize,
}
