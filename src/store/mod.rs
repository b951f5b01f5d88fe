//! The embedded time-series store: what views have given, and up to where it may be trusted.
//!
//! Results, coverage, known senders and log positions reach the store together in one [`Commit`](crate::model::Commit),
//! or not at all. A restart at the stored positions therefore continues exactly where the results stand, and a commit that
//! is applied again changes nothing. Readers see whole commits only and never wait for the disk's flush.
//!
//! # What lies on disk
//!
//! One directory, locked by one process. `MANIFEST` names the files in force; everything else is left over and deleted.
//!
//! - `wal-N`: frames appended since the checkpoint, one per commit. A tail torn by a crash is cut.
//! - `block-N`: immutable compressed chunks of results, and an index of them at the end.
//! - `checkpoint-N`: everything that is not in blocks, as it stood when `wal-N` began.
//!
//! When the WAL is long or holds two hours of a view, the recent results become a block, the rest a checkpoint, and a
//! rename of the manifest switches to both and to an empty WAL. Blocks are deleted whole, when retention has passed all
//! their points; points past it are not read before that either.
//!
//! Useful for: some ten thousand groups per view, each with values at exact grid points, appended in time order. Not
//! useful for raw samples: times off a view's grid, or before what is final already, are refused.

mod apply;
mod block;
mod checkpoint;
mod chunk;
mod disk;
mod encoding;
mod error;
mod files;
mod flush;
mod head;
mod manifest;
mod notes;
mod options;
mod postings;
mod prepare;
mod read;
mod record;
mod recover;
mod retention;
mod row;
mod spans;
mod state;
mod stats;
mod view;
mod wal;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod crash_disk;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod script;

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::model::{GroupLabels, Matcher, Position, SenderSeen, Timestamp, ViewId};

pub use error::{ReadError, StoreError};
pub use options::{Durability, ReadLimits, StoreOptions};
pub use read::GroupSeries;
pub use stats::StoreStats;
pub use view::{ViewDescription, ViewState};

use block::BlockHandles;
use disk::Disk;
use flush::Writer;
use state::State;
use stats::Counters;

/// The store. Shared freely: every method takes `&self`; writers take turns, readers wait for nothing but memory.
pub struct Store {
    options: StoreOptions,
    disk: Arc<dyn Disk>,
    /// Everything readers see. Written only for the moment in which a durable change becomes visible.
    state: RwLock<State>,
    /// Whoever changes the store holds this, over disk writes and flushes. Always taken before `state`.
    writer: Mutex<Writer>,
    handles: BlockHandles,
    counters: Counters,
}

impl Store {
    /// Opens the store in a directory, which is made if it is absent, and recovers what was durable.
    ///
    /// # Errors
    /// When another process has it open, a file is damaged or of a newer format, or the disk fails.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Store, StoreError> {
        let disk = disk::FolderDisk::open(dir)?;
        Store::on_disk(Arc::new(disk), options)
    }

    fn on_disk(disk: Arc<dyn Disk>, options: StoreOptions) -> Result<Store, StoreError> {
        let recovered = recover::recover(&disk, &options)?;
        let handles = BlockHandles::new(Arc::clone(&disk), options.open_blocks_max);
        let counters = Counters::default();
        counters.wal_cut_bytes(recovered.wal_cut_bytes);
        Ok(Store {
            options,
            disk,
            state: RwLock::new(recovered.state),
            writer: Mutex::new(recovered.writer),
            handles,
            counters,
        })
    }

    /// The log incarnation last committed and the positions in it, by partition. `None` before the first commit.
    pub fn positions(&self) -> Option<(u128, Vec<Position>)> {
        let state = self.state.read();
        state.log.map(|log| (log, state.positions.values().copied().collect()))
    }

    /// The senders known, by tenant, name and partition.
    pub fn senders(&self) -> Vec<SenderSeen> {
        self.state.read().senders.values().cloned().collect()
    }

    /// What is known of a view; `None` when it was never described, or retention has passed all of it.
    pub fn view(&self, id: ViewId) -> Option<ViewState> {
        self.state.read().view(id).map(|view| view.summary())
    }

    /// The newest grid point emitted of a view: what [`Store::view`] says of it, for whoever asks often.
    pub fn final_to(&self, id: ViewId) -> Option<Timestamp> {
        self.state.read().view(id).and_then(|view| view.final_to)
    }

    /// All views that hold anything or were described, by id.
    pub fn views(&self) -> Vec<(ViewId, ViewState)> {
        let state = self.state.read();
        let mut views: Vec<_> = state.views.values().map(|view| (view.id, view.summary())).collect();
        views.sort_by_key(|(id, _)| *id);
        views
    }

    /// The groups of a view that match and have a point that can be read, sorted. An absent label matches as an empty one.
    ///
    /// # Errors
    /// When there is no such view.
    pub fn groups(&self, id: ViewId, matchers: &[Matcher]) -> Result<Vec<GroupLabels>, ReadError> {
        let state = self.state.read();
        let view = state.view(id).ok_or(ReadError::NoView { view: id })?;
        let mut groups: Vec<GroupLabels> = view.matching(matchers).map(|(_, group)| Arc::clone(&group.labels)).collect();
        drop(state);
        groups.sort();
        Ok(groups)
    }
}
