//! All that Prefold knows of timely's capabilities and frontiers.
//!
//! timely's timestamp here is an epoch: the number of an input batch, the same on all workers. Epochs are totally ordered,
//! so a frontier is one epoch or the end, and an epoch is closed when the frontier has passed it: then no worker can send
//! anything of it any more, and what was gathered of it is a consistent cut.

use std::collections::BTreeMap;

use timely::dataflow::operators::Capability;
use timely::progress::frontier::MutableAntichain;

/// The number of an input batch.
pub type Epoch = u64;

/// Gathers messages by epoch until each is closed.
pub struct EpochStash<M> {
    open: BTreeMap<Epoch, (Option<Capability<Epoch>>, Vec<M>)>,
    /// The next epoch to close; every one is closed, those without messages too.
    next: Epoch,
}

impl<M> EpochStash<M> {
    pub fn new(first: Epoch) -> EpochStash<M> {
        EpochStash { open: BTreeMap::new(), next: first }
    }

    pub fn add(&mut self, capability: Option<Capability<Epoch>>, epoch: Epoch, messages: &mut Vec<M>) {
        let (held, gathered) = self.open.entry(epoch).or_insert_with(|| (None, Vec::new()));
        if held.is_none() {
            *held = capability;
        }
        gathered.append(messages);
    }

    /// The closed epochs, in order, each with what was gathered of it.
    pub fn closed(&mut self, frontier: &MutableAntichain<Epoch>) -> Vec<(Epoch, Vec<M>)> {
        let Some(passed) = frontier.frontier().first().copied() else { return Vec::new() };
        let epochs = self.next..passed;
        self.next = self.next.max(passed);
        epochs.map(|epoch| (epoch, self.open.remove(&epoch).map(|(_, gathered)| gathered).unwrap_or_default())).collect()
    }
}
