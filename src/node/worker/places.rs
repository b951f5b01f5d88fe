//! What workers keep in tables: where each partition of "partials" stands, and when senders began.
//!
//! As JSON, so that Kafka's own tools show it to people. What cannot be read is as good as absent: then more is read again.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::dataflow::Standing;
use crate::log::topics::{Table, Written};
use crate::model::{LogTime, Offset, PartitionId, SenderSeen, Timestamp, ViewId};

/// Where one partition of "partials" stands: everything before it is in "results".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The topics that it speaks of, by their incarnations.
    pub samples: String,
    pub partials: String,
    #[serde(default)]
    pub results: String,
    /// From where on whoever goes on has to read.
    pub needs: u64,
    /// The job set in force.
    pub set: u64,
    pub views: BTreeMap<String, Standing>,
}

/// Where the checkpoint of a partition stands.
fn checkpoint_key(home: PartitionId) -> String {
    format!("combine/{}", home.0)
}

/// An incarnation as text.
pub fn incarnation(incarnation: u128) -> String {
    format!("{incarnation:032x}")
}

impl Checkpoint {
    pub fn read(positions: &dyn Table, home: PartitionId) -> Option<Checkpoint> {
        let entry = positions.get(&checkpoint_key(home))?;
        let read = serde_json::from_slice(&entry.value);
        read.inspect_err(|error| tracing::error!(partition = home.0, %error, "a position of partials cannot be read")).ok()
    }

    /// # Errors
    /// When it cannot be written as JSON.
    pub fn write(&self, positions: &dyn Table, home: PartitionId) -> Result<Written, String> {
        let value = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        Ok(positions.put(&checkpoint_key(home), Some(Bytes::from(value))))
    }

    pub fn needs(&self) -> Offset {
        Offset(self.needs)
    }

    pub fn standing(&self) -> BTreeMap<ViewId, Standing> {
        self.views.iter().filter_map(|(id, standing)| Some((id.parse().ok()?, *standing))).collect()
    }
}

fn checkpoints(positions: &dyn Table) -> impl Iterator<Item = Checkpoint> {
    let entries = positions.entries("combine/").into_iter();
    entries.filter_map(|(_, entry)| serde_json::from_slice(&entry.value).ok())
}

/// Where every view stands, as far as the table says.
pub fn standing(positions: &dyn Table) -> BTreeMap<ViewId, Standing> {
    let all = checkpoints(positions).flat_map(|checkpoint| checkpoint.standing());
    all.filter(|(_, standing)| standing.begun()).collect()
}

/// The job sets by which the combines of partitions of "partials" work.
pub fn sets(positions: &dyn Table) -> impl Iterator<Item = u64> {
    checkpoints(positions).map(|checkpoint| checkpoint.set)
}

#[derive(Serialize, Deserialize)]
struct Sighting {
    samples: String,
    first: Timestamp,
    log_time: LogTime,
}

/// The most senders that are written down. Those beyond are new again after a restart, which uncovers.
const SENDERS_MAX: usize = 200_000;

/// Writes when a sender began in a partition of a log; nothing when there are too many already.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn write_sender(senders: &dyn Table, log: u128, seen: &SenderSeen) -> Result<Option<Written>, String> {
    if senders.len() >= SENDERS_MAX {
        return Ok(None);
    }
    let name = serde_json::to_string(&(&seen.tenant, &seen.sender)).map_err(|error| error.to_string())?;
    let sighting = Sighting { samples: incarnation(log), first: seen.first, log_time: seen.log_time };
    let value = serde_json::to_vec(&sighting).map_err(|error| error.to_string())?;
    Ok(Some(senders.put(&format!("{}/{name}", seen.partition.0), Some(Bytes::from(value)))))
}

/// The senders that were seen in a log.
pub fn senders(table: &dyn Table, log: u128) -> Vec<SenderSeen> {
    let read = |(key, entry): (String, crate::log::topics::TableEntry)| {
        let (partition, name) = key.split_once('/')?;
        let (tenant, sender) = serde_json::from_str(name).ok()?;
        let Sighting { samples, first, log_time } = serde_json::from_slice(&entry.value).ok()?;
        let partition = PartitionId(partition.parse().ok()?);
        (samples == incarnation(log)).then_some(SenderSeen { tenant, sender, partition, first, log_time })
    };
    table.entries("").into_iter().filter_map(read).collect()
}
